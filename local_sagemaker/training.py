"""Training jobs: one thread takes a job through Downloading, Training, Uploading to its end."""

from __future__ import annotations

import functools
import logging
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from local_sagemaker import archive, arns, contract, metrics, storage, transitions
from local_sagemaker.checkpoints import Checkpoints
from local_sagemaker.errors import JobError
from local_sagemaker.logs import LogStore
from local_sagemaker.metrics import MetricWatcher
from local_sagemaker.records import Record, Records
from local_sagemaker.runners import RunnerError, Runners, Running, Work
from local_sagemaker.settings import Settings

KIND = "training-jobs"
LOG_GROUP = "/aws/sagemaker/TrainingJobs"
UNFINISHED = ("InProgress", "Stopping")
REASON_LIMIT = 1024  # characters of FailureReason
KILLED = (
    "InternalServerError: the local SageMaker server ended while this job ran; start the job again under another name."
)

OnEnd = Callable[[Record], None]
OnMetric = Callable[[str, str, float, float], None]  # job, metric, value, seconds since 1970; from the log's thread
log = logging.getLogger(__name__)


class TrainingJobs:
    """Every training job of this server."""

    def __init__(self, records: Records, logs: LogStore, runners: Runners, settings: Settings) -> None:
        self._records = records
        self._logs = logs
        self._runners = runners
        self._settings = settings
        self._runs: dict[str, TrainingRun] = {}
        self._lock = threading.Lock()

    def submit(
        self,
        request: dict[str, Any],
        region: str,
        on_end: OnEnd | None = None,
        on_metric: OnMetric | None = None,
        **more: Any,
    ) -> str | None:
        """Starts a job; `more` are further members of its record. Gives its ARN, or None when the name is taken.

        `on_metric` is called with each value as soon as its line is read, `on_end` with the record at the end.
        """
        name = request["TrainingJobName"]
        record: Record = {
            "EnableNetworkIsolation": False,
            "EnableInterContainerTrafficEncryption": False,
            "EnableManagedSpotTraining": False,
            "StoppingCondition": {"MaxRuntimeInSeconds": 86400},
            "Tags": [],
            **request,
            "TrainingJobArn": arns.build("training-job", name, region),
            "TrainingJobStatus": "InProgress",
            "SecondaryStatusTransitions": [],
            "ModelArtifacts": {
                "S3ModelArtifacts": storage.join(
                    request["OutputDataConfig"]["S3OutputPath"], name, "output", "model.tar.gz"
                )
            },
            **more,
        }
        transitions.enter(record, "Starting", "Preparing the job")
        if not self._records.create(KIND, name, record):
            return None
        run = TrainingRun(
            name, region, self._records, self._logs, self._runners, self._settings, on_end, on_metric, self._forget
        )
        with self._lock:
            self._runs[name] = run
        run.start()
        return str(record["TrainingJobArn"])

    def stop(self, name: str, grace_s: float | None = None) -> None:
        """Asks a job to end; it goes on to Stopped by itself."""
        with self._lock:
            run = self._runs.get(name)
        if run:
            run.stop(self._settings.training_stop_s if grace_s is None else grace_s)

    def metrics(self, name: str) -> list[dict[str, Any]]:
        """Every value of a job so far, oldest first: MetricName, Value, Timestamp (seconds since 1970)."""
        return metrics.read(_values(self._records, name))

    def recover(self) -> None:
        """After a server that was killed: ends what its jobs left running and says so in their records."""
        for record in self._records.all(KIND):
            if record["TrainingJobStatus"] in UNFINISHED:
                name, base = record["TrainingJobName"], _base(self._records, record["TrainingJobName"])
                self._runners.sweep(record["AlgorithmSpecification"]["TrainingImage"], base)
                shutil.rmtree(base, ignore_errors=True)
                with self._records.edit(KIND, name) as edited:
                    transitions.finish(edited, "Failed", "Failed", "Training job failed", KILLED)

    def shutdown(self) -> None:
        """Stops every job and waits for the last one."""
        with self._lock:
            runs = list(self._runs.values())
        for run in runs:
            run.stop(self._settings.shutdown_stop_s)
        for run in runs:
            run.join()

    def _forget(self, name: str) -> None:
        with self._lock:
            self._runs.pop(name, None)


