"""One instance of a variant: its directory, its containers, and a thread that keeps them alive."""

from __future__ import annotations

import logging
import math
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from local_sagemaker import health, model_data
from local_sagemaker.errors import REASON_LIMIT, JobError
from local_sagemaker.health import Unhealthy
from local_sagemaker.logs import LogStore, LogWriter
from local_sagemaker.records import Record
from local_sagemaker.runner_choice import Runners
from local_sagemaker.runners import Mount, RunnerError, Running, Work
from local_sagemaker.settings import Settings

PINGS_FAILED = 5  # in a row, after which a container in service is replaced
WATCH_S = 0.25  # how soon the end of a container is seen
RESTARTS_S = (0, 1, 2, 4, 8, 16, 32, 60)  # pauses before the restarts; the last one for all that follow
STEADY_S = 60.0  # a container that was healthy for so long starts with the first pause again
log = logging.getLogger(__name__)


def log_group(endpoint: str) -> str:
    return f"/aws/sagemaker/Endpoints/{endpoint}"


@dataclass(frozen=True)
class Means:
    """What instances are made with."""

    logs: LogStore
    runners: Runners
    settings: Settings


class _Stream:
    """A log stream into which a container and this server write, from threads of their own."""

    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer
        self._lock = threading.Lock()

    @property
    def last(self) -> str:
        return f"Its last log lines: {' | '.join(self._writer.last) or 'none'}"

    def write(self, chunk: bytes) -> None:
        with self._lock:
            self._writer.write(chunk)

    def note(self, text: str) -> None:
        self.write(f"local SageMaker: {text}\n".encode())

    def close(self) -> None:
        with self._lock:
            self._writer.close()


