"""Spot training: interruptions on order, checkpoints, a second start; times that are billed, times that end it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .conftest import Local, wait_for

# Counts its starts in the checkpoints; the second one ends by itself.
RESUME = """
import os, time
path = "checkpoints/step"
begun = os.path.exists(path)
print("from", open(path).read() if begun else "nothing")
print("loss=1")
open(path, "w").write("7")
open("model/weights", "w").write("w")
print("saved")
time.sleep(0 if begun else 600)
"""


def spot(checkpoints: str, wait_s: int = 600, run_s: int = 600) -> dict[str, Any]:
    return {
        "EnableManagedSpotTraining": True,
        "StoppingCondition": {"MaxRuntimeInSeconds": run_s, "MaxWaitTimeInSeconds": wait_s},
        "CheckpointConfig": {"S3Uri": checkpoints},
    }


def interrupt(local: Local, name: str, body: Any = None) -> None:
    request = urllib.request.Request(
        f"{local.url}/local/interrupt/{name}",
        json.dumps(body or {}).encode(),
        {"Content-Type": "application/json"},
    )
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60).close()


def secondary(job: dict[str, Any]) -> list[str]:
    return [step["Status"] for step in job["SecondaryStatusTransitions"]]


@pytest.mark.parametrize("place", ["a directory", "a bucket"])
def test_an_interrupted_job_starts_again_from_its_checkpoint(local: Local, tmp_path: Path, place: str) -> None:
    if place == "a bucket":
        local.client("s3").create_bucket(
            Bucket="spot-checkpoints", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
        name = local.train(RESUME, **spot("s3://spot-checkpoints/run"))
    else:
        name = local.train(RESUME, **spot((tmp_path / "checkpoints").as_uri()))
    local.printed(name, "saved")
    interrupt(local, name, {"away_s": 2.5})
    job = local.finished(name)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    begin = ["Starting", "Downloading", "Training"]
    assert secondary(job) == [*begin, "Interrupted", *begin, "Uploading", "Completed"]
    assert job["BillableTimeInSeconds"] < job["TrainingTimeInSeconds"]
    group = "/aws/sagemaker/TrainingJobs"
    streams = local.client("logs").describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/")
    printed = [
        local.client("logs").get_log_events(logGroupName=group, logStreamName=stream["logStreamName"])["events"]
        for stream in streams["logStreams"]
    ]
    assert sorted(events[0]["message"] for events in printed) == ["from 7", "from nothing"]
    assert [metric["Value"] for metric in job["FinalMetricDataList"]] == [1]


def test_a_job_that_waits_too_long_for_instances_is_stopped(local: Local, tmp_path: Path) -> None:
    name = local.train(RESUME, **spot((tmp_path / "checkpoints").as_uri(), wait_s=12, run_s=12))
    local.printed(name, "saved")
    interrupt(local, name, {"away_s": 3600})
    job = local.finished(name)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxWaitTimeExceeded")
    assert secondary(job)[-3:] == ["Interrupted", "Stopping", "MaxWaitTimeExceeded"]


def test_a_job_can_be_stopped_while_it_waits_for_instances(local: Local, tmp_path: Path) -> None:
    name = local.train(RESUME, **spot((tmp_path / "checkpoints").as_uri()))
    local.printed(name, "saved")
    done = local.command("interrupt", name, "--away-s", "3600", "--state", str(local.state))
    assert done.returncode == 0, done.stderr
    wait_for(
        lambda: local.sagemaker.describe_training_job(TrainingJobName=name),
        lambda job: job["SecondaryStatus"] == "Interrupted",
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        interrupt(local, name)
    assert "has no instances to lose: its status is Interrupted" in refused.value.read().decode()
    local.sagemaker.stop_training_job(TrainingJobName=name)
    job = local.finished(name)
    assert job["SecondaryStatus"] == "Stopped"
    assert secondary(job)[-3:] == ["Interrupted", "Stopping", "Stopped"]


def test_only_a_running_spot_job_is_interrupted(local: Local) -> None:
    name = local.train("pass")
    local.finished(name)
    done = local.command("interrupt", name, "--state", str(local.state))
    assert done.returncode == 2
    assert f"The training job {name} does not run on spot instances" in done.stderr
    assert "no training job named nobody" in local.command("interrupt", "nobody", "--state", str(local.state)).stderr
    for body in ([1], {"away_s": "soon"}, {"away_s": -1}):
        with pytest.raises(urllib.error.HTTPError) as refused:
            interrupt(local, name, body)
        assert "The body is JSON of the form" in refused.value.read().decode()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"EnableManagedSpotTraining": True},
            "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to MaxRuntimeInSeconds",
        ),
        (
            {
                "EnableManagedSpotTraining": True,
                "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 59},
            },
            "Invalid MaxWaitTimeInSeconds. It must be present",
        ),
        (
            {"StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60}},
            "It is only supported when EnableManagedSpotTraining is set to true",
        ),
    ],
)
def test_the_wait_of_spot_jobs_is_checked_as_aws_does(local: Local, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ClientError, match=message):
        local.train("pass", **changes)
