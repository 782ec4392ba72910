"""Jobs and endpoints in one line each, for `status` and for the page.

`status` and `logs` read the state directory itself, so that they work without a server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from local_sagemaker.logs import LogStore
from local_sagemaker.records import Record, Records

ENDED = ("Completed", "Failed", "Stopped")
_MOST = 3  # metrics that one line names


@dataclass(frozen=True)
class Kind:
    """A kind of record that is shown: its folder, words for it, the members that hold its name and status."""

    folder: str
    words: str
    name: str
    status: str
    end: str = "LastModifiedTime"


KINDS = {
    kind.folder: kind
    for kind in (
        Kind("training-jobs", "training job", "TrainingJobName", "TrainingJobStatus", "TrainingEndTime"),
        Kind("tuning-jobs", "tuning job", "HyperParameterTuningJobName", "HyperParameterTuningJobStatus",
             "HyperParameterTuningEndTime"),
        Kind("endpoints", "endpoint", "EndpointName", "EndpointStatus"),
        Kind("transform-jobs", "transform job", "TransformJobName", "TransformJobStatus", "TransformEndTime"),
        Kind("model-packages", "model package", "ModelPackageArn", "ModelPackageStatus"),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One job, endpoint or package: `about` says what matters of it in one line; times are seconds since 1970."""

    kind: str
    name: str
    status: str
    created: float
    ended: float | None
    about: str
    tuning: str | None = None  # the tuning job whose trial it is


def row(kind: Kind, record: Record) -> Row:
    status = str(record[kind.status])
    tuning = record.get("TuningJobArn")
    return Row(
        kind.folder,
        str(record[kind.name]).partition(":model-package/")[2] or str(record[kind.name]),
        status,
        record["CreationTime"],
        record.get(kind.end, record["LastModifiedTime"]) if status in ENDED else None,
        _ABOUT[kind.folder](record),
        tuning.partition("/")[2] if tuning else None,
    )


def rows(records: Records, kind: Kind) -> list[Row]:
    """Newest first."""
    found = records.look(kind.folder, partial(row, kind))
    return sorted(found, key=lambda item: item.created, reverse=True)


def log_place(kind: str, name: str) -> tuple[str, str]:
    """The log group of a job or endpoint and what the names of its streams begin with."""
    if kind == "endpoints":
        return f"/aws/sagemaker/Endpoints/{name}", ""
    return f"/aws/sagemaker/{'TransformJobs' if kind == 'transform-jobs' else 'TrainingJobs'}", f"{name}/"


def log_streams(state: Path, name: str) -> list[tuple[str, str]]:
    """Group and name of every log stream of a job or an endpoint."""
    store = LogStore(state / "logs")
    places = [log_place(kind, name) for kind in ("training-jobs", "transform-jobs", "endpoints")]
    return [
        (group, stream)
        for group, prefix in places
        for stream in store.streams(group) or []
        if stream.startswith(prefix)
    ]


def last_lines(state: Path, streams: list[tuple[str, str]], tail: int | None, ends: dict[str, int]) -> Iterator[str]:
    """What streams hold, of each the last `tail` lines where that is given.

    `ends` is told where each stream was left, and says where to go on: a second call gives what is new.
    """
    store = LogStore(state / "logs")
    for group, stream in streams:
        key = f"{group}:{stream}"
        if key not in ends and tail is not None:
            ends[key] = _tail_position(store, group, stream, tail)
        for event in store.forward(group, stream, ends.setdefault(key, 0)):
            ends[key] = event.end
            yield event.message


def _tail_position(store: LogStore, group: str, stream: str, lines: int) -> int:
    position = end = store.size(group, stream)
    left = lines
    while left > 0 and position > 0:
        window = store.backward(group, stream, position)[-left:]
        if not window:
            break
        position, left = window[0].start, left - len(window)
    return position if lines else end


def _training(record: Record) -> str:
    if record["TrainingJobStatus"] == "Failed":
        return str(record.get("FailureReason", ""))
    metrics = ", ".join(_number(item) for item in record.get("FinalMetricDataList", [])[:_MOST])
    return metrics or ("" if record["TrainingJobStatus"] in ENDED else str(record["SecondaryStatus"]))


def _tuning(record: Record) -> str:
    counters = record["TrainingJobStatusCounters"]
    limit = record["HyperParameterTuningJobConfig"].get("ResourceLimits", {}).get("MaxNumberOfTrainingJobs")
    ended = sum(count for name, count in counters.items() if name != "InProgress")
    said = f"{ended} of {limit} trials" if limit else f"{ended} trials"
    best = record.get("BestTrainingJob", {}).get("FinalHyperParameterTuningJobObjectiveMetric")
    if best:
        said += f", best {_number(best)}"
    reason = record.get("FailureReason")
    return f"{said}: {reason}" if reason else said


def _endpoint(record: Record) -> str:
    if "FailureReason" in record:
        return str(record["FailureReason"])
    return f"/endpoints/{record['EndpointName']}/invocations"


def _transform(record: Record) -> str:
    return str(record.get("FailureReason") or record.get("TransformOutput", {}).get("S3OutputPath", ""))


def _package(record: Record) -> str:
    return str(record.get("ModelApprovalStatus", record.get("ModelPackageDescription", "")))


def _number(metric: dict[str, Any]) -> str:
    return f"{metric['MetricName']} {metric['Value']:.6g}"


_ABOUT: dict[str, Callable[[Record], str]] = {
    "training-jobs": _training,
    "tuning-jobs": _tuning,
    "endpoints": _endpoint,
    "transform-jobs": _transform,
    "model-packages": _package,
}
