"""Hyperparameter tuning jobs."""

from __future__ import annotations

from typing import Any

from local_sagemaker import errors, listing, search, tuning
from local_sagemaker.operations import training_jobs
from local_sagemaker.platform import Platform
from local_sagemaker.protocol import Call
from local_sagemaker.records import Record
from local_sagemaker.validation import operation_model, project

NAME = "HyperParameterTuningJobName"


def create(platform: Platform, call: Call) -> dict[str, Any]:
    request = call.parameters
    _check(request)
    arn = platform.tuning.submit(request, call.region)
    if arn is None:
        raise errors.in_use(
            "Hyperparameter tuning job names must be unique within an AWS account and region, "
            f"and a tuning job with the name {request[NAME]} already exists."
        )
    return {"HyperParameterTuningJobArn": arn}


def _check(request: dict[str, Any]) -> None:
    for member in ("TrainingJobDefinitions", "WarmStartConfig", "Autotune"):
        if member in request:
            raise errors.not_done_here(member)
    if "TrainingJobDefinition" not in request:
        raise errors.validation("TrainingJobDefinition must be given.")
    config, definition = request["HyperParameterTuningJobConfig"], request["TrainingJobDefinition"]
    if config["Strategy"] not in search.STRATEGIES:
        raise errors.not_done_here(f"the strategy {config['Strategy']} yet (it does {' and '.join(search.STRATEGIES)})")
    if config.get("TrainingJobEarlyStoppingType", "Off") != "Off":
        raise errors.not_done_here("TrainingJobEarlyStoppingType Auto")
    for member in ("TuningJobCompletionCriteria", "StrategyConfig"):
        if member in config:
            raise errors.not_done_here(member)
    limits = config["ResourceLimits"]
    if "MaxNumberOfTrainingJobs" not in limits:
        raise errors.validation("ResourceLimits must give MaxNumberOfTrainingJobs.")
    if "MaxRuntimeInSeconds" in limits:
        raise errors.not_done_here("ResourceLimits.MaxRuntimeInSeconds of a tuning job")
    training_jobs.check(definition)
    _check_ranges(config.get("ParameterRanges", {}), definition.get("StaticHyperParameters", {}))
    _check_objective(config, definition["AlgorithmSpecification"].get("MetricDefinitions", []))


def _check_ranges(requested: dict[str, Any], static: dict[str, str]) -> None:
    if requested.get("AutoParameters"):
        raise errors.not_done_here("AutoParameters")
    found = search.ranges(requested)
    if not found:
        raise errors.validation("ParameterRanges must give at least one hyperparameter to tune.")
    both = sorted({item.name for item in found} & set(static))
    if both:
        raise errors.validation(f"The hyperparameter '{both[0]}' is both static and tuned: keep one of the two.")


def _check_objective(config: dict[str, Any], definitions: list[dict[str, str]]) -> None:
    objective = config.get("HyperParameterTuningJobObjective")
    if objective is None:
        raise errors.validation("HyperParameterTuningJobObjective must be given.")
    if objective["MetricName"] not in [definition["Name"] for definition in definitions]:
        raise errors.validation(
            f"The objective metric '{objective['MetricName']}' has no definition: "
            "add it with its regex to AlgorithmSpecification.MetricDefinitions."
        )


def find(platform: Platform, name: str) -> Record:
    record = platform.records.find(tuning.KIND, name)
    if record is None:
        raise errors.not_found(f"Amazon SageMaker can't find a tuning job with the name {name}.")
    return record


def describe(platform: Platform, call: Call) -> dict[str, Any]:
    return project(find(platform, call.parameters[NAME]), operation_model("sagemaker", call.operation).output_shape)


def list_(platform: Platform, call: Call) -> dict[str, Any]:
    chosen, token = listing.select(
        platform.records.all(tuning.KIND), call.parameters, NAME, "HyperParameterTuningJobStatus", ("Name", "Ascending")
    )
    member = "HyperParameterTuningJobSummaries"
    shape = operation_model("sagemaker", call.operation).output_shape.members[member].member
    return {member: [project(record, shape) for record in chosen], **({"NextToken": token} if token else {})}


def list_trials(platform: Platform, call: Call) -> dict[str, Any]:
    mine = tuning.trials(platform.records, find(platform, call.parameters[NAME]))
    if call.parameters.get("SortBy") == "FinalObjectiveMetricValue":
        mine = [trial for trial in mine if trial["ObjectiveStatus"] == "Succeeded"]
    chosen, token = listing.select(mine, call.parameters, "TrainingJobName", "TrainingJobStatus", ("Name", "Ascending"))
    return {
        "TrainingJobSummaries": [tuning.summary(trial) for trial in chosen],
        **({"NextToken": token} if token else {}),
    }


def stop(platform: Platform, call: Call) -> dict[str, Any]:
    record = find(platform, call.parameters[NAME])
    status = record["HyperParameterTuningJobStatus"]
    if status not in tuning.UNFINISHED:
        raise errors.validation(f"The request was rejected because the tuning job is in status {status}.")
    platform.tuning.stop(record[NAME])
    return {}


HANDLERS = {
    "CreateHyperParameterTuningJob": create,
    "DescribeHyperParameterTuningJob": describe,
    "ListHyperParameterTuningJobs": list_,
    "ListTrainingJobsForHyperParameterTuningJob": list_trials,
    "StopHyperParameterTuningJob": stop,
}
