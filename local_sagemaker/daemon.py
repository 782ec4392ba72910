"""One server a state directory: starting, finding and ending it.

`STATE/server.lock` is locked (flock) by the server as long as it lives, whatever kills it; `STATE/server.json` says
where it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from local_sagemaker import __version__
from local_sagemaker.settings import Settings

DEFAULT_PORT = 8580
START_S = 60.0  # how long a server in the background may take to answer
STOP_S = 60.0  # how long it may take to end


class DaemonError(Exception):
    """The server cannot be started, found or ended; one sentence."""


def ensure(state: Path, process_path: Path | None = None) -> str:
    """The URL of the state's server, which is started in the background, on a free port, when none runs.

    Raises DaemonError when it does not start, or when it runs with another `process_path`.
    """
    state = state.absolute()
    process_path = process_path.absolute() if process_path else None
    _make(state)
    with (state / "starting.lock").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)  # two scripts at the same moment start one server
        running = _running(state)
        if running is None:
            return start(Settings(state=state, process_path=process_path), port=0)
    if process_path and running["process_path"] != str(process_path):
        raise DaemonError(
            f"The server of {state} runs with --process-path {running['process_path']}, not {process_path}: "
            f"end it with `python -m local_sagemaker down --state {state}` and try again."
        )
    return str(running["url"])


def running_url(state: Path) -> str | None:
    """The URL of the state's server; None when none runs."""
    running = _running(state.absolute())
    return str(running["url"]) if running else None


def stop(state: Path) -> bool:
    """Ends the state's server, its jobs and endpoints; returns when they are gone, False when no server ran."""
    state = state.absolute()
    running = _running(state)
    if running is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(running["pid"], signal.SIGTERM)
    if not _wait_until_free(state, STOP_S):
        raise DaemonError(
            f"The server (process {running['pid']}) did not end within {STOP_S:.0f} s; see {state / 'server.log'}."
        )
    return True


def start(settings: Settings, port: int) -> str:
    """Starts a server in the background, in a session of its own; returns its URL when it answers."""
    package = Path(__file__).parent.parent
    arguments = [sys.executable, "-m", "local_sagemaker", "up", "--port", str(port), *_options(settings)]
    path = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")]))
    _make(settings.state)
    with (settings.state / "server.log").open("ab") as output:
        begin = output.tell()
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=settings.state,
            env={**os.environ, "PYTHONPATH": path},
        )
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        code = process.poll()
        if code is not None:
            said = (settings.state / "server.log").read_bytes()[begin:].decode("utf-8", "replace").strip().splitlines()
            raise DaemonError(said[-1] if said else f"The server ended with code {code} and said nothing.")
        running = _running(settings.state)
        if running is not None and running["pid"] == process.pid:
            return str(running["url"])
        time.sleep(0.05)
    process.kill()
    raise DaemonError(f"The server did not answer within {START_S:.0f} s; see {settings.state / 'server.log'}.")


def serve(settings: Settings, port: int) -> None:
    """Runs the server in this process until SIGTERM or SIGINT; everything it started has ended when this returns."""
    import uvicorn

    from local_sagemaker.platform import Platform
    from local_sagemaker.records import write_json
    from local_sagemaker.server import application

    _make(settings.state)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    _hold(settings.state)
    with _listen(port) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        description = settings.state / "server.json"

        def on_ready() -> None:
            write_json(
                description,
                {"url": url, "pid": os.getpid(), "version": __version__, "process_path": _text(settings.process_path)},
            )
            print(banner(url), flush=True)

        platform = Platform(settings)
        app = application(platform, on_ready)
        # Clients keep their connections while they wait for a job. After uvicorn's five seconds, one would now and then
        # be closed just as it is used again, which is an error to a client that does not retry.
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, timeout_keep_alive=75, timeout_graceful_shutdown=3
        )
        server = uvicorn.Server(config)
        # uvicorn raises the signal again when it is done; the default action would end this process before the lines
        # below. A terminal that closes is a SIGHUP, which uvicorn does not know.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        try:
            server.run(sockets=[listener])
        finally:
            # Not at the end of the application's life, which a second Ctrl-C cuts short.
            platform.shutdown()
            description.unlink(missing_ok=True)


def _make(state: Path) -> None:
    """Makes the state directory. Raises DaemonError where nothing can be written to it."""
    try:
        state.mkdir(parents=True, exist_ok=True)
        (state / "server.lock").open("a").close()
    except OSError as error:
        raise DaemonError(
            f"The state directory {state} cannot be written: {error.strerror}. Name another with --state."
        ) from error


def banner(url: str) -> str:
    """What `up` prints: the address, the line to paste into a shell, and where the page is."""
    return f"local SageMaker answers at {url}\nexport AWS_ENDPOINT_URL={url}\nOpen {url} in a browser to watch it."


def _text(path: Path | None) -> str | None:
    return str(path) if path else None


def _options(settings: Settings) -> list[str]:
    options = ["--state", str(settings.state)]
    if settings.process_path:
        options += ["--process-path", str(settings.process_path)]
    return [
        *options,
        "--training-stop-s",
        str(settings.training_stop_s),
        "--endpoint-stop-s",
        str(settings.endpoint_stop_s),
        "--max-parallel-jobs",
        str(settings.max_parallel),
    ]


def _running(state: Path) -> dict[str, Any] | None:
    """server.json of a server that lives; None when none does or it is not ready yet."""
    if _is_free(state):
        return None
    try:
        description: dict[str, Any] = json.loads((state / "server.json").read_text())
    except FileNotFoundError:
        return None
    return description if str(description["pid"]) == (state / "server.lock").read_text() else None


def _is_free(state: Path) -> bool:
    path = state / "server.lock"
    if not path.is_file():
        return True
    with path.open() as stream:
        return _try(stream.fileno(), fcntl.LOCK_SH)


def _wait_until_free(state: Path, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not _is_free(state):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _hold(state: Path) -> None:
    """Takes the lock of the state directory.

    Nobody closes the descriptor, not even the interpreter at its end: the lock is free when this process is gone.
    """
    descriptor = os.open(state / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + 1
    while not _try(descriptor, fcntl.LOCK_EX):
        if time.monotonic() > deadline:  # somebody who only looks holds it for a moment
            raise DaemonError(_held(state))
        time.sleep(0.02)
    # Of a server that was killed; in a container the next one often has the same process id.
    (state / "server.json").unlink(missing_ok=True)
    os.truncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())


def _held(state: Path) -> str:
    running = _running(state)
    who = (
        f"process {running['pid']} at {running['url']}" if running else f"process {(state / 'server.lock').read_text()}"
    )
    return (
        f"The state directory {state} is held by another server, {who}: "
        "use that one, end it with `down`, or name another --state."
    )


@contextlib.contextmanager
def alone(state: Path) -> Iterator[None]:
    """While the block runs no server can start on the state. Raises DaemonError when one runs already."""
    with (state / "server.lock").open("a+") as stream:
        if not _try(stream.fileno(), fcntl.LOCK_EX):
            raise DaemonError(_held(state))
        yield


def _try(descriptor: int, mode: int) -> bool:
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _listen(port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise DaemonError(f"Port {port} cannot be used: ports go up to 65535. Name another with --port.")
    # Named TCP, since asyncio asks for TCP_NODELAY only then; without it an answer waits 40 ms for an acknowledgement.
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise DaemonError(
            f"Port {port} cannot be used: {error.strerror}. Name another with --port, or --port 0 for a free one."
        ) from error
    return listener
