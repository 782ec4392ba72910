"""The trials of a tuning job: training jobs whose names its record keeps, so that no look goes through all jobs."""

from __future__ import annotations

import time
from typing import Any

from local_sagemaker import training
from local_sagemaker.records import Record, Records
from local_sagemaker.validation import project, service_model

KIND = "tuning-jobs"
_COUNTERS = {"Completed": "Completed", "Failed": "NonRetryableError", "Stopped": "Stopped"}
NAMES = "_Trials"  # of a tuning job's record


def of(records: Records, tuning: Record) -> list[Record]:
    """The trials of a tuning job, in the order in which they began; those that were deleted are left out."""
    found = (records.find(training.KIND, name) for name in tuning[NAMES])
    return [record for record in found if record]


def summary(trial: Record) -> Record:
    """A trial as ListTrainingJobsForHyperParameterTuningJob and BestTrainingJob show it."""
    shown = project(trial, service_model("sagemaker").shape_for("HyperParameterTrainingJobSummary"))
    if "_ObjectiveFailureReason" in trial:
        shown["FailureReason"] = trial["_ObjectiveFailureReason"]
    return shown


def value(summary: Record) -> float:
    """The objective of a trial that has one."""
    return float(summary["FinalHyperParameterTuningJobObjectiveMetric"]["Value"])


def counters(statuses: list[tuple[str, str]]) -> dict[str, Any]:
    """The counters of a tuning job's description, from TrainingJobStatus and ObjectiveStatus of each trial."""
    jobs = dict.fromkeys(("Completed", "InProgress", "RetryableError", "NonRetryableError", "Stopped"), 0)
    objectives = dict.fromkeys(("Succeeded", "Pending", "Failed"), 0)
    for status, objective in statuses:
        jobs[_COUNTERS.get(status, "InProgress")] += 1
        objectives[objective] += 1
    return {"TrainingJobStatusCounters": jobs, "ObjectiveStatusCounters": objectives}


def consumed(tuning: Record) -> dict[str, int]:
    """ConsumedResources: the seconds of a tuning job so far, or until it ended."""
    end = tuning.get("HyperParameterTuningEndTime", time.time())
    return {"RuntimeInSeconds": int(end - tuning["CreationTime"])}
