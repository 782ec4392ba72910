"""Training jobs: their records, and the runs of those that have not ended."""

from __future__ import annotations

import shutil
from typing import Any

from local_sagemaker import arns, job_record, metrics, storage, transitions
from local_sagemaker.job_record import KIND
from local_sagemaker.logs import LogStore
from local_sagemaker.records import Record, Records
from local_sagemaker.runner_choice import Runners
from local_sagemaker.runs import KILLED, UNFINISHED, Runs
from local_sagemaker.settings import Settings
from local_sagemaker.training_run import OnEnd, OnMetric, TrainingRun


class TrainingJobs:
    """Every training job of this server."""

    def __init__(self, records: Records, logs: LogStore, runners: Runners, settings: Settings) -> None:
        self._records = records
        self._logs = logs
        self._runners = runners
        self._settings = settings
        self._runs = Runs[TrainingRun]()

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
        artifact = "model" if request["OutputDataConfig"].get("CompressionType") == "NONE" else "model.tar.gz"
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
                "S3ModelArtifacts": storage.join(request["OutputDataConfig"]["S3OutputPath"], name, "output", artifact)
            },
            "ProfilingStatus": profiling(request.get("ProfilerConfig")),
            **more,
        }
        if "TrainingPlanArn" in request["ResourceConfig"]:  # which the summary has at its top
            record["TrainingPlanArn"] = request["ResourceConfig"]["TrainingPlanArn"]
        if request["ResourceConfig"].get("KeepAlivePeriodInSeconds"):
            record["WarmPoolStatus"] = {"Status": "InUse"}
        transitions.enter(record, "Starting", "Starting the training job")
        if not self._records.create(KIND, name, record):
            return None
        run = TrainingRun(
            name, region, self._records, self._logs, self._runners, self._settings, on_end, on_metric, self._runs.forget
        )
        self._runs.add(name, run)
        run.start()
        return str(record["TrainingJobArn"])

    def stop(self, name: str, grace_s: float | None = None) -> None:
        """Asks a job to end; it goes on to Stopped by itself."""
        run = self._runs.find(name)
        if run:
            run.stop(self._settings.training_stop_s if grace_s is None else grace_s)

    def interrupt(self, name: str, away_s: float = 0) -> bool:
        """Takes a spot job's instances away, for at least some seconds; False when it has none at this moment."""
        run = self._runs.find(name)
        return run is not None and run.interrupt(away_s)

    def update(self, name: str, changes: Record) -> bool:
        """Changes members of a running job's record; a new ProfilerConfig reaches its hosts. False when it ended."""
        run = self._runs.find(name)
        return run is not None and run.update(changes)

    def delete(self, name: str) -> None:
        """Removes the record of a job that has ended."""
        self._records.delete(KIND, name)

    def metrics(self, name: str) -> list[dict[str, Any]]:
        """Every value of a job so far, oldest first: MetricName, Value, Timestamp (seconds since 1970)."""
        return metrics.read(job_record.values(self._records, name))

    def recover(self) -> None:
        """After a server that was killed: ends what its jobs left running and says so in their records."""
        for record in self._records.all(KIND):
            if record["TrainingJobStatus"] in UNFINISHED:
                name, base = record["TrainingJobName"], job_record.base(self._records, record["TrainingJobName"])
                job_record.sweep(self._runners, record, base)
                shutil.rmtree(base, ignore_errors=True)
                with self._records.edit(KIND, name) as edited:
                    transitions.finish(edited, "Failed", "Failed", "Training job failed", KILLED)

    def shutdown(self) -> None:
        """Stops every job and waits for the last one."""
        self._runs.shutdown(self._settings.shutdown_stop_s)


def profiling(config: Record | None) -> str:
    """ProfilingStatus of DescribeTrainingJob."""
    return "Enabled" if config and not config.get("DisableProfiler") else "Disabled"
