"""buildspec.yml, every command of it in order as CodeBuild runs them: in a clone, with moto in AWS's place, a registry
on this machine in ECR's and a server that knows of no vulnerability in OSV's.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
import uuid
import xml.etree.ElementTree
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
import yaml
from moto.server import ThreadedMotoServer

from conftest import ROOT, SHARED
from registries import MOTO_LOGIN
from registries import registry as running_registry

SPEC: dict[str, Any] = yaml.safe_load((ROOT / "buildspec.yml").read_text("utf-8"))
PHASES = ("install", "pre_build", "build", "post_build")
REGION = "eu-west-1"
MANIFESTS = ("docker.distribution.manifest.v2", "oci.image.manifest.v1")
ECR_HOST = f"123456789012.dkr.ecr.{REGION}.amazonaws.com"


def run_phases(
    folder: Path, environment: dict[str, str], phases: tuple[str, ...] = PHASES
) -> list[tuple[str, str, int]]:
    """(phase, command, exit code) of everything that ran, by the rules of
    https://docs.aws.amazon.com/codebuild/latest/userguide/view-build-details-phases.html: a command that fails ends its
    phase, but for `finally`; in `install` and `pre_build` that ends the build, after `build` comes `post_build`.
    """
    ran: list[tuple[str, str, int]] = []

    def execute(phase: str, command: str) -> bool:
        print(f"--- {phase}: {command}", flush=True)
        # Not captured, so that pytest shows what a command said when it fails.
        code = subprocess.run(["sh", "-c", command], cwd=folder, env=environment, check=False).returncode
        ran.append((phase, command, code))
        return code == 0

    succeeding = True
    for phase in phases:
        commands = SPEC["phases"].get(phase, {})
        environment["CODEBUILD_BUILD_SUCCEEDING"] = str(int(succeeding))
        done = all(execute(phase, command) for command in commands.get("commands", []))
        done = all(execute(phase, command) for command in commands.get("finally", [])) and done
        succeeding = succeeding and done
        if not done and phase in ("install", "pre_build"):
            break
    return ran


def test_the_spec_is_a_list_of_lines_that_name_what_is_there() -> None:
    assert SPEC["version"] == 0.2
    assert set(SPEC["phases"]) == set(PHASES)
    commands = [command for phase in SPEC["phases"].values() for command in phase["commands"]]
    for command in commands:
        assert "\n" not in command
        for word in command.split():
            if word.endswith(".py") or word == "tests/image":
                assert (ROOT / word).exists(), word
    # Every artifact and report is written by a command.
    base = SPEC["artifacts"]["base-directory"]
    files = [f"{base}/{file}" for file in SPEC["artifacts"]["files"]]
    for file in files + SPEC["reports"]["contract"]["files"]:
        assert any(command.endswith((f">{file}", f" {file}")) for command in commands), file


def test_after_a_build_that_failed_nothing_is_pushed(tmp_path: Path) -> None:
    program = tmp_path / ".venv" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\ntouch pushed\n")
    program.chmod(0o755)
    (tmp_path / "build").mkdir()
    (command,) = SPEC["phases"]["post_build"]["commands"]
    for succeeding in ("0", "1"):
        environment = {"PATH": os.environ["PATH"], "CODEBUILD_BUILD_SUCCEEDING": succeeding}
        subprocess.run(["sh", "-c", command], cwd=tmp_path, env=environment, check=True)
        assert (tmp_path / "pushed").exists() == (succeeding == "1")


class Forwarding(BaseHTTPRequestHandler):
    """Hands requests on to moto and puts the local registry where its answers name ECR's."""

    upstream = ""
    registry = ""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
        answer = httpx.post(self.upstream + self.path, content=body, headers=headers, timeout=60)
        told = answer.content.replace(ECR_HOST.encode(), self.registry.encode())
        self.send_response(answer.status_code)
        self.send_header("Content-Type", answer.headers["Content-Type"])
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, format: str, *args: object) -> None:
        pass