class Instance:
    """The containers of one model on one instance; more than one in an inference pipeline.

    `settled` is set when the first start has succeeded or failed (`failure` says why).
    """

    def __init__(self, endpoint: str, region: str, variant: Record, directory: Path, means: Means) -> None:
        self.variant = variant
        self.directory = directory
        self.log_stream = f"{variant['VariantName']}/{directory.name}"
        self.settled = threading.Event()
        self.failure: str | None = None
        self.urls: tuple[str, ...] = ()  # of its containers; they stay when these end, until others are started
        self._endpoint = endpoint
        self._region = region
        self._means = means
        self._containers: list[Record] = variant["Containers"]
        self._bases = [directory / f"ml-{number}" for number in range(len(self._containers))]
        self._mounts: list[tuple[Mount, ...]] = []
        self._streams: list[_Stream] = []
        self._running: list[Running] = []
        self._is_healthy = False
        self._users = 0
        self._idle = threading.Condition()
        self._restarts = 0
        self._stop = threading.Event()
        self._grace_s = means.settings.endpoint_stop_s
        self._thread = threading.Thread(target=self._live, name=f"{endpoint}-{directory.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, grace_s: float) -> None:
        """Begins its end; returns at once."""
        self._grace_s = grace_s
        self._stop.set()

    def join(self) -> None:
        self._thread.join()

    @property
    def is_healthy(self) -> bool:
        return self._is_healthy and all(running.wait(0) is None for running in self._running)

    @property
    def users(self) -> int:
        """How many requests are inside."""
        return self._users

    @property
    def base(self) -> Path:
        """The /opt/ml of the first container."""
        return self._bases[0]

    def acquire(self) -> None:
        with self._idle:
            self._users += 1

    def release(self) -> None:
        with self._idle:
            self._users -= 1
            self._idle.notify_all()

    def drain(self, limit_s: float) -> None:
        """Returns when no request is inside, or when the time is over."""
        with self._idle:
            self._idle.wait_for(lambda: self._users == 0 or self._stop.is_set(), limit_s)

    def _live(self) -> None:
        try:
            self._bring_up()
            self.settled.set()
            if self.failure is None:
                self._keep()
        except Exception as error:
            log.exception("endpoint %s, %s", self._endpoint, self.log_stream)
            self.failure = f"{type(error).__name__}: {error}"
        finally:
            self._is_healthy = False
            self._end_containers()
            for stream in self._streams:
                stream.close()
            shutil.rmtree(self.directory, ignore_errors=True)
            self.settled.set()

    def _bring_up(self) -> None:
        try:
            self._bring_model()
            if not self._stop.is_set():
                self._launch()
        except Unhealthy as error:
            name = self.variant["VariantName"]
            last = " ".join(stream.last for stream in self._streams)
            self.failure = (
                f"The primary container for production variant {name} did not pass the ping health check. Please "
                f"check CloudWatch logs for this endpoint. It {error}. {last}"
            )[:REASON_LIMIT]
        except (JobError, RunnerError) as error:
            self.failure = str(error)[:REASON_LIMIT]

    def _bring_model(self) -> None:
        """Raises JobError, also when it takes longer than ModelDataDownloadTimeoutInSeconds."""
        failed: list[Exception] = []

        def bring() -> None:
            try:
                for container, base in zip(self._containers, self._bases, strict=True):
                    self._mounts.append(model_data.bring(container, base, self._region))
            except Exception as error:
                failed.append(error)
            finally:
                arrived.set()

        arrived = threading.Event()
        limit_s = self.variant.get("ModelDataDownloadTimeoutInSeconds", math.inf)
        deadline = time.monotonic() + limit_s
        threading.Thread(target=bring, daemon=True).start()
        while not arrived.wait(WATCH_S) and not self._stop.is_set():
            if time.monotonic() > deadline:
                raise JobError(
                    f"The model data of production variant {self.variant['VariantName']} did not arrive within "
                    f"{limit_s} s: raise ModelDataDownloadTimeoutInSeconds, or make the archive smaller."
                )
        if failed:
            raise failed[0]

    def _launch(self) -> None:
        """Starts the containers and waits until all are healthy. Raises RunnerError, Unhealthy."""
        for base in self._bases:  # a container that is started again has no model of a multi-model endpoint yet
            shutil.rmtree(base / "models", ignore_errors=True)
            (base / "models").mkdir()
        if not self._streams:
            self._streams = [_Stream(self._writer(container)) for container in self._containers]
        for container, base, mounts, stream in zip(
            self._containers, self._bases, self._mounts, self._streams, strict=True
        ):
            runner = self._means.runners.of(container["Image"])
            self._running.append(runner.start(self._work(container, base, mounts), stream.write))
        limit_s = self.variant.get("ContainerStartupHealthCheckTimeoutInSeconds", health.STARTUP_S)
        for running in self._running:
            health.await_healthy(running, limit_s, self._stop)
        self.urls = tuple(running.url for running in self._running)
        self._is_healthy = not self._stop.is_set()

    def _writer(self, container: Record) -> LogWriter:
        inner = f"/{container['ContainerHostname']}" if len(self._containers) > 1 else ""
        return self._means.logs.writer(log_group(self._endpoint), self.log_stream + inner)

    def _work(self, container: Record, base: Path, mounts: tuple[Mount, ...]) -> Work:
        environment = {"AWS_REGION": self._region, **container.get("Environment", {})}
        if container.get("Mode") == "MultiModel":
            environment["SAGEMAKER_MULTI_MODEL"] = "true"
        return Work(
            self._endpoint,
            container["Image"],
            "serve",
            base,
            environment,
            mounts,
            isolated=self.variant.get("EnableNetworkIsolation", False),
            memory_mb=self.variant.get("ServerlessConfig", {}).get("MemorySizeInMB"),
        )

    def _keep(self) -> None:
        """Restarts the containers whenever one of them ends or stops answering, until the instance is to end."""
        while True:
            since = time.monotonic()
            trouble = self._watch()
            if trouble is None:
                return
            self._is_healthy = False
            if time.monotonic() - since > STEADY_S:
                self._restarts = 0
            self._restart(trouble)

    def _watch(self) -> str | None:
        """What happened to a container; None when the instance is to end."""
        failed, next_ping = 0, time.monotonic() + self._means.settings.ping_interval_s
        while not self._stop.wait(WATCH_S):
            for running in self._running:
                code = running.wait(0)
                if code is not None:
                    return f"ended with exit code {code}"
            if time.monotonic() < next_ping:
                continue
            next_ping = time.monotonic() + self._means.settings.ping_interval_s
            said = next(filter(None, (health.ping(running.url) for running in self._running)), None)
            failed = failed + 1 if said else 0
            if failed == PINGS_FAILED:
                return f"{said} to GET /ping, the {PINGS_FAILED}th failure in a row"
        return None

    def _restart(self, trouble: str) -> None:
        while not self._is_healthy:
            pause = RESTARTS_S[min(self._restarts, len(RESTARTS_S) - 1)]
            self._restarts += 1
            when = f" in {pause} s" if pause else ""
            for stream in self._streams:
                stream.note(f"the container {trouble}; it is started again{when} (restart {self._restarts}).")
            self._end_containers()
            if self._stop.wait(pause):
                return
            try:
                self._launch()
            except (RunnerError, Unhealthy, OSError) as error:
                trouble = str(error)
            if self._stop.is_set():
                return

    def _end_containers(self) -> None:
        for running in self._running:
            if running.wait(0) is None:
                running.stop(self._grace_s)
        for running in self._running:
            running.wait()
        self._running = []
        for base, mounts in zip(self._bases, self._mounts, strict=False):
            for mount in mounts:
                if (base / mount.target).is_symlink():  # the process runner's, which makes it at each start
                    (base / mount.target).unlink()
