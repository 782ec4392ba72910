"""CloudWatch Logs, reading only."""

from __future__ import annotations

from typing import Any

from local_sagemaker import listing
from local_sagemaker.arns import ACCOUNT
from local_sagemaker.errors import ApiError
from local_sagemaker.logs import PAGE_BYTES, Event
from local_sagemaker.platform import Platform
from local_sagemaker.protocol import Call

STREAMS_LIMIT = 50
EVENTS_LIMIT = 10_000


def describe_groups(platform: Platform, call: Call) -> dict[str, Any]:
    prefix = call.parameters.get("logGroupNamePrefix", "")
    names = [name for name in platform.logs.groups() if name.startswith(prefix)]
    chosen, token = listing.page(
        names, call.parameters.get("nextToken"), call.parameters.get("limit", STREAMS_LIMIT), str
    )
    groups = [{"logGroupName": name, "arn": f"{_arn(call, name)}:*"} for name in chosen]
    return {"logGroups": groups, **({"nextToken": token} if token else {})}


def describe_streams(platform: Platform, call: Call) -> dict[str, Any]:
    group = _group(call)
    prefix = call.parameters.get("logStreamNamePrefix", "")
    streams = [_stream(platform, call, group, name) for name in _streams(platform, group) if name.startswith(prefix)]
    if call.parameters.get("orderBy") == "LastEventTime":
        streams.sort(key=lambda stream: stream.get("lastEventTimestamp", 0))
    if call.parameters.get("descending"):
        streams.reverse()
    limit = call.parameters.get("limit", STREAMS_LIMIT)
    chosen, token = listing.page(
        streams, call.parameters.get("nextToken"), limit, lambda stream: str(stream["logStreamName"])
    )
    return {"logStreams": chosen, **({"nextToken": token} if token else {})}


def get_events(platform: Platform, call: Call) -> dict[str, Any]:
    """Tokens are `f/POSITION` and `b/POSITION`.

    At the end of the stream the token that was passed comes back, as on AWS.
    """
    group, stream = _group(call), call.parameters["logStreamName"]
    _streams(platform, group)
    if not platform.logs.exists(group, stream):
        raise _missing("stream")
    limit = call.parameters.get("limit", EVENTS_LIMIT)
    size = platform.logs.size(group, stream)
    direction, position = _token(call.parameters.get("nextToken"))
    if direction is None:
        direction, position = ("f", 0) if call.parameters.get("startFromHead") else ("b", size)
    events: list[Event] = []
    start = end = min(position, size)
    if direction == "f":
        for event in platform.logs.forward(group, stream, start):
            if len(events) == limit or (event.end - start > PAGE_BYTES and events):
                break
            end = event.end
            if _in_time(event, call):
                events.append(event)
    else:
        window = platform.logs.backward(group, stream, end)
        events = [event for event in window if _in_time(event, call)][-limit:]
        start = events[0].start if len(events) == limit else (window[0].start if window else end)
    return {
        "events": [
            {"timestamp": event.timestamp, "ingestionTime": event.timestamp, "message": event.message}
            for event in events
        ],
        "nextForwardToken": f"f/{end:020d}",
        "nextBackwardToken": f"b/{start:020d}",
    }


def filter_events(platform: Platform, call: Call) -> dict[str, Any]:
    """Every stream of the group merged by time.

    A filter pattern is terms and "quoted phrases" that a line must all hold.
    """
    group = _group(call)
    prefix = call.parameters.get("logStreamNamePrefix", "")
    names = call.parameters.get("logStreamNames") or [
        name for name in _streams(platform, group) if name.startswith(prefix)
    ]
    terms = _terms(call.parameters.get("filterPattern", ""))
    found = [
        (event.timestamp, name, event)
        for name in names
        if platform.logs.exists(group, name)
        for event in platform.logs.forward(group, name)
        if _in_time(event, call) and all(term in event.message for term in terms)
    ]
    found.sort(key=lambda item: item[:2])
    events = [
        {
            "logStreamName": name,
            "timestamp": stamp,
            "ingestionTime": stamp,
            "message": event.message,
            "eventId": f"{stamp:015d}{names.index(name):06d}{event.start:020d}",
        }
        for stamp, name, event in found
    ]
    limit = call.parameters.get("limit", EVENTS_LIMIT)
    chosen, token = listing.page(events, call.parameters.get("nextToken"), limit, lambda event: str(event["eventId"]))
    return {"events": chosen, "searchedLogStreams": [], **({"nextToken": token} if token else {})}


def _group(call: Call) -> str:
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
    first = next(platform.logs.forward(group, name), None)
    if first:
        last = platform.logs.backward(group, name, platform.logs.size(group, name))[-1]
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


def _in_time(event: Event, call: Call) -> bool:
    begin, end = call.parameters.get("startTime", 0), call.parameters.get("endTime")
    return event.timestamp >= begin and (end is None or event.timestamp < end)


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
