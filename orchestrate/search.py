"""What a search is asked for: ranges, strategy, limits, what it builds on; checked before anything starts."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from classifier import search_space
from classifier.config import FEATURES_DEPEND_ON, Config
from orchestrate import ranges
from orchestrate.errors import InputError
from orchestrate.ranges import Range

# Objective -> which way is better, as SageMaker calls it.
OBJECTIVES = {name: "Maximize" if more else "Minimize" for name, more in search_space.OBJECTIVES.items()}
WARM_STARTS = {"identical": "IdenticalDataAndAlgorithm", "transfer": "TransferLearning"}
CACHING = ("auto", "on", "off")
# Epochs that Hyperband may spend on a trial where no option says so: the most of the usual range.
_HYPERBAND_EPOCHS = "10"
_MOST_TRIALS, _MOST_PARALLEL, _MOST_PARENTS, _MOST_KEEP_ALIVE_S = 750, 100, 5, 3600
_MOST_CHARACTERS = 2500  # SageMaker's limit for the value of a hyperparameter


@dataclass(frozen=True)
class Search:
    """What is varied, towards what, and for how long.

    `warm_start`: names of ended tuning jobs to learn from; `warm_start_type`: one of WARM_STARTS.
    """

    ranges: tuple[Range, ...]
    trials: int = 4
    parallel: int = 1
    objective: str = "valid:accuracy"
    strategy: str = "bayesian"
    seed: int = 0
    early_stopping: bool = False
    warm_start: tuple[str, ...] = ()
    warm_start_type: str = "transfer"

    def varies(self, name: str) -> bool:
        """Whether a hyperparameter has a range."""
        return any(r.name == name for r in self.ranges)


@dataclass(frozen=True)
class Way:
    """How trials are run. `cache_features`: auto, on or off; `features`: URI of what an earlier embed job left;
    `in_one_job`: all trials in one training job."""

    cache_features: str = "auto"
    features: str | None = None
    in_one_job: bool = False


def check(search: Search) -> Search:
    """Raises InputError for what SageMaker would refuse."""
    if not 1 <= search.trials <= _MOST_TRIALS:
        raise InputError(f"--trials {search.trials} must be between 1 and {_MOST_TRIALS}")
    if not 1 <= search.parallel <= min(search.trials, _MOST_PARALLEL):
        raise InputError(f"--parallel {search.parallel} must be between 1 and the number of trials ({search.trials})")
    if search.strategy == "grid":
        _check_grid(search)
    if (most := _combinations(search.ranges)) < search.trials:
        raise InputError(f"--trials {search.trials} are more than the {most} combinations of these ranges: give fewer "
                         f"trials or wider ranges")  # fmt: skip
    if search.strategy == "hyperband":
        if search.varies("epochs"):
            raise InputError("hyperband itself chooses how many epochs a trial gets: give the most, --epochs 10, "
                             "in place of --range epochs=...")  # fmt: skip
        if search.early_stopping:
            raise InputError("--early-stopping cannot be added to --strategy hyperband, which stops trials itself")
    if len(search.warm_start) > _MOST_PARENTS or len(set(search.warm_start)) < len(search.warm_start):
        raise InputError(f"--warm-start takes up to {_MOST_PARENTS} tuning jobs, each once")
    return search


def check_way(way: Way, search: Search, fixed: Mapping[str, str]) -> Way:
    """Raises InputError for what contradicts itself."""
    if way.in_one_job:
        if search.parallel > 1:
            raise InputError(f"--in-one-job runs one trial after the other: leave --parallel {search.parallel} out")
        if search.warm_start:
            raise InputError("--in-one-job cannot take over the trials of other jobs: leave --warm-start out")
        if way.cache_features == "off" and is_frozen(fixed, search):
            raise InputError("--in-one-job computes the features of a frozen backbone once: leave --cache-features off "
                             "out, or train the whole network with --freeze-backbone false")  # fmt: skip
        to_hyperparameter(search)
    if way.features and way.cache_features == "off":
        raise InputError("--features names features and --cache-features off wants none: drop one of them")
    if way.features or way.cache_features == "on":
        flag = "--features" if way.features else "--cache-features on"
        if not is_frozen(fixed, search):
            raise InputError(f"{flag} needs a frozen backbone: a backbone that is trained changes the "
                             f"features; leave it out, or set --freeze-backbone true")  # fmt: skip
        if varied := features_differ_by(fixed, search):
            raise InputError(f"{flag} needs the same features in every trial, and --range {varied[0]} makes others: "
                             f"fix it with --{varied[0]}, or leave {flag} out")  # fmt: skip
    return way


def is_frozen(fixed: Mapping[str, str], search: Search) -> bool:
    """Whether no trial trains the backbone."""
    return Config.parse(fixed).head_only and not search.varies("freeze-backbone")


def features_differ_by(fixed: Mapping[str, str], search: Search) -> list[str]:
    """The varied hyperparameters on which a frozen backbone's features depend."""
    is_random = Config.parse(fixed).stored_seed is not None or search.varies("augment") or search.varies("weights")
    return [name for name in FEATURES_DEPEND_ON if search.varies(name) and (name != "seed" or is_random)]


