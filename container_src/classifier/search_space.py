"""What mode=search is asked for: the JSON of the hyperparameter `search`, checked. Pure Python."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from classifier.config import Config, hyperparameters
from classifier.errors import InputError

STRATEGIES = ("bayesian", "random", "grid", "hyperband")
# Objective -> whether more of it is better.
OBJECTIVES = {"valid:accuracy": True, "valid:loss": False}
# Hyperparameters that say what a job is for: a search sets them, and its best trial does not pass them on.
OF_THE_JOB = ("mode", "search", "data-fingerprint")
# What the job does, and not what a trial is.
NOT_VARIED = (
    *OF_THE_JOB, "debug", "save-interval", "collections", "rules", "stop-on", "workers", "processes",
    "max-bad-images", "checkpoint-steps", "checkpoint-minutes", "quantize",
)  # fmt: skip


@dataclass(frozen=True)
class Range:
    """One hyperparameter of a search: `values` (categorical), or `low` to `high`, both included."""

    name: str
    whole: bool = False
    low: float = 0
    high: float = 0
    log: bool = False
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Search:
    """What is searched, and how."""

    strategy: str
    trials: int
    objective: str
    early_stopping: bool
    seed: int
    ranges: tuple[Range, ...]

    @property
    def maximize(self) -> bool:
        """Whether more of the objective is better."""
        return OBJECTIVES[self.objective]


def parse(config: Config) -> Search:
    """The search of `config.search`; every bound and value of a range must be one that its hyperparameter may have.

    Raises:
        InputError: no JSON, something missing or unknown, or a range that cannot be searched.
    """
    if not config.search:
        raise InputError("mode=search needs the hyperparameter `search`: JSON with strategy, trials, objective, ranges")
    try:
        given = json.loads(config.search)
    except ValueError as error:
        raise InputError(f"the hyperparameter `search` is no JSON: {error}; see docs/03-tuning.md") from None
    if not isinstance(given, dict):
        raise InputError("the hyperparameter `search` must be a JSON object with strategy, trials, objective, ranges")
    known = {"strategy": "bayesian", "trials": None, "objective": "valid:accuracy", "early_stopping": False, "seed": 0,
             "ranges": None}  # fmt: skip
    for name in given:
        if name not in known:
            raise InputError(f"`search` has the unknown member {name!r}: known are {', '.join(known)}")
    values: dict[str, Any] = {**known, **given}
    if values["strategy"] not in STRATEGIES:
        raise InputError(f"`search` has strategy={values['strategy']!r}: it must be one of {', '.join(STRATEGIES)}")
    if values["objective"] not in OBJECTIVES:
        raise InputError(f"`search` has objective={values['objective']!r}: it must be one of {', '.join(OBJECTIVES)}")
    for name, least in (("trials", 1), ("seed", 0)):
        if type(values[name]) is not int or not least <= values[name] < 2**31:
            raise InputError(f"`search` has {name}={values[name]!r}: it must be a whole number from {least}")
    if type(values["early_stopping"]) is not bool:
        raise InputError(f"`search` has early_stopping={values['early_stopping']!r}: it must be true or false")
    if not isinstance(values["ranges"], list) or not values["ranges"]:
        raise InputError("`search` has no ranges: give a list of {name, kind, low, high, log} or {name, kind, values}")
    ranges = tuple(_range(item, values["strategy"]) for item in values["ranges"])
    names = [item.name for item in ranges]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"`search` has two ranges for {twice[0]}: keep one of them")
    return Search(**{**values, "ranges": ranges})


def _range(item: Any, strategy: str) -> Range:
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        raise InputError(f"`search` has the range {item!r}: it must be an object with name and kind")
    name, kind = item["name"], item.get("kind")
    if name in NOT_VARIED:
        raise InputError(f"{name} cannot be varied by a search: it says what the job does, not what a trial is")
    if kind == "Categorical":
        return Range(name, values=_values(name, item))
    if kind not in ("Integer", "Continuous"):
        raise InputError(f"the range of {name} has kind={kind!r}: it must be Integer, Continuous or Categorical")
    low, high, log = item.get("low"), item.get("high"), item.get("log", False)
    for bound in (low, high):
        Config.parse({name: bound})  # out of the hyperparameter's bounds, or unknown
    if hyperparameters()[name].type not in ("int", "float"):
        raise InputError(f"{name} is no number: give its range as kind=Categorical with values")
    if hyperparameters()[name].type == "int" and kind != "Integer":
        raise InputError(f"{name} is a whole number: its range must have kind=Integer")
    low, high = float(low), float(high)  # type: ignore[arg-type]  # Config.parse has refused what is no number
    if low > high:
        raise InputError(f"the range of {name} has low={low:g} above high={high:g}: exchange them")
    if log and low <= 0:
        raise InputError(
            f"the range of {name} is logarithmic and begins at {low:g}: give a low above zero, or log=false"
        )
    if strategy == "grid" and kind == "Continuous":
        raise InputError(f"a grid cannot take every number between {low:g} and {high:g}: give {name} as "
                         f"kind=Categorical with values, or choose another strategy")  # fmt: skip
    return Range(name, kind == "Integer", low, high, bool(log))


def _values(name: str, item: Mapping[str, Any]) -> tuple[str, ...]:
    values = item.get("values")
    if not isinstance(values, list) or not values:
        raise InputError(f"the range of {name} has no values: give a list of them")
    texts = tuple(str(value).lower() if isinstance(value, bool) else str(value) for value in values)
    for text in texts:
        Config.parse({name: text})
    if len(set(texts)) < len(texts):
        raise InputError(f"the range of {name} has a value twice: {', '.join(texts)}")
    return texts
