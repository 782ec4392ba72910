"""mode=search: all trials of a search in one job, by Optuna. What every trial shares is computed once."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import optuna
import torch
from optuna.trial import TrialState

from classifier import data, embedding, features, fitting, material, metrics
from classifier.config import FEATURES_DEPEND_ON, Config
from classifier.errors import InputError
from classifier.job import Job
from classifier.log import Log, say
from classifier.precision import Precision
from classifier.search_space import Range, Search
from classifier.training import Epoch, Observer
from classifier.trials import COMPLETED, FAILED, STOPPED, Record, Trial

# With fewer completed trials the median says more about luck than about the trial that is judged.
_EARLY_STOPPING_FROM = 3

optuna.logging.set_verbosity(optuna.logging.ERROR)


def run(config: Config, space: Search, job: Job, precision: Precision) -> None:
    """Runs the trials; leaves the best one's artifact, and `trials.json` among the job's output.

    A job that is stopped keeps the best of the trials that it has finished. The same seed gives the same search, and a
    search that is taken up again goes on as if it had never stopped.

    Raises:
        InputError: the data cannot be used, every trial failed, or the job was stopped before the first one ended.
    """
    if job.hosts > 1:
        raise InputError(f"mode=search runs on one instance, and the job has {job.hosts}: set InstanceCount to 1")
    materials = _Materials(config, space, job, precision)
    record = Record(job, config, space, materials.identity)
    study, choices = _study(config, space), {item.name: _distribution(item) for item in space.ranges}
    possible = math.prod(len(_values(item)) for item in space.ranges) if space.strategy == "grid" else space.trials
    count = min(space.trials, possible)
    try:
        for number in range(1, count + 1):
            proposal = study.ask(choices)
            hyperparameters = {item.name: str(proposal.params[item.name]) for item in space.ranges}
            judge = _Judge(proposal, space)
            state: Mapping[str, torch.Tensor] | None = None
            trial = record.finished(number, hyperparameters)
            if trial:
                for epoch in trial.epochs:
                    judge.judge(epoch["epoch"], epoch[space.objective])
            else:
                trial, state = _try(number, hyperparameters, materials, judge)
                if job.stop.is_set():  # cut off in the middle, or as good as that
                    break
            _tell(study, proposal, trial)
            record.add(trial, state)
            say(_line(trial, count, space, record.best))
    finally:
        record.write(materials.embed_seconds)
    best = record.best
    if best is None:
        if job.stop.is_set():
            raise InputError("the job was stopped before its first trial was complete; there is no model to keep")
        raise InputError(f"all {count} trials failed, the last one because: {record.trials[-1].failure}")
    chosen = materials.config(best.hyperparameters)
    fitted = fitting.Fitted(len(best.epochs), best.kept, best.metrics, record.state(), best.status == STOPPED)
    say(f"best: trial {best.number} of {len(record.trials)}, "
        + " ".join(f"{name}={value}" for name, value in best.hyperparameters.items()))  # fmt: skip
    fitting.deliver(job, chosen, materials.of(chosen), fitted, precision)


class _Materials:
    """What each trial is trained on: shared features, or the photographs. `identity` tells it from other data."""

    def __init__(self, config: Config, space: Search, job: Job, precision: Precision) -> None:
        """Raises InputError: the photographs cannot be used, or the channel `features` does not fit the trials."""
        self._base = {**config.to_hyperparameters(), "mode": "train", "search": ""}
        self.job, self.precision = job, precision
        self._computed: dict[tuple[object, ...], features.Features] = {}
        self._given: features.Features | None = None
        self.embed_seconds = 0.0
        if "features" in job.channels:
            self._given = material.read_features(job.channels["features"])
            self.identity = self._given.key.digest
        else:
            self.identity = data.fingerprint(list(data.find_splits(job.channels).values()))
        varied = {item.name for item in space.ranges}
        if config.head_only and varied.isdisjoint({"freeze-backbone", *FEATURES_DEPEND_ON}):
            self.of(self.config({}))  # what is wrong with the features of all trials is said once, before them

    def config(self, hyperparameters: Mapping[str, str]) -> Config:
        """That of a trial: an ordinary training."""
        return Config.parse({**self._base, **hyperparameters})

    def of(self, config: Config) -> material.Material:
        """Raises InputError as `material.of_photographs`, `material.of_features` and `embedding.embed` do."""
        directories = self.job.weights_directories
        if config.head_only:
            given = self._given or self._embedded(config)
            return material.of_features(config, given, directories, self.precision)
        if self._given:
            raise InputError(
                f"freeze-backbone={config.freeze_backbone} needs photographs, and the job has the channel `features`"
            )
        return material.of_photographs(config, self.job.channels, directories, self.precision)

    def _embedded(self, config: Config) -> features.Features:
        of = (config.model, config.weights, config.image_size, config.augment, config.stored_views,
              config.stored_seed)  # fmt: skip
        if of not in self._computed:
            began = time.perf_counter()
            self._computed[of] = features.read(embedding.embed(config, self.job, self.precision))
            self.embed_seconds += time.perf_counter() - began
        return self._computed[of]


@dataclass
class _Judge(Observer):
    """Collects the epochs of a trial, and gives it up when the search says so."""

    proposal: optuna.trial.Trial
    space: Search

    def __post_init__(self) -> None:
        self.epochs: list[dict[str, Any]] = []
        self.given_up = False

    def on_epoch(self, epoch: Epoch) -> None:
        values = {name: v if math.isfinite(v) else None for name, v in epoch.metrics.items()}
        self.epochs.append({"epoch": epoch.number, **values})
        self.judge(epoch.number, self.epochs[-1][self.space.objective])

    def judge(self, epoch: int, value: float | None) -> None:
        """The objective after an epoch; None where it is no number."""
        if value is not None:
            self.proposal.report(value, epoch)
            self.given_up = self.proposal.should_prune()


def _try(
    number: int, hyperparameters: Mapping[str, str], materials: _Materials, judge: _Judge
) -> tuple[Trial, Mapping[str, torch.Tensor] | None]:
    """Runs one trial: what became of it, and the weights of its network."""
    trial = Trial(number, FAILED, hyperparameters, None, {}, judge.epochs, 0, 0.0)
    began, stop = time.perf_counter(), materials.job.stop
    try:
        config = materials.config(hyperparameters)
        given = materials.of(config)
        began = time.perf_counter()  # features that it waited for are everybody's
        observers = [Log(config.epochs, f"trial {number}: "), judge]
        fitted = fitting.fit(
            config, given, materials.precision, observers, lambda: stop.is_set() or judge.given_up
        )  # fmt: skip
        objective = fitted.metrics[judge.space.objective]
        if not math.isfinite(objective):
            raise InputError(f"{judge.space.objective} became {objective}: lower learning-rate")
    except (InputError, RuntimeError) as error:  # RuntimeError: torch's, when memory runs out
        return replace(trial, seconds=time.perf_counter() - began, failure=" ".join(str(error).split())), None
    status = STOPPED if judge.given_up and len(judge.epochs) < config.epochs else COMPLETED
    return replace(
        trial, status=status, objective=objective, metrics=fitted.metrics, kept=fitted.kept,
        seconds=time.perf_counter() - began,
    ), fitted.state  # fmt: skip


def _line(trial: Trial, count: int, space: Search, best: Trial | None) -> str:
    head = f"trial {trial.number}/{count}:"
    if trial.status == FAILED:
        return f"{head} failed: {trial.failure}"
    names = [space.objective, *(name for name in ("valid:accuracy", "valid:loss") if name != space.objective)]
    given = " ".join(f"{name}={value}" for name, value in trial.hyperparameters.items())
    assert best and best.objective is not None
    early = f" stopped early after epoch {len(trial.epochs)}" if trial.status == STOPPED else ""
    return (f"{head} {metrics.line({name: trial.metrics[name] for name in names})} {given} seconds={trial.seconds:.2f}"
            f"{early} (best: trial {best.number}, {best.objective:.5g})")  # fmt: skip


def _tell(study: optuna.study.Study, proposal: optuna.trial.Trial, trial: Trial) -> None:
    if trial.status == FAILED:
        study.tell(proposal, state=TrialState.FAIL)
    elif trial.status == STOPPED:
        study.tell(proposal, state=TrialState.PRUNED)
    else:
        study.tell(proposal, trial.objective)


def _study(config: Config, space: Search) -> optuna.study.Study:
    sampler: optuna.samplers.BaseSampler
    if space.strategy == "grid":
        sampler = _Grid({item.name: _values(item) for item in space.ranges}, seed=space.seed)
    elif space.strategy == "bayesian":
        # Optuna's ten random trials at first would make a search of eight trials a random one.
        sampler = optuna.samplers.TPESampler(seed=space.seed, n_startup_trials=min(10, max(3, space.trials // 4)))
    else:
        sampler = optuna.samplers.RandomSampler(seed=space.seed)  # Hyperband too, as in the paper (Li et al., 2016)
    pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
    if space.strategy == "hyperband":
        epochs = [max(map(float, item.values or (item.high,))) for item in space.ranges if item.name == "epochs"]
        pruner = optuna.pruners.HyperbandPruner(max_resource=int(epochs[0]) if epochs else config.epochs)
    elif space.early_stopping:
        pruner = optuna.pruners.MedianPruner(n_startup_trials=_EARLY_STOPPING_FROM)
    return optuna.create_study(
        study_name="search",  # Hyperband's brackets are a function of the name; Optuna's own would be random
        direction="maximize" if space.maximize else "minimize", sampler=sampler, pruner=pruner,
    )  # fmt: skip


class _Grid(optuna.samplers.GridSampler):
    """Where trials are asked for one by one there is no `optimize` that the last one could end."""

    def after_trial(self, *_: Any) -> None:
        pass


def _values(item: Range) -> list[Any]:
    return list(item.values) or list(range(int(item.low), int(item.high) + 1))


def _distribution(item: Range) -> optuna.distributions.BaseDistribution:
    if item.values:
        return optuna.distributions.CategoricalDistribution(item.values)
    if item.whole:
        return optuna.distributions.IntDistribution(int(item.low), int(item.high), log=item.log)
    return optuna.distributions.FloatDistribution(item.low, item.high, log=item.log)
