"""The life of one training job: a thread takes it through its attempts to its end."""

from __future__ import annotations

import contextlib
import enum
import errno
import functools
import logging
import shutil
import threading
import time
from collections.abc import Callable

from local_sagemaker import contract
from local_sagemaker.attempt import Attempt
from local_sagemaker.errors import REASON_LIMIT, JobError
from local_sagemaker.job_record import KIND, JobRecord, base, sweep, values
from local_sagemaker.logs import LogStore, LogWriter
from local_sagemaker.metrics import MetricWatcher
from local_sagemaker.records import Record, Records
from local_sagemaker.runner_choice import Runners
from local_sagemaker.runners import ENGINE_LOST, RunnerError
from local_sagemaker.settings import Settings

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
MAX_RUNTIME_S = 86400  # when the request does not say
INTERNAL = "InternalServerError"  # what RetryStrategy retries

OnEnd = Callable[[Record], None]
OnMetric = Callable[[str, str, float, float], None]  # job, metric, value, seconds since 1970; from the log's thread
log = logging.getLogger(__name__)


class Ending(enum.Enum):
    """Why a job's hosts were asked to end: the last secondary status and its message."""

    STOPPED = ("Stopped", "Training job stopped")
    MAX_RUNTIME = ("MaxRuntimeExceeded", "Training job runtime exceeded MaxRuntimeInSeconds provided")
    MAX_WAIT = ("MaxWaitTimeExceeded", "Training job wait time exceeded MaxWaitTimeInSeconds provided")
    INTERRUPTED = ("Interrupted", "Training job was interrupted: its spot instances were taken away")


