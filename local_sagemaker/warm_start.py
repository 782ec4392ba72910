"""Warm start: what a tuning job may differ in from its parents, and what it learns from them.

The rules are those of AWS's developer guide, "Run a Warm Start Hyperparameter Tuning Job".
"""

from __future__ import annotations

from typing import Any

from local_sagemaker import errors, trials
from local_sagemaker.records import Record, Records
from local_sagemaker.tuning_definition import Definition, definitions

MOST_CHANGES = 10
IDENTICAL = "IdenticalDataAndAlgorithm"


def parent_names(config: dict[str, Any]) -> list[str]:
    """The names in a WarmStartConfig. Raises ApiError for a parent without one and for one that is named twice."""
    names = [parent.get("HyperParameterTuningJobName") for parent in config["ParentHyperParameterTuningJobs"]]
    if None in names or len(set(names)) < len(names):
        raise errors.validation("Each of ParentHyperParameterTuningJobs must name another tuning job.")
    return names


def check(config: dict[str, Any], new: Definition, parents: list[Record]) -> None:
    """Raises ApiError for a warm start that AWS refuses. `parents` are the records of tuning jobs that have ended."""
    for record in parents:
        name, several = record["HyperParameterTuningJobName"], definitions(record)
        if len(several) > 1:
            raise errors.validation(f"The parent tuning job {name} has several TrainingJobDefinitions.")
        old = several[0]
        if old.objective != new.objective:
            raise errors.validation(
                f"The objective metric of the parent tuning job {name} is {_shown(old.objective)}, that of this one "
                f"{_shown(new.objective)}: they must be the same."
            )
        _check_hyperparameters(name, old, new)
        if config["WarmStartType"] == IDENTICAL:
            _check_identical(name, old, new)


def earlier(records: Records, parents: list[Record]) -> list[tuple[dict[str, str], float]]:
    """The hyperparameters and the objective of every trial of the parents that has one."""
    return [
        (trial["HyperParameters"], trials.value(trial))
        for parent in parents
        for trial in trials.of(records, parent)
        if trial["ObjectiveStatus"] == "Succeeded"
    ]


def best(parents: list[Record]) -> Record | None:
    """The best trial of the parents, as a summary with its TuningJobName."""
    return trials.best(
        [
            {**parent["BestTrainingJob"], "TuningJobName": parent["HyperParameterTuningJobName"]}
            for parent in parents
            if "BestTrainingJob" in parent
        ]
    )


def _check_hyperparameters(name: str, old: Definition, new: Definition) -> None:
    before, now = ({item.name: item for item in side.ranges} for side in (old, new))
    if before.keys() | old.static.keys() != now.keys() | new.static.keys():
        raise errors.validation(
            "The set of tunable plus static HyperParameter names is not the same across current and parent tuning "
            "jobs. Please ensure this set is constant when warm starting. Note that previously static "
            "HyperParameters can be tuned in warm start jobs and vice versa. "
            f"(The parent {name} differs in: {', '.join(sorted(_names(old) ^ _names(new)))}.)"
        )
    for key in sorted(before.keys() & now.keys()):
        if before[key].kind != now[key].kind:
            raise errors.validation(
                f"The hyperparameter '{key}' is {before[key].kind} in the parent tuning job {name} and {now[key].kind} "
                "in this one: the type must not change."
            )
    changes = sum(len(before[key].choices) or 1 for key in before.keys() & new.static.keys())
    changes += sum(2 for key in old.static.keys() & new.static.keys() if old.static[key] != new.static[key])
    if changes > MOST_CHANGES:
        raise errors.validation(
            f"Against the parent tuning job {name}, {changes} changes were made from tunable to static "
            f"hyperparameters and in static values; at most {MOST_CHANGES} are allowed."
        )


def _check_identical(name: str, old: Definition, new: Definition) -> None:
    images = [side.record["AlgorithmSpecification"].get("TrainingImage") for side in (old, new)]
    inputs = [side.record.get("InputDataConfig", []) for side in (old, new)]
    for what, (before, now) in (("TrainingImage", images), ("InputDataConfig", inputs)):
        if before != now:
            raise errors.validation(
                f"{what} is not that of the parent tuning job {name}, which WarmStartType {IDENTICAL} demands: "
                "use TransferLearning."
            )


def _names(side: Definition) -> set[str]:
    return {item.name for item in side.ranges} | set(side.static)


def _shown(objective: dict[str, str]) -> str:
    return f"{objective['Type']} '{objective['MetricName']}'"
