"""What a training job may ask for, beyond what botocore's model says; a tuning job's definition of one included."""

from __future__ import annotations

import re
from typing import Any

from local_sagemaker import contract, errors
from local_sagemaker.runners import PROCESS_IMAGE
from local_sagemaker.training_run import MAX_RUNTIME_S

MOST_HOSTS = 8  # of one job: they share one machine
# Below /opt/ml, what the platform fills, and what it packs.
_FILLED = ("input", "code")
_PACKED = ("model", "output/data")

WITHOUT_EFFECT = (
    "RoleArn",
    "VpcConfig",
    "EnableInterContainerTrafficEncryption",
    "AlgorithmSpecification.EnableSageMakerMetricsTimeSeries",
    "AlgorithmSpecification.TrainingImageConfig",
    "InputDataConfig.DataSource.S3DataSource.ModelAccessConfig",
    "InputDataConfig.ShuffleConfig",
    "OutputDataConfig.KmsKeyId",
    "ResourceConfig.InstanceType",
    "ResourceConfig.InstancePlacementConfig",
    "ResourceConfig.KeepAlivePeriodInSeconds",
    "ResourceConfig.TrainingPlanArn",
    "ResourceConfig.VolumeKmsKeyId",
    "ResourceConfig.VolumeSizeInGB",
    "StoppingCondition.MaxPendingTimeInSeconds",
)
REFUSED = (
    "AlgorithmSpecification.AlgorithmName",
    "AlgorithmSpecification.TrainingInputMode=Pipe",
    "InputDataConfig.CompressionType=Gzip",  # AWS has it for Pipe mode only
    "InputDataConfig.DataSource.DatasetSource",
    "InputDataConfig.DataSource.FileSystemDataSource",
    "InputDataConfig.DataSource.S3DataSource.AttributeNames",
    "InputDataConfig.DataSource.S3DataSource.HubAccessConfig",
    "InputDataConfig.DataSource.S3DataSource.S3DataType=AugmentedManifestFile",
    "InputDataConfig.DataSource.S3DataSource.S3DataType=Converse",
    "InputDataConfig.InputMode=Pipe",
    "InputDataConfig.RecordWrapperType=RecordIO",
    "ResourceConfig.InstancePreferences",
)


def check(request: dict[str, Any]) -> None:
    """Raises ApiError for what AWS refuses in a request, and for what this machine cannot do."""
    if "AlgorithmSpecification" not in request:
        raise errors.validation("AlgorithmSpecification must be given.")
    _check_algorithm(request["AlgorithmSpecification"], request.get("EnableNetworkIsolation", False))
    resources = request.get("ResourceConfig") or request.get("HyperParameterTuningResourceConfig")
    groups = _check_resources(resources)
    _check_channels(request.get("InputDataConfig", []), groups)
    _check_times(request, resources or {})
    for member in ("CheckpointConfig", "DebugHookConfig", "TensorBoardOutputConfig"):
        _check_place(member, request.get(member, {}).get("LocalPath"))


def _check_algorithm(algorithm: dict[str, Any], is_isolated: bool) -> None:
    if "TrainingImage" not in algorithm:
        raise errors.validation(
            "Either AlgorithmName or TrainingImage must be given, and local SageMaker knows no AlgorithmName."
        )
    if algorithm["TrainingImage"] == PROCESS_IMAGE and {"ContainerEntrypoint", "ContainerArguments"} & set(algorithm):
        raise errors.not_done_here("ContainerEntrypoint and ContainerArguments with the image 'process'")
    if algorithm["TrainingImage"] == PROCESS_IMAGE and is_isolated:
        raise errors.not_done_here("EnableNetworkIsolation with the image 'process'")
    for definition in algorithm.get("MetricDefinitions", []):
        try:
            groups = re.compile(definition["Regex"]).groups
        except re.error as error:
            raise errors.validation(f"The regex of metric '{definition['Name']}' is invalid: {error}.") from None
        if groups < 1:
            raise errors.validation(
                f"The regex of metric '{definition['Name']}' has no capture group: "
                "put the number in parentheses, as in 'loss=([0-9.]+)'."
            )


def _check_resources(resources: dict[str, Any] | None) -> set[str]:
    """The names of the instance groups that a request gives."""
    if resources is None or not {"InstanceType", "InstanceGroups"} & set(resources):
        raise errors.validation(
            "ResourceConfig must name an InstanceType or InstanceGroups; local SageMaker does not do InstanceConfigs."
        )
    if "InstanceGroups" in resources and {"InstanceType", "InstanceCount"} & set(resources):
        raise errors.validation("ResourceConfig gives InstanceGroups, or InstanceType and InstanceCount, not both.")
    groups = contract.groups(resources)
    names = {group.name for group in groups}
    if len(names) < len(groups) or not groups:
        raise errors.validation("ResourceConfig.InstanceGroups must be one or more groups with a name each.")
    if any(group.count < 1 for group in groups):
        raise errors.validation("InstanceCount must be at least 1.")
    count = sum(group.count for group in groups)
    if count > MOST_HOSTS:
        hint = f": ask for {MOST_HOSTS} instances at most"
        raise errors.too_many_instances(groups[0].instance_type, "training job", MOST_HOSTS, count, hint)
    return names if "InstanceGroups" in resources else set()


def _check_channels(channels: list[dict[str, Any]], groups: set[str]) -> None:
    names = [channel["ChannelName"] for channel in channels]
    for channel in channels:
        name = channel["ChannelName"]
        if name in (".", "..") or names.count(name) > 1:
            raise errors.validation(
                f"The channel name '{name}' cannot be used: names are unique and neither '.' nor '..'."
            )
        if "S3DataSource" not in channel["DataSource"]:
            raise errors.validation(f"The channel '{name}' must give an S3DataSource.")
        for group in channel["DataSource"]["S3DataSource"].get("InstanceGroupNames", []):
            if group not in groups:
                raise errors.validation(
                    f"The channel '{name}' names the instance group '{group}', which ResourceConfig does not have."
                )


def _check_times(request: dict[str, Any], resources: dict[str, Any]) -> None:
    limits = request.get("StoppingCondition", {})
    wait_s = limits.get("MaxWaitTimeInSeconds")
    if request.get("EnableManagedSpotTraining"):
        if wait_s is None or wait_s < limits.get("MaxRuntimeInSeconds", MAX_RUNTIME_S):
            raise errors.validation(
                "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to "
                "MaxRuntimeInSeconds when EnableManagedSpotTraining is set to true"
            )
        if resources.get("KeepAlivePeriodInSeconds"):
            raise errors.validation("KeepAlivePeriodInSeconds is not supported with EnableManagedSpotTraining.")
    elif wait_s is not None:
        raise errors.validation(
            "Invalid MaxWaitTimeInSeconds. It is only supported when EnableManagedSpotTraining is set to true"
        )
    if resources.get("KeepAlivePeriodInSeconds") and "InstanceGroups" in resources:
        raise errors.validation("KeepAlivePeriodInSeconds is not supported with InstanceGroups.")


def _check_place(member: str, path: str | None) -> None:
    """Of a LocalPath: checkpoints have a place of their own, what is only read may lie among the artifacts."""
    if path is None:
        return
    inner = contract.below(path)
    taken = (*_FILLED, *_PACKED) if member == "CheckpointConfig" else _FILLED
    is_taken = inner in ("", "output") or any(f"{inner}/".startswith(f"{place}/") for place in taken)
    if not f"{path}/".startswith(contract.OPT_ML) or ".." in path.split("/") or is_taken:
        raise errors.not_done_here(f"{member}.LocalPath {path}, only places of its own below /opt/ml")
