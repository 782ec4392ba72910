"""Training jobs."""

from __future__ import annotations

import re
from typing import Any

from local_sagemaker import errors, listing
from local_sagemaker.platform import Platform
from local_sagemaker.protocol import Call
from local_sagemaker.records import Record
from local_sagemaker.runners import PROCESS_IMAGE
from local_sagemaker.training import KIND, UNFINISHED
from local_sagemaker.validation import operation_model, project

_REFUSED = ("ServerlessJobConfig", "MlflowConfig", "ModelPackageConfig")


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
    for member in _REFUSED:
        if member in request:
            raise errors.not_done_here(member)
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
    _check_channels(request.get("InputDataConfig", []), algorithm["TrainingInputMode"])
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


def _check_channels(channels: list[dict[str, Any]], mode: str) -> None:
    names = [channel["ChannelName"] for channel in channels]
    for name in names:
        if name in (".", "..") or names.count(name) > 1:
            raise errors.validation(
                f"The channel name '{name}' cannot be used: names are unique and neither '.' nor '..'."
            )
    for channel in channels:
        source = channel["DataSource"].get("S3DataSource")
        if source is None:
            raise errors.not_done_here(f"channel '{channel['ChannelName']}': only S3DataSource")
        if source["S3DataType"] != "S3Prefix":
            raise errors.not_done_here(f"S3DataType {source['S3DataType']} (channel '{channel['ChannelName']}')")
        if channel.get("CompressionType", "None") != "None":
            raise errors.not_done_here(f"CompressionType Gzip (channel '{channel['ChannelName']}')")
        if channel.get("InputMode", mode) == "Pipe":
            raise errors.not_done_here(f"the input mode Pipe (channel '{channel['ChannelName']}')")


def find(platform: Platform, name: str) -> Record:
    record = platform.records.find(KIND, name)
    if record is None:
        raise errors.validation("Requested resource not found.")
    return record


def describe(platform: Platform, call: Call) -> dict[str, Any]:
    return project(
        find(platform, call.parameters["TrainingJobName"]), operation_model("sagemaker", call.operation).output_shape
    )


def list_(platform: Platform, call: Call) -> dict[str, Any]:
    chosen, token = listing.select(platform.records.all(KIND), call.parameters, "TrainingJobName", "TrainingJobStatus")
    summary = operation_model("sagemaker", call.operation).output_shape.members["TrainingJobSummaries"].member
    return {
        "TrainingJobSummaries": [project(record, summary) for record in chosen],
        **({"NextToken": token} if token else {}),
    }


def stop(platform: Platform, call: Call) -> dict[str, Any]:
    record = find(platform, call.parameters["TrainingJobName"])
    if record["TrainingJobStatus"] not in UNFINISHED:
        raise errors.validation(
            f"The request was rejected because the training job is in status {record['TrainingJobStatus']}."
        )
    platform.training.stop(record["TrainingJobName"])
    return {}


HANDLERS = {
    "CreateTrainingJob": create,
    "DescribeTrainingJob": describe,
    "ListTrainingJobs": list_,
    "StopTrainingJob": stop,
}
