"""Log streams: what is kept of what a process prints, and CloudWatch's way of reading it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_sagemaker.logs import EVENT_LIMIT, PAGE_BYTES, LogStore

from .conftest import Local

GROUP = "/aws/sagemaker/TrainingJobs"


def messages(store: LogStore) -> list[str]:
    return [event.message for event in store.forward("/g", "s/1")]


def test_lines_are_kept_however_they_come(tmp_path: Path) -> None:
    store, heard = LogStore(tmp_path), []
    writer = store.writer("/g", "s/1", lambda when, line: heard.append(line))
    for chunk in (b"on", b"e\ntwo\r\n\nth", "ré".encode()[:2], "ré".encode()[2:], b"e\n\xff\x00\xfe\n10%\r20%\r\nlast"):
        writer.write(chunk)
    writer.close()
    assert messages(store) == heard == ["one", "two", "", "thrée", "\ufffd\x00\ufffd", "10%\r20%", "last"]


def test_a_line_without_end_is_cut(tmp_path: Path) -> None:
    store = LogStore(tmp_path)
    writer = store.writer("/g", "s/1")
    for _ in range(3):
        writer.write(b"x" * EVENT_LIMIT)
    writer.write(b"\n" + b"y" * (EVENT_LIMIT + 1) + b"\n")
    writer.close()
    assert [len(message) for message in messages(store)] == [EVENT_LIMIT] * 3 + [0] + [EVENT_LIMIT, 1]


def test_reading_backward_begins_at_a_line(tmp_path: Path) -> None:
    store = LogStore(tmp_path)
    writer = store.writer("/g", "s/1")
    lines = [f"{number} {'é' * 1000}" for number in range(1500)]
    writer.write("\n".join(lines).encode())
    writer.close()
    size = store.size("/g", "s/1")
    assert size > PAGE_BYTES + EVENT_LIMIT
    found = [event.message for event in store.backward("/g", "s/1", size)]
    assert found == lines[-len(found) :]
    assert len(found) > 500
    assert writer.last == lines[-5:]


def test_a_stream_that_is_written_again_goes_on(tmp_path: Path) -> None:
    store = LogStore(tmp_path)
    for text in (b"a\n", b"b\n"):
        writer = store.writer("/g", "s/1")
        writer.write(text)
        writer.close()
    assert messages(store) == ["a", "b"]
    assert (store.groups(), store.streams("/g"), store.streams("/h")) == (["/g"], ["s/1"], None)


@pytest.fixture(scope="module")
def stream(local: Local) -> tuple[str, str]:
    """A job that printed 0 to 9, and its stream."""
    name = local.train("for n in range(10): print(n)")
    local.finished(name)
    (found,) = local.client("logs").describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=name)["logStreams"]
    assert found["firstEventTimestamp"] <= found["lastEventTimestamp"]
    assert found["logStreamName"].startswith(f"{name}/algo-1-")
    return name, found["logStreamName"]


def read(local: Local, stream: str, **more: Any) -> tuple[str, str, str]:
    answer = local.client("logs").get_log_events(logGroupName=GROUP, logStreamName=stream, **more)
    text = "".join(event["message"] for event in answer["events"])
    return text, answer["nextForwardToken"], answer["nextBackwardToken"]


def test_tokens_lead_forward_and_back(local: Local, stream: tuple[str, str]) -> None:
    text, forward, back = read(local, stream[1], startFromHead=True, limit=4)
    assert text == "0123"
    text, forward, back = read(local, stream[1], nextToken=forward, limit=4)
    assert text == "4567"
    assert read(local, stream[1], nextToken=back, limit=3)[0] == "123"
    text, forward, _ = read(local, stream[1], nextToken=forward, limit=4)
    assert text == "89"
    text, again, _ = read(local, stream[1], nextToken=forward, limit=4)
    assert (text, again) == ("", forward)  # as on AWS: the end says so by giving the same token
    text, _, back = read(local, stream[1], limit=3)
    assert text == "789"
    text, _, back = read(local, stream[1], nextToken=back)
    assert text == "0123456"
    assert read(local, stream[1], nextToken=back)[0] == ""


def test_times_limit_what_is_read(local: Local, stream: tuple[str, str]) -> None:
    logs = local.client("logs")
    (first, *_, last) = logs.get_log_events(logGroupName=GROUP, logStreamName=stream[1], startFromHead=True)["events"]
    assert read(local, stream[1], startFromHead=True, startTime=last["timestamp"] + 1)[0] == ""
    assert read(local, stream[1], endTime=first["timestamp"])[0] == ""
    assert read(local, stream[1], startTime=first["timestamp"], endTime=last["timestamp"] + 1)[0] == "0123456789"


def test_filtering_merges_streams_and_pages(local: Local, stream: tuple[str, str]) -> None:
    other = local.train('print("5 dogs bark"); print("5 cats")')
    local.finished(other)
    logs = local.client("logs")

    def found(**more: Any) -> list[str]:
        return [event["message"] for event in logs.filter_log_events(logGroupName=GROUP, **more)["events"]]

    assert found(logStreamNames=[stream[1]], filterPattern="5") == ["5"]
    assert found(logStreamNamePrefix=other, filterPattern='5 "dogs bark"') == ["5 dogs bark"]
    pages = logs.get_paginator("filter_log_events").paginate(
        logGroupName=GROUP, logStreamNamePrefix=stream[0], PaginationConfig={"PageSize": 4}
    )
    assert [len(page["events"]) for page in pages] == [4, 4, 2]
    both = found()
    assert both.index("9") < both.index("5 dogs bark")
    with pytest.raises(ClientError, match="drop the"):
        found(filterPattern="{ $.a = 1 }")


def test_what_is_not_there(local: Local, stream: tuple[str, str]) -> None:
    logs = local.client("logs")
    missing = logs.exceptions.ResourceNotFoundException
    with pytest.raises(missing, match="log group does not exist"):
        logs.describe_log_streams(logGroupName="/aws/sagemaker/ProcessingJobs")
    with pytest.raises(missing, match="log stream does not exist"):
        logs.get_log_events(logGroupName=GROUP, logStreamName="nobody/algo-1")
    with pytest.raises(ClientError, match="nextToken is invalid"):
        logs.get_log_events(logGroupName=GROUP, logStreamName=stream[1], nextToken="x/1")
    with pytest.raises(ClientError, match="must name a log group"):
        logs.describe_log_streams()
