"""Tuning jobs: the ones of this server, from their request to their record."""

from __future__ import annotations

from typing import Any

from local_sagemaker import arns, trials, warm_start
from local_sagemaker.records import Record, Records
from local_sagemaker.runs import KILLED, UNFINISHED, Runs
from local_sagemaker.settings import Settings
from local_sagemaker.slots import Slots
from local_sagemaker.training import TrainingJobs
from local_sagemaker.tuning_run import TuningRun

KIND = trials.KIND


class TuningJobs:
    """Every tuning job of this server."""

    def __init__(self, records: Records, jobs: TrainingJobs, settings: Settings) -> None:
        self._records = records
        self._jobs = jobs
        self._settings = settings
        self._slots = Slots(settings.max_parallel)
        self._runs = Runs[TuningRun]()

    def submit(self, request: dict[str, Any], region: str) -> str | None:
        """Starts a tuning job; gives its ARN, or None when the name is taken."""
        name = request["HyperParameterTuningJobName"]
        record: Record = {
            "Tags": [],
            **request,
            "HyperParameterTuningJobArn": arns.build("hyper-parameter-tuning-job", name, region),
            "HyperParameterTuningJobStatus": "InProgress",
            trials.NAMES: [],
            **trials.counters([]),
            "TuningJobCompletionDetails": {"NumberOfTrainingJobsObjectiveNotImproving": 0},
            "ConsumedResources": {"RuntimeInSeconds": 0},
            # For the summary, which has them at its top.
            "Strategy": request["HyperParameterTuningJobConfig"]["Strategy"],
            "ResourceLimits": request["HyperParameterTuningJobConfig"]["ResourceLimits"],
        }
        parents = self._parents(request)
        if request.get("WarmStartConfig", {}).get("WarmStartType") == warm_start.IDENTICAL:
            best = warm_start.best(parents)
            if best:
                record["OverallBestTrainingJob"] = best
        if not self._records.create(KIND, name, record):
            return None
        run = TuningRun(
            name, region, self._records, self._jobs, self._settings, self._slots,
            warm_start.earlier(self._records, parents), self._runs.forget,
        )  # fmt: skip
        self._runs.add(name, run)
        run.start()
        return str(record["HyperParameterTuningJobArn"])

    def stop(self, name: str) -> None:
        """Asks a tuning job and its running trials to end."""
        run = self._runs.find(name)
        if run:
            run.stop(self._settings.training_stop_s)

    def recover(self) -> None:
        """After a server that was killed, and after the training jobs were taken up."""
        for record in self._records.all(KIND):
            if record["HyperParameterTuningJobStatus"] in UNFINISHED:
                reason = KILLED.replace("the job", "the tuning job")
                trials.abandon(self._records, record["HyperParameterTuningJobName"], reason)

    def shutdown(self) -> None:
        """Stops every tuning job and waits for the last one."""
        self._runs.shutdown(self._settings.shutdown_stop_s)

    def _parents(self, request: dict[str, Any]) -> list[Record]:
        if "WarmStartConfig" not in request:
            return []
        return [self._records.get(KIND, name) for name in warm_start.parent_names(request["WarmStartConfig"])]
