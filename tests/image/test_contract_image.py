"""The contract, part one: what can be seen of an image without a job or a model."""

from __future__ import annotations

import io
import shlex
import tarfile
import time
from pathlib import PurePosixPath
from subprocess import run
from typing import Any

import pytest

from image.containers import docker
from image.demands import GUIDE, HOSTING, RUN_TRAIN, Demand
from image.serving import BIND_LABEL
from image.subject import Subject

pytestmark = pytest.mark.engine

EXEC_FORM = Demand(
    '"use the exec form of the ENTRYPOINT instruction: [...] This enables it to receive signals like SIGTERM and '
    'SIGKILL".',
    RUN_TRAIN,
    'write ENTRYPOINT ["program", "argument"] in the Dockerfile, or no ENTRYPOINT and `train` and `serve` on PATH',
)
NO_TINI = Demand(
    "\"You can't use the tini initializer as your entry point in SageMaker containers because it gets confused by the "
    'train and serve arguments."',
    RUN_TRAIN,
    "let the program itself be process 1: handle SIGTERM and wait for its children",
)
RUNNABLE = Demand(
    'SageMaker runs the container as "docker run image train" and "docker run image serve".',
    HOSTING,
    "put executable programs of these names on PATH, or let the ENTRYPOINT understand both arguments",
)
ROOT = Demand(
    '"SageMaker AI expects all containers to run with root users. Create your container so that it uses only root '
    'users."',
    HOSTING,
    "leave USER out of the Dockerfile",
)
RESERVED = Demand(
    "\"/opt/ml and all sub-directories are reserved by SageMaker training. [...] ensure you don't place any data "
    'required by your algorithm under them as the data may no longer be visible during training."',
    RUN_TRAIN,
    "copy these files to another directory, or remove the VOLUME",
)
PORT = Demand(
    '"The containers in a pipeline listen on the port specified in the SAGEMAKER_BIND_TO_PORT environment variable '
    '(instead of 8080). [...] To indicate that your container complies with this requirement, [...] add a label".',
    GUIDE + "inference-pipeline-real-time.html",
    "add EXPOSE 8080, or LABEL com.amazonaws.sagemaker.capabilities.accept-bind-to-port=true if it complies",
)
# These are mounted; /opt/ml/code, where AWS's own toolkits look for programs, is not.
MOUNTED = ("input", "model", "output", "checkpoints")
SHELLS = {"sh", "bash", "dash", "ash", "zsh"}


def test_entrypoint_in_exec_form(config: dict[str, Any]) -> None:
    entrypoint = config["Entrypoint"] or []
    shell = [PurePosixPath(word).name for word in entrypoint[:1]]
    EXEC_FORM.check(
        not (SHELLS.intersection(shell) and "-c" in entrypoint[1:2]), f"ENTRYPOINT {shlex.join(entrypoint)}"
    )


def test_entrypoint_is_not_tini(config: dict[str, Any]) -> None:
    entrypoint = config["Entrypoint"] or ["none"]
    NO_TINI.check(PurePosixPath(entrypoint[0]).name not in ("tini", "tini-static"), f"ENTRYPOINT {entrypoint}")


@pytest.mark.parametrize("program", ["train", "serve"])
def test_program_can_be_started(tested: Subject, program: str) -> None:
    try:
        container = tested.start(program, "--network=none")
    except AssertionError as error:
        RUNNABLE.fail(str(error))
    try:
        # A shell or `env` that does not find it ends at once, and that with 126 or 127.
        deadline = time.monotonic() + 3
        while container.running() and time.monotonic() < deadline:
            time.sleep(0.1)
        code = 0 if container.running() else container.exit_code()
        RUNNABLE.check(code not in (126, 127), f"exit code {code}; {container.tail()}")
    finally:
        container.remove()


def test_runs_as_root(config: dict[str, Any]) -> None:
    user = config["User"].partition(":")[0]
    ROOT.check(user in ("", "root", "0"), f"USER {config['User']}")


def test_no_volume_over_the_platforms_directories(config: dict[str, Any]) -> None:
    paths = [PurePosixPath(path) for path in config["Volumes"] or {}]
    ml = PurePosixPath("/opt/ml")
    over = [str(path) for path in paths if path == ml or ml in path.parents or path in ml.parents]
    RESERVED.check(not over, f"VOLUME {', '.join(over)}")


def test_nothing_lies_where_the_platform_mounts(tested: Subject) -> None:
    created = docker("create", tested.image, "train")
    assert created.returncode == 0, created.stderr
    container = created.stdout.strip()
    found = []
    try:
        for directory in MOUNTED:
            copied = run(["docker", "cp", f"{container}:/opt/ml/{directory}", "-"], capture_output=True, check=False)
            if copied.returncode == 0:
                with tarfile.open(fileobj=io.BytesIO(copied.stdout)) as archive:
                    found += [f"/opt/ml/{member.name}" for member in archive if not member.isdir()]
    finally:
        docker("rm", container)
    RESERVED.check(not found, f"files in the image: {', '.join(found[:5])}")


def test_the_port_is_declared(config: dict[str, Any]) -> None:
    label = (config["Labels"] or {}).get(BIND_LABEL)
    exposed = sorted(config["ExposedPorts"] or {})
    PORT.check(label == "true" or "8080/tcp" in exposed, f"EXPOSE {exposed or 'nothing'}, label {label}")


def test_size_leaves_every_way_of_hosting_open(inspection: dict[str, Any]) -> None:
    """An expected failure, not a failure: instances take larger images."""
    size_gb = inspection["Size"] / 1e9
    if size_gb > 10:
        pytest.xfail(f"unpacked it has {size_gb:.1f} GB: serverless endpoints take at most 10 GB")
