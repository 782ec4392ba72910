"""The requests: built as data in AWS's own spelling, so that `--dry-run` prints exactly what would be sent.

`create` sends one.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from classifier import metrics
from orchestrate.errors import InputError
from orchestrate.ranges import Range, to_request
from orchestrate.session import Session

TAGS = [{"Key": "project", "Value": "kennel"}]
OBJECTIVES = {"valid:accuracy": "Maximize", "valid:loss": "Minimize"}
VARIANT = "AllTraffic"
VOLUME_GB = 30
_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*")


@dataclass(frozen=True)
class Machine:
    """What a training job runs on, and for how long at most."""

    instance_type: str
    max_runtime_s: int


def unique_name(kind: str) -> str:
    """`kennel-train-20261121-085501-3f9c`: at most 32 characters, SageMaker's limit for a tuning job, for `tune`."""
    return f"kennel-{kind}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"


def check_name(name: str, longest: int = 63) -> str:
    """Raises InputError when SageMaker would refuse the name."""
    if not _NAME.fullmatch(name) or len(name) > longest:
        raise InputError(f"the name {name!r} cannot be used: take up to {longest} letters, digits and hyphens")
    return name


def training(
    session: Session, name: str, image: str, channels: Mapping[str, str], hyperparameters: Mapping[str, str],
    machine: Machine,
) -> dict[str, Any]:  # fmt: skip
    """CreateTrainingJob. `channels`: name -> URI of a folder."""
    return {
        "TrainingJobName": name,
        "HyperParameters": dict(hyperparameters),
        "Tags": TAGS,
        **_job(session, image, channels, machine, session.root),
    }


def tuning(
    session: Session, name: str, image: str, channels: Mapping[str, str], fixed: Mapping[str, str],
    machine: Machine, ranges: Sequence[Range], objective: str, strategy: str, trials: int, parallel: int, seed: int,
) -> dict[str, Any]:  # fmt: skip
    """CreateHyperParameterTuningJob. `strategy`: bayesian or random; `fixed`: hyperparameters of every trial."""
    return {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": {
            "Strategy": strategy.capitalize(),
            "HyperParameterTuningJobObjective": {"Type": OBJECTIVES[objective], "MetricName": objective},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": trials, "MaxParallelTrainingJobs": parallel},
            "ParameterRanges": to_request(ranges),
            "RandomSeed": seed,
        },
        "TrainingJobDefinition": {
            "StaticHyperParameters": dict(fixed),
            **_job(session, image, channels, machine, f"{session.root}/{name}"),
        },
        "Tags": TAGS,
    }


def model(session: Session, name: str, image: str, artifact: str) -> dict[str, Any]:
    """CreateModel. `artifact`: URI of a model.tar.gz."""
    return {
        "ModelName": name,
        "PrimaryContainer": {"Image": image, "ModelDataUrl": artifact},
        "ExecutionRoleArn": session.require_role(),
        "Tags": TAGS,
    }


def endpoint_config(name: str, instance_type: str, inference_ami: str | None) -> dict[str, Any]:
    """CreateEndpointConfig of one instance with the model of the same name.

    `inference_ami`: InferenceAmiVersion, None for the one that the instance type starts with.
    """
    variant: dict[str, Any] = {
        "VariantName": VARIANT,
        "ModelName": name,
        "InitialInstanceCount": 1,
        "InstanceType": instance_type,
        "ContainerStartupHealthCheckTimeoutInSeconds": 600,
    }
    if inference_ami:
        variant["InferenceAmiVersion"] = inference_ami
    return {"EndpointConfigName": name, "ProductionVariants": [variant], "Tags": TAGS}


def endpoint(name: str) -> dict[str, Any]:
    """CreateEndpoint with the configuration of the same name."""
    return {"EndpointName": name, "EndpointConfigName": name, "Tags": TAGS}


def create(session: Session, operation: str, request: Mapping[str, Any]) -> None:
    """Sends one of the requests above, exactly.

    With boto3, not with the SageMaker SDK's typed resources, which are for what follows: on the way their `create`
    (3.27) leaves out what is false in Python, so that `RandomSeed: 0` would be printed and never sent.
    """
    from botocore import xform_name

    getattr(session.client("sagemaker"), xform_name(operation))(**request)


def printable(request: Mapping[str, Any]) -> str:
    """The request as `aws sagemaker ... --cli-input-json` takes it."""
    return json.dumps(request, indent=2)


def _job(session: Session, image: str, channels: Mapping[str, str], machine: Machine, output: str) -> dict[str, Any]:
    return {
        "AlgorithmSpecification": {
            "TrainingImage": image,
            "TrainingInputMode": "File",
            "MetricDefinitions": metrics.definitions(),
        },
        "RoleArn": session.require_role(),
        "InputDataConfig": [
            {
                "ChannelName": channel,
                "DataSource": {
                    "S3DataSource": {
                        "S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated",
                    }
                },
            }
            for channel, uri in channels.items()
        ],
        "OutputDataConfig": {"S3OutputPath": output},
        "ResourceConfig": {
            "InstanceType": machine.instance_type, "InstanceCount": 1, "VolumeSizeInGB": VOLUME_GB,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": machine.max_runtime_s},
    }  # fmt: skip
