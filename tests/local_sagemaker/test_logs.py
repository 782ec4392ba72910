"""Log streams: what is kept of what a process prints, and CloudWatch's way of reading it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from botocore.exceptions import ClientError

from local_sagemaker.logs import EVENT_LIMIT, PAGE_BYTES, LogStore

from .conftest import Local, unique

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


def test_half_a_line_of_a_killed_server_is_cut(tmp_path: Path) -> None:
    """Whatever part of a line a kill has left: what was whole stays, and what comes is whole again."""
    for half in ("1", "1700000000000", "1700000000000\tcut sho", "1700000000000\té".encode()[:-1].decode("latin-1")):
        store = LogStore(tmp_path / quote(half, safe=""))
        writer = store.writer("/g", "s/1")
        writer.write(b"whole\n")
        writer.close()
        (path,) = tmp_path.joinpath(quote(half, safe="")).rglob("*.log")
        with path.open("ab") as stream:
            stream.write(half.encode("latin-1"))
        assert messages(store) == ["whole"]
        writer = store.writer("/g", "s/1")
        writer.write(b"after\n")
        writer.close()
        assert messages(store) == ["whole", "after"]
    path.write_bytes(b"1700000000000\tnever ended")
    store.writer("/g", "s/1").close()
    assert path.read_bytes() == b""


def test_a_stream_has_a_limit_and_says_so(tmp_path: Path) -> None:
    store, heard = LogStore(tmp_path, limit=2000), []
    writer = store.writer("/g", "s/1", lambda when, line: heard.append(line))
    for number in range(500):
        writer.write(b"line %d\n" % number)
    writer.close()
    *lines, last = messages(store)
    assert last == "[local SageMaker: this log has 2000 bytes; what follows is not kept]"
    assert lines == [f"line {number}" for number in range(len(lines))]
    assert store.size("/g", "s/1") < 2200
    assert len(heard) == 500  # metrics are read from every line
    assert writer.last[-1] == "line 499"


@pytest.mark.parametrize("lengths", [(5, 20), (1, 40_000), (0, 0)])
def test_a_time_is_found_by_bisection(tmp_path: Path, lengths: tuple[int, int]) -> None:
    chance = random.Random(1)
    store = LogStore(tmp_path)
    store.writer("/g", "s/1").close()
    (path,) = tmp_path.rglob("*.log")
    stamps = sorted(chance.randrange(1000, 2000) for _ in range(400))
    path.write_text("".join(f"{stamp}\t{'é' * chance.randint(*lengths)}\n" for stamp in stamps))
    events = list(store.forward("/g", "s/1"))
    for wanted in (0, 1000, 1234, 1500, 1999, 2000, 5000):
        expected = next((event.start for event in events if event.timestamp >= wanted), path.stat().st_size)
        assert store.position("/g", "s/1", wanted) == expected
    assert [store.first("/g", "s/1"), store.last("/g", "s/1")] == [events[0], events[-1]]


def test_a_flood_is_kept_in_pages_and_the_server_answers(local: Local) -> None:
    code = """
import sys
sys.stdout.buffer.write((b"x" * 10_000_000 + b"\\n") * 2)  # lines of 10 MB
for part in range(100):
    sys.stdout.buffer.write(b"short line\\n" * 1000)
