"""Keeps multi-model-server and the predictors running, and the truth about it at /ping, until it is time to stop."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from classifier import events, subprocesses
from classifier.errors import InputError
from serving import memory
from serving.model_server import ModelServer
from serving.predictors import Predictors
from serving.settings import Settings
from serving.watch import Watch

TICK_S = 0.25
# SageMaker asks for 10 s at most; what hangs for a shorter time may just be slow.
HANGS_AFTER_S = 6.0
# Workers and predictors come back within seconds; a server that is ill for longer will not recover by itself.
ILL_FOR_S = 60.0
# SIGKILL follows SIGTERM after 30 s.
DRAIN_S = 24.0
PATIENCE_S = 3.0
REPORT_EVERY_S = 60.0


def run(settings: Settings, directory: Path, stopping: threading.Event) -> None:
    """Runs the server until `stopping` is set and every request is answered; then none of its processes is left.

    Raises:
        InputError: it cannot start, or cannot go on; requests in flight are answered before, where that is possible.
    """
    subprocesses.adopt_orphans()
    try:
        _Server(settings, directory).run(stopping)
    finally:
        # By now all that could be answered is; a worker without its server ends only when it is killed.
        subprocesses.stop_descendants(PATIENCE_S)


class _Server:
    def __init__(self, settings: Settings, directory: Path) -> None:
        self._settings = settings
        self._predictors = None if settings.multi_model else Predictors(directory, len(settings.device.gpus))
        self._server = ModelServer(settings, directory, self._predictors.sockets if self._predictors else ())
        self._server.state.mkdir()
        looks = round(settings.request_timeout_s / TICK_S) + 1
        self._watch = Watch(self._server.state, TICK_S, round(HANGS_AFTER_S / TICK_S), looks)
        self._is_ready = self._is_ill = False
        self._since = self._reported = time.monotonic()
        self._asking: Future[int | None] | None = None

    def run(self, stopping: threading.Event) -> None:
        environment = self._server.environment()
        if self._predictors:
            self._predictors.start({**environment, "OMP_NUM_THREADS": str(self._settings.threads)})
        command = self._server.command()
        self._mms = subprocess.Popen(command, cwd=self._server.directory / "server", env=environment).pid
        with ThreadPoolExecutor(2) as self._threads:
            failure = None
            while failure is None and not stopping.wait(TICK_S):
                failure = self._tick()
            self._drain()
        if failure:
            raise InputError(failure)

    def _tick(self) -> str | None:
        """Looks after everything once. Returns why the server cannot go on, if so."""
        ended = subprocesses.reap()
        if self._mms in ended:
            # What it has not answered is lost.
            raise InputError("multi-model-server ended by itself; the lines above say why" + memory.hint())
        if self._predictors:
            self._predictors.replace(ended)
        self._tell_health(self._predictors is None or self._predictors.ready)
        found = self._watch.look()
        for pid in found["hang"]:
            events.say("hangs", "error", pid=pid, what="it is killed, and another takes its place")
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() - self._reported > REPORT_EVERY_S:
            self._report()
        if found["orphaned"]:
            return "the process that starts the workers was killed: those that end would not be replaced"
        return self._ask()

    def _tell_health(self, good: bool) -> None:
        if good:
            self._server.health_file.touch()
        else:
            self._server.health_file.unlink(missing_ok=True)

    def _ask(self) -> str | None:
        """Asks for /ping, without waiting for the answer, which comes at a later tick."""
        if self._asking is None:
            self._asking = self._threads.submit(self._server.ping)
            return None
        if not self._asking.done():
            return None
        status, self._asking = self._asking.result(), None
        now = time.monotonic()
        if status == 200:
            if not self._is_ready:
                events.say("ready", seconds=round(now - self._since, 2))
            elif self._is_ill:
                events.say("healthy", seconds_ill=round(now - self._since, 2))
            self._is_ready, self._is_ill = True, False
            self._since = now
        elif self._is_ready and not self._is_ill:
            self._is_ill, self._since = True, now
            events.say("unhealthy", "error", ping=status)
        elif self._is_ready and now - self._since > ILL_FOR_S:
            return f"/ping has not been 200 for {ILL_FOR_S:.0f} s; the lines above may say why{memory.hint()}"
        elif not self._is_ready and now - self._since > self._settings.startup_timeout_s:
            return (
                f"no worker was ready after {self._settings.startup_timeout_s} s; the lines above may say why, "
                f"SAGEMAKER_STARTUP_TIMEOUT allows more{memory.hint()}"
            )
        return None

    def _drain(self) -> None:
        """Answers what was sent, and looks after the processes that it takes to do so."""
        started = time.monotonic()
        self._server.health_file.unlink(missing_ok=True)
        events.say("draining")
        draining = self._threads.submit(self._server.drain, DRAIN_S)
        while not draining.done():
            ended = subprocesses.reap()
            if self._mms in ended:
                break
            if self._predictors:
                self._predictors.replace(ended)
            for pid in self._watch.look()["hang"]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(TICK_S / 5)
        unanswered = draining.result()
        events.say("drained", "info" if unanswered == 0 else "error", unanswered=unanswered,
                   seconds=round(time.monotonic() - started, 2))  # fmt: skip
        self._report()

    def _report(self) -> None:
        self._reported = time.monotonic()
        report = self._watch.report()
        if report:
            events.say("metrics", **report)
