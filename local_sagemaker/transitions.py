"""The statuses that a training job goes through, with their times and AWS's messages.

Sources: the API reference of SecondaryStatusTransition, and for spot training
https://docs.aws.amazon.com/sagemaker/latest/dg/model-managed-spot-training-status.html.
"""

from __future__ import annotations

import time

from local_sagemaker.records import Record

# In these a spot job has its instances; the others are waiting, which nobody pays for.
_BILLABLE = ("Downloading", "Training", "Stopping", "Uploading")


def enter(record: Record, secondary: str, message: str) -> None:
    """Ends the present secondary status and begins the next one; within the same status the message changes."""
    now = time.time()
    transitions = record["SecondaryStatusTransitions"]
    if transitions and record["SecondaryStatus"] == secondary:
        transitions[-1]["StatusMessage"] = message
        return
    if transitions:
        transitions[-1]["EndTime"] = now
    transitions.append({"Status": secondary, "StartTime": now, "StatusMessage": message})
    record["SecondaryStatus"] = secondary


def finish(record: Record, status: str, secondary: str, message: str, reason: str | None = None) -> None:
    """Begins and ends the last status: the job is over."""
    enter(record, secondary, message if reason is None else f"{message}: {reason}")
    now = time.time()
    record["SecondaryStatusTransitions"][-1]["EndTime"] = now
    record["TrainingJobStatus"] = status
    record["TrainingEndTime"] = now
    seconds = now - record.get("TrainingStartTime", now)
    record["TrainingTimeInSeconds"] = _whole(seconds)
    record["BillableTimeInSeconds"] = _whole(_billable(record) if record["EnableManagedSpotTraining"] else seconds)
    if reason is not None:
        record["FailureReason"] = reason


def _billable(record: Record) -> float:
    steps = record["SecondaryStatusTransitions"]
    return sum(float(step["EndTime"] - step["StartTime"]) for step in steps if step["Status"] in _BILLABLE)


def _whole(seconds: float) -> int:
    """The model of both times has a minimum of 1."""
    return max(1, round(seconds))
