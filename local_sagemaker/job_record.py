"""The record of one training job as its run writes it, and where the job's files are."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from local_sagemaker import contract, transitions
from local_sagemaker.records import Record, Records, insist
from local_sagemaker.runner_choice import Runners

KIND = "training-jobs"
log = logging.getLogger(__name__)


class JobRecord:
    """Statuses of one job."""

    def __init__(self, records: Records, name: str) -> None:
        self._records = records
        self._name = name

    def change(self, **members: Any) -> None:
        with self._records.edit(KIND, self._name) as record:
            record.update(members)

    def enter(self, secondary: str, message: str, status: str | None = None, **members: Any) -> None:
        """Begins a status, with further members of the record."""
        with self._records.edit(KIND, self._name) as record:
            record.update(members)
            if status:
                record["TrainingJobStatus"] = status
            transitions.enter(record, secondary, message)

    def say(self, secondary: str, message: str, status: str | None = None) -> None:
        """Begins a status; a disk that is full must not keep a job from its end."""
        try:
            self.enter(secondary, message, status)
        except OSError as error:
            log.warning("training job %s is %s, which cannot be written: %s", self._name, secondary, error)

    def finish(
        self, status: str, secondary: str, message: str, reason: str | None, metrics: list[dict[str, Any]]
    ) -> Record:
        """Writes the job's end, however long the disk has no space for it; gives the record."""

        def change() -> Record:
            with self._records.edit(KIND, self._name) as record:
                record["FinalMetricDataList"] = metrics
                if "WarmPoolStatus" in record:
                    record["WarmPoolStatus"] = {"Status": "Terminated", "ResourceRetainedBillableTimeInSeconds": 0}
                transitions.finish(record, status, secondary, message, reason)
            return record

        return insist(f"the end of training job {self._name}", change)


def base(records: Records, name: str) -> Path:
    """The directory below which each host of a job has its private one."""
    return records.directory(KIND, name) / "ml"


def values(records: Records, name: str) -> Path:
    """Every value of a job's metrics, as JSON lines."""
    return records.directory(KIND, name) / "metrics.jsonl"


def sweep(runners: Runners, job: Record, place: Path) -> None:
    """Ends what is left of a job's hosts, and their network."""
    image = job["AlgorithmSpecification"]["TrainingImage"]
    for number in range(contract.host_count(job)):
        runners.sweep(image, place / f"algo-{number + 1}")
    runners.sweep(image, place)
