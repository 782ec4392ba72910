"""Hyperparameter tuning jobs."""

from __future__ import annotations

import math
from typing import Any

from local_sagemaker import errors, hyperband, listing, ranges, trials, tuning, warm_start
from local_sagemaker.operations import training_definition, training_jobs
from local_sagemaker.operations.resource import Resource
from local_sagemaker.platform import Platform
from local_sagemaker.protocol import Call
from local_sagemaker.runs import UNFINISHED
from local_sagemaker.support import Support
from local_sagemaker.tuning_definition import Definition, definitions
from local_sagemaker.validation import service_model

NAME = "HyperParameterTuningJobName"
RESOURCE = Resource(
    tuning.KIND, NAME, "HyperParameterTuningJobSummaries",
    lambda name, region: errors.not_found(f"Amazon SageMaker can't find a tuning job with the name {name}."),
    status="HyperParameterTuningJobStatus",
    order=("Name", "Ascending"),
)  # fmt: skip


def create(platform: Platform, call: Call) -> dict[str, Any]:
    request = call.parameters
    given = definitions(request)
    for definition in given:
        _check_definition(definition)
    config = _check_config(request["HyperParameterTuningJobConfig"], given)
    if "WarmStartConfig" in request:
        _check_warm_start(platform, call, given)
    arn = platform.tuning.submit({**request, "HyperParameterTuningJobConfig": config}, call.region)
    if arn is None:
        raise errors.in_use(
            "Hyperparameter tuning job names must be unique within an AWS account and region, "
            f"and a tuning job with the name {request[NAME]} already exists."
        )
    return {"HyperParameterTuningJobArn": arn}


def _check_definition(definition: Definition) -> None:
    if {"ResourceConfig", "HyperParameterTuningResourceConfig"} <= definition.record.keys():
        raise errors.validation("Either ResourceConfig or HyperParameterTuningResourceConfig must be given, not both.")
    training_definition.check(definition.training)
    if not definition.ranges:
        raise errors.validation("ParameterRanges must give at least one hyperparameter to tune.")
    both = sorted({item.name for item in definition.ranges} & definition.static.keys())
    if both:
        raise errors.validation(f"The hyperparameter '{both[0]}' is both static and tuned: keep one of the two.")
    if definition.regex is None:
        raise errors.validation(
            "A metric is required for this hyperparameter tuning job objective. Provide a metric in the metric "
            f"definitions. (AlgorithmSpecification.MetricDefinitions has none with the name "
            f"'{definition.objective['MetricName']}'.)"
        )


def _check_config(config: dict[str, Any], given: list[Definition]) -> dict[str, Any]:
    """The configuration as it is kept: Grid computes the number of its training jobs."""
    several = len(given) > 1
    if config.get("TrainingJobEarlyStoppingType") == "Auto" and (config["Strategy"] == "Hyperband" or several):
        raise errors.validation(
            "TrainingJobEarlyStoppingType must be Off with the Strategy Hyperband, which stops training jobs itself, "
            "and with several TrainingJobDefinitions."
        )
    for definition in given:
        hyperband.resource(config, definition.static)
    possible = [ranges.combinations(definition.ranges) for definition in given]
    most = config["ResourceLimits"].get("MaxNumberOfTrainingJobs")
    if config["Strategy"] == "Grid":
        return _check_grid(config, given, most)
    if most is None:
        raise errors.validation("ResourceLimits must give MaxNumberOfTrainingJobs.")
    for number in possible:
        if number < math.ceil(most / len(given)):
            raise errors.validation(
                "You don't have enough combinations of hyperparameter ranges. The total number of hyperparameter "
                f"combinations for the provided ranges [{number:.1f}] must be equal or greater than the value of "
                f"MaxNumberOfJobs, [{most}]. Provide additional ranges."
            )
    return config


def _check_grid(config: dict[str, Any], given: list[Definition], most: int | None) -> dict[str, Any]:
    if len(given) > 1:
        raise errors.not_done_here("the Strategy Grid with several TrainingJobDefinitions")
    numeric = [item.name for item in given[0].ranges if not item.choices]
    if numeric:
        raise errors.validation(
            f"The Strategy Grid supports categorical hyperparameters only: give '{numeric[0]}' in "
            "CategoricalParameterRanges, with the values to try."
        )
    number = int(ranges.combinations(given[0].ranges))
    if most not in (None, number):
        raise errors.validation(
            f"With the Strategy Grid MaxNumberOfTrainingJobs must be the number of distinct combinations, {number}, "
            f"and not {most}: correct it, or leave it out."
        )
    return {**config, "ResourceLimits": {**config["ResourceLimits"], "MaxNumberOfTrainingJobs": number}}