class NothingKnown(BaseHTTPRequestHandler):
    """OSV, on a day on which it knows of nothing."""

    def do_POST(self) -> None:
        queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        body = json.dumps({"results": [{} for _ in queries]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def serving() -> Iterator[Any]:
    """Starts a server with a handler; its URL."""
    servers = []

    def start(handler: type[BaseHTTPRequestHandler]) -> str:
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The commit that is checked out, with the environment that the tests run in as its own."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout to clone")
    if not (ROOT / ".venv" / "bin").is_dir():
        pytest.skip("needs .venv (`make venv`)")
    folder = tmp_path / "kennel"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    venv = folder / ".venv"
    venv.mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (venv / name).symlink_to(ROOT / ".venv" / name)
    # As after an installation in this folder, which costs 8 GB and minutes.
    wanted = subprocess.run(
        ["python3", "-c", "import bootstrap; print(bootstrap.wanted(), end='')"],
        cwd=folder / "requirements", check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    (venv / ".installed").write_text(wanted)
    (tmp_path / "shared").symlink_to(SHARED)
    return folder


@pytest.fixture
def repository() -> Iterator[str]:
    """A name of the test's own; its images go afterwards."""
    name = f"kennel-test-{uuid.uuid4().hex[:8]}"
    yield name
    listed = subprocess.run(["docker", "images", "--format={{.Repository}}:{{.Tag}}"], capture_output=True, text=True)
    ours = [image for image in listed.stdout.split() if name in image]
    if ours:
        subprocess.run(["docker", "rmi", *ours], capture_output=True, check=False)


@pytest.mark.engine
@pytest.mark.slow
def test_every_command_in_order(engine: None, clone: Path, repository: str, serving: Any) -> None:
    if not any((SHARED / "weights").glob("*.pth")):
        pytest.skip(f"needs pretrained weights in {SHARED / 'weights'}, to build without a network")
    moto = ThreadedMotoServer(port=0, verbose=False)
    moto.start()
    # Not under tmp_path, which pytest keeps: an image is 3 GB.
    with tempfile.TemporaryDirectory() as folder, running_registry(Path(folder), MOTO_LOGIN) as host:
        upstream = "http://{}:{}".format(*moto.get_host_and_port())
        aws = serving(type("Ecr", (Forwarding,), {"upstream": upstream, "registry": host}))
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(clone.parent),
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": aws,
            "OSV_URL": serving(NothingKnown),
            # The clone's code, not that of the checkout which .venv links to.
            "PYTHONPATH": f"{clone}{os.pathsep}{clone / 'container_src'}",
            "MYPY_CACHE_DIR": str(ROOT / ".mypy_cache"),
            **SPEC["env"]["variables"],
            "KENNEL_REPOSITORY": repository,
            "KENNEL_BUILD_OPTIONS": "--weights ../shared/weights",
        }
        ran = run_phases(clone, environment)
        assert [code for _, _, code in ran] == [0] * len(ran), ran
        assert [command for _, command, _ in ran] == [c for phase in PHASES for c in SPEC["phases"][phase]["commands"]]

        image = json.loads((clone / "build" / "image.json").read_text())
        commit = subprocess.run(
            ["git", "-C", str(clone), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
        assert image["revision"] == commit.stdout.strip()
        assert image["uri"] == f"{host}/{repository}@{image['digest']}"
        login = ("AWS", "123456789012-auth-token")
        url = f"http://{host}/v2/{repository}/manifests/{image['tag']}"
        accept = {"Accept": ", ".join(f"application/vnd.{kind}+json" for kind in MANIFESTS)}
        there = httpx.head(url, auth=login, headers=accept)
        assert there.headers["Docker-Content-Digest"] == image["digest"]
        assert not (clone.parent / ".docker" / "config.json").exists()  # the token is nowhere

        client = boto3.client(
            "ecr", REGION, endpoint_url=upstream, aws_access_key_id="test", aws_secret_access_key="test"
        )
        (made,) = client.describe_repositories()["repositories"]
        assert (made["repositoryName"], made["imageTagMutability"]) == (repository, "IMMUTABLE")

        bill = json.loads((clone / "build" / "sbom.cdx.json").read_text())
        assert bill["bomFormat"] == "CycloneDX" and len(bill["components"]) > 100
        report = xml.etree.ElementTree.parse(clone / "build" / "tests.xml").getroot()
        suite = report if report.tag == "testsuite" else report[0]
        assert int(suite.attrib["tests"]) > int(suite.attrib["skipped"])

        # A change of the code builds and sends its own layer only.
        (clone / "container_src" / "train.py").open("a").write("# changed\n")
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *identity, "commit", "--quiet", "-am", "a change"], cwd=clone, check=True)
        second = subprocess.run(
            [".venv/bin/python", "orchestrate/build.py", "--weights", "../shared/weights", "--json"],
            cwd=clone, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        print(second.stderr, second.stdout)
        assert second.returncode == 0
        pushed = json.loads(second.stdout)["pushed"]
        assert 0 < pushed["new_bytes"] < 20_000_000 < pushed["present_bytes"]
    moto.stop()
