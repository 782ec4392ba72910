"""What a tuning job trains: one definition or several, each with its objective and its ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from local_sagemaker import errors, ranges
from local_sagemaker.validation import service_model


@dataclass(frozen=True)
class Definition:
    """One HyperParameterTrainingJobDefinition; `requested` are its ParameterRanges."""

    record: dict[str, Any]
    objective: dict[str, str]
    requested: dict[str, Any]

    @cached_property
    def ranges(self) -> list[ranges.Range]:
        return ranges.parse(self.requested)

    @property
    def static(self) -> dict[str, str]:
        """The hyperparameters that every trial gets."""
        found: dict[str, str] = self.record.get("StaticHyperParameters", {})
        return found

    @property
    def regex(self) -> str | None:
        """By which the objective is read from the log; None when no metric has its name."""
        for metric in self.record["AlgorithmSpecification"].get("MetricDefinitions", []):
            if metric["Name"] == self.objective["MetricName"]:
                return str(metric["Regex"])
        return None

    @property
    def training(self) -> dict[str, Any]:
        """What it has in common with a request for a training job."""
        shared = {key: value for key, value in self.record.items() if key in _training_members()}
        resources = self.record.get("HyperParameterTuningResourceConfig")
        if resources:
            # AllocationStrategy Prioritized: the first that can be had, and here every type can.
            first = resources.get("InstanceConfigs", [{}])[0]
            given = {**resources, **first}
            shared["ResourceConfig"] = {key: given[key] for key in given.keys() & _RESOURCES}
        return shared

    def request(self, name: str, tuned: Mapping[str, str]) -> dict[str, Any]:
        """The training job of one trial."""
        hyperparameters = {**self.static, **tuned, "_tuning_objective_metric": self.objective["MetricName"]}
        return {**self.training, "TrainingJobName": name, "HyperParameters": hyperparameters}


def definitions(request: dict[str, Any]) -> list[Definition]:
    """The definitions of a CreateHyperParameterTuningJob. Raises ApiError where members contradict each other."""
    config = request["HyperParameterTuningJobConfig"]
    one, several = request.get("TrainingJobDefinition"), request.get("TrainingJobDefinitions")
    if (one is None) == (several is None):
        raise errors.validation("Either TrainingJobDefinition or TrainingJobDefinitions must be given, and not both.")
    objective, requested = config.get("HyperParameterTuningJobObjective"), config.get("ParameterRanges")
    if one is not None:
        if "TuningObjective" in one or "HyperParameterRanges" in one:
            raise errors.validation(
                "TuningObjective and HyperParameterRanges belong to TrainingJobDefinitions; with TrainingJobDefinition "
                "give HyperParameterTuningJobObjective and ParameterRanges in HyperParameterTuningJobConfig."
            )
        if objective is None:
            raise errors.validation("HyperParameterTuningJobObjective must be given.")
        return [Definition(one, objective, requested or {})]
    if objective is not None or requested is not None:
        raise errors.validation(
            "With TrainingJobDefinitions each definition gives its own TuningObjective and HyperParameterRanges: "
            "leave HyperParameterTuningJobObjective and ParameterRanges out of HyperParameterTuningJobConfig."
        )
    return _several(several or [])


def _several(given: list[dict[str, Any]]) -> list[Definition]:
    names = [item.get("DefinitionName") for item in given]
    if None in names or len(set(names)) < len(names):
        raise errors.validation("Each of TrainingJobDefinitions must have a DefinitionName of its own.")
    for item in given:
        if "TuningObjective" not in item:
            raise errors.validation(f"The definition '{item['DefinitionName']}' must give a TuningObjective.")
    if len({item["TuningObjective"]["Type"] for item in given}) > 1:
        raise errors.validation("The TuningObjective of all TrainingJobDefinitions must have the same Type.")
    return [Definition(item, item["TuningObjective"], item.get("HyperParameterRanges", {})) for item in given]


_RESOURCES = {"InstanceType", "InstanceCount", "VolumeSizeInGB", "VolumeKmsKeyId"}


@cache
def _training_members() -> frozenset[str]:
    members = set(service_model("sagemaker").shape_for("CreateTrainingJobRequest").members)
    return frozenset(members - {"TrainingJobName", "HyperParameters"})
