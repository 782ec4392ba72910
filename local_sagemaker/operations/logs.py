"""CloudWatch Logs, reading only."""

from __future__ import annotations

import base64
import heapq
import json
import zlib
from collections.abc import Iterator
from typing import Any

from local_sagemaker import listing
from local_sagemaker.arns import ACCOUNT
from local_sagemaker.errors import ApiError
from local_sagemaker.logs import CLOCKS_MS, PAGE_BYTES, Event
from local_sagemaker.platform import Platform
from local_sagemaker.protocol import Call
from local_sagemaker.support import Support

STREAMS_LIMIT = 50
EVENTS_LIMIT = 10_000
SEARCH_BYTES = 16 * 1024 * 1024  # how much FilterLogEvents reads for one page


def describe_groups(platform: Platform, call: Call) -> dict[str, Any]:
    _exclude(call, "logGroupNamePrefix", "logGroupNamePattern")
    prefix, part = call.parameters.get("logGroupNamePrefix", ""), call.parameters.get("logGroupNamePattern", "")
    names = [name for name in platform.logs.groups() if name.startswith(prefix) and part in name]
    chosen, token = listing.page(
        names, call.parameters.get("nextToken"), call.parameters.get("limit", STREAMS_LIMIT), str
    )
    groups = [{"logGroupName": name, "arn": f"{_arn(call, name)}:*"} for name in chosen]
    return {"logGroups": groups, **({"nextToken": token} if token else {})}


def describe_streams(platform: Platform, call: Call) -> dict[str, Any]:
    group = _group(call)
    prefix = call.parameters.get("logStreamNamePrefix", "")
    names = [name for name in _streams(platform, group) if name.startswith(prefix)]
    if call.parameters.get("orderBy") == "LastEventTime":
        if prefix:
            raise ApiError("InvalidParameterException", "Cannot order by LastEventTime with a logStreamNamePrefix.")
        names.sort(key=lambda name: platform.logs.written(group, name))
    if call.parameters.get("descending"):
        names.reverse()
    limit = call.parameters.get("limit", STREAMS_LIMIT)
    chosen, token = listing.page(names, call.parameters.get("nextToken"), limit, str)
    described = [_stream(platform, call, group, name) for name in chosen]
    return {"logStreams": described, **({"nextToken": token} if token else {})}


def get_events(platform: Platform, call: Call) -> dict[str, Any]:
    """Tokens are `f/POSITION` and `b/POSITION`.

    At the end of the stream the token that was passed comes back, as on AWS.
    """
    group, stream = _group(call), call.parameters["logStreamName"]
    _streams(platform, group)
    if not platform.logs.exists(group, stream):
        raise _missing("stream")
    limit = call.parameters.get("limit", EVENTS_LIMIT)
    begin, end_time = call.parameters.get("startTime", 0), call.parameters.get("endTime")
    # The events of the time that is asked for lie between two positions: what is outside is not read.
    lowest = platform.logs.position(group, stream, begin) if begin else 0
    size = platform.logs.size(group, stream)
    highest = size if end_time is None else platform.logs.position(group, stream, end_time)
    direction, position = _token(call.parameters.get("nextToken"))
    if direction is None:
        direction, position = ("f", lowest) if call.parameters.get("startFromHead") else ("b", highest)
    events: list[Event] = []
    if direction == "f":
        start = end = min(max(position, lowest), size)
        for event in platform.logs.forward(group, stream, start):
            if event.end > highest or len(events) == limit or (event.end - start > PAGE_BYTES and events):
                break
            end = event.end
            events.append(event)
    else:
        start = end = min(position, highest)
        window = platform.logs.backward(group, stream, end)
        events = [event for event in window if event.start >= lowest][-limit:]
        start = events[0].start if events else end
    return {
        "events": [
            {"timestamp": event.timestamp, "ingestionTime": event.timestamp, "message": event.message}
            for event in events
        ],
        "nextForwardToken": f"f/{end:020d}",
        "nextBackwardToken": f"b/{start:020d}",
    }


