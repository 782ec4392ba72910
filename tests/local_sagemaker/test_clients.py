"""Clients that are not ours and that nobody changed: boto3 with its waiters and paginators, the AWS command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest

from .conftest import Local, channel, training_request, unique

AWS = shutil.which("aws", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")

SERVED = """
print("trained")
open("model/serve.py", "w").write('''
class H(Handler):
    def do_POST(self):
        self.answer(200, self.body()[::-1])
serve(H)
''')
"""


def environment(local: Local, home: Path) -> dict[str, str]:
    """What a user sets: credentials of any kind, a region, and the server's address."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "AWS_ENDPOINT_URL": local.url,
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_PAGER": "",
    }


@pytest.mark.skipif(AWS is None, reason="the AWS command line is not installed")
def test_the_aws_command_line(local: Local, tmp_path: Path) -> None:
    def aws(*arguments: str) -> Any:
        assert AWS
        done = subprocess.run(
            [AWS, *arguments, "--output", "json"], env=environment(local, tmp_path), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout else None

    asked = training_request(
        'print(open("input/data/train/photograph").read(), "loss=0.25", sep="\\n")', local.state.parent / "out"
    )
    name = asked["TrainingJobName"]
    (tmp_path / "photograph").write_text("woof")
    bucket = unique("bucket")
    aws("s3api", "create-bucket", "--bucket", bucket)
    aws("s3", "cp", "--quiet", f"{tmp_path}/photograph", f"s3://{bucket}/train/photograph")
    asked["InputDataConfig"] = [channel("train", f"s3://{bucket}/train")]
    asked["OutputDataConfig"] = {"S3OutputPath": f"s3://{bucket}/out"}
    (tmp_path / "job.json").write_text(json.dumps(asked))
    assert aws("sts", "get-caller-identity")["Account"] == "000000000000"
    created = aws("sagemaker", "create-training-job", "--cli-input-json", f"file://{tmp_path}/job.json")
    assert created["TrainingJobArn"].endswith(f":training-job/{name}")
    local.finished(name)  # the command polls every two minutes: it shall see the end at its first look
    aws("sagemaker", "wait", "training-job-completed-or-stopped", "--training-job-name", name)
    job = aws("sagemaker", "describe-training-job", "--training-job-name", name)
    assert job["TrainingJobStatus"] == "Completed"
    assert job["FinalMetricDataList"][0]["Value"] == 0.25
    group = ("--log-group-name", "/aws/sagemaker/TrainingJobs")
    (stream,) = aws("logs", "describe-log-streams", *group, "--log-stream-name-prefix", f"{name}/")["logStreams"]
    events = aws("logs", "get-log-events", *group, "--log-stream-name", stream["logStreamName"])["events"]
    assert [event["message"] for event in events] == ["woof", "loss=0.25"]
    found = aws("logs", "filter-log-events", *group, "--log-stream-name-prefix", name, "--filter-pattern", "loss")
    assert [event["message"] for event in found["events"]] == ["loss=0.25"]
    aws("s3", "cp", "--quiet", job["ModelArtifacts"]["S3ModelArtifacts"], f"{tmp_path}/model.tar.gz")
    assert (tmp_path / "model.tar.gz").stat().st_size > 0


def test_boto3_waits_and_pages(local: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients made as on AWS, with the environment of a user; every waiter and some paginators."""
    for name, value in environment(local, tmp_path).items():
        monkeypatch.setenv(name, value)
    session = boto3.Session()  # not the default session, which an earlier test may have made
    sagemaker = session.client("sagemaker")
    names: list[str] = []
    for number in range(3):
        asked = training_request(SERVED, local.state.parent / "out")
        asked["TrainingJobName"] = names[0][:-1] + str(number) if names else unique("paged") + "-0"
        sagemaker.create_training_job(**asked)
        names.append(asked["TrainingJobName"])
    soon = {"Delay": 1, "MaxAttempts": 120}
    for name in names:
        sagemaker.get_waiter("training_job_completed_or_stopped").wait(TrainingJobName=name, WaiterConfig=soon)
    pages = sagemaker.get_paginator("list_training_jobs").paginate(
        NameContains=names[0][:-2], SortBy="Name", PaginationConfig={"PageSize": 2}
    )
    assert [[job["TrainingJobName"] for job in page["TrainingJobSummaries"]] for page in pages] == [
        names[:2],
        names[2:],
    ]
    name = names[0]
    artifact = sagemaker.describe_training_job(TrainingJobName=name)["ModelArtifacts"]["S3ModelArtifacts"]
    container = {"Image": "process", "ModelDataUrl": artifact}
    sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=asked["RoleArn"])
    variant = {"VariantName": "A", "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig=soon)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_text("woof")
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": (tmp_path / "in").as_uri()}}
    sagemaker.create_transform_job(
        TransformJobName=name,
        ModelName=name,
        TransformInput={"DataSource": source},
        TransformOutput={"S3OutputPath": (tmp_path / "out").as_uri()},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
    )
    sagemaker.get_waiter("transform_job_completed_or_stopped").wait(TransformJobName=name, WaiterConfig=soon)
    assert (tmp_path / "out" / "a.out").read_text() == "foow"
    sagemaker.delete_endpoint(EndpointName=name)
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=name, WaiterConfig=soon)
    events = (
        session.client("logs")
        .get_paginator("filter_log_events")
        .paginate(
            logGroupName="/aws/sagemaker/TrainingJobs",
            logStreamNamePrefix=names[0][:-2],
            PaginationConfig={"PageSize": 1},
        )
    )
    assert [event["message"] for page in events for event in page["events"]] == ["trained"] * 3
