"""The life of one batch transform: containers up, each object's payloads through them, answers assembled in order."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import urllib3

from local_sagemaker import health, model_data, storage, transform_input
from local_sagemaker.errors import JobError
from local_sagemaker.logs import LogStore, LogWriter
from local_sagemaker.records import Record, Records
from local_sagemaker.runners import RunnerError, Runners, Running, Work
from local_sagemaker.settings import Settings
from local_sagemaker.transform_input import MEGABYTE, Source

KIND = "transform-jobs"
LOG_GROUP = "/aws/sagemaker/TransformJobs"
REASON_LIMIT = 1024
SEE_LOGS = "See job logs for more information"  # AWS's whole reason; what follows it is ours
TIMEOUT_S, RETRIES = 600, 3  # ModelClientConfig when it is not given
PAYLOAD_MB = 6  # MaxPayloadInMB when neither the request nor the container says it
ANSWER_LIMIT = 100 * MEGABYTE  # bytes of one answer, as of one payload
QUOTED = 200  # bytes of a refusal that a reason quotes
LOOK_S = 0.1  # how soon a stop is seen while answers are awaited
T = TypeVar("T")
log = logging.getLogger(__name__)


class _Stopped(Exception):
    """The job is to end."""


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
        self._http = urllib3.PoolManager(maxsize=100, retries=False)
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
        except _Stopped:
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
        with self._records.edit(KIND, self._name) as record:
            finish(record, "Stopped" if self._stop.is_set() else "Failed" if reason else "Completed", reason)
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
        limits = self._limits()
        stream = f"{self._name}/i-0-data-log"
        self._data_log = self._logs.writer(LOG_GROUP, stream)
        self._note(", ".join(f"{key}={value}" for key, value in limits.items()))
        self._transform(objects, limits)

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
                **_batch_environment(self._job),
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

    def _limits(self) -> dict[str, Any]:
        """What the request says, else the container's /execution-parameters, else SageMaker's defaults."""
        try:
            answer = self._http.request("GET", f"{self._running[0].url}/execution-parameters", timeout=health.ANSWER_S)
            told = json.loads(answer.data) if answer.status == 200 else {}
        except (urllib3.exceptions.HTTPError, ValueError):
            told = {}
        given = {
            "MaxConcurrentTransforms": self._job.get("MaxConcurrentTransforms", 0),
            "MaxPayloadInMB": self._job.get("MaxPayloadInMB"),
            "BatchStrategy": self._job.get("BatchStrategy"),
        }
        strategies = {"MULTI_RECORD": "MultiRecord", "SINGLE_RECORD": "SingleRecord"}
        try:
            return {
                "MaxConcurrentTransforms": int(
                    given["MaxConcurrentTransforms"] or told.get("MaxConcurrentTransforms", 1)
                ),
                "MaxPayloadInMB": _first(given["MaxPayloadInMB"], told.get("MaxPayloadInMB"), PAYLOAD_MB),
                "BatchStrategy": given["BatchStrategy"] or strategies[told.get("BatchStrategy", "MULTI_RECORD")],
            }
        except (TypeError, ValueError, KeyError, AttributeError):
            raise JobError(
                f"AlgorithmError: {SEE_LOGS}: the container's /execution-parameters answered {told!r}, not "
                '{"MaxConcurrentTransforms": N, "BatchStrategy": "MULTI_RECORD" or "SINGLE_RECORD", '
                '"MaxPayloadInMB": N}.'
            ) from None

    def _transform(self, objects: list[Source], limits: dict[str, Any]) -> None:
        """Whole objects are sent side by side; of an object in lines, its batches are."""
        width = limits["MaxConcurrentTransforms"] * len(self._running)
        limit = limits["MaxPayloadInMB"] * MEGABYTE
        is_single = limits["BatchStrategy"] == "SingleRecord"
        pool = ThreadPoolExecutor(width, thread_name_prefix=f"transform-{self._name}")
        try:
            if self._job["TransformInput"].get("SplitType", "None") == "Line":
                for number, source in enumerate(objects):
                    with self._failing(source):
                        self._transform_lines(source, number, pool, width, is_single, limit)
            else:
                done = [(s, pool.submit(self._transform_whole, s, number, limit)) for number, s in enumerate(objects)]
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

    def _transform_whole(self, source: Source, number: int, limit: int) -> None:
        with self._fetched(source, number) as (path, output):
            transform_input.check_size(path, limit)
            output.write(self._assembled(self._ask(source, path, number)))

    def _transform_lines(
        self, source: Source, number: int, pool: ThreadPoolExecutor, width: int, is_single: bool, limit: int
    ) -> None:
        waiting: deque[Future[bytes]] = deque()
        with self._fetched(source, number) as (path, output):
            for place, batch in enumerate(transform_input.batches(path, is_single, limit)):
                if len(waiting) == width:
                    output.write(self._assembled(self._await(waiting.popleft())))
                waiting.append(pool.submit(self._ask, source, batch, place))
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

    def _ask(self, source: Source, payload: bytes | Path, number: int) -> bytes:
        """The container's answer to one payload. Raises JobError after the last attempt."""
        config = self._job.get("ModelClientConfig", {})
        url = self._running[number % len(self._running)].url
        said, blame = "", "AlgorithmError"
        for _ in range(1 + config.get("InvocationsMaxRetries", RETRIES)):
            self._check_stop()
            status, answer = self._send(url, payload, config.get("InvocationsTimeoutInSeconds", TIMEOUT_S))
            if 200 <= status < 300:
                return answer
            said = answer[:QUOTED].decode("utf-8", "replace").strip()
            if status:
                said = f"answered {status} {said}".strip()
            if 400 <= status < 500:
                blame = "ClientError"
                break
        self._check_stop()
        raise JobError(f"{blame}: {SEE_LOGS}: the container {said} to a payload of {source.uri}.")

    def _send(self, url: str, payload: bytes | Path, timeout_s: float) -> tuple[int, bytes]:
        """Status and body of an answer; 0 and what happened instead when there is none."""
        headers = {"Content-Type": self._job["TransformInput"].get("ContentType", "application/octet-stream")}
        if "Accept" in self._job["TransformOutput"]:
            headers["Accept"] = self._job["TransformOutput"]["Accept"]
        with contextlib.ExitStack() as stack:
            body: Any = payload
            if isinstance(payload, Path):
                headers["Content-Length"] = str(payload.stat().st_size)
                body = stack.enter_context(payload.open("rb"))
            try:
                answer = self._http.request(
                    "POST", f"{url}/invocations", body=body, headers=headers, timeout=timeout_s, preload_content=False
                )
                stack.callback(answer.close)
                read = answer.read(ANSWER_LIMIT + 1)
            except urllib3.exceptions.TimeoutError:
                return 0, f"did not answer within {timeout_s} s".encode()
            except urllib3.exceptions.HTTPError as error:
                return 0, f"did not answer ({type(error).__name__})".encode()
        if len(read) > ANSWER_LIMIT:
            return 0, f"answered more than {ANSWER_LIMIT} bytes".encode()
        return answer.status, read

    def _assembled(self, answer: bytes) -> bytes:
        by_line = self._job["TransformOutput"].get("AssembleWith") == "Line"
        return answer.rstrip(b"\r\n") + b"\n" if by_line else answer

    def _note(self, text: str) -> None:
        """AWS's data log: what became of each object."""
        assert self._data_log
        self._data_log.write(f"sagemaker logs: {text}\n".encode())

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise _Stopped

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


def _first(*values: int | None) -> int:
    return int(next(value for value in values if value is not None))


def _batch_environment(job: Record) -> dict[str, str]:
    """Of the limits only what the request gives: else the container is asked for them."""
    environment = {"SAGEMAKER_BATCH": "true"}
    if "MaxPayloadInMB" in job:
        environment["SAGEMAKER_MAX_PAYLOAD_IN_MB"] = str(job["MaxPayloadInMB"])
    if "BatchStrategy" in job:
        environment["SAGEMAKER_BATCH_STRATEGY"] = {"MultiRecord": "MULTI_RECORD"}.get(
            job["BatchStrategy"], "SINGLE_RECORD"
        )
    if "MaxConcurrentTransforms" in job:
        environment["SAGEMAKER_MAX_CONCURRENT_TRANSFORMS"] = str(job["MaxConcurrentTransforms"])
    return environment
