"""Clients that are not ours and that nobody changed: the AWS command line and the SageMaker SDK."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import Local, training_request
from .test_tuning import request

AWS = shutil.which("aws", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")


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

    asked = training_request('print("loss=0.25")', local.state.parent / "out")
    name = asked["TrainingJobName"]
    (tmp_path / "job.json").write_text(json.dumps(asked))
    assert aws("sts", "get-caller-identity")["Account"] == "000000000000"
    created = aws("sagemaker", "create-training-job", "--cli-input-json", f"file://{tmp_path}/job.json")
    assert created["TrainingJobArn"].endswith(f":training-job/{name}")
    aws("sagemaker", "wait", "training-job-completed-or-stopped", "--training-job-name", name)
    job = aws("sagemaker", "describe-training-job", "--training-job-name", name)
    assert job["TrainingJobStatus"] == "Completed"
    assert job["FinalMetricDataList"][0]["Value"] == 0.25
    group = ("--log-group-name", "/aws/sagemaker/TrainingJobs")
    (stream,) = aws("logs", "describe-log-streams", *group, "--log-stream-name-prefix", f"{name}/")["logStreams"]
    events = aws("logs", "get-log-events", *group, "--log-stream-name", stream["logStreamName"])["events"]
    assert [event["message"] for event in events] == ["loss=0.25"]
    found = aws("logs", "filter-log-events", *group, "--log-stream-name-prefix", name, "--filter-pattern", "loss")
    assert [event["message"] for event in found["events"]] == ["loss=0.25"]


@pytest.mark.slow
def test_the_sagemaker_sdk(local: Local, tmp_path: Path) -> None:
    pytest.importorskip("sagemaker.core.resources", reason="the sagemaker SDK is not installed")
    job = training_request(
        'print("loss=" + str(40 + 2)); open("model/serve.py", "w").write("serve()")', local.state.parent / "out"
    )
    search = request(jobs=2)
    search["TrainingJobDefinition"]["OutputDataConfig"] = job["OutputDataConfig"]
    code = """
import json, logging, sys
logging.basicConfig(level=logging.INFO)
from sagemaker.core.resources import (
    Endpoint, EndpointConfig, HyperParameterTuningJob, Model, TrainingJob
)
from sagemaker.core.shapes import ContainerDefinition, ProductionVariant
from sagemaker.core.utils.utils import pascal_to_snake

def snake(value, is_map=False):
    if isinstance(value, list):
        return [snake(item) for item in value]
    if isinstance(value, dict):
        return {
            key if is_map else pascal_to_snake(key): snake(item, key.endswith("HyperParameters"))
            for key, item in value.items()
        }
    return value

job, search, role = json.load(open(sys.argv[1]))
training = TrainingJob.create(**snake(job))
training.wait(poll=1, logs=True)
print("TRAINING", training.training_job_status, training.model_artifacts.s3_model_artifacts)
tuning = HyperParameterTuningJob.create(**snake(search))
tuning.wait(poll=1)
again = HyperParameterTuningJob.get(tuning.hyper_parameter_tuning_job_name)
print("TUNING", again.hyper_parameter_tuning_job_status, again.best_training_job.objective_status)
print("TRIALS", len(list(again.get_all_training_jobs())))
name = training.training_job_name
container = ContainerDefinition(image="process", model_data_url=training.model_artifacts.s3_model_artifacts)
model = Model.create(model_name=name, primary_container=container, execution_role_arn=role)
variant = ProductionVariant(
    variant_name="A", model_name=name, instance_type="ml.m5.large", initial_instance_count=1
)
config = EndpointConfig.create(endpoint_config_name=name, production_variants=[variant])
endpoint = Endpoint.create(endpoint_name=name, endpoint_config_name=name)
endpoint.wait_for_status("InService", poll=1)
print("ENDPOINT", endpoint.endpoint_status)
endpoint.delete()
endpoint.wait_for_delete(poll=1)
config.delete()
model.delete()
print("GONE", len(list(Model.get_all(name_contains=name))))
"""
    (tmp_path / "jobs.json").write_text(json.dumps([job, search, job["RoleArn"]]))
    (tmp_path / "script.py").write_text(code)
    settings = {"SAGEMAKER_VALIDATE_ROLE": "false", "AWS_REGION": "eu-west-1"}
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py", tmp_path / "jobs.json"],
        env={**environment(local, tmp_path), **settings},
        capture_output=True,
        text=True,
        timeout=120,
    )
    model = f"{job['OutputDataConfig']['S3OutputPath']}/{job['TrainingJobName']}/output/model.tar.gz"
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout + done.stderr
    for line in (
        f"TRAINING Completed {model}",
        "TUNING Completed Succeeded",
        "TRIALS 2",
        "ENDPOINT InService",
        "GONE 0",
    ):
        assert line in said
    assert "loss=42" in said  # wait(logs=True) follows the log