def _check_warm_start(platform: Platform, call: Call, given: list[Definition]) -> None:
    config = call.parameters["WarmStartConfig"]
    if len(given) > 1:
        raise errors.validation("WarmStartConfig cannot be given with several TrainingJobDefinitions.")
    parents = [RESOURCE.find(platform, name, call.region) for name in warm_start.parent_names(config)]
    for parent in parents:
        status = parent["HyperParameterTuningJobStatus"]
        if status in UNFINISHED:
            raise errors.validation(
                f"The parent tuning job {parent[NAME]} is in status {status}: it must be Completed, Stopped or Failed."
            )
    warm_start.check(config, given[0], parents)


def describe(platform: Platform, call: Call) -> dict[str, Any]:
    shown = RESOURCE.describe(platform, call)
    return {**shown, "ConsumedResources": trials.consumed(shown)}


def list_trials(platform: Platform, call: Call) -> dict[str, Any]:
    mine = trials.of(platform.records, RESOURCE.find(platform, call.parameters[NAME], call.region))
    if call.parameters.get("SortBy") == "FinalObjectiveMetricValue":
        mine = [trial for trial in mine if trial["ObjectiveStatus"] == "Succeeded"]
    chosen, token = listing.select(mine, call.parameters, "TrainingJobName", "TrainingJobStatus", ("Name", "Ascending"))
    return {
        "TrainingJobSummaries": [trials.summary(trial) for trial in chosen],
        **({"NextToken": token} if token else {}),
    }


def stop(platform: Platform, call: Call) -> dict[str, Any]:
    record = RESOURCE.find(platform, call.parameters[NAME], call.region)
    status = record["HyperParameterTuningJobStatus"]
    if status not in UNFINISHED:
        raise errors.rejected("tuning job", status)
    platform.tuning.stop(record[NAME])
    return {}


def delete(platform: Platform, call: Call) -> dict[str, Any]:
    """The tuning job alone: its training jobs stay."""
    record = RESOURCE.find(platform, call.parameters[NAME], call.region)
    status = record["HyperParameterTuningJobStatus"]
    if status in UNFINISHED:
        raise errors.rejected("tuning job", status, ": stop it and wait for its end")
    platform.records.delete(tuning.KIND, record[NAME])
    return {}


HANDLERS = {
    "CreateHyperParameterTuningJob": create,
    "DeleteHyperParameterTuningJob": delete,
    "DescribeHyperParameterTuningJob": describe,
    "ListHyperParameterTuningJobs": RESOURCE.list_,
    "ListTrainingJobsForHyperParameterTuningJob": list_trials,
    "StopHyperParameterTuningJob": stop,
}


def _of_definitions(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Paths of a training job's request, as far as a definition has them, as paths of a tuning job's request."""
    shape = service_model("sagemaker").shape_for("HyperParameterTrainingJobDefinition")
    given = [path for path in paths if _has(shape, path.partition("=")[0].split("."))]
    return tuple(f"{above}.{path}" for above in ("TrainingJobDefinition", "TrainingJobDefinitions") for path in given)


def _has(shape: Any, members: list[str]) -> bool:
    while shape.type_name == "list":
        shape = shape.member
    if not members:
        return True
    return (
        shape.type_name == "structure" and members[0] in shape.members and _has(shape.members[members[0]], members[1:])
    )


_TRAINING = training_jobs.SUPPORT["CreateTrainingJob"]
SUPPORT = {
    "CreateHyperParameterTuningJob": Support(
        without_effect=(
            *_of_definitions(_TRAINING.without_effect),
            *_of_definitions(
                tuple(
                    f"HyperParameterTuningResourceConfig.{member}"
                    for member in ("AllocationStrategy", "InstanceType", "VolumeKmsKeyId", "VolumeSizeInGB")
                )
            ),
        ),
        refused=(
            "Autotune",
            "HyperParameterTuningJobConfig.ParameterRanges.AutoParameters",
            *_of_definitions(("HyperParameterRanges.AutoParameters", *_TRAINING.refused)),
        ),
    )
}
