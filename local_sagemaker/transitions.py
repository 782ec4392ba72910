"""The statuses that a training job goes through, with their times."""

from __future__ import annotations

import time

from local_sagemaker.records import Record


def enter(record: Record, secondary: str, message: str) -> None:
    """Ends the present secondary status and begins the next one."""
    now = time.time()
    transitions = record["SecondaryStatusTransitions"]
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
    seconds = max(1, round(now - record.get("TrainingStartTime", now)))
    record["TrainingTimeInSeconds"] = record["BillableTimeInSeconds"] = seconds
    if reason is not None:
        record["FailureReason"] = reason
