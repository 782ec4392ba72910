"""An image that nobody wrote for this: Perl, ten lines to train and as many to serve, after AWS's "bring your own
container" examples. It is trained, tuned, deployed, asked and run over a batch as on SageMaker."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .conftest import ROLE, ROOT, Local, channel, training_request, unique, wait_for

pytestmark = [pytest.mark.engine, pytest.mark.slow]

FOREIGN = ROOT / "tests" / "local_sagemaker" / "foreign"
TAG = "local-sagemaker-foreign:test"
# A base of this machine is taken before one that has to be pulled.
BASES = ("debian:12-slim", "nvidia/cuda:12.8.1-base-ubuntu24.04")
MEANS = {"setosa": (5.0, 3.4, 1.5, 0.2), "versicolor": (5.9, 2.8, 4.3, 1.3), "virginica": (6.6, 3.0, 5.6, 2.0)}


@pytest.fixture(scope="module")
def image(engine: None) -> Iterator[str]:
    here = [
        base
        for base in BASES
        if not subprocess.run(["docker", "image", "inspect", base], capture_output=True).returncode
    ]
    built = subprocess.run(
        ["docker", "build", "--quiet", f"--tag={TAG}", f"--build-arg=BASE={(here or BASES)[0]}", str(FOREIGN)],
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    yield TAG
    subprocess.run(["docker", "image", "rm", "--force", TAG], capture_output=True, check=True)


@pytest.fixture(scope="module")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CSV lines `label,x1,x2,x3,x4` of three classes that are easily told apart."""
    draw, directory = random.Random(1), tmp_path_factory.mktemp("flowers")
    rows = [
        ",".join([label, *(f"{draw.gauss(mean, 0.2):.2f}" for mean in means)])
        for _ in range(50)
        for label, means in MEANS.items()
    ]
    (directory / "flowers.csv").write_text("\n".join(rows) + "\n")
    return directory


@pytest.fixture(scope="module")
def tuned(local: Local, image: str, flowers: Path) -> dict[str, Any]:
    """The description of a tuning job of the distance's power, when it has ended."""
    job = training_request("", local.state.parent / "foreign")
    name = unique("flowers")
    local.sagemaker.create_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=name,
        HyperParameterTuningJobConfig={
            "Strategy": "Random",
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "accuracy"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 3, "MaxParallelTrainingJobs": 2},
            "ParameterRanges": {"ContinuousParameterRanges": [{"Name": "power", "MinValue": "0.5", "MaxValue": "4"}]},
            "RandomSeed": 1,
        },
        TrainingJobDefinition={
            "AlgorithmSpecification": {
                "TrainingImage": image,
                "TrainingInputMode": "File",
                "MetricDefinitions": [{"Name": "accuracy", "Regex": r"accuracy=([0-9.]+)"}],
            },
            "InputDataConfig": [channel("training", flowers.as_uri())],
            **{key: job[key] for key in ("RoleArn", "OutputDataConfig", "ResourceConfig", "StoppingCondition")},
        },
    )
    described: dict[str, Any] = wait_for(
        lambda: local.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name),
        lambda tuning: tuning["HyperParameterTuningJobStatus"] not in ("InProgress", "Stopping"),
        timeout_s=300,
    )
    return described


@pytest.fixture(scope="module")
def model(local: Local, image: str, tuned: dict[str, Any]) -> str:
    """The name of a model of the best trial's artifact."""
    best = local.sagemaker.describe_training_job(TrainingJobName=tuned["BestTrainingJob"]["TrainingJobName"])
    name = unique("flowers")
    container = {"Image": image, "ModelDataUrl": best["ModelArtifacts"]["S3ModelArtifacts"]}
    local.sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
    return name


def test_it_is_tuned(tuned: dict[str, Any]) -> None:
    assert tuned["HyperParameterTuningJobStatus"] == "Completed", tuned
    assert tuned["TrainingJobStatusCounters"]["Completed"] == 3
    best = tuned["BestTrainingJob"]
    assert best["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] > 0.95
    assert 0.5 <= float(best["TunedHyperParameters"]["power"]) <= 4


def test_its_endpoint_answers_and_refuses(local: Local, model: str) -> None:
    variant = {"VariantName": "A", "ModelName": model, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    local.sagemaker.create_endpoint_config(EndpointConfigName=model, ProductionVariants=[variant])
    local.sagemaker.create_endpoint(EndpointName=model, EndpointConfigName=model)
    endpoint = wait_for(
        lambda: local.sagemaker.describe_endpoint(EndpointName=model),
        lambda seen: seen["EndpointStatus"] not in ("Creating", "SystemUpdating"),
        timeout_s=300,
    )
    assert endpoint["EndpointStatus"] == "InService", endpoint.get("FailureReason")
    runtime = local.client("sagemaker-runtime")
    asked = "".join(f"{','.join(map(str, means))}\n" for means in MEANS.values())
    answer = runtime.invoke_endpoint(EndpointName=model, Body=asked, ContentType="text/csv")
    assert answer["Body"].read().decode().split() == list(MEANS)
    assert answer["ContentType"] == "text/csv"
    with pytest.raises(ClientError, match="four numbers a line") as refused:
        runtime.invoke_endpoint(EndpointName=model, Body="one,two\n", ContentType="text/csv")
    assert refused.value.response["OriginalStatusCode"] == 400
    local.sagemaker.delete_endpoint(EndpointName=model)


def test_it_runs_over_a_batch(local: Local, model: str, flowers: Path, tmp_path: Path) -> None:
    rows = [line.split(",", 1) for line in (flowers / "flowers.csv").read_text().splitlines()]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "batch.csv").write_text("".join(f"{numbers}\n" for _, numbers in rows))
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": (tmp_path / "in").as_uri()}}
    name = unique("flowers")
    local.sagemaker.create_transform_job(
        TransformJobName=name,
        ModelName=model,
        BatchStrategy="MultiRecord",
        TransformInput={"DataSource": source, "ContentType": "text/csv", "SplitType": "Line"},
        TransformOutput={"S3OutputPath": (tmp_path / "out").as_uri(), "AssembleWith": "Line"},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
    )
    job = wait_for(
        lambda: local.sagemaker.describe_transform_job(TransformJobName=name),
        lambda seen: seen["TransformJobStatus"] not in ("InProgress", "Stopping"),
        timeout_s=300,
    )
    assert job["TransformJobStatus"] == "Completed", job.get("FailureReason")
    labels = (tmp_path / "out" / "batch.csv.out").read_text().split()
    assert len(labels) == len(rows)
    assert sum(label == true for label, (true, _) in zip(labels, rows, strict=True)) > 0.95 * len(rows)
