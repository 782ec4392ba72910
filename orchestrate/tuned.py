"""What a search leaves: its trials, the best of them, `best.json`, and what a training needs to take it up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from classifier.search_space import OF_THE_JOB
from orchestrate import follow, options, storage
from orchestrate.console import Console
from orchestrate.errors import InputError
from orchestrate.features import Features
from orchestrate.session import Session


@dataclass(frozen=True)
class Tuned:
    """A search that has ended.

    `direction`: Maximize or Minimize. `hyperparameters`: all of the best trial, those that were fixed included.
    `seconds`: from the search's beginning to its end, the embedding left out that was a job of its own. `features`:
    those of the trials, where they came from a job of their own. `folder`: the URI under which everything of it lies.
    """

    name: str
    objective: str
    direction: str
    trials: tuple[follow.Trial, ...]
    best: follow.Trial
    hyperparameters: dict[str, str]
    seconds: float
    instance_type: str
    in_one_job: bool
    features: Features | None
    folder: str

    @property
    def best_json(self) -> str:
        """URI of the best trial's hyperparameters as JSON."""
        return storage.join(self.folder, "best.json")


def note(session: Session, name: str, inputs: Mapping[str, str], features: Features | None) -> None:
    """Writes down beside the search's results what its jobs do not tell: the photographs behind their features."""
    document = {"inputs": dict(inputs), "features": asdict(features) if features else None}
    uri = storage.join(session.root, name, _NOTE)
    session.storage.write(json.dumps(document, indent=2).encode(), uri)


def of_trials(
    session: Session, name: str, folder: str, objective: str, direction: str, trials: list[follow.Trial],
    static: Mapping[str, str], seconds: float, instance_type: str, in_one_job: bool,
) -> Tuned:  # fmt: skip
    """The result of a search with at least one objective; writes best.json. `static`: the same in every trial."""
    best = follow.best(trials, direction)
    assert best is not None
    made = noted(session, folder).get("features")
    tuned = Tuned(
        name, objective, direction, tuple(trials), best, passed_on({**static, **best.hyperparameters}), seconds,
        instance_type, in_one_job, Features(**made) if made else None, folder,
    )  # fmt: skip
    session.storage.write(json.dumps(document(tuned), indent=2).encode(), tuned.best_json)
    return tuned


def passed_on(hyperparameters: Mapping[str, str]) -> dict[str, str]:
    """Those that a training takes over: neither SageMaker's own (`_tuning_objective_metric`) nor the search's."""
    return {
        name: value for name, value in hyperparameters.items() if not name.startswith("_") and name not in OF_THE_JOB
    }


def describe(session: Session, name: str) -> dict[str, Any]:
    """DescribeHyperParameterTuningJob, or DescribeTrainingJob where the search is one job.

    Raises:
        InputError: neither has the name.
    """
    client = session.client("sagemaker")
    for call, key in (
        (client.describe_hyper_parameter_tuning_job, "HyperParameterTuningJobName"),
        (client.describe_training_job, "TrainingJobName"),
    ):
        try:
            found: dict[str, Any] = call(**{key: name})
        except client.exceptions.ClientError as error:
            if error.response["Error"]["Code"] not in ("ResourceNotFound", "ValidationException"):
                raise
            continue
        if key == "TrainingJobName" and found.get("HyperParameters", {}).get("mode") != "search":
            raise InputError(f"{name} is a training job and no search: give the name of one that tune.py started")
        return found
    raise InputError(f"there is no search {name} in {session.region}: tune.py tells the name when it starts one")


def document(tuned: Tuned) -> dict[str, Any]:
    """best.json, and what --json prints."""
    return {
        "tuning_job": tuned.name,
        "objective": tuned.objective,
        "best": {"training_job": tuned.best.name, "trial": tuned.best.number, "objective": tuned.best.objective,
                 "hyperparameters": tuned.hyperparameters},
        "seconds": tuned.seconds,
        "features": asdict(tuned.features) if tuned.features else None,
        "trials": [asdict(trial) for trial in tuned.trials],
    }  # fmt: skip


def show(tuned: Tuned, out: Console) -> None:
    """The table of the trials and the best of them."""
    names = sorted({name for trial in tuned.trials for name in trial.hyperparameters})
    rows = [
        (trial.number, f"{trial.objective:.4f}" if trial.objective is not None else "-",
         *(follow.short(trial.hyperparameters.get(name, "-")) for name in names),
         f"{trial.seconds:.3g}" if trial.seconds is not None else "-",
         "best" if trial == tuned.best else trial.status)  # eighty columns hold the default ranges
        for trial in tuned.trials
    ]  # fmt: skip
    out.table(("trial", tuned.objective, *names, "seconds", "status"), rows)
    out.say(f"best: {tuned.objective}={tuned.best.objective:.4f} with {options.told(tuned.best.hyperparameters)}")
    out.say(f"written to {tuned.best_json}")


_NOTE = "search.json"


def noted(session: Session, folder: str) -> dict[str, Any]:
    """What `note` wrote; empty for a search that somebody else started."""
    uri = storage.join(folder, _NOTE)
    if session.storage.size(uri) is None:
        return {}
    found: dict[str, Any] = json.loads(session.storage.read(uri))
    return found