class TrainingRun:
    """The life of one job."""

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
        self._records = records
        self._logs = logs
        self._runners = runners
        self._settings = settings
        self._on_end = on_end
        self._forget = forget
        self._job = records.get(KIND, name)
        self._base = _base(records, name)
        self._stream = f"{name}/algo-1-{int(time.time())}"
        self._checkpoints = Checkpoints(self._base, self._job, region)
        self._metrics = MetricWatcher(
            self._job["AlgorithmSpecification"].get("MetricDefinitions", []),
            _values(records, name),
            functools.partial(on_metric, name) if on_metric else None,
        )
        self._lock = threading.Lock()
        self._running: Running | None = None
        self._last_lines: list[str] = []
        self._stop_grace_s: float | None = None
        self._timed_out = False
        self._thread = threading.Thread(target=self._live, name=f"training-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def stop(self, grace_s: float) -> None:
        with self._lock:
            if self._records.get(KIND, self._name)["TrainingJobStatus"] != "InProgress":
                return
            self._stop_grace_s = grace_s
            self._edit("Stopping", "Stopping the training job", "Stopping")
            if self._running:
                self._running.stop(grace_s)

    def _live(self) -> None:
        try:
            reason = self._work()
        except JobError as error:
            reason = str(error)
        except RunnerError as error:
            reason = f"ClientError: {error}"
        except OSError as error:
            reason = f"InternalServerError: {error}"
        except Exception as error:
            log.exception("training job %s", self._name)
            reason = f"InternalServerError: {type(error).__name__}: {error}"
        finally:
            shutil.rmtree(self._base, ignore_errors=True)
        self._end(reason)
        self._forget(self._name)
        if self._on_end:
            self._on_end(self._records.get(KIND, self._name))

    def _work(self) -> str | None:
        """Runs the job; the reason of its failure, None when it did not fail."""
        self._edit("Downloading", "Downloading input data", TrainingStartTime=time.time())
        contract.lay_out(self._base, self._job)
        mounts = contract.inputs(self._base, self._job, self._region) + self._checkpoints.restore()
        code = self._execute(self._container(mounts))
        if code is None:
            return None
        reason = None
        if code != 0 and not self._interrupted():
            reason = self._reason(code)
        self._edit("Uploading", "Uploading generated training model")
        try:
            self._upload(with_model=reason is None)
        except (JobError, OSError) as error:
            reason = reason or str(error)
        return reason

    def _container(self, mounts: tuple[Any, ...]) -> Work:
        algorithm = self._job["AlgorithmSpecification"]
        return Work(
            name=self._name,
            image=algorithm["TrainingImage"],
            verb="train",
            base=self._base,
            mounts=mounts,
            environment={
                **self._job.get("Environment", {}),
                "TRAINING_JOB_NAME": self._name,
                "TRAINING_JOB_ARN": self._job["TrainingJobArn"],
                "AWS_REGION": self._region,
            },
            entrypoint=tuple(algorithm.get("ContainerEntrypoint", ())),
            arguments=tuple(algorithm.get("ContainerArguments", ())),
            isolated=self._job["EnableNetworkIsolation"],
        )

    def _execute(self, work: Work) -> int | None:
        """The exit code; None when the job was stopped before its container started."""
        writer = self._logs.writer(LOG_GROUP, self._stream, self._metrics.feed)
        try:
            with self._lock:
                if self._stop_grace_s is not None:
                    return None
            # Outside the lock: pulling an image takes minutes.
            running = self._runners.of(work.image).start(work, writer.write)
            with self._lock:
                self._running = running
                if self._stop_grace_s is not None:
                    running.stop(self._stop_grace_s)
            self._edit("Training", "Training image download completed. Training in progress.")
            code = running.wait(self._job["StoppingCondition"].get("MaxRuntimeInSeconds", 86400))
            if code is None:
                self._timed_out = True
                running.stop(self._settings.training_stop_s)
                code = running.wait()
            return code
        finally:
            writer.close()
            self._last_lines = writer.last

    def _interrupted(self) -> bool:
        return self._timed_out or self._stop_grace_s is not None

    def _reason(self, code: int) -> str:
        head, tail = "AlgorithmError: ", f", exit code: {code}"
        text = contract.failure(self._base) or " | ".join(self._last_lines)
        return head + text[: REASON_LIMIT - len(head) - len(tail)] + tail

    def _upload(self, with_model: bool) -> None:
        self._checkpoints.finish()
        prefix = storage.join(self._job["OutputDataConfig"]["S3OutputPath"], self._name, "output")
        names = ["model"] if with_model else []
        if any((self._base / "output" / "data").rglob("*")):
            names.append("output")
        for name in names:
            packed = self._base / f"{name}.tar.gz"
            archive.pack(self._base / ("model" if name == "model" else "output/data"), packed)
            storage.upload_file(packed, f"{prefix}/{name}.tar.gz", self._region)
        for config, folder, default in (
            ("DebugHookConfig", "debug-output", "/opt/ml/output/tensors"),
            ("TensorBoardOutputConfig", "tensorboard-output", "/opt/ml/output/tensorboard"),
        ):
            if config in self._job:
                path = self._base / self._job[config].get("LocalPath", default).removeprefix("/opt/ml/")
                if path.is_dir():
                    storage.upload_directory(
                        path, storage.join(self._job[config]["S3OutputPath"], self._name, folder), self._region
                    )

    def _end(self, reason: str | None) -> None:
        with self._lock, self._records.edit(KIND, self._name) as record:
            record["FinalMetricDataList"] = self._metrics.final()
            if reason is not None:
                transitions.finish(record, "Failed", "Failed", "Training job failed", reason[:REASON_LIMIT])
            elif self._timed_out:
                message = "Training job runtime exceeded MaxRuntimeInSeconds provided"
                transitions.finish(record, "Stopped", "MaxRuntimeExceeded", message)
            elif self._stop_grace_s is not None:
                transitions.finish(record, "Stopped", "Stopped", "Training job stopped")
            else:
                transitions.finish(record, "Completed", "Completed", "Training job completed")

    def _edit(self, secondary: str, message: str, status: str | None = None, **members: Any) -> None:
        with self._records.edit(KIND, self._name) as record:
            record.update(members)
            if status:
                record["TrainingJobStatus"] = status
            transitions.enter(record, secondary, message)


def _base(records: Records, name: str) -> Path:
    return records.directory(KIND, name) / "ml"


def _values(records: Records, name: str) -> Path:
    return records.directory(KIND, name) / "metrics.jsonl"
