"""What this machine has and lacks."""

from __future__ import annotations

import importlib.util
import json
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from orchestrate import engine, session
from orchestrate.doctor_check import FAIL, OK, SKIP, WARN, Check
from orchestrate.errors import InputError

_ROOT = Path(__file__).resolve().parent.parent
_PORT = 8580  # of `python -m local_sagemaker up`
_GB = 1e9


def checks() -> Iterator[Check]:
    """Of this machine, one after the other."""
    yield _python()
    yield _packages()
    yield _disk()
    yield _memory()
    yield _port()
    yield _server()
    yield from _docker()


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    if (3, 10) <= sys.version_info[:2] <= (3, 12):
        return Check("Python", OK, f"{version}, {sys.executable}")
    return Check("Python", FAIL, f"{version}, {sys.executable}", "take 3.10, 3.11 or 3.12: make venv PYTHON=python3.12")


def _packages() -> Check:
    """Whether the environment is what the lock says, by the mark that its maker left."""
    maker = _maker()
    stamp = Path(sys.prefix) / ".installed"
    if Path(sys.prefix).resolve() != maker.VENV.resolve():
        return Check("packages", WARN, f"those of {sys.prefix}, not of .venv", "source .venv/bin/activate")
    if not stamp.is_file() or stamp.read_text("utf-8") != maker.wanted():
        return Check("packages", WARN, ".venv is not what requirements.lock says now", "make venv")
    return Check("packages", OK, ".venv is what requirements.lock says")


def _maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bootstrap", _ROOT / "requirements" / "bootstrap.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free / _GB
    found = f"{free:.0f} GB free in {Path.cwd()}"
    if free < 1:
        return Check("disk", FAIL, found, "make room: a job's data, its artifact and its report come here")
    return (
        Check("disk", OK, found) if free > 5 else Check("disk", WARN, found, "make room before a large data set comes")
    )


def _memory() -> Check:
    import psutil

    free = psutil.virtual_memory().available / _GB
    found = f"{free:.1f} GB available, {psutil.cpu_count()} CPUs"
    return (
        Check("memory", OK, found) if free > 2 else Check("memory", WARN, found, "a training with --local needs 2 GB")
    )


def _port() -> Check:
    """Scripts take a free port; only the server by itself has one of its own."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", _PORT))
        except OSError as error:
            return Check("port", WARN, f"127.0.0.1:{_PORT} is taken ({error.strerror})",
                         "it is for `python -m local_sagemaker up` alone: give that another --port")  # fmt: skip
    return Check("port", OK, f"127.0.0.1:{_PORT} is free")


def _server() -> Check:
    url = session.running_service()
    if url:
        return Check("local server", OK, f"runs at {url}, in {session.service_state()}")
    return Check("local server", OK, "none runs; a script with --local starts one")


def _docker() -> Iterator[Check]:
    """It is needed to build, and for --local --image."""
    try:
        engine.check()
        told = json.loads(engine.docker(["info", "--format", "{{json .}}"]).stdout or "{}")
    except InputError as error:
        yield Check("Docker", WARN, str(error), "only needed to build the image, and for --local --image NAME")
        return
    yield Check("Docker", OK, f"{told.get('ServerVersion', 'an engine')} with buildx, {told.get('Architecture', '')}")
    root = Path(told.get("DockerRootDir", "/var/lib/docker"))
    if root.is_dir():
        free = shutil.disk_usage(root).free / _GB
        yield Check("Docker's disk", OK if free > 25 else WARN, f"{free:.0f} GB free in {root}",
                    "" if free > 25 else "a build takes 25 GB: docker builder prune, docker image prune")  # fmt: skip
    else:
        yield Check("Docker's disk", SKIP, f"{root} is on another machine, or not ours to see")
    if shutil.which("nvidia-smi"):
        there = "nvidia" in told.get("Runtimes", {}) or bool(told.get("CDISpecDirs"))
        yield Check("Docker's GPU", OK if there else WARN, "containers get it" if there else "containers do not get it",
                    "" if there else "install nvidia-container-toolkit, then nvidia-ctk runtime configure")  # fmt: skip
