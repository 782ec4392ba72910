"""The runner of the image `process`: `train` and `serve` as processes of this machine, below a private /opt/ml.

SAGEMAKER_BASE_DIR (the variable by which sagemaker-training moves /opt/ml) names the directory. Since it is in the
environment of every process of a job and of no other, it also finds those that left the job's process group.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from local_sagemaker.runners import Hosts, RunnerError, Work

# Without them a process finds no GPU, or another one than the server was given, or takes more threads than it was.
HANDED_ON = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "OMP_NUM_THREADS")
KILL_S = 5.0  # how long SIGKILL may take; only a process inside a system call that hangs takes longer


class ProcessRunner:
    """Runs the executables `train` and `serve` of `process_path`, else of PATH."""

    def __init__(self, process_path: Path | None) -> None:
        self._process_path = process_path

    @contextlib.contextmanager
    def hosts(self, count: int, base: Path, isolated: bool) -> Iterator[Hosts]:
        """One host is algo-1, as on SageMaker; several are addresses, for names of theirs would resolve nowhere.

        Linux answers on all of 127.0.0.0/8: each job takes three bytes of its own, so that two jobs may use the same
        port.
        """
        digest = hashlib.sha256(str(base).encode()).digest()
        network = f"127.{1 + digest[0] % 254}.{digest[1]}"
        names = tuple(f"{network}.{number}" for number in range(1, count + 1)) if count > 1 else ("algo-1",)
        yield Hosts(names, "lo")

    def start(self, work: Work, write: Callable[[bytes], None]) -> RunningProcess:
        executable = self._executable(work.verb)
        for mount in work.mounts:
            link = work.base / mount.target
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(mount.source)
        scratch = _scratch(work.base)
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(mode=0o700)
        port = free_port()
        environment = {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "HOME": str(Path.home()),
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            "TMPDIR": str(scratch),
            **{name: os.environ[name] for name in HANDED_ON if name in os.environ},
            **work.environment,
            "SAGEMAKER_BASE_DIR": str(work.base),
        }
        if work.verb == "serve":
            environment["SAGEMAKER_BIND_TO_PORT"] = str(port)
            # A container's own network is private, this machine's is not.
            environment["SAGEMAKER_BIND_TO_ADDRESS"] = "127.0.0.1"
        try:
            process = subprocess.Popen(
                [executable],
                cwd=work.base,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise RunnerError(f"{executable} cannot be run: {error.strerror}.") from error
        return RunningProcess(process, work.base, port, write)

    def sweep(self, base: Path) -> None:
        kill_processes_of(base)
        shutil.rmtree(_scratch(base), ignore_errors=True)

    def _executable(self, verb: str) -> str:
        found = shutil.which(verb, path=str(self._process_path)) if self._process_path else None
        found = found or shutil.which(verb)
        if not found:
            place = f"in {self._process_path} nor on PATH" if self._process_path else "on PATH"
            raise RunnerError(
                f"the image 'process' needs an executable named '{verb}', and there is none {place}: "
                "start the server with --process-path DIR, the directory that holds it."
            )
        return str(Path(found).absolute())


class RunningProcess:
    """A process group, a thread that reads what it prints, a thread that waits for its end."""

    def __init__(self, process: subprocess.Popen[bytes], base: Path, port: int, write: Callable[[bytes], None]) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._process = process
        self._base = base
        self._write = write
        self._kill: threading.Timer | None = None
        self._ended = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        threading.Thread(target=self._wait, daemon=True).start()

    def wait(self, timeout_s: float | None = None) -> int | None:
        if not self._ended.wait(timeout_s):
            return None
        code = self._process.returncode
        return code if code >= 0 else 128 - code

    def stop(self, grace_s: float) -> None:
        self._process.send_signal(signal.SIGTERM)
        if self._kill:
            self._kill.cancel()
        self._kill = threading.Timer(grace_s, self._kill_group)
        self._kill.daemon = True
        self._kill.start()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _read(self) -> None:
        assert self._process.stdout
        while chunk := os.read(self._process.stdout.fileno(), 65536):
            self._write(chunk)

    def _wait(self) -> None:
        self._process.wait()
        if self._kill:
            self._kill.cancel()
        # A container ends with its first process; so does this one.
        self._kill_group()
        kill_processes_of(self._base)
        self._reader.join(timeout=10)
        shutil.rmtree(_scratch(self._base), ignore_errors=True)
        self._ended.set()


def kill_processes_of(base: Path) -> None:
    """SIGKILL to every process of this user whose SAGEMAKER_BASE_DIR is the directory; waits until they are gone."""
    killed = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get("SAGEMAKER_BASE_DIR") == str(base):
                process.kill()
                killed.append(process)
    deadline = time.monotonic() + KILL_S
    while not all(map(_is_dead, killed)) and time.monotonic() < deadline:
        time.sleep(0.01)


def _is_dead(process: psutil.Process) -> bool:
    try:
        # An orphan stays a zombie where process 1 does not collect it, as in many containers.
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _scratch(base: Path) -> Path:
    """The job's TMPDIR.

    Short, because servers put sockets there and the path of a socket is limited to about 100 bytes.
    """
    return Path(tempfile.gettempdir()) / f"lsm-{hashlib.sha256(str(base).encode()).hexdigest()[:12]}"


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses at this moment.

    Below the range from which the kernel hands out ports: no outgoing connection takes it in the meantime, and servers
    that know signed 16-bit ports only (multi-model-server) can have it.
    """
    while True:
        port = random.randint(20_000, 32_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
