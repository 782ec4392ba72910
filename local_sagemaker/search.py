"""The search strategies, by Optuna: ranges of a request -> proposals -> what was learned from their results.

Importing Optuna takes a moment, so this module is imported by the first search only.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import TrialState

from local_sagemaker import hyperband
from local_sagemaker.early_stopping import MedianRule
from local_sagemaker.ranges import Range, combinations
from local_sagemaker.tuning_definition import Definition

# Optuna samples with replacement: where ranges have few values it proposes what was tried already. So many times it is
# asked for something else before one of the others is taken by lot.
ATTEMPTS = 10
MOST_LISTED = 100_000  # combinations
REDUCTION = 3  # Hyperband's: of so many trials one goes on to so many times the resource

optuna.logging.set_verbosity(optuna.logging.ERROR)


@dataclass(frozen=True)
class Method:
    """How a search proceeds.

    `resource`: of Hyperband, the least and the most values of the objective that a trial gives; `lag`: a running trial
    is compared with trials that began at least so many earlier (see `TuningRun`).
    """

    strategy: str
    seed: int | None = None
    early_stopping: bool = False
    resource: tuple[int, int] | None = None
    lag: int = 1


def searches(config: dict[str, Any], several: list[Definition], lag: int) -> list[Search]:
    """The searches of a tuning job, one for each of its definitions; `config` is its HyperParameterTuningJobConfig."""
    seed = config.get("RandomSeed")
    return [
        Search(
            Method(
                strategy=config["Strategy"],
                seed=None if seed is None else seed + number,
                early_stopping=config.get("TrainingJobEarlyStoppingType") == "Auto",
                resource=hyperband.resource(config, definition.static),
                lag=lag,
            ),
            definition.ranges,
            definition.objective["Type"],
            config["ResourceLimits"]["MaxNumberOfTrainingJobs"],
        )
        for number, definition in enumerate(several)
    ]


class Search:
    """Proposes and learns. For one thread. The same seed, ranges and order of results give the same proposals."""

    def __init__(self, method: Method, found: list[Range], direction: str, jobs: int) -> None:
        self._method = method
        self._ranges = found
        self._lot = random.Random(method.seed)
        self._study = optuna.create_study(
            study_name="search",  # Hyperband's brackets are a function of the name; Optuna's own would be random
            direction=optuna.study.StudyDirection[direction.upper()],
            sampler=_sampler(method, found, jobs),
            pruner=_pruner(method),
        )
        self._combinations = combinations(found)
        self._seen: set[tuple[str, ...]] = set()
        self._trials: list[optuna.trial.Trial] = []
        self._values: dict[int, int] = {}  # how many each running trial has given
        self._pruned: set[int] = set()
        self._rule = MedianRule(direction, method.lag) if method.early_stopping else None
        self._rungs = _rungs(*method.resource) if method.resource else frozenset()

    def learn(self, earlier: Iterable[tuple[dict[str, str], float]]) -> None:
        """Trials of other searches, before the first proposal: hyperparameters and value.

        One that this search could not have proposed teaches it nothing.
        """
        for hyperparameters, value in earlier:
            known = {item: item.value(hyperparameters[item.name]) for item in self._ranges}
            if None not in known.values():
                self._study.add_trial(
                    optuna.trial.create_trial(
                        params={item.name: found for item, found in known.items()},
                        distributions={item.name: item.distribution() for item in known},
                        value=value,
                    )
                )

    def ask(self) -> dict[str, str]:
        """The next proposal, by name, as strings; the first has number 0."""
        for _ in range(ATTEMPTS):
            trial, proposal = self._ask()
            if tuple(proposal.values()) not in self._seen or len(self._seen) >= self._combinations:
                break
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._draw()
            trial, proposal = self._ask()
        self._seen.add(tuple(proposal.values()))
        self._trials.append(trial)
        return proposal

    def _ask(self) -> tuple[optuna.trial.Trial, dict[str, str]]:
        trial = self._study.ask({item.name: item.distribution() for item in self._ranges})
        return trial, {item.name: item.text(trial.params[item.name]) for item in self._ranges}

    def _draw(self) -> None:
        """Makes one of the combinations that were not proposed yet the next, where they can be listed."""
        if self._combinations <= MOST_LISTED:
            every = itertools.product(*(item.texts() for item in self._ranges))
            drawn = self._lot.choice([texts for texts in every if texts not in self._seen])
            self._study.enqueue_trial(
                {item.name: item.value(text) for item, text in zip(self._ranges, drawn, strict=True)}
            )

    def report(self, number: int, value: float) -> bool:
        """A value of the objective while the trial runs; True says that it is to be stopped."""
        count = self._values.get(number, 0) + 1
        self._values[number] = count
        if number in self._pruned:
            return False
        if self._method.resource and count > self._method.resource[1]:
            return True
        if not self._is_worse(number, value, count):
            return False
        self._pruned.add(number)
        return True

    def _is_worse(self, number: int, value: float, count: int) -> bool:
        trial = self._trials[number]
        if self._rule and self._rule.is_worse(number, value):
            trial.report(value, count)  # Bayesian learns from it
            return True
        if count in self._rungs:  # nothing is decided in between, and each report costs as much as all before it
            trial.report(value, count)
            return trial.should_prune()
        return False

    def tell(self, number: int, value: float | None) -> None:
        """The result of a proposal; None when its job gave none.

        A trial that `report` stopped counts with the value that stopped it: how much it printed until it was gone is
        a matter of time, and a search with a seed is to be repeatable.
        """
        self._values.pop(number, None)
        trial = self._trials[number]
        if value is None:
            self._study.tell(trial, state=TrialState.FAIL)
        elif number in self._pruned:
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            self._study.tell(trial, value)
            if self._rule:
                self._rule.complete(number)


def _sampler(method: Method, found: list[Range], jobs: int) -> optuna.samplers.BaseSampler:
    seed = None if method.seed is None else method.seed % 2**32  # the range of numpy's seeds
    if method.strategy == "Grid":
        return _Grid({item.name: item.choices for item in found}, seed=seed)
    if method.strategy == "Bayesian":
        # Optuna's ten random trials at first would make a search of eight trials a random one.
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=min(10, max(3, jobs // 4)))
    return optuna.samplers.RandomSampler(seed=seed)  # Hyperband too, as on AWS


def _pruner(method: Method) -> optuna.pruners.BasePruner:
    if not method.resource:
        return optuna.pruners.NopPruner()
    least, most = method.resource
    return optuna.pruners.HyperbandPruner(min_resource=least, max_resource=most, reduction_factor=REDUCTION)


def _rungs(least: int, most: int) -> frozenset[int]:
    """Where Hyperband decides: the least resource, and each time the reduction factor more."""
    found = [least]
    while found[-1] * REDUCTION <= most:
        found.append(found[-1] * REDUCTION)
    return frozenset(found)


class _Grid(optuna.samplers.GridSampler):
    """Where trials are asked for one by one there is no `optimize` that the last one could end."""

    def after_trial(self, *_: Any) -> None:
        pass
