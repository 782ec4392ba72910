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
from orchestrate.ranges import to_request
from orchestrate.search import OBJECTIVES, WARM_STARTS, Search
from orchestrate.session import Session
from orchestrate.storage import join

TAGS = [{"Key": "project", "Value": "kennel"}]
INPUT_MODES = {"file": "File", "fastfile": "FastFile"}
_OF_SCALING = ("RegisterScalableTarget", "PutScalingPolicy")
_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*")


@dataclass(frozen=True)
class Machine:
    """What a training job runs on, and for how long at most.

    `spot`: instances that AWS may take back, for less. `keep_alive_s`: how long an instance waits for the next job.
    `instances`: those that train together. `input_mode`: File copies the channels to the `volume_gb` of each instance
    before the job begins, FastFile reads them from S3 while it runs.
    """

    instance_type: str
    max_runtime_s: int
    spot: bool = False
    keep_alive_s: int = 0
    instances: int = 1
    volume_gb: int = 30
    input_mode: str = "File"


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
        **_job(session, image, channels, machine, session.root, join(session.root, "checkpoints", name)),
    }


def embedding(
    session: Session, name: str, image: str, channels: Mapping[str, str], hyperparameters: Mapping[str, str],
    machine: Machine, folder: str,
) -> dict[str, Any]:  # fmt: skip
    """CreateTrainingJob of mode=embed: its artifact is a folder below the URI `folder`, which trials read as it is.

    Its checkpoints lie beside it, so that what one job has embedded the next need not.
    """
    checkpoints = join(folder, "checkpoints")
    request = _job(session, image, channels, machine, folder, checkpoints)
    request["OutputDataConfig"]["CompressionType"] = "NONE"
    return {
        "TrainingJobName": name,
        "HyperParameters": dict(hyperparameters),
        "Tags": TAGS,
        **request,
        "CheckpointConfig": {"S3Uri": checkpoints},
    }


def tuning(
    session: Session, name: str, image: str, channels: Mapping[str, str], fixed: Mapping[str, str],
    machine: Machine, search: Search,
) -> dict[str, Any]:  # fmt: skip
    """CreateHyperParameterTuningJob. `fixed`: hyperparameters of every trial."""
    folder = join(session.root, name)
    settings: dict[str, Any] = {
        "Strategy": search.strategy.capitalize(),
        "HyperParameterTuningJobObjective": {"Type": OBJECTIVES[search.objective], "MetricName": search.objective},
        "ResourceLimits": {"MaxNumberOfTrainingJobs": search.trials, "MaxParallelTrainingJobs": search.parallel},
        "ParameterRanges": to_request(search.ranges),
        "TrainingJobEarlyStoppingType": "Auto" if search.early_stopping else "Off",
        "RandomSeed": search.seed,
    }
    if search.strategy == "hyperband":
        resource = {"MinResource": 1, "MaxResource": int(fixed["epochs"])}
        settings["StrategyConfig"] = {"HyperbandStrategyConfig": resource}
    request = {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": settings,
        "TrainingJobDefinition": {
            "StaticHyperParameters": dict(fixed),
            **_job(session, image, channels, machine, folder, join(folder, "checkpoints")),
        },
        "Tags": TAGS,
    }
    if search.warm_start:
        request["WarmStartConfig"] = {
            "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": name} for name in search.warm_start],
            "WarmStartType": WARM_STARTS[search.warm_start_type],
        }
    return request


def create(session: Session, operation: str, request: Mapping[str, Any]) -> None:
    """Sends one of the requests above, exactly.

    With boto3, not with the SageMaker SDK's typed resources, which are for what follows: on the way their `create`
    (3.27) leaves out what is false in Python, so that `RandomSeed: 0` would be printed and never sent.
    """
    from botocore import xform_name

    service = "application-autoscaling" if operation in _OF_SCALING else "sagemaker"
    getattr(session.client(service), xform_name(operation))(**request)


def printable(request: Mapping[str, Any] | Sequence[Any]) -> str:
    """The request as `aws sagemaker ... --cli-input-json` takes it."""
    return json.dumps(request, indent=2)


def _job(
    session: Session, image: str, channels: Mapping[str, str], machine: Machine, output: str, checkpoints: str
) -> dict[str, Any]:
    """What all training jobs have in common. `checkpoints`: where those of a spot job are kept."""
    request: dict[str, Any] = {
        "AlgorithmSpecification": {
            "TrainingImage": image,
            "TrainingInputMode": machine.input_mode,
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
            "InstanceType": machine.instance_type, "InstanceCount": machine.instances,
            "VolumeSizeInGB": machine.volume_gb,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": machine.max_runtime_s},
    }  # fmt: skip
    if machine.keep_alive_s:
        request["ResourceConfig"]["KeepAlivePeriodInSeconds"] = machine.keep_alive_s
    if machine.spot:
        request["EnableManagedSpotTraining"] = True
        # The wait for instances counts too: as long again as the job may run.
        request["StoppingCondition"]["MaxWaitTimeInSeconds"] = 2 * machine.max_runtime_s
        request["CheckpointConfig"] = {"S3Uri": checkpoints}
    return request
