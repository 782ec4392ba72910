"""Hyperparameter tuning jobs."""

from __future__ import annotations

from typing import Any

from local_sagemaker import errors, listing, search, tuning
from local_sagemaker.operations import training_jobs
from local_sagemaker.operations.resource import Resource
from local_sagemaker.platform import Platform
from local_sagemaker.protocol import Call
from local_sagemaker.support import Support

NAME = "HyperParameterTuningJobName"
RESOURCE = Resource(
    tuning.KIND, NAME, "HyperParameterTuningJobSummaries",
    lambda name, region: errors.not_found(f"Amazon SageMaker can't find a tuning job with the name {name}."),
    status="HyperParameterTuningJobStatus",
    order=("Name", "Ascending"),
)  # fmt: skip


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
    if "TrainingJobDefinition" not in request:
        raise errors.validation("TrainingJobDefinition must be given.")
    config, definition = request["HyperParameterTuningJobConfig"], request["TrainingJobDefinition"]
    limits = config["ResourceLimits"]
    if "MaxNumberOfTrainingJobs" not in limits:
        raise errors.validation("ResourceLimits must give MaxNumberOfTrainingJobs.")
    training_jobs.check(definition)
    _check_ranges(config.get("ParameterRanges", {}), definition.get("StaticHyperParameters", {}))
    _check_objective(config, definition["AlgorithmSpecification"].get("MetricDefinitions", []))


def _check_ranges(requested: dict[str, Any], static: dict[str, str]) -> None:
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


def list_trials(platform: Platform, call: Call) -> dict[str, Any]:
    mine = tuning.trials(platform.records, RESOURCE.find(platform, call.parameters[NAME], call.region))
    if call.parameters.get("SortBy") == "FinalObjectiveMetricValue":
        mine = [trial for trial in mine if trial["ObjectiveStatus"] == "Succeeded"]
    chosen, token = listing.select(mine, call.parameters, "TrainingJobName", "TrainingJobStatus", ("Name", "Ascending"))
    return {
        "TrainingJobSummaries": [tuning.summary(trial) for trial in chosen],
        **({"NextToken": token} if token else {}),
    }


def stop(platform: Platform, call: Call) -> dict[str, Any]:
    record = RESOURCE.find(platform, call.parameters[NAME], call.region)
    status = record["HyperParameterTuningJobStatus"]
    if status not in tuning.UNFINISHED:
        raise errors.validation(f"The request was rejected because the tuning job is in status {status}.")
    platform.tuning.stop(record[NAME])
    return {}


HANDLERS = {
    "CreateHyperParameterTuningJob": create,
    "DescribeHyperParameterTuningJob": RESOURCE.describe,
    "ListHyperParameterTuningJobs": RESOURCE.list_,
    "ListTrainingJobsForHyperParameterTuningJob": list_trials,
    "StopHyperParameterTuningJob": stop,
}
_CONFIG = "HyperParameterTuningJobConfig"
_DEFINITION = "TrainingJobDefinition"
SUPPORT = {
    "CreateHyperParameterTuningJob": Support(
        without_effect=tuple(f"{_DEFINITION}.{path}" for path in training_jobs.WITHOUT_EFFECT),
        refused=(
            "TrainingJobDefinitions",
            "WarmStartConfig",
            "Autotune",
            f"{_CONFIG}.Strategy=Grid",
            f"{_CONFIG}.Strategy=Hyperband",
            f"{_CONFIG}.StrategyConfig",
            f"{_CONFIG}.TrainingJobEarlyStoppingType=Auto",
            f"{_CONFIG}.TuningJobCompletionCriteria",
            f"{_CONFIG}.ResourceLimits.MaxRuntimeInSeconds",
            f"{_CONFIG}.ParameterRanges.AutoParameters",
            *(f"{_DEFINITION}.{path}" for path in training_jobs.REFUSED),
        ),
    )
}
