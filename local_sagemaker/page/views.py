"""What the page shows, as JSON: lists in windows, one job or endpoint with all that belongs to it, values, log lines.

Each takes the platform and a request whose query says which part. Raises Missing where there is nothing of the name,
ValueError for a number that is none.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from operator import itemgetter
from typing import Any

from starlette.requests import Request

from local_sagemaker.overview import KINDS, Kind, log_place, row, rows
from local_sagemaker.platform import Platform
from local_sagemaker.records import Record

WINDOW = 50  # rows of a list that is not told how many
VALUES_BYTES = 1024 * 1024  # of metrics.jsonl in one answer
LOG_LINES = 1000  # lines of one answer
LOG_SEARCHED = 4 * 1024 * 1024  # bytes that one answer looks through
LINE_SHOWN = 4000  # characters of a line; `logs NAME` prints all
_TAIL_BYTES = 64 * 1024


class Missing(Exception):
    """There is nothing of this kind and name."""


def listed(platform: Platform, request: Request) -> dict[str, Any]:
    """A window of the rows of a kind (newest first) and how many there are of every kind.

    Query: offset, limit, contains (of the name), status, and `plain` for jobs that are no trials.
    """
    query = request.query_params
    kind = _kind(request)
    contains, status = query.get("contains", "").lower(), query.get("status", "")
    offset, limit = int(query.get("offset", 0)), int(query.get("limit", WINDOW))
    found = [
        item
        for item in rows(platform.records, kind)
        if contains in item.name.lower()
        and (not status or item.status == status)
        and ("plain" not in query or item.tuning is None)
    ]
    counts = {}
    for folder, other in KINDS.items():
        statuses = platform.records.look(folder, itemgetter(other.status))
        counts[folder] = {status: statuses.count(status) for status in sorted(set(statuses))}
    return {
        "rows": [asdict(item) for item in found[offset : offset + limit]],
        "total": len(found),
        "counts": counts,
        "state": str(platform.settings.state),
    }


def detail(platform: Platform, request: Request) -> dict[str, Any]:
    """The record of one thing (without members of ours), its row, its log streams; of a tuning job its trials."""
    kind, name = _kind(request), request.path_params["name"]
    record = _record(platform, kind.folder, name.replace("/", ":"))
    shown = platform.hosting.shown(record) if kind.folder == "endpoints" else record
    group, prefix = log_place(kind.folder, name)
    has_log = kind.folder not in ("tuning-jobs", "model-packages")
    streams = [item for item in platform.logs.streams(group) or [] if item.startswith(prefix)] if has_log else []
    return {
        "row": asdict(row(kind, record)),
        "record": {key: value for key, value in shown.items() if not key.startswith("_")},
        "group": group,
        # The last one is shown: what a container prints rather than what is said of it (a transform's data-log).
        "streams": sorted(
            streams, key=lambda item: (not item.endswith("-data-log"), platform.logs.written(group, item))
        ),
        "trials": _trials(platform, record) if kind.folder == "tuning-jobs" else [],
    }


def _trials(platform: Platform, tuning: Record) -> list[dict[str, Any]]:
    arn, kind = tuning["HyperParameterTuningJobArn"], KINDS["training-jobs"]

    def trial(record: Record) -> dict[str, Any] | None:
        if record.get("TuningJobArn") != arn:
            return None
        objective = record.get("FinalHyperParameterTuningJobObjectiveMetric", {}).get("Value")
        tuned = dict(record.get("TunedHyperParameters", {}))
        metrics = [item["Name"] for item in record["AlgorithmSpecification"].get("MetricDefinitions", [])]
        return {**asdict(row(kind, record)), "objective": objective, "tuned": tuned, "metrics": metrics}

    found = [item for item in platform.records.look(kind.folder, trial) if item]
    found.sort(key=lambda item: (item["created"], item["name"]))
    return [{**item, "number": number} for number, item in enumerate(found, 1)]


def metrics(platform: Platform, request: Request) -> dict[str, Any]:
    """The values of a training job's metrics from a position on: [name, value, seconds since 1970]."""
    name, start = request.path_params["name"], int(request.query_params.get("from", 0))
    _record(platform, "training-jobs", name)
    path = platform.records.directory("training-jobs", name) / "metrics.jsonl"
    if not path.is_file():
        return {"points": [], "next": 0, "more": False}
    with path.open("rb") as stream:
        stream.seek(start)
        data = stream.read(VALUES_BYTES)
    whole = data[: data.rfind(b"\n") + 1]
    values = [json.loads(line) for line in whole.splitlines()]
    return {
        "points": [[value["MetricName"], value["Value"], value["Timestamp"]] for value in values],
        "next": start + len(whole),
        "more": len(data) == VALUES_BYTES,
    }


def log(platform: Platform, request: Request) -> dict[str, Any]:
    """Lines of a stream: [milliseconds since 1970, text].

    Query: group, stream, from (a position; without it the end of what is there), contains (lines that hold it).
    """
    query = request.query_params
    group, stream, contains = query.get("group", ""), query.get("stream", ""), query.get("contains", "").lower()
    if not platform.logs.exists(group, stream):
        raise Missing
    size = platform.logs.size(group, stream)
    if "from" in query:
        start = int(query["from"])
    else:
        window = platform.logs.backward(group, stream, size, _TAIL_BYTES)[-LOG_LINES:]
        start = window[0].start if window else 0
    lines: list[list[Any]] = []
    end = start
    for event in platform.logs.forward(group, stream, start):
        if len(lines) == LOG_LINES or end - start > LOG_SEARCHED:
            break
        end = event.end
        if contains in event.message.lower():
            lines.append([event.timestamp, event.message[:LINE_SHOWN]])
    return {"lines": lines, "start": start, "next": end, "more": end < size and end > start}


def _kind(request: Request) -> Kind:
    kind = KINDS.get(request.path_params["kind"])
    if kind is None:
        raise Missing
    return kind


def _record(platform: Platform, kind: str, name: str) -> Record:
    record = platform.records.find(kind, name)
    if record is None:
        raise Missing
    return record
