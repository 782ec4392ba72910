"""Several hosts for one job: what each is told, what each gets, and how they end."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .conftest import Local, channel, left_over, wait_for

# Each host adds its rank on the first one, over a socket, and all of them print the sum.
SUM = """
import json, os, socket, time
told = json.load(open("input/config/resourceconfig.json"))
rank, hosts = told["hosts"].index(told["current_host"]), told["hosts"]
if rank == 0:
    with socket.create_server((told["current_host"], PORT)) as server:
        others = [server.accept()[0] for _ in hosts[1:]]
        total = rank + 1 + sum(int(other.recv(9)) for other in others)
        for other in others:
            other.sendall(str(total).encode())
else:
    while True:
        try:
            first = socket.create_connection((hosts[0], PORT))
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    first.sendall(str(rank + 1).encode())
    total = int(first.recv(9))
print(f"sum={total}")
print(json.dumps(told))
print(sorted(os.listdir("input/data/train")))
open("model/weights", "w").write(told["current_host"])
open(f"output/data/rank-{rank}", "w").write("")
"""


def instances(count: int) -> dict[str, Any]:
    return {"InstanceType": "ml.m5.large", "InstanceCount": count, "VolumeSizeInGB": 1}


def lines_of_hosts(local: Local, name: str) -> dict[str, list[str]]:
    """What each host printed, by the host's name in its log stream."""
    logs, group = local.client("logs"), "/aws/sagemaker/TrainingJobs"
    found = {}
    for stream in logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/")["logStreams"]:
        events = logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True)
        host = stream["logStreamName"].removeprefix(f"{name}/").rpartition("-")[0]
        found[host] = [event["message"] for event in events["events"]]
    return found


def test_two_jobs_of_two_hosts_talk_over_sockets_at_once(local: Local, tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.jpg").write_text("x")
    sharded = channel("train", tmp_path.as_uri())
    sharded["DataSource"]["S3DataSource"]["S3DataDistributionType"] = "ShardedByS3Key"
    code = SUM.replace("PORT", "20123")  # the same of both jobs: their addresses differ
    names = [local.train(code, ResourceConfig=instances(2), InputDataConfig=[sharded]) for _ in range(2)]
    for name in names:
        job = local.finished(name)
        assert job["TrainingJobStatus"] == "Completed", job["FailureReason"]
        printed = lines_of_hosts(local, name)
        assert [printed[host][0] for host in ("algo-1", "algo-2")] == ["sum=3", "sum=3"]
        first, second = (json.loads(printed[host][1]) for host in ("algo-1", "algo-2"))
        assert [first["current_host"], second["current_host"]] == first["hosts"] == second["hosts"]
        assert first["network_interface_name"] == "lo"
        (group,) = first["instance_groups"]
        assert group == {
            "instance_group_name": "homogeneousCluster",
            "instance_type": "ml.m5.large",
            "hosts": first["hosts"],
        }
        assert [printed[host][2] for host in ("algo-1", "algo-2")] == [
            "['0.jpg', '2.jpg', '4.jpg']",
            "['1.jpg', '3.jpg']",
        ]
        model = Path(job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("file://"))
        with tarfile.open(model) as tar:
            weights = tar.extractfile("weights")
            assert weights
            assert weights.read().decode() == first["current_host"]
        with tarfile.open(model.with_name("output.tar.gz")) as tar:
            assert sorted(tar.getnames()) == ["rank-0", "rank-1"]
        assert not (local.state / "training-jobs" / name / "ml").exists()


def test_a_host_that_fails_ends_the_others_and_says_why(local: Local) -> None:
    code = """
import json, time
told = json.load(open("input/config/resourceconfig.json"))
if told["current_host"] == told["hosts"][1]:
    open("output/failure", "w").write("no photographs")
    raise SystemExit(3)
time.sleep(600)
"""
    name = local.train(code, ResourceConfig=instances(3))
    job = local.finished(name)
    assert job["FailureReason"] == "AlgorithmError: algo-2: no photographs, exit code: 3"
    assert left_over(local.state / "training-jobs" / name) == []


def test_instance_groups_have_channels_of_their_own(local: Local, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    code = """
import json, os
told = json.load(open("input/config/resourceconfig.json"))
print(told["current_group_name"], told["current_instance_type"], os.listdir("input/data"))
print([(group["instance_group_name"], len(group["hosts"])) for group in told["instance_groups"]])
"""
    groups = [
        {"InstanceGroupName": "cpu", "InstanceType": "ml.m5.large", "InstanceCount": 1},
        {"InstanceGroupName": "gpu", "InstanceType": "ml.g5.xlarge", "InstanceCount": 1},
    ]
    train = channel("train", tmp_path.as_uri())
    train["DataSource"]["S3DataSource"]["InstanceGroupNames"] = ["gpu"]
    name = local.train(code, ResourceConfig={"InstanceGroups": groups, "VolumeSizeInGB": 1}, InputDataConfig=[train])
    assert local.finished(name)["TrainingJobStatus"] == "Completed"
    printed = lines_of_hosts(local, name)
    assert printed["algo-1"] == ["cpu ml.m5.large []", "[('cpu', 1), ('gpu', 1)]"]
    assert printed["algo-2"] == ["gpu ml.g5.xlarge ['train']", "[('cpu', 1), ('gpu', 1)]"]


def test_hosts_of_a_server_that_was_killed_are_ended(start: Callable[..., Local]) -> None:
    server = start()
    name = server.train('import time; print("ready"); time.sleep(600)', ResourceConfig=instances(2))
    server.printed(name, "ready")
    # Both: a process that prints when nobody reads any more ends by itself.
    wait_for(lambda: lines_of_hosts(server, name), lambda printed: list(printed.values()) == [["ready"]] * 2)
    server.kill()
    assert len(left_over(server.state)) == 2
    server.up()
    assert left_over(server.state) == []
    assert "ended while this job ran" in server.finished(name)["FailureReason"]


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        (instances(9), r"\(ResourceLimitExceeded\).*is 8 Instances.*request delta of 9 Instances"),
        (instances(0), r"\(ValidationException\).*at least 1"),
        ({"VolumeSizeInGB": 1}, "must name an InstanceType or InstanceGroups"),
        ({**instances(1), "InstanceGroups": []}, "not both"),
    ],
)
def test_hosts_that_cannot_be_had(local: Local, resources: dict[str, Any], message: str) -> None:
    with pytest.raises(ClientError, match=message):
        local.train("pass", ResourceConfig=resources)
