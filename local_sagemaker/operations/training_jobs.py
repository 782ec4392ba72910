"""Training jobs."""

from __future__ import annotations

from typing import Any

from local_sagemaker import errors
from local_sagemaker.job_record import KIND
from local_sagemaker.operations.resource import Resource
from local_sagemaker.operations.training_definition import REFUSED, WITHOUT_EFFECT, check
from local_sagemaker.platform import Platform
from local_sagemaker.protocol import Call
from local_sagemaker.records import Record
from local_sagemaker.runs import UNFINISHED
from local_sagemaker.support import Support
from local_sagemaker.training import profiling

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


def list_(platform: Platform, call: Call) -> dict[str, Any]:
    pool, plan = call.parameters.get("WarmPoolStatusEquals"), call.parameters.get("TrainingPlanArnEquals")
    found = [
        record
        for record in platform.records.all(KIND)
        if (pool is None or record.get("WarmPoolStatus", {}).get("Status") == pool)
        and (plan is None or record.get("TrainingPlanArn") == plan)
    ]
    return RESOURCE.listed(found, call)


def stop(platform: Platform, call: Call) -> dict[str, Any]:
    record = RESOURCE.find(platform, call.parameters["TrainingJobName"], call.region)
    if record["TrainingJobStatus"] not in UNFINISHED:
        raise errors.rejected("training job", record["TrainingJobStatus"])
    platform.training.stop(record["TrainingJobName"])
    return {}


def update(platform: Platform, call: Call) -> dict[str, Any]:
    """Changes a running job: the profiler's settings reach its hosts, the others are shown."""
    record = _existing(platform, call)
    request = call.parameters
    shown = ("RemoteDebugConfig", "ProfilerRuleConfigurations")
    changes: Record = {member: request[member] for member in shown if member in request}
    if "ProfilerConfig" in request:
        changes["ProfilerConfig"] = {**record.get("ProfilerConfig", {}), **request["ProfilerConfig"]}
        changes["ProfilingStatus"] = profiling(changes["ProfilerConfig"])
    if "ResourceConfig" in request:
        if "WarmPoolStatus" not in record:
            raise errors.validation(
                "KeepAlivePeriodInSeconds cannot be updated: the training job was created without a warm pool."
            )
        changes["ResourceConfig"] = {**record["ResourceConfig"], **request["ResourceConfig"]}
    if not platform.training.update(record["TrainingJobName"], changes):
        status = RESOURCE.find(platform, record["TrainingJobName"], call.region)["TrainingJobStatus"]
        raise errors.rejected("training job", status)
    return {"TrainingJobArn": record["TrainingJobArn"]}


def delete(platform: Platform, call: Call) -> dict[str, Any]:
    """Removes a job that has ended, with its metrics; its log and its artifacts stay, as on AWS."""
    record = _existing(platform, call)
    if record["TrainingJobStatus"] in UNFINISHED:
        raise errors.in_use(
            f"The training job {record['TrainingJobName']} is in status {record['TrainingJobStatus']}: "
            "stop it, or wait for its end, before you delete it."
        )
    platform.training.delete(record["TrainingJobName"])
    return {}


def interrupt(platform: Platform, name: str, away_s: float) -> None:
    """Not an operation of AWS: takes a spot job's instances away. Raises ApiError where it has none to lose."""
    record = platform.records.find(KIND, name)
    if record is None:
        raise errors.not_found(f"There is no training job named {name}.")
    if not record["EnableManagedSpotTraining"]:
        raise errors.validation(
            f"The training job {name} does not run on spot instances: create it with EnableManagedSpotTraining."
        )
    if not platform.training.interrupt(name, away_s):
        status = RESOURCE.find(platform, name, "")["SecondaryStatus"]
        raise errors.validation(f"The training job {name} has no instances to lose: its status is {status}.")


def _existing(platform: Platform, call: Call) -> Record:
    """The record that the younger operations speak of, which have a code of their own for a name that is not there."""
    record = platform.records.find(KIND, call.parameters["TrainingJobName"])
    if record is None:
        raise errors.not_found("Requested resource not found.")
    return record


HANDLERS = {
    "CreateTrainingJob": create,
    "DeleteTrainingJob": delete,
    "DescribeTrainingJob": RESOURCE.describe,
    "ListTrainingJobs": list_,
    "StopTrainingJob": stop,
    "UpdateTrainingJob": update,
}
# The file of the profiler's settings has them for whoever reads it in the container.
_PROFILER = ("ProfilerConfig.ProfilingIntervalInMilliseconds", "ProfilerConfig.ProfilingParameters")
SUPPORT = {
    "CreateTrainingJob": Support(
        without_effect=(
            *WITHOUT_EFFECT,
            "DebugRuleConfigurations",
            "ExperimentConfig",
            "InfraCheckConfig",
            "ProfilerRuleConfigurations",
            "RemoteDebugConfig",
            "ResourceConfig.InstanceGroups.InstanceType",
            "SessionChainingConfig",
        ),
        refused=(
            *REFUSED,
            "MlflowConfig",
            "ModelPackageConfig",
            "ResourceConfig.SelectedInstanceCount",
            "ResourceConfig.SelectedInstanceType",
            "ServerlessJobConfig",
        ),
        kept=(*_PROFILER, "DebugHookConfig.CollectionConfigurations", "DebugHookConfig.HookParameters"),
    ),
    "UpdateTrainingJob": Support(
        without_effect=("ProfilerRuleConfigurations", "RemoteDebugConfig", "ResourceConfig.KeepAlivePeriodInSeconds"),
        kept=_PROFILER,
    ),
}
