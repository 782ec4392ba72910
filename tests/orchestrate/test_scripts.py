"""Every script from outside: help, dry runs, and one sentence for what is given wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from local_sagemaker import validation

Run = Callable[..., "subprocess.CompletedProcess[str]"]
ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = (
    "prepare", "tune", "train", "report", "deploy", "predict", "transform", "clean", "pipeline", "build", "doctor",
    "completion",
)  # fmt: skip
IMAGE = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/kennel:1"


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_loads_nothing_heavy(name: str) -> None:
    code = (
        f"import runpy, sys; sys.argv = ['{name}.py', '--help']\n"
        f"try: runpy.run_path({str(ROOT / 'orchestrate' / name)!r} + '.py', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'boto3', 'botocore', 'sagemaker', 'torch', 'optuna', 'rich', 'numpy', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"orchestrate/{name}.py" in done.stdout


def test_dry_run_of_tune_needs_no_credentials(run: Run, data: Path) -> None:
    done = run(
        "tune", "--image", IMAGE, "--data", data, "--trials", 8, "--parallel", 2, "--range", "optimizer=adamw,sgd",
        "--range", "epochs=3:5", "--batch-size", 32, "--dry-run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    requests = json.loads(done.stdout)
    for operation, request in requests.items():
        validation.check("sagemaker", operation, request)
    embed, request = requests["CreateTrainingJob"], requests["CreateHyperParameterTuningJob"]
    settings, definition = request["HyperParameterTuningJobConfig"], request["TrainingJobDefinition"]
    assert settings["ResourceLimits"] == {"MaxNumberOfTrainingJobs": 8, "MaxParallelTrainingJobs": 2}
    assert settings["ParameterRanges"] == {
        "CategoricalParameterRanges": [{"Name": "optimizer", "Values": ["adamw", "sgd"]}],
        "IntegerParameterRanges": [{"Name": "epochs", "MinValue": "3", "MaxValue": "5", "ScalingType": "Linear"}],
        "ContinuousParameterRanges": [
            {"Name": "learning-rate", "MinValue": "0.001", "MaxValue": "0.1", "ScalingType": "Logarithmic"}
        ],
    }
    fingerprint = embed["HyperParameters"]["data-fingerprint"]
    assert embed["HyperParameters"] == {"mode": "embed", "data-fingerprint": fingerprint}
    assert definition["StaticHyperParameters"] == {"batch-size": "32", "data-fingerprint": fingerprint}
    (features,) = definition["InputDataConfig"]
    kept = f"{embed['OutputDataConfig']['S3OutputPath']}/{embed['TrainingJobName']}/output/model"
    assert (features["ChannelName"], features["DataSource"]["S3DataSource"]["S3Uri"]) == ("features", kept)
    uris = [c["DataSource"]["S3DataSource"]["S3Uri"] for c in embed["InputDataConfig"]]
    assert [uri.rpartition("/")[2] for uri in uris] == ["train", "valid", "test"]
    assert all(uri.startswith("s3://sagemaker-us-east-1-000000000000/kennel/data/") for uri in uris)
    assert "cost: at most 8.28 USD = 9 x 4 h x 0.23 USD/h" in done.stderr


def test_dry_runs_take_role_region_and_weights(run: Run, data: Path) -> None:
    weights = data.parent / "resnet18-0123abcd.pth"
    weights.write_bytes(b"weights")
    role = "arn:aws:iam::123456789012:role/service-role/kennel"
    options = ("--image", IMAGE, "--role", role, "--region", "eu-west-1", "--dry-run")
    done = run("train", "--data", data, "--weights", weights, *options, "--instance-type", "ml.m5.xlarge")
    assert done.returncode == 0, done.stderr
    request = json.loads(done.stdout)
    validation.check("sagemaker", "CreateTrainingJob", request)
    channels = {c["ChannelName"]: c["DataSource"]["S3DataSource"]["S3Uri"] for c in request["InputDataConfig"]}
    assert channels["weights"] == "s3://sagemaker-eu-west-1-123456789012/kennel/weights/resnet18-0123abcd"
    assert request["RoleArn"] == role
    assert request["HyperParameters"] == {"debug": "true", "weights": "pretrained"}

    done = run("deploy", "--artifact", "s3://bucket/model.tar.gz", "--instance-type", "ml.g4dn.xlarge", *options)
    requests = json.loads(done.stdout)
    for operation, request in requests.items():
        validation.check("sagemaker", operation, request)
    variant = requests["CreateEndpointConfig"]["ProductionVariants"][0]
    assert variant["InferenceAmiVersion"].startswith("al2-ami-sagemaker-inference-gpu-")
    assert "0.736 USD an hour" in done.stderr


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("tune", [], "--data is missing"),
        ("tune", ["--data", "DATA"], "--image is missing"),
        ("tune", ["--data", "nowhere", "--image", IMAGE], "there is no such folder"),
        ("tune", ["--data", ".", "--image", IMAGE], "has no train/ and no valid/"),
        ("tune", ["--data", "DATA", "--range", "learning-rate=1:2:3:4"], "cannot be read"),
        ("tune", ["--data", "DATA", "--trials", "2", "--parallel", "3"], "--parallel 3"),
        ("tune", ["--data", "DATA", "--name", "a" * 33], "up to 32"),
        ("tune", ["--data", "DATA", "--epochs", "none"], "epochs='none' is not valid"),
        ("tune", ["--data", "DATA", "--weights", "resnet18.pth"], "no such file"),
        ("train", [], "--data is missing"),
        ("train", ["--data", "DATA", "--batch-size", "0"], "batch-size='0' is not valid"),
        ("train", ["--data", "DATA", "--role", "me"], "no role's ARN"),
        ("train", ["--data", "ftp://host/data"], "no location"),
        ("train", ["--data", "DATA", "--rules", "Overfti:off"], "there is no rule 'Overfti'; did you mean Overfit?"),
        ("train", ["--data", "DATA", "--stop-on", "Overfit", "--debug", "false"], "for a job that is watched"),
        ("train", ["--data", "DATA", "--collections", "weigts"], "did you mean weights?"),
        ("pipeline", ["--data", "DATA", "--source", "synthetic"], "either --data"),
        ("pipeline", ["--data", "DATA", "--endpoint-instance-type", "ml.inf2.xlarge"], "cannot use ml.inf2.xlarge"),
    ],
)
def test_what_is_wrong_is_one_sentence(run: Run, data: Path, name: str, arguments: list[str], sentence: str) -> None:
    arguments = [str(data) if a == "DATA" else a for a in arguments]
    more = [] if name == "pipeline" else ["--dry-run"]
    image = [] if "--image" in arguments or "is missing" in sentence else ["--image", IMAGE]
    done = run(name, *arguments, *more, *image)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert sentence in error
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["tune", "train", "pipeline"])
def test_without_credentials(run: Run, data: Path, name: str) -> None:
    done = run(name, "--image", IMAGE, "--data", data, "--region", "us-east-1", "--yes")
    assert done.returncode == 2
    assert done.stderr == (
        "error: no AWS credentials were found: run `aws configure` (or set AWS_PROFILE), "
        "or add --local to run on this machine\n"
    )


def test_without_region(run: Run, data: Path) -> None:
    done = run("tune", "--image", IMAGE, "--data", data, "--yes")
    assert done.returncode == 2
    assert "add --region" in done.stderr


def test_unknown_profile(run: Run, data: Path) -> None:
    done = run("tune", "--image", IMAGE, "--data", data, AWS_PROFILE="rex")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and "rex" in done.stderr
