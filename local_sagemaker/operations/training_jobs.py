"""Training jobs."""

from __future__ import annotations

import re
from typing import Any

from local_sagemaker import errors
from local_sagemaker.operations.resource import Resource
from local_sagemaker.platform import Platform
from local_sagemaker.protocol import Call
from local_sagemaker.runners import PROCESS_IMAGE
from local_sagemaker.support import Support
from local_sagemaker.training import KIND, UNFINISHED

RESOURCE = Resource(
    KIND, "TrainingJobName", "TrainingJobSummaries",
    lambda name, region: errors.validation("Requested resource not found."),
    status="TrainingJobStatus",
    order=("CreationTime", "Ascending"),
)  # fmt: skip


def create(platform: Platform, call: Call) -> dict[str, Any]:
    request = call.parameters
    check(request)
    arn = platform.training.submit(request, call.region)
    if arn is None:
        raise errors.in_use(
            "Training job names must be unique within an AWS account and region, and a training job with the name "
            f"{request['TrainingJobName']} already exists."
        )
    return {"TrainingJobArn": arn}


def check(request: dict[str, Any]) -> None:
    """What botocore's model cannot say of a training job or of a tuning job's definition of one. Raises ApiError."""
    if "AlgorithmSpecification" not in request:
        raise errors.validation("AlgorithmSpecification must be given.")
    algorithm = request["AlgorithmSpecification"]
    if "TrainingImage" not in algorithm:
        raise errors.validation(
            "Either AlgorithmName or TrainingImage must be given, and local SageMaker knows no AlgorithmName."
        )
    if algorithm["TrainingImage"] == PROCESS_IMAGE and {"ContainerEntrypoint", "ContainerArguments"} & set(algorithm):
        raise errors.not_done_here("ContainerEntrypoint and ContainerArguments with the image 'process'")
    if algorithm["TrainingImage"] == PROCESS_IMAGE and request.get("EnableNetworkIsolation"):
        raise errors.not_done_here("EnableNetworkIsolation with the image 'process'")
    _check_metrics(algorithm.get("MetricDefinitions", []))
    _check_resources(request.get("ResourceConfig") or request.get("HyperParameterTuningResourceConfig"))
    _check_channels(request.get("InputDataConfig", []))
    path = request.get("CheckpointConfig", {}).get("LocalPath", "/opt/ml/checkpoints")
    if not path.startswith("/opt/ml/") or ".." in path.split("/"):
        raise errors.not_done_here(f"checkpoints outside /opt/ml (CheckpointConfig.LocalPath is {path})")


def _check_metrics(definitions: list[dict[str, str]]) -> None:
    for definition in definitions:
        try:
            groups = re.compile(definition["Regex"]).groups
        except re.error as error:
            raise errors.validation(f"The regex of metric '{definition['Name']}' is invalid: {error}.") from None
        if groups < 1:
            raise errors.validation(
                f"The regex of metric '{definition['Name']}' has no capture group: "
                "put the number in parentheses, as in 'loss=([0-9.]+)'."
            )


def _check_resources(resources: dict[str, Any] | None) -> None:
    if resources is None or "InstanceType" not in resources:
        raise errors.validation(
            "ResourceConfig must name an InstanceType; local SageMaker does not do InstanceGroups and InstanceConfigs."
        )
    count = resources.get("InstanceCount", 1)
    if count != 1:
        raise errors.limit_exceeded(
            f"The account-level service limit '{resources['InstanceType']} for training job usage' is 1 Instances, "
            f"with current utilization of 0 Instances and a request delta of {count} Instances. "
            "Local SageMaker is one machine."
        )


def _check_channels(channels: list[dict[str, Any]]) -> None:
    names = [channel["ChannelName"] for channel in channels]
    for name in names:
        if name in (".", "..") or names.count(name) > 1:
            raise errors.validation(
                f"The channel name '{name}' cannot be used: names are unique and neither '.' nor '..'."
            )
    for channel in channels:
        if "S3DataSource" not in channel["DataSource"]:
            raise errors.validation(f"The channel '{channel['ChannelName']}' must give an S3DataSource.")


def stop(platform: Platform, call: Call) -> dict[str, Any]:
    record = RESOURCE.find(platform, call.parameters["TrainingJobName"], call.region)
    if record["TrainingJobStatus"] not in UNFINISHED:
        raise errors.validation(
            f"The request was rejected because the training job is in status {record['TrainingJobStatus']}."
        )
    platform.training.stop(record["TrainingJobName"])
    return {}


HANDLERS = {
    "CreateTrainingJob": create,
    "DescribeTrainingJob": RESOURCE.describe,
    "ListTrainingJobs": RESOURCE.list_,
    "StopTrainingJob": stop,
}
WITHOUT_EFFECT = (
    "RoleArn",
    "VpcConfig",
    "EnableInterContainerTrafficEncryption",
    "EnableManagedSpotTraining",
    "RetryStrategy",
    "OutputDataConfig.KmsKeyId",
)
REFUSED = (
    "AlgorithmSpecification.AlgorithmName",
    "AlgorithmSpecification.TrainingInputMode=Pipe",
    "InputDataConfig.DataSource.FileSystemDataSource",
    "InputDataConfig.DataSource.S3DataSource.S3DataType=ManifestFile",
    "InputDataConfig.DataSource.S3DataSource.S3DataType=AugmentedManifestFile",
    "InputDataConfig.DataSource.S3DataSource.S3DataType=Converse",
    "InputDataConfig.CompressionType=Gzip",
    "InputDataConfig.InputMode=Pipe",
)
SUPPORT = {
    "CreateTrainingJob": Support(
        without_effect=(*WITHOUT_EFFECT, "DebugRuleConfigurations", "ProfilerRuleConfigurations", "ExperimentConfig"),
        refused=(*REFUSED, "ServerlessJobConfig", "MlflowConfig", "ModelPackageConfig"),
    )
}
