"""The search strategies, by Optuna: ranges of a request -> proposals -> what was learned from their results.

Importing Optuna takes a moment, so this module is imported by the first search only.
"""

from __future__ import annotations

import itertools
import random
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import TrialState

from local_sagemaker import hyperband
from local_sagemaker.ranges import Range, combinations
from local_sagemaker.tuning_definition import Definition

# With fewer completed trials the median says more about luck than about the trial that is judged.
EARLY_STOPPING_FROM = 3
MOST_VALUES = 20_000  # of a trial that are judged; AWS's limit for the epochs of a trial
# Optuna samples with replacement: where ranges have few values it proposes what was tried already. So many times it is
# asked for something else before one of the others is taken by lot.
ATTEMPTS = 10
MOST_LISTED = 100_000  # combinations
NUMBER = "number"  # of a proposal: Optuna counts those that were not used, too

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
        trial.set_user_attr(NUMBER, len(self._trials))
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
        if number in self._pruned:
            return False
        if self._method.resource and count > self._method.resource[1]:
            return True
        if count > MOST_VALUES:
            return False
        self._values[number] = count
        self._trials[number].report(value, count)
        if self._trials[number].should_prune():
            self._pruned.add(number)
            return True
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


def _sampler(method: Method, found: list[Range], jobs: int) -> optuna.samplers.BaseSampler:
    seed = None if method.seed is None else method.seed % 2**32  # the range of numpy's seeds
    if method.strategy == "Grid":
        return _Grid({item.name: item.choices for item in found}, seed=seed)
    if method.strategy == "Bayesian":
        # Optuna's ten random trials at first would make a search of eight trials a random one.
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=min(10, max(3, jobs // 4)))
    return optuna.samplers.RandomSampler(seed=seed)  # Hyperband too, as on AWS


def _pruner(method: Method) -> optuna.pruners.BasePruner:
    if method.resource:
        least, most = method.resource
        return optuna.pruners.HyperbandPruner(min_resource=least, max_resource=most)
    return MedianRule(method.lag) if method.early_stopping else optuna.pruners.NopPruner()


class _Grid(optuna.samplers.GridSampler):
    """Where trials are asked for one by one there is no `optimize` that the last one could end."""

    def after_trial(self, *_: Any) -> None:
        pass


class MedianRule(optuna.pruners.BasePruner):
    """AWS's rule of early stopping, as its developer guide has it ("Stop Training Jobs Early").

    A trial is stopped when its value is worse than the median, over the completed trials before it, of the averages
    of their values up to the same epoch. Optuna's own MedianPruner compares the best value so far with the values at
    the epoch, so it stops less.
    """

    def __init__(self, lag: int) -> None:
        self._lag = lag
        self._averages: dict[int, list[float]] = {}

    def prune(self, study: optuna.study.Study, trial: optuna.trial.FrozenTrial) -> bool:
        step = trial.last_step
        if step is None:
            return False
        value, number = trial.intermediate_values[step], trial.user_attrs[NUMBER]
        averages = self._averages.setdefault(number, [])
        averages.append(value if step == 1 else averages[-1] + (value - averages[-1]) / step)
        completed = (
            other.user_attrs[NUMBER]
            for other in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if NUMBER in other.user_attrs  # not of another search
        )
        before = [
            self._averages[other][step - 1]
            for other in completed
            if other <= number - self._lag and len(self._averages.get(other, ())) >= step
        ]
        if len(before) < EARLY_STOPPING_FROM:
            return False
        median = statistics.median(before)
        return value < median if study.direction == optuna.study.StudyDirection.MAXIMIZE else value > median