sys.stdout.buffer.write(bytes(range(256)) * 1000 + b"without an end")
"""
    name = local.train(code)
    seen = 0
    while local.sagemaker.describe_training_job(TrainingJobName=name)["TrainingJobStatus"] == "InProgress":
        seen += 1  # it answers while the flood comes
    assert seen
    assert local.finished(name)["TrainingJobStatus"] == "Completed"
    logs = local.client("logs")
    (stream,) = logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=name)["logStreams"]
    total, short, token, last = 0, 0, None, ""
    while True:
        more: dict[str, str] = {"nextToken": token} if token else {}
        page = logs.get_log_events(
            logGroupName=GROUP, logStreamName=stream["logStreamName"], startFromHead=True, **more
        )
        assert all(len(event["message"].encode()) <= 3 * EVENT_LIMIT for event in page["events"])
        total += sum(event["message"].count("x") for event in page["events"])
        short += sum(event["message"] == "short line" for event in page["events"])
        last = page["events"][-1]["message"] if page["events"] else last
        if page["nextForwardToken"] == token:
            break
        token = page["nextForwardToken"]
    assert short == 100_000
    assert total >= 20_000_000
    assert last.endswith("without an end")


def test_a_search_through_much_ends_in_pages(local: Local) -> None:
    """As on AWS a page may hold nothing and still have a next one: no request reads a gigabyte."""
    line = "y" * 999
    name = local.train(f"for n in range(40_000): print({line!r})\nprint('the needle')")
    local.finished(name)
    logs = local.client("logs")
    asked = {"logGroupName": GROUP, "logStreamNamePrefix": f"{name}/", "filterPattern": "needle"}
    pages = list(logs.get_paginator("filter_log_events").paginate(**asked))
    assert len(pages) > 1
    assert [event["message"] for page in pages for event in page["events"]] == ["the needle"]


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
    streams = logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=other)["logStreams"]
    both = found(logStreamNames=[streams[0]["logStreamName"], stream[1]])
    assert both.index("9") < both.index("5 dogs bark")
    with pytest.raises(ClientError, match="drop the"):
        found(filterPattern="{ $.a = 1 }")


def test_pages_of_merged_streams_hold_every_event_once(local: Local) -> None:
    prefix = unique("merge")
    names = [f"{prefix}-{place}" for place in range(3)]
    for name in names:
        code = f"import time\nfor n in range(40): print('{name}', n, flush=True); time.sleep(0.002)"
        local.train(code, TrainingJobName=name)
    for name in names:
        local.finished(name)
    logs = local.client("logs")
    pages = logs.get_paginator("filter_log_events").paginate(
        logGroupName=GROUP, logStreamNamePrefix=prefix, PaginationConfig={"PageSize": 7}
    )
    events = [event for page in pages for event in page["events"]]
    assert sorted(event["message"] for event in events) == sorted(f"{name} {n}" for name in names for n in range(40))
    assert [event["timestamp"] for event in events] == sorted(event["timestamp"] for event in events)
    assert len({event["eventId"] for event in events}) == 120
    # What `aws logs tail --follow` does: the newest time again and again.
    newest = events[-1]["timestamp"]
    again = logs.filter_log_events(logGroupName=GROUP, logStreamNamePrefix=prefix, startTime=newest)["events"]
    assert [event["eventId"] for event in again] == [e["eventId"] for e in events if e["timestamp"] >= newest]
    with pytest.raises(ClientError, match="nextToken is invalid"):
        logs.filter_log_events(logGroupName=GROUP, nextToken="x")


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


def test_streams_by_their_last_event_and_groups_by_a_part(local: Local, stream: tuple[str, str]) -> None:
    logs = local.client("logs")
    newest = local.train('print("newest")')
    local.finished(newest)
    found = logs.describe_log_streams(logGroupName=GROUP, orderBy="LastEventTime", descending=True, limit=1)
    assert found["logStreams"][0]["logStreamName"].startswith(f"{newest}/")
    groups = logs.describe_log_groups(logGroupNamePattern="Training")["logGroups"]
    assert [group["logGroupName"] for group in groups] == [GROUP]
    assert logs.describe_log_groups(logGroupNamePattern="training")["logGroups"] == []


@pytest.mark.parametrize(
    ("operation", "members", "message"),
    [
        ("describe_log_groups", {"logGroupNamePrefix": "a", "logGroupNamePattern": "b"}, "not both"),
        ("describe_log_streams", {"logStreamNamePrefix": "a", "orderBy": "LastEventTime"}, "Cannot order by"),
        ("describe_log_streams", {"logGroupIdentifier": GROUP}, "not both"),
        ("filter_log_events", {"logStreamNames": ["a"], "logStreamNamePrefix": "b"}, "not both"),
    ],
)
def test_members_that_exclude_each_other(
    local: Local, stream: tuple[str, str], operation: str, members: dict[str, Any], message: str
) -> None:
    group = {} if operation == "describe_log_groups" else {"logGroupName": GROUP}
    with pytest.raises(ClientError, match=rf"\(InvalidParameterException\).*{message}"):
        getattr(local.client("logs"), operation)(**group, **members)