def to_hyperparameter(search: Search) -> str:
    """The hyperparameter `search` of a job that runs all trials.

    Raises:
        InputError: what the container itself would say to it; longer than a hyperparameter may be.
    """
    items = [
        {"name": r.name, "kind": r.kind, "values": list(r.values)} if r.values
        else {"name": r.name, "kind": r.kind, "low": _number(r.low), "high": _number(r.high), "log": r.log}
        for r in search.ranges
    ]  # fmt: skip
    asked = {
        "strategy": search.strategy, "trials": search.trials, "objective": search.objective,
        "early_stopping": search.early_stopping, "seed": search.seed, "ranges": items,
    }  # fmt: skip
    text = json.dumps(asked, separators=(",", ":"))
    search_space.parse(Config(mode="search", search=text))
    if len(text) > _MOST_CHARACTERS:
        longest = max(search.ranges, key=lambda r: len(str(r)))
        raise InputError(
            f"--in-one-job sends the ranges as one hyperparameter, and these take {len(text):,} characters of the "
            f"{_MOST_CHARACTERS:,} that SageMaker allows: give fewer values (the longest is --range {longest.name}), "
            f"low:high in place of a list, or leave --in-one-job out"
        )
    return text


def add_arguments(parser: argparse.ArgumentParser, trials: int) -> None:
    """The ranges, the limits, the way. `trials`: as many as there are without the option."""
    group = parser.add_argument_group("search")
    group.add_argument("--trials", type=int, help=f"trials in all (default: {trials}; of a grid all combinations)")
    group.add_argument("--parallel", type=int, default=1, help="training jobs at a time (default: 1)")
    group.add_argument(
        "--range", action="append", default=[], metavar="NAME=...", dest="ranges",
        help="NAME=low:high, NAME=low:high:log or NAME=a,b,c; once for each hyperparameter",
    )  # fmt: skip
    group.add_argument("--objective", choices=list(OBJECTIVES), default="valid:accuracy",
                       help="metric to search by (default: valid:accuracy)")  # fmt: skip
    group.add_argument("--strategy", choices=search_space.STRATEGIES, default="bayesian", help="(default: bayesian)")
    group.add_argument("--early-stopping", action="store_true", help="stop trials that fall behind the others")
    group.add_argument("--warm-start", action="append", default=[], metavar="NAME",
                       help="learn from the trials of an ended tuning job (repeatable)")  # fmt: skip
    group.add_argument("--warm-start-type", choices=list(WARM_STARTS), default="transfer",
                       help="identical: with the same data and image; transfer: they may differ (default)")  # fmt: skip
    group.add_argument("--cache-features", choices=CACHING, default="auto",
                       help="compute the features of a frozen backbone once for all trials (default: auto, on when it "
                       "is frozen)")  # fmt: skip
    group.add_argument("--features", metavar="URI", help="features that an earlier job with mode=embed left")
    group.add_argument("--in-one-job", action="store_true", help="run all trials inside one training job")
    group.add_argument("--spot", action="store_true", help="spot instances: cheaper, and may be taken away")
    group.add_argument("--keep-alive", type=int, default=0, metavar="SECONDS",
                       help="a warm pool: an instance waits so long for the next trial (default: 0)")  # fmt: skip
    parser.set_defaults(default_trials=trials)


def of(
    args: argparse.Namespace, fixed: Mapping[str, str], defaults: Sequence[str] = ranges.DEFAULTS
) -> tuple[Search, Way, dict[str, str]]:
    """The search that the command line asks for, its way, and `fixed` with what the strategy fixes too.

    `--seed` fixes it as it fixes training. A grid varies what is given and no default. Raises InputError.
    """
    fixed = dict(fixed)
    if args.strategy == "hyperband" and not any(text.startswith("epochs=") for text in args.ranges):
        fixed.setdefault("epochs", _HYPERBAND_EPOCHS)
    chosen = ranges.choose(args.ranges, fixed, () if args.strategy == "grid" else defaults)
    trials = args.trials
    if trials is None:
        trials = args.default_trials
        if args.strategy == "grid" and all(r.values for r in chosen):
            trials = int(_combinations(chosen))
    if not 0 <= args.keep_alive <= _MOST_KEEP_ALIVE_S:
        raise InputError(f"--keep-alive {args.keep_alive} must be between 0 and {_MOST_KEEP_ALIVE_S} seconds")
    if args.keep_alive and args.spot:
        raise InputError("--keep-alive and --spot exclude each other: SageMaker keeps no spot instance warm")
    search = check(Search(
        chosen, trials, args.parallel, args.objective, args.strategy, int(fixed.get("seed", 0)), args.early_stopping,
        tuple(args.warm_start), args.warm_start_type,
    ))  # fmt: skip
    return search, check_way(Way(args.cache_features, args.features, args.in_one_job), search, fixed), fixed


def _check_grid(search: Search) -> None:
    for r in search.ranges:
        if not r.values:
            raise InputError(f"a grid takes every combination of values, and {r} names none: "
                             f"give --range {r.name}=a,b,c, or another --strategy")  # fmt: skip
    number = _combinations(search.ranges)
    if search.trials != number:
        raise InputError(f"this grid has {number} combinations, and --trials is {search.trials}: leave --trials out")


def _combinations(chosen: Sequence[Range]) -> float:
    """How many different trials there can be."""
    return math.prod(
        len(r.values) if r.values else int(r.high) - int(r.low) + 1 if r.kind == "Integer" else math.inf for r in chosen
    )


def _number(text: str) -> float | int:
    return int(text) if text.lstrip("+-").isdigit() else float(text)
