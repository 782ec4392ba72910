"""The life of one batch transform: containers up, each object's payloads through them, answers assembled in order."""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from typing import BinaryIO, TypeVar

from local_sagemaker import health, model_data, storage, transform_client, transform_input
from local_sagemaker.errors import REASON_LIMIT, JobError
from local_sagemaker.logs import LogStore, LogWriter
from local_sagemaker.records import Record, Records, insist
from local_sagemaker.runner_choice import Runners
from local_sagemaker.runners import RunnerError, Running, Work
from local_sagemaker.settings import Settings
from local_sagemaker.transform_client import SEE_LOGS, Limits, Stopped, TransformClient
from local_sagemaker.transform_input import MEGABYTE, Source

KIND = "transform-jobs"
LOG_GROUP = "/aws/sagemaker/TransformJobs"
LOOK_S = 0.1  # how soon a stop is seen while answers are awaited
T = TypeVar("T")
log = logging.getLogger(__name__)


class TransformRun:
    """One job and the thread that takes it to its end."""

    def __init__(
        self,
        name: str,
        records: Records,
        logs: LogStore,
        runners: Runners,
        settings: Settings,
        forget: Callable[[str], None],
    ) -> None:
        self._name = name
        self._records = records
        self._logs = logs
        self._runners = runners
        self._settings = settings
        self._forget = forget
        self._job = records.get(KIND, name)
        self._region: str = self._job["_Region"]
        self._home = base(records, name)
        self._running: list[Running] = []
        self._writers: list[LogWriter] = []
        self._data_log: LogWriter | None = None
        self._failures: list[str] = []
        self._stop = threading.Event()
        self._grace_s = settings.endpoint_stop_s
        self._thread = threading.Thread(target=self._live, name=f"transform-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def stop(self, grace_s: float) -> None:
        """Begins its end; returns at once."""
        with self._records.edit(KIND, self._name) as record:
            if record["TransformJobStatus"] == "InProgress":
                record["TransformJobStatus"] = "Stopping"
        self._grace_s = grace_s
        self._stop.set()

    def _live(self) -> None:
        reason: str | None = None
        try:
            self._work()
            reason = self._failures[0] if self._failures else None
        except Stopped:
            pass
        except JobError as error:
            reason = str(error)
        except RunnerError as error:
            reason = f"ClientError: {error}"
        except Exception as error:
            log.exception("transform job %s", self._name)
            reason = f"InternalServerError: {type(error).__name__}: {error}"
        finally:
            self._end()
        status = "Stopped" if self._stop.is_set() else "Failed" if reason else "Completed"
        insist(f"the end of transform job {self._name}", lambda: self._finish(status, reason))
        self._forget(self._name)

    def _work(self) -> None:
        self._home.mkdir(parents=True)
        objects = transform_input.sources(
            self._job["TransformInput"]["DataSource"]["S3DataSource"], self._home, self._region
        )
        self._check_stop()
        self._launch()
        with self._records.edit(KIND, self._name) as record:
            record["TransformStartTime"] = time.time()
        client = TransformClient(self._job, [running.url for running in self._running], self._stop)
        limits = client.limits()
        self._data_log = self._logs.writer(LOG_GROUP, f"{self._name}/i-0-data-log")
        self._note(str(limits))
        self._transform(objects, client, limits)

    def _launch(self) -> None:
        """Starts the containers and waits for their health. Raises JobError, RunnerError."""
        (container,) = self._job["_Containers"]
        for number in range(self._job["TransformResources"]["InstanceCount"]):
            directory = self._home / f"ml-{number}"
            mounts = model_data.bring(container, directory, self._region)
            self._check_stop()
            writer = self._logs.writer(LOG_GROUP, f"{self._name}/i-{number}")
            self._writers.append(writer)
            environment = {
                "AWS_REGION": self._region,
                **container.get("Environment", {}),
                **self._job.get("Environment", {}),
                **transform_client.environment(self._job),
            }
            work = Work(
                self._name,
                container["Image"],
                "serve",
                directory,
                environment,
                mounts,
                isolated=self._job["_EnableNetworkIsolation"],
            )
            self._running.append(self._runners.of(container["Image"]).start(work, writer.write))
        for running, writer in zip(self._running, self._writers, strict=True):
            try:
                health.await_healthy(running, health.STARTUP_S, self._stop)
            except health.Unhealthy as error:
                raise JobError(
                    f"AlgorithmError: {SEE_LOGS}: the container did not pass the ping health check, it {error}. "
                    f"Its last log lines: {' | '.join(writer.last) or 'none'}"
                ) from error
        self._check_stop()

    def _transform(self, objects: list[Source], client: TransformClient, limits: Limits) -> None:
        """Whole objects are sent side by side; of an object in lines, its batches are."""
        width = limits.concurrent * len(self._running)
        pool = ThreadPoolExecutor(width, thread_name_prefix=f"transform-{self._name}")
        try:
            if self._job["TransformInput"].get("SplitType", "None") == "Line":
                for number, source in enumerate(objects):
                    with self._failing(source):
                        self._transform_lines(source, number, client, pool, width, limits)
            else:
                done = [
                    (s, pool.submit(self._transform_whole, s, number, client, limits))
                    for number, s in enumerate(objects)
                ]
                for source, future in done:
                    with self._failing(source):
                        self._await(future)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # what waits for an answer gets none when the container ends

    @contextlib.contextmanager
    def _failing(self, source: Source) -> Iterator[None]:
        """A failure is of this object alone: the others still give usable results."""
        try:
            yield
        except JobError as error:
            self._failures.append(str(error))
            self._note(f"{source.uri}: {error}")

    def _transform_whole(self, source: Source, number: int, client: TransformClient, limits: Limits) -> None:
        with self._fetched(source, number) as (path, output):
            transform_input.check_size(path, limits.payload_mb * MEGABYTE)
            output.write(self._assembled(client.ask(source.uri, path, number)))

    def _transform_lines(
        self,
        source: Source,
        number: int,
        client: TransformClient,
        pool: ThreadPoolExecutor,
        width: int,
        limits: Limits,
    ) -> None:
        is_single, limit = limits.strategy == "SingleRecord", limits.payload_mb * MEGABYTE
        waiting: deque[Future[bytes]] = deque()
        with self._fetched(source, number) as (path, output):
            for place, batch in enumerate(transform_input.batches(path, is_single, limit)):
                if len(waiting) == width:
                    output.write(self._assembled(self._await(waiting.popleft())))
                waiting.append(pool.submit(client.ask, source.uri, batch, place))
            while waiting:
                output.write(self._assembled(self._await(waiting.popleft())))

    @contextlib.contextmanager
    def _fetched(self, source: Source, number: int) -> Iterator[tuple[Path, BinaryIO]]:
        """An object's bytes, and the stream that becomes its output when the block ends well. Raises JobError."""
        self._check_stop()
        scratch = self._home / f"object-{number}"
        scratch.mkdir()
        try:
            is_gzip = self._job["TransformInput"].get("CompressionType") == "Gzip"
            path = transform_input.fetch(source, scratch, self._region, is_gzip)
            with (scratch / "output").open("wb") as output:
                yield path, output
            self._check_stop()
            place = storage.join(self._job["TransformOutput"]["S3OutputPath"], *f"{source.name}.out".split("/"))
            storage.upload_file(scratch / "output", place, self._region)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _await(self, future: Future[T]) -> T:
        """The result of a future, unless the job is to end before it is there."""
        while True:
            self._check_stop()
            try:
                return future.result(timeout=LOOK_S)
            except FutureTimeout:
                continue

    def _assembled(self, answer: bytes) -> bytes:
        by_line = self._job["TransformOutput"].get("AssembleWith") == "Line"
        return answer.rstrip(b"\r\n") + b"\n" if by_line else answer

    def _note(self, text: str) -> None:
        """AWS's data log: what became of each object."""
        assert self._data_log
        self._data_log.write(f"sagemaker logs: {text}\n".encode())

    def _finish(self, status: str, reason: str | None) -> None:
        with self._records.edit(KIND, self._name) as record:
            finish(record, status, reason)

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise Stopped

    def _end(self) -> None:
        for running in self._running:
            running.stop(self._grace_s)
        for running in self._running:
            running.wait()
        for writer in (*self._writers, *([self._data_log] if self._data_log else [])):
            writer.close()
        shutil.rmtree(self._home, ignore_errors=True)


def base(records: Records, name: str) -> Path:
    """The directory of a job's containers and of what it is working on."""
    return records.directory(KIND, name) / "work"


def finish(record: Record, status: str, reason: str | None) -> None:
    record["TransformJobStatus"] = status
    record["TransformEndTime"] = time.time()
    if status == "Failed" and reason:
        record["FailureReason"] = reason[:REASON_LIMIT]
