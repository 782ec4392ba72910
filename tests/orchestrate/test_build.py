"""Building and pushing: real git checkouts, a real engine with a Dockerfile of a few lines, real registries."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import httpx
import pytest
from moto import mock_aws

from local_sagemaker.process import free_port
from orchestrate import engine, jobs, registry, revision
from orchestrate.errors import InputError
from orchestrate.revision import Revision
from registries import MOTO_LOGIN
from registries import registry as running_registry

DOCKERFILE = """\
ARG BASE_IMAGE=scratch
ARG DEVICE
FROM ${BASE_IMAGE}
COPY big /
COPY code /code
ARG VERSION REVISION CREATED SOURCE DEVICE
LABEL org.opencontainers.image.version=$VERSION org.opencontainers.image.revision=$REVISION \\
    org.opencontainers.image.created=$CREATED device=$DEVICE
"""
# Runs the script on another checkout than its own.
RUN = """\
import pathlib, sys
from orchestrate import build, console
root = pathlib.Path(sys.argv.pop(1))
console.run(lambda: build.main(root))
"""
BIG = 300_000
Build = Callable[..., "subprocess.CompletedProcess[str]"]


def git(root: Path, *arguments: str) -> str:
    environment = os.environ | {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_COMMITTER_DATE": "2026-11-01T10:00:00+02:00"}
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(
        ["git", "-C", str(root), *identity, *arguments], check=True, env=environment, capture_output=True, text=True
    ).stdout


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout whose image is a random file, so that no two tests share layers, and some code."""
    root = tmp_path / "checkout"
    (root / "docker").mkdir(parents=True)
    (root / "code").mkdir()
    (root / "docker" / "Dockerfile").write_text(DOCKERFILE)
    (root / ".dockerignore").write_text("*\n!big\n!code/\n**/__pycache__\n")
    (root / "big").write_bytes(os.urandom(BIG))
    (root / "code" / "a.py").write_text("1")
    (root / "README").write_text("read me")
    git(root, "init", "-q")
    git(root, "remote", "add", "origin", "https://someone:secret@example.org/kennel.git")
    commit(root)
    return root


def commit(root: Path) -> str:
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "a")
    return git(root, "rev-parse", "HEAD").strip()


@pytest.fixture
def name() -> Iterator[str]:
    """A repository of the test's own, whose images go afterwards."""
    name = f"kennel-test-{uuid.uuid4().hex[:8]}"
    yield name
    if shutil.which("docker"):
        listed = subprocess.run(
            ["docker", "images", "--format={{.Repository}}:{{.Tag}}"], capture_output=True, text=True
        )
        ours = [image for image in listed.stdout.split() if re.search(rf"(^|/){name}:", image)]
        if ours:
            subprocess.run(["docker", "rmi", *ours], capture_output=True, check=False)


