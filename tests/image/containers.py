"""One container of the image under test, as the platform handles it: start, ask, signal, wait, remove."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

PORT = 8080
KILLED = 137  # the exit code of a process that SIGKILL ended


@dataclass(frozen=True)
class Container:
    """A container that was started; whoever started it removes it."""

    id: str
    port: int = PORT

    @classmethod
    def start(cls, image: str, program: str, options: Sequence[str] = (), port: int = PORT) -> Container:
        """`docker run IMAGE PROGRAM`, in the background. Raises AssertionError with the engine's words."""
        ran = docker("run", "--detach", *options, image, program)
        # An engine that cannot start the process has made the container nevertheless.
        if ran.returncode:
            docker("rm", "--force", ran.stdout.strip() or "none")
            raise AssertionError(f"the engine cannot start `{program}`: {ran.stderr.strip()}")
        return cls(ran.stdout.strip(), port)

    def inspect(self) -> dict[str, Any]:
        return inspected("container", self.id)

    def running(self) -> bool:
        return bool(self.inspect()["State"]["Running"])

    def exit_code(self) -> int:
        return int(self.inspect()["State"]["ExitCode"])

    def log(self) -> str:
        """What the program printed, stdout and stderr together."""
        shown = subprocess.run(
            ["docker", "logs", self.id], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True
        )
        return shown.stdout.decode(errors="replace")

    def tail(self) -> str:
        """The end of the log, for a message."""
        lines = self.log().strip().splitlines()
        return "\n".join(["its last lines:", *lines[-15:]]) if lines else "it printed nothing"

    def terminate(self) -> None:
        """SIGTERM to process 1, as the platform stops a container."""
        docker("kill", "--signal=TERM", self.id)

    def wait(self, timeout_s: float) -> bool:
        """Whether it ended by itself within that time; one that did not is killed."""
        try:
            docker("wait", self.id, timeout_s=timeout_s)
        except subprocess.TimeoutExpired:
            docker("kill", self.id)
            return False
        return True

    def wait_for(self, pattern: str) -> bool:
        """Whether the log shows `pattern` (a regular expression) before the program ends."""
        while not re.search(pattern, self.log()):
            if not self.running():
                return re.search(pattern, self.log()) is not None
            time.sleep(0.1)
        return True

    def url(self) -> str:
        """Where the host reaches the server: the published port, else the address in the container's own network."""
        network = self.inspect()["NetworkSettings"]
        if published := (network["Ports"] or {}).get(f"{self.port}/tcp"):
            return f"http://127.0.0.1:{published[0]['HostPort']}"
        addresses = [n["IPAddress"] for n in network["Networks"].values() if n["IPAddress"]]
        # One that ended at once has no address any more: at port 1 nobody listens.
        return f"http://{addresses[0]}:{self.port}" if addresses else "http://127.0.0.1:1"

    def remove(self) -> None:
        docker("rm", "--force", "--volumes", self.id)


def docker(*arguments: str, timeout_s: float | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=timeout_s, check=False)


def inspected(kind: str, name: str) -> dict[str, Any]:
    """`docker KIND inspect NAME`. Raises AssertionError when there is no such thing."""
    shown = docker(kind, "inspect", name)
    assert shown.returncode == 0, shown.stderr.strip()
    values: dict[str, Any] = json.loads(shown.stdout)[0]
    return values
