"""What all List operations share: filters, order, pages."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any

from local_sagemaker import errors
from local_sagemaker.records import Record

DEFAULT_RESULTS = 10


def select(
    records: list[Record],
    request: dict[str, Any],
    name: str,
    status: str | None = None,
    order: tuple[str, str] = ("CreationTime", "Ascending"),
) -> tuple[list[Record], str | None]:
    """One page of the records that a List request asks for, and the token of the next page.

    `name` and `status` are the members that hold a record's name and status; `order` is AWS's default for this
    operation.
    """
    found = [record for record in records if _matches(record, request, name, status)]
    by = request.get("SortBy", order[0])
    keys: dict[str, Callable[[Record], Any]] = {
        "Name": lambda record: record[name],
        "Status": lambda record: record[status or name],
        "CreationTime": lambda record: record["CreationTime"],
        "FinalObjectiveMetricValue": lambda record: record["FinalHyperParameterTuningJobObjectiveMetric"]["Value"],
    }
    descending = request.get("SortOrder", order[1]) == "Descending"
    found.sort(key=lambda record: (keys[by](record), record[name]), reverse=descending)
    return page(
        found, request.get("NextToken"), request.get("MaxResults", DEFAULT_RESULTS), lambda record: str(record[name])
    )


def page(
    items: Sequence[Any], token: str | None, limit: int, identity: Callable[[Any], str]
) -> tuple[list[Any], str | None]:
    """The items after the one that the token names, at most `limit`, and the token of the page after.

    A token holds the last item's identity, so a new item does not shift the pages; and its position, for when that
    item is gone.
    """
    start = 0
    if token is not None:
        position, last = _decode(token)
        places = [place for place, item in enumerate(items) if identity(item) == last]
        start = places[0] + 1 if places else position
    chosen = list(items[start : start + limit])
    end = start + len(chosen)
    return chosen, _encode(end, identity(chosen[-1])) if end < len(items) and chosen else None


def _encode(position: int, last: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([position, last]).encode()).decode()


def _decode(token: str) -> tuple[int, str]:
    try:
        position, last = json.loads(base64.urlsafe_b64decode(token))
        return int(position), str(last)
    except (ValueError, TypeError):
        raise errors.validation(
            "Invalid pagination token: pass the NextToken of an earlier answer unchanged."
        ) from None


def _matches(record: Record, request: dict[str, Any], name: str, status: str | None) -> bool:
    if request.get("NameContains", "").lower() not in record[name].lower():
        return False
    if status and request.get("StatusEquals", record[status]) != record[status]:
        return False
    return all(
        not (f"{member}After" in request and record[member] <= request[f"{member}After"])
        and not (f"{member}Before" in request and record[member] >= request[f"{member}Before"])
        for member in ("CreationTime", "LastModifiedTime")
    )
