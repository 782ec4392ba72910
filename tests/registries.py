"""A registry on this machine, to push to."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from local_sagemaker.process import free_port

IMAGE = "registry:2"
# bcrypt of `123456789012-auth-token`, the password that moto's ECR gives out, for the user AWS.
MOTO_LOGIN = "AWS:$2b$04$ZO7ly5FciMi5JXGcbwHvCuWC4GnKRRCh5WUMR317r6goXZ.a/HcOC\n"


@contextmanager
def registry(folder: Path, login: str | None = None) -> Iterator[str]:
    """HOST:PORT of a registry that keeps its files in `folder`. `login`: a line of htpasswd; None lets everyone in.

    The program `docker-registry` where it is installed, else the image registry:2 where the engine has it.
    """
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "htpasswd").write_text(login or "")
    program = shutil.which("docker-registry")
    here = folder if program else Path("/registry")
    auth = f"auth:\n  htpasswd:\n    realm: test\n    path: {here}/htpasswd\n" if login else ""
    (folder / "config.yml").write_text(
        f"version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {here}/data\n{auth}"
        f"http:\n  addr: 127.0.0.1:{port}\n"
    )
    if program:
        command = [program, "serve", str(folder / "config.yml")]
    elif subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True, check=False).returncode == 0:
        command = ["docker", "run", "--rm", "--network=host", f"-v={folder}:/registry", IMAGE, "/registry/config.yml"]
    else:
        pytest.skip(f"needs a registry: the program docker-registry, or the image {IMAGE}")
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            _wait(f"http://127.0.0.1:{port}/v2/", process)
            yield f"localhost:{port}"
        finally:
            process.terminate()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(url, timeout=5)
            return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"the registry does not answer at {url}")