@pytest.fixture
def build(root: Path, name: str) -> Build:
    """Runs the script on the checkout; `more` are variables of the environment."""

    def call(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "HOME": str(root.parent), "AWS_EC2_METADATA_DISABLED": "true"}
        return subprocess.run(
            [sys.executable, "-c", RUN, str(root), f"--repository={name}", *map(str, arguments)],
            env=environment | more, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    return call


@pytest.fixture
def host(engine: None, tmp_path: Path) -> Iterator[str]:
    with running_registry(tmp_path / "registry") as address:
        yield address


def refused(answer: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """It ended with this code and one sentence that holds these words."""
    assert answer.returncode == code, answer.stdout + answer.stderr
    error = answer.stderr.strip().splitlines()[-1]
    assert error.startswith("error: ")
    for word in words:
        assert word in error, error
    assert "Traceback" not in answer.stderr


# --- which revision


def paths(root: Path) -> tuple[str, ...]:
    return revision.paths_of_image(root, root / "docker" / "Dockerfile")


def test_a_clean_checkout_is_named_by_its_commit(root: Path) -> None:
    (root / "README").write_text("a change of what no image holds")
    found = revision.of(root, paths(root))
    sha = git(root, "rev-parse", "HEAD").strip()
    assert (found.name, found.tag, found.changed) == (sha, sha[:12], ())
    assert (found.epoch, found.created) == (1793520000, "2026-11-01T08:00:00Z")
    assert found.source == "https://example.org/kennel.git"


def test_a_change_of_what_goes_in_marks_the_name(root: Path) -> None:
    def now() -> Revision:
        return revision.of(root, paths(root))

    (root / "code" / "a.py").write_text("2")
    edited = now()
    assert edited.changed == ("code/a.py",)
    assert edited.tag == f"{edited.commit[:12]}-dirty-{edited.change}"
    assert now().tag == edited.tag
    (root / "code" / "b.py").write_text("new")
    assert now().changed == ("code/a.py", "code/b.py") and now().tag != edited.tag
    (root / "code" / "b.py").unlink()
    assert now().tag == edited.tag
    (root / "code" / "a.py").unlink()
    assert now().changed == ("code/a.py",) and now().tag != edited.tag
    (root / "code" / "a.py").write_text("1")
    (root / "docker" / "Dockerfile").write_text("FROM scratch\n")
    assert now().changed == ("docker/Dockerfile",)


def test_no_checkout(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is no git checkout .* clone the repository with git"):
        revision.of(tmp_path, ())


# --- bad input


@pytest.mark.parametrize(("arguments", "words"), [
    (["--registry", "https://host:5000"], "without https://"),
    (["--registry", "host"], "HOST with a dot"),
    (["--repository", "Kennel"], "lower-case"),
    (["--tag", "a b"], "--tag 'a b'"),
    (["--weights", "/nonexistent"], "no such folder"),
    (["--no-push", "--no-build"], "--no-push only builds"),
    (["stray"], "come after `--`"),
])  # fmt: skip
def test_options_that_cannot_be_used(build: Build, arguments: list[str], words: str) -> None:
    # The repository given last counts, so the test's own does not hide a bad one.
    refused(build(*arguments), 2, words)


def test_uncommitted_changes_are_not_pushed_by_the_commits_name(build: Build, root: Path) -> None:
    (root / "code" / "a.py").write_text("2")
    refused(build("--registry", "localhost:1"), 2, "code/a.py changed since", "commit first", "--allow-dirty")


def test_dry_run_contacts_nobody(build: Build, root: Path, name: str) -> None:
    answer = build(
        "--dry-run", "--device", "cpu", "--base", "python:3.12", "--", "--build-arg", "X=1", DOCKER_HOST="no"
    )
    assert answer.returncode == 0, answer.stderr
    document = json.loads(answer.stdout)
    sha = git(root, "rev-parse", "HEAD").strip()
    assert f"--build-arg=REVISION={sha} " in document["build"]
    assert "--build-arg=SOURCE_DATE_EPOCH=1793520000 " in document["build"]
    assert "--build-arg=CPU_BASE_IMAGE=python:3.12 " in document["build"]
    assert "--build-arg X=1 " in document["build"]
    assert document["push"].endswith(f".amazonaws.com/{name}:{sha[:12]}-cpu")
    assert document["if the repository is missing"]["CreateRepository"]["imageTagMutability"] == "IMMUTABLE"


def test_no_docker(build: Build, tmp_path: Path) -> None:
    git_only = tmp_path / "bin"
    git_only.mkdir()
    (git_only / "git").symlink_to(shutil.which("git") or "")
    refused(build("--no-push", PATH=str(git_only)), 2, "the program `docker` was not found")


@pytest.mark.skipif(not shutil.which("docker"), reason="needs the docker command")
def test_no_engine(build: Build) -> None:
    refused(build("--no-push", DOCKER_HOST="unix:///nowhere.sock"), 2, "no container engine answers", "start Docker")


def fake_docker(folder: Path, script: str) -> str:
    """A PATH on which `docker` is a few lines of shell: for what cannot be had for real on a machine that works."""
    folder.mkdir()
    (folder / "docker").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "docker").chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_no_buildx(build: Build, tmp_path: Path) -> None:
    words = "echo \"docker: 'buildx' is not a docker command.\" >&2; exit 1"
    path = fake_docker(tmp_path / "bin", f'[ "$1" != buildx ] || {{ {words}; }}')
    refused(build("--no-push", PATH=path), 2, "docker has no buildx", "docker-buildx")


def test_a_disk_that_becomes_full_outside_of_a_step(build: Build, tmp_path: Path) -> None:
    # As BuildKit 0.13 says it when its own directory is full.
    words = "failed to solve: failed to copy: write /var/lib/docker/tmp/x: no space left on device"
    path = fake_docker(tmp_path / "bin", f'[ "$2" != build ] || {{ echo "ERROR: {words}" >&2; exit 1; }}')
    refused(build("--no-push", PATH=path), 1, "the disk became full", "/var/lib/docker/tmp/x", "docker builder prune")


def test_weights_that_are_not_what_their_name_says(build: Build, tmp_path: Path) -> None:
    path = fake_docker(tmp_path / "bin", 'case "$*" in *" build "*) echo built anyway;; esac')
    folder = tmp_path / "weights"
    folder.mkdir()
    refused(build("--no-push", "--weights", folder, PATH=path), 2, "no file MODEL-HASH.pth")
    good = folder / f"resnet18-{hashlib.sha256(b'x').hexdigest()[:8]}.pth"
    good.write_bytes(b"damaged")
    answer = build("--no-push", "--weights", folder, PATH=path)
    refused(answer, 2, "is damaged", "begins with", "download it again")
    assert "built anyway" not in answer.stdout
    (folder / "my.pth").write_bytes(b"y")
    refused(build("--no-push", "--weights", folder, PATH=path), 2, "the name has to be MODEL-HASH.pth")


# --- ECR, with moto in AWS's place


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for variable in ("AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with mock_aws():
        yield


def test_a_missing_repository_is_made_once(aws: None) -> None:
    with registry.ecr(lambda: boto3.Session(region_name="eu-west-1"), "kennel") as (made, is_new):
        assert is_new
        assert made.name == "123456789012.dkr.ecr.eu-west-1.amazonaws.com/kennel"
    client = boto3.client("ecr", "eu-west-1")
    (found,) = client.describe_repositories()["repositories"]
    assert found["imageTagMutability"] == "IMMUTABLE"
    assert found["imageScanningConfiguration"] == {"scanOnPush": True}
    assert found["encryptionConfiguration"]["encryptionType"] == "AES256"
    policy = json.loads(client.get_lifecycle_policy(repositoryName="kennel")["lifecyclePolicyText"])
    assert [rule["selection"]["countNumber"] for rule in policy["rules"]] == [7, 20]
    assert client.list_tags_for_resource(resourceArn=found["repositoryArn"])["tags"] == jobs.TAGS
    with registry.ecr(lambda: boto3.Session(region_name="eu-west-1"), "kennel") as (_, is_new):
        assert not is_new


def test_the_token_stays_in_a_configuration_of_its_own(
    aws: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = tmp_path / "docker"
    (users / "contexts").mkdir(parents=True)
    kept = {"credsStore": "keychain", "auths": {"ghcr.io": {}}, "currentContext": "mine"}
    (users / "config.json").write_text(json.dumps(kept))
    monkeypatch.setenv("DOCKER_CONFIG", str(users))
    with registry.ecr(lambda: boto3.Session(region_name="eu-west-1"), "kennel") as (made, _):
        folder = Path(made.environment["DOCKER_CONFIG"])
        written = json.loads((folder / "config.json").read_text())
        assert list(written["auths"]) == [made.host] and "credsStore" not in written
        assert written["currentContext"] == "mine" and (folder / "contexts").is_dir()
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()
    assert json.loads((users / "config.json").read_text()) == kept
    assert sorted(path.name for path in users.iterdir()) == ["config.json", "contexts"]


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers everything alike."""

    status, body = 400, b"{}"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(self.status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    do_POST = do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def answering() -> Iterator[Callable[[int, bytes], str]]:
    """Starts a server that gives this status and body to whatever is asked; its HOST:PORT."""
    servers = []

    def start(status: int, body: bytes) -> str:
        handler = type("Handler", (Answers,), {"status": status, "body": body})
        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


WORKING = "true"  # a docker of which nothing is asked before AWS has answered


def test_expired_credentials(build: Build, tmp_path: Path, answering: Callable[[int, bytes], str]) -> None:
    words = b'{"__type": "ExpiredTokenException", "message": "The security token included in the request is expired"}'
    path = fake_docker(tmp_path / "bin", WORKING)
    keys = {
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_ENDPOINT_URL": f"http://{answering(400, words)}",
    }
    answer = build("--region", "eu-west-1", PATH=path, **keys)
    refused(answer, 2, "the AWS credentials have expired", "aws sso login")


def test_no_credentials_and_no_region(build: Build, tmp_path: Path) -> None:
    path = fake_docker(tmp_path / "bin", WORKING)
    refused(build("--region", "eu-west-1", PATH=path), 2, "aws configure", "--registry HOST:PORT", "--no-push")
    refused(build(PATH=path), 2, "no AWS region is configured")


# --- with an engine


@pytest.mark.engine
def test_build_push_and_build_again(build: Build, root: Path, name: str, host: str) -> None:
    first = build("--registry", host, "--json")
    assert first.returncode == 0, first.stderr
    document = json.loads(first.stdout)
    sha = git(root, "rev-parse", "HEAD").strip()
    assert document["revision"] == sha and document["tag"] == sha[:12] and document["image"] == f"{name}:{sha[:12]}"
    assert document["uri"] == f"{host}/{name}@{document['digest']}"
    assert document["pushed"]["new_layers"] == 2 and document["pushed"]["present_layers"] == 0
    assert BIG < document["pushed"]["new_bytes"] < BIG + 5000  # noise does not compress
    assert document["built"]["seconds"] > 0 and document["built"]["bytes"] >= BIG
    assert "COPY big /" in first.stderr and f"--image {document['uri']}" in first.stderr
    found = subprocess.run(["docker", "image", "inspect", document["uri"]], capture_output=True, text=True, check=True)
    (image,) = json.loads(found.stdout)
    assert image["Config"]["Labels"]["org.opencontainers.image.created"] == "2026-11-01T08:00:00Z"
    assert image["Created"].startswith("2026-11-01T08:00:00")  # SOURCE_DATE_EPOCH

    # The same commit: nothing is done, the same answer.
    again = build("--registry", host, "--json")
    assert again.returncode == 0, again.stderr
    assert "is there already" in again.stderr and "building" not in again.stderr
    assert json.loads(again.stdout)["uri"] == document["uri"] and json.loads(again.stdout)["pushed"] is None

    # A change of the code sends that layer only.
    (root / "code" / "a.py").write_text("2")
    commit(root)
    second = build("--registry", host, "--json")
    assert second.returncode == 0, second.stderr
    pushed = json.loads(second.stdout)["pushed"]
    assert (pushed["new_layers"], pushed["present_layers"]) == (1, 1)
    assert pushed["new_bytes"] < 1000 and BIG < pushed["present_bytes"] < BIG + 5000
    # A tag of another revision is not moved.
    taken = build("--registry", host, "--tag", sha[:12])
    refused(taken, 2, "is there already", "choose another --tag")


@pytest.mark.engine
def test_what_was_tested_is_what_is_pushed(build: Build, root: Path, host: str) -> None:
    refused(build("--registry", host, "--no-build"), 2, "leave out --no-build")
    (root / "code" / "a.py").write_text("2")
    built = build("--no-push", "--json")
    assert built.returncode == 0, built.stderr
    assert "-dirty-" in json.loads(built.stdout)["tag"] and json.loads(built.stdout)["uri"] is None
    pushed = build("--registry", host, "--no-build", "--allow-dirty", "--json")
    assert pushed.returncode == 0, pushed.stderr
    assert "building" not in pushed.stderr and json.loads(pushed.stdout)["pushed"]["new_layers"] == 2
    (root / "code" / "a.py").write_text("3")
    refused(build("--registry", host, "--no-build", "--allow-dirty"), 2, "no image", "of this revision")


@pytest.mark.engine
def test_a_failed_push_leaves_no_tag_here_or_there(
    build: Build, root: Path, name: str, host: str, tmp_path: Path
) -> None:
    # The registry takes the layers and cannot keep the manifest.
    blocked = (
        tmp_path / "registry" / "data" / "docker" / "registry" / "v2" / "repositories" / name / "_manifests/revisions"
    )
    blocked.parent.mkdir(parents=True)
    blocked.write_text("in the way")
    answer = build("--registry", host)
    refused(answer, 1, "the push of", "nothing has that tag there")
    tags = subprocess.run(["docker", "images", "-q", f"{host}/{name}"], capture_output=True, text=True, check=True)
    assert tags.stdout == ""
    assert httpx.get(f"http://{host}/v2/{name}/tags/list", timeout=10).status_code == 404
    blocked.unlink()
    answer = build("--registry", host, "--no-build")
    assert answer.returncode == 0, answer.stderr
    assert "2 layers" in answer.stdout


@pytest.mark.engine
def test_registries_that_refuse(
    build: Build, root: Path, tmp_path: Path, engine: None, answering: Callable[[int, bytes], str]
) -> None:
    refused(build("--registry", f"localhost:{free_port()}"), 2, "cannot be reached", "connection refused")
    with running_registry(tmp_path / "locked", MOTO_LOGIN) as host:
        refused(build("--registry", host), 2, "refuses the credentials", f"docker login {host}")
    forbidden = answering(403, b'{"errors": [{"code": "DENIED", "message": "not you"}]}')
    refused(build("--registry", forbidden), 2, "refuses the credentials")


@pytest.mark.engine
def test_the_callers_own_login_is_used(build: Build, tmp_path: Path, engine: None) -> None:
    with running_registry(tmp_path / "locked", MOTO_LOGIN) as host:
        config = tmp_path / "docker-config"
        login = ["docker", "--config", str(config), "login", "--username=AWS", "--password-stdin", host]
        subprocess.run(login, input="123456789012-auth-token", text=True, check=True, capture_output=True)
        answer = build("--registry", host, DOCKER_CONFIG=str(config))
        assert answer.returncode == 0, answer.stderr


@pytest.mark.engine
def test_base_images_that_cannot_be_pulled(build: Build, host: str, name: str) -> None:
    refused(
        build("--no-push", "--base", f"{host}/no/such:1"), 1, "the base image cannot be pulled", "not found", "--base"
    )
    gone = f"localhost:{free_port()}/base:1"
    refused(build("--no-push", "--base", gone), 1, "the base image cannot be pulled", "connection refused")


@pytest.mark.engine
def test_a_file_with_a_wrong_checksum(
    build: Build, root: Path, engine: None, answering: Callable[[int, bytes], str]
) -> None:
    url = f"http://{answering(200, b'not the weights')}/resnet18-{root.parent.name[-1]}{uuid.uuid4().hex}.pth"
    (root / "docker" / "Dockerfile").write_text(f"FROM scratch\nADD --checksum=sha256:{'0' * 64} {url} /\n")
    refused(build("--no-push"), 1, "not the one that the Dockerfile names", "digest mismatch", "--weights DIR")


@pytest.fixture
def base(engine: None) -> str:
    """A base image with a shell."""
    dockerfile = Path(__file__).resolve().parents[2] / "docker" / "Dockerfile"
    found = re.search(r"^ARG BASE_IMAGE=(\S+)", dockerfile.read_text(), re.MULTILINE)
    assert found
    if subprocess.run(["docker", "image", "inspect", found[1]], capture_output=True, check=False).returncode:
        pytest.skip(f"needs the base image {found[1]}")
    return found[1]


@pytest.mark.engine
def test_a_step_that_fails(build: Build, root: Path, base: str) -> None:
    step = "--mount=type=tmpfs,target=/small,size=65536 dd if=/dev/zero of=/small/a bs=1024 count=1024"
    (root / "docker" / "Dockerfile").write_text(f"FROM {base}\nRUN {step}\n")
    refused(build("--no-push"), 1, "the disk became full", "No space left on device", "docker builder prune")
    (root / "docker" / "Dockerfile").write_text(f"FROM {base}\nRUN echo the bowl is empty && exit 3\n")
    answer = build("--no-push")
    assert answer.returncode == 1
    assert "error: the build failed: process" in answer.stderr and "exit code: 3" in answer.stderr
    assert "\n  the bowl is empty" in answer.stderr


@pytest.mark.engine
def test_a_build_that_is_stopped_does_not_go_on(root: Path, name: str, base: str) -> None:
    (root / "docker" / "Dockerfile").write_text(f"FROM {base}\nARG REVISION\nRUN echo {name} && sleep 120\n")
    command = [sys.executable, "-c", RUN, str(root), f"--repository={name}", "--no-push"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        assert any("sleep 120" in line for line in process.stdout)
        process.terminate()
        # Long before the step would end by itself.
        assert process.wait(60) == 143


def test_what_buildkit_said_is_told_when_no_sentence_fits() -> None:
    assert engine.explain_build(["#1 x", "ERROR: failed to solve: out of cheese"]) == "the build failed: out of cheese"