class TrainingRun:
    """A job that has not ended. `stop`, `interrupt` and `update` may be called from any thread."""

    def __init__(
        self,
        name: str,
        region: str,
        records: Records,
        logs: LogStore,
        runners: Runners,
        settings: Settings,
        on_end: OnEnd | None,
        on_metric: OnMetric | None,
        forget: Callable[[str], None],
    ) -> None:
        self._name = name
        self._region = region
        self._record = JobRecord(records, name)
        self._base = base(records, name)
        self._logs = logs
        self._runners = runners
        self._settings = settings
        self._on_end = on_end
        self._forget = forget
        self._job = records.get(KIND, name)
        self._metrics = MetricWatcher(
            self._job["AlgorithmSpecification"].get("MetricDefinitions", []),
            values(records, name),
            functools.partial(on_metric, name) if on_metric else None,
        )
        self._is_spot: bool = self._job["EnableManagedSpotTraining"]
        self._max_runtime_s: float = self._job["StoppingCondition"].get("MaxRuntimeInSeconds", MAX_RUNTIME_S)
        self._wait_deadline = time.monotonic() + self._job["StoppingCondition"].get("MaxWaitTimeInSeconds", 0)
        self._start_time = 0.0
        self._trained_s = 0.0
        self._stamp = 0
        self._lock = threading.Lock()
        self._attempt: Attempt | None = None
        self._ending: Ending | None = None
        self._kill_at = 0.0  # monotonic
        self._away_s = 0.0
        self._wake = threading.Event()  # somebody has asked for the job's end
        self._is_uploading = False
        self._is_over = False
        self._thread = threading.Thread(target=self._live, name=f"training-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def stop(self, grace_s: float) -> None:
        """Ends the job; asked again, the earlier of the two moments of SIGKILL counts."""
        with self._lock:
            if self._is_over:
                return
            if self._ending in (None, Ending.INTERRUPTED):
                self._ask(Ending.STOPPED, grace_s)
                self._record.say("Stopping", "Stopping the training job", "Stopping")
            elif time.monotonic() + grace_s < self._kill_at:
                self._ask(self._ending, grace_s)
            self._wake.set()

    def interrupt(self, away_s: float) -> bool:
        with self._lock:
            if not self._is_spot or self._is_uploading or self._is_over or self._ending:
                return False
            self._away_s = away_s
            self._ask(Ending.INTERRUPTED, self._settings.training_stop_s)
            self._record.say(*Ending.INTERRUPTED.value)
            return True

    def update(self, changes: Record) -> bool:
        with self._lock:
            if self._is_over or self._ending in (Ending.STOPPED, Ending.MAX_RUNTIME, Ending.MAX_WAIT):
                return False
            self._record.change(**changes)
            self._job.update(changes)
            if "ProfilerConfig" in changes and self._attempt:
                self._attempt.rewrite_profiler(changes["ProfilerConfig"])
            return True

    def _ask(self, ending: Ending | None, grace_s: float) -> None:
        self._ending = ending
        self._kill_at = time.monotonic() + grace_s
        if self._attempt:
            self._attempt.stop(grace_s)

    def _live(self) -> None:
        reason = self._run()
        shutil.rmtree(self._base, ignore_errors=True)
        record = self._end(reason)
        self._forget(self._name)
        if self._on_end:
            self._on_end(record)

    def _run(self) -> str | None:
        """Every attempt; the reason of the job's failure, None when it did not fail."""
        retries = self._job.get("RetryStrategy", {}).get("MaximumRetryAttempts", 0)
        while True:
            reason = self._try()
            if reason and reason.startswith(INTERNAL) and retries and self._ending is None:
                retries -= 1
                log.warning("training job %s is started again: %s", self._name, reason)
                self._record.say("Starting", f"Starting the training job again after {reason}"[:REASON_LIMIT])
            elif self._ending is not Ending.INTERRUPTED or reason:
                return reason
            elif not self._await_capacity():
                return None

    def _await_capacity(self) -> bool:
        """Whether an interrupted job got instances again, before its MaxWaitTimeInSeconds or somebody ended it."""
        left = self._wait_deadline - time.monotonic()
        self._wake.wait(min(self._away_s, left))
        with self._lock:
            if self._ending is not Ending.INTERRUPTED:
                return False
            if self._away_s >= left:
                self._ending = Ending.MAX_WAIT
                self._record.say("Stopping", "Stopping the training job", "Stopping")
                return False
            self._ending = None
            self._record.say("Starting", "Launching requested ML instances")
            return True

    def _try(self) -> str | None:
        """One attempt; the reason of its failure, None when it did not fail."""
        try:
            return self._work()
        except JobError as error:
            return str(error)
        except RunnerError as error:
            return f"ClientError: {error}"
        except OSError as error:
            if error.errno == errno.ENOSPC:
                return (
                    f"ClientError: the disk of this machine is full ({self._base.parent}): "
                    "free space on it, or start the server with a --state elsewhere."
                )
            return f"{INTERNAL}: {error}"
        except Exception as error:
            log.exception("training job %s", self._name)
            return f"{INTERNAL}: {type(error).__name__}: {error}"

    def _work(self) -> str | None:
        self._record.enter("Starting", "Preparing the instances for training")
        self._start_time = self._start_time or time.time()
        runner = self._runners.of(self._job["AlgorithmSpecification"]["TrainingImage"])
        with runner.hosts(contract.host_count(self._job), self._base, self._job["EnableNetworkIsolation"]) as hosts:
            attempt = Attempt(self._job, self._base, self._region, hosts)
            with contextlib.closing(attempt):
                self._record.enter("Downloading", "Downloading input data", TrainingStartTime=self._start_time)
                attempt.prepare()
                if not self._train(attempt):
                    return None
                if attempt.code == ENGINE_LOST:
                    sweep(self._runners, self._job, self._base)
                    raise JobError(f"{INTERNAL}: the Docker engine was lost while the job ran.")
                return self._leave(attempt)

    def _train(self, attempt: Attempt) -> bool:
        """Runs the hosts to their end; False when the job was asked to end before they started."""
        if not self._enter("Training", "Downloading the training image"):
            return False
        self._stamp = max(self._stamp + 1, int(time.time()))
        # Outside the lock: pulling an image takes minutes.
        attempt.start(self._runners.of(self._job["AlgorithmSpecification"]["TrainingImage"]), self._open_log)
        began = time.monotonic()
        with self._lock:
            self._attempt = attempt
            if self._ending:
                attempt.stop(max(0.0, self._kill_at - time.monotonic()))
            else:
                self._record.enter("Training", "Training image download completed. Training in progress.")
        try:
            self._wait(attempt)
        finally:
            with self._lock:
                self._attempt = None
            self._trained_s += time.monotonic() - began
        return True

    def _wait(self, attempt: Attempt) -> None:
        left, ending = self._max_runtime_s - self._trained_s, Ending.MAX_RUNTIME
        if self._is_spot:
            left, ending = min(
                (left, ending), (self._wait_deadline - time.monotonic(), Ending.MAX_WAIT), key=lambda item: item[0]
            )
        grace_s = self._settings.training_stop_s
        if not attempt.wait(left, grace_s):
            with self._lock:
                if self._ending in (None, Ending.INTERRUPTED):
                    self._ask(ending, grace_s)
                    self._record.say("Stopping", "Stopping the training job", "Stopping")
            attempt.wait(None, grace_s)

    def _leave(self, attempt: Attempt) -> str | None:
        """Brings what the hosts left to its place; the reason of the job's failure."""
        with self._lock:
            is_interrupted = self._ending is Ending.INTERRUPTED
            if not is_interrupted:
                self._record.say("Uploading", "Uploading generated training model")
                self._is_uploading = True
        if is_interrupted:
            attempt.keep_checkpoints()
            return None
        reason = attempt.failure() if attempt.code != 0 and self._ending is None else None
        try:
            attempt.keep_checkpoints()
            attempt.upload(with_model=reason is None)
        except (JobError, OSError) as error:
            if reason is None:
                raise
            log.warning("training job %s: %s", self._name, error)
        return reason

    def _open_log(self, host: str) -> LogWriter:
        return self._logs.writer(LOG_GROUP, f"{self._name}/{host}-{self._stamp}", self._metrics.feed)

    def _end(self, reason: str | None) -> Record:
        with self._lock:
            self._is_over = True
        last = self._metrics.final()
        if reason is not None:
            return self._record.finish("Failed", "Failed", "Training job failed", reason[:REASON_LIMIT], last)
        if self._ending is not None:
            return self._record.finish("Stopped", *self._ending.value, None, last)
        return self._record.finish("Completed", "Completed", "Training job completed", None, last)

    def _enter(self, secondary: str, message: str) -> bool:
        """Begins a status unless the job was asked to end."""
        with self._lock:
            if self._ending is None:
                self._record.enter(secondary, message)
            return self._ending is None
