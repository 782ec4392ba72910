"""The trials of a tuning job: training jobs whose names its record keeps, so that no look goes through all jobs."""

from __future__ import annotations

import time
from typing import Any

from local_sagemaker import job_record
from local_sagemaker.errors import REASON_LIMIT
from local_sagemaker.records import Record, Records, insist
from local_sagemaker.tuning_definition import Definition, definitions
from local_sagemaker.validation import project, service_model

KIND = "tuning-jobs"
NAMES = "_Trials"  # of a tuning job's record
UNMATCHED = "_ObjectiveFailureReason"  # of a trial's


def of(records: Records, tuning: Record) -> list[Record]:
    """The trials of a tuning job, in the order in which they began; those that were deleted are left out."""
    found = (records.find(job_record.KIND, name) for name in tuning[NAMES])
    return [record for record in found if record]


def summary(trial: Record) -> Record:
    """A trial as ListTrainingJobsForHyperParameterTuningJob and BestTrainingJob show it."""
    shown = project(trial, service_model("sagemaker").shape_for("HyperParameterTrainingJobSummary"))
    if UNMATCHED in trial:
        shown["FailureReason"] = trial[UNMATCHED]
    return shown


def value(summary: Record) -> float:
    """The objective of a trial that has one."""
    return float(summary["FinalHyperParameterTuningJobObjectiveMetric"]["Value"])


def outcome(ended: Record, definition: Definition) -> Record:
    """What the end of a trial adds to its record: its objective, or that it has none."""
    metric = definition.objective["MetricName"]
    values = {item["MetricName"]: item["Value"] for item in ended.get("FinalMetricDataList", [])}
    # What a trial that failed had printed before is no result.
    if metric in values and ended["TrainingJobStatus"] != "Failed":
        final = {**definition.objective, "Value": values[metric]}
        return {"ObjectiveStatus": "Succeeded", "FinalHyperParameterTuningJobObjectiveMetric": final}
    if ended["TrainingJobStatus"] != "Completed":
        return {"ObjectiveStatus": "Failed"}
    text = f"No line of the log matched the regex '{definition.regex}' of the objective metric '{metric}'."
    return {"ObjectiveStatus": "Failed", UNMATCHED: text}


def state(trial: Record) -> str:
    """Under which of TrainingJobStatusCounters a trial is counted."""
    if trial["TrainingJobStatus"] != "Failed":
        return trial["TrainingJobStatus"] if trial["TrainingJobStatus"] in ("Completed", "Stopped") else "InProgress"
    # AWS: a failed job can be retried only if it failed because of an internal service error.
    is_internal = trial.get("FailureReason", "").startswith("InternalServerError")
    return "RetryableError" if is_internal else "NonRetryableError"


def counters(states: list[tuple[str, str]]) -> dict[str, Any]:
    """The counters of a tuning job's description, from `state` and ObjectiveStatus of each trial."""
    jobs = dict.fromkeys(("Completed", "InProgress", "RetryableError", "NonRetryableError", "Stopped"), 0)
    objectives = dict.fromkeys(("Succeeded", "Pending", "Failed"), 0)
    for job, objective in states:
        jobs[job] += 1
        objectives[objective] += 1
    return {"TrainingJobStatusCounters": jobs, "ObjectiveStatusCounters": objectives}


def consumed(tuning: Record) -> dict[str, int]:
    """ConsumedResources: the seconds of a tuning job so far, or until it ended."""
    end = tuning.get("HyperParameterTuningEndTime", time.time())
    return {"RuntimeInSeconds": int(end - tuning["CreationTime"])}


def finish(records: Records, name: str, status: str, reason: str | None = None) -> None:
    """The end of a tuning job. Waits for room on a full disk."""
    insist(f"the end of tuning job {name}", lambda: _finish(records, name, status, reason))


def abandon(records: Records, name: str, reason: str) -> None:
    """The end of a tuning job whose thread or server ended before it: Failed, with what its trials came to."""
    insist(f"the end of tuning job {name}", lambda: _take_up(records, name))
    finish(records, name, "Failed", reason)


def _finish(records: Records, name: str, status: str, reason: str | None) -> None:
    with records.edit(KIND, name) as record:
        record["HyperParameterTuningJobStatus"] = status
        record["HyperParameterTuningEndTime"] = time.time()
        record["ConsumedResources"] = consumed(record)
        if reason is not None:
            record["FailureReason"] = reason[:REASON_LIMIT]


def _take_up(records: Records, name: str) -> None:
    with records.edit(KIND, name) as record:
        mine = of(records, record)
        for trial in mine:
            if trial["ObjectiveStatus"] == "Pending":  # nobody has read its end
                changes = outcome(trial, _definition(record, trial))
                trial.update(changes)
                with records.edit(job_record.KIND, trial["TrainingJobName"]) as edited:
                    edited.update(changes)
        record.update(counters([(state(trial), trial["ObjectiveStatus"]) for trial in mine]))
        known = [summary(trial) for trial in mine if trial["ObjectiveStatus"] == "Succeeded"]
        found = best([*known, *([record["BestTrainingJob"]] if "BestTrainingJob" in record else [])])
        if found:
            record["BestTrainingJob"] = found


def best(summaries: list[Record]) -> Record | None:
    """The first of the best; None of none."""
    if not summaries:
        return None
    is_maximum = summaries[0]["FinalHyperParameterTuningJobObjectiveMetric"]["Type"] == "Maximize"
    return (max if is_maximum else min)(summaries, key=value)


def _definition(tuning: Record, trial: Record) -> Definition:
    """What a trial was made from."""
    given = definitions(tuning)
    wanted = trial.get("TrainingJobDefinitionName")
    return next((item for item in given if item.record.get("DefinitionName") == wanted), given[0])