def filter_events(platform: Platform, call: Call) -> dict[str, Any]:
    """Every stream of the group merged by time, read only as far as one page needs.

    A filter pattern is terms and "quoted phrases" that a line must all hold. As on AWS a page may be empty and have a
    token all the same: so much was searched and nothing found. The token is the place of the last event that was
    looked at: its time, its stream, its position.
    """
    group = _group(call)
    _exclude(call, "logStreamNames", "logStreamNamePrefix")
    prefix = call.parameters.get("logStreamNamePrefix", "")
    there = _streams(platform, group)
    wanted = call.parameters.get("logStreamNames")
    names = [name for name in there if (name in wanted if wanted else name.startswith(prefix))]
    terms = _terms(call.parameters.get("filterPattern", ""))
    limit, end_time = call.parameters.get("limit", EVENTS_LIMIT), call.parameters.get("endTime")
    after = _place(call.parameters.get("nextToken"))
    begin = max(call.parameters.get("startTime", 0), after[0])
    place, token = after, None
    events: list[dict[str, Any]] = []
    searched = found_bytes = 0
    for stamp, name, event in heapq.merge(
        *(_from(platform, group, name, begin) for name in names), key=lambda item: (item[0], item[1], item[2].start)
    ):
        if end_time is not None and stamp >= end_time:
            break
        if (stamp, name, event.start) <= after:
            continue
        if len(events) == limit or searched > SEARCH_BYTES or found_bytes > PAGE_BYTES:
            token = base64.urlsafe_b64encode(json.dumps(place).encode()).decode()
            break
        place = (stamp, name, event.start)
        searched += event.end - event.start
        if all(term in event.message for term in terms):
            found_bytes += event.end - event.start
            events.append(
                {
                    "logStreamName": name,
                    "timestamp": stamp,
                    "ingestionTime": stamp,
                    "message": event.message,
                    "eventId": f"{stamp:015d}{zlib.crc32(name.encode()):010d}{event.start:020d}",
                }
            )
    return {"events": events, "searchedLogStreams": [], **({"nextToken": token} if token else {})}


def _from(platform: Platform, group: str, name: str, begin: int) -> Iterator[tuple[int, str, Event]]:
    """The events of a stream from a time on."""
    if begin and platform.logs.written(group, name) + CLOCKS_MS < begin:
        return
    start = platform.logs.position(group, name, begin) if begin else 0
    for event in platform.logs.forward(group, name, start):
        yield event.timestamp, name, event


def _place(token: str | None) -> tuple[int, str, int]:
    if token is None:
        return 0, "", -1
    try:
        stamp, name, start = json.loads(base64.urlsafe_b64decode(token))
        return int(stamp), str(name), int(start)
    except (ValueError, TypeError):
        raise ApiError("InvalidParameterException", "The specified nextToken is invalid.") from None


def _exclude(call: Call, one: str, other: str) -> None:
    if {one, other} <= set(call.parameters):
        raise ApiError("InvalidParameterException", f"Give either {one} or {other}, not both.")


def _group(call: Call) -> str:
    _exclude(call, "logGroupName", "logGroupIdentifier")
    name = call.parameters.get("logGroupName") or call.parameters.get("logGroupIdentifier")
    if name is None:
        raise ApiError(
            "InvalidParameterException", "The request must name a log group: logGroupName or logGroupIdentifier."
        )
    return str(name).rpartition(":log-group:")[2].removesuffix(":*")


def _streams(platform: Platform, group: str) -> list[str]:
    streams = platform.logs.streams(group)
    if streams is None:
        raise _missing("group")
    return streams


def _missing(what: str) -> ApiError:
    return ApiError("ResourceNotFoundException", f"The specified log {what} does not exist.")


def _arn(call: Call, group: str) -> str:
    return f"arn:aws:logs:{call.region}:{ACCOUNT}:log-group:{group}"


def _stream(platform: Platform, call: Call, group: str, name: str) -> dict[str, Any]:
    described: dict[str, Any] = {
        "logStreamName": name,
        "arn": f"{_arn(call, group)}:log-stream:{name}",
        "storedBytes": 0,
    }
    first, last = platform.logs.first(group, name), platform.logs.last(group, name)
    if first and last:
        described |= {
            "creationTime": first.timestamp,
            "firstEventTimestamp": first.timestamp,
            "lastEventTimestamp": last.timestamp,
            "lastIngestionTime": last.timestamp,
        }
    return described


def _token(token: str | None) -> tuple[str | None, int]:
    if token is None:
        return None, 0
    direction, _, position = token.partition("/")
    if direction not in ("f", "b") or not position.isascii() or not position.isdigit():
        raise ApiError("InvalidParameterException", "The specified nextToken is invalid.")
    return direction, int(position)


def _terms(text: str) -> list[str]:
    if text.strip()[:1] in ("{", "[", "%", "?", "-"):
        raise ApiError(
            "InvalidParameterException",
            'local SageMaker filters log events by terms and "quoted phrases" only: '
            "drop the { }, [ ], %, ? or - from filterPattern.",
        )
    pieces = text.split('"')
    return [term for place, piece in enumerate(pieces) for term in ([piece] if place % 2 else piece.split()) if term]


HANDLERS = {
    "DescribeLogGroups": describe_groups,
    "DescribeLogStreams": describe_streams,
    "GetLogEvents": get_events,
    "FilterLogEvents": filter_events,
}
SUPPORT = {
    "DescribeLogGroups": Support(
        without_effect=("accountIdentifiers", "includeLinkedAccounts", "logGroupClass"),
        refused=("logGroupIdentifiers",),
    ),
    "GetLogEvents": Support(without_effect=("unmask",)),
    "FilterLogEvents": Support(without_effect=("interleaved", "unmask")),
}
