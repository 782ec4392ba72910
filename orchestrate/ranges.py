"""What a search varies: `NAME=low:high`, `NAME=low:high:log` or `NAME=a,b,c`, checked against the hyperparameters."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from classifier import config
from classifier.search_space import NOT_VARIED
from orchestrate.errors import InputError

DEFAULTS = ("learning-rate=0.001:0.1:log", "batch-size=16,32,64,128,256", "epochs=2:10")
# A whole network takes smaller steps than a head on fixed features: from 0.01 on adamw hardly learns.
WHOLE_NETWORK = ("learning-rate=0.0003:0.01:log", "batch-size=16,32,64", "epochs=4:10")
_FORM = "give NAME=low:high, NAME=low:high:log or NAME=a,b,c"
_MOST_VALUES = 30  # SageMaker's limit for one categorical range


@dataclass(frozen=True)
class Range:
    """One hyperparameter of a search: `values` (categorical), or `low` to `high` inclusive."""

    name: str
    kind: str
    """Integer, Continuous or Categorical, as SageMaker calls them"""
    low: str = ""
    high: str = ""
    log: bool = False
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.values:
            return f"{self.name} in " + ", ".join(self.values)
        return f"{self.name} {self.low} to {self.high}" + (" (log)" if self.log else "")


def parse(text: str) -> Range:
    """Raises InputError: another form, an unknown name, values out of bounds, an empty range, a logarithm of zero."""
    name, equals, body = text.partition("=")
    name = name.strip()
    if not equals or not body.strip():
        raise InputError(f"the range {text!r} cannot be read: {_FORM}")
    known = config.hyperparameters()
    if name not in known:
        may = [other for other in known if other not in NOT_VARIED]
        close = difflib.get_close_matches(name, may, 1)
        hint = f"did you mean {close[0]!r}?" if close else "a search may vary " + ", ".join(may)
        raise InputError(f"--range {text}: there is no hyperparameter {name!r}: {hint}")
    if name in NOT_VARIED:
        raise InputError(f"{name} cannot be varied: it says what the job does, not what a trial is")
    kind = str(known[name].type)
    return _interval(name, kind, body) if ":" in body else _categorical(name, body)


def choose(given: Sequence[str], fixed: Mapping[str, str], defaults: Sequence[str] = DEFAULTS) -> tuple[Range, ...]:
    """The ranges of a search: those given, and of `defaults` what is neither given nor fixed by a flag.

    Raises:
        InputError: as `parse`; a name given twice, or given and fixed; nothing left to vary.
    """
    chosen: dict[str, Range] = {}
    for text in given:
        found = parse(text)
        if found.name in chosen:
            raise InputError(f"--range {found.name} is given twice: keep one of them")
        if found.name in fixed:
            raise InputError(f"{found.name} is both fixed (--{found.name} {fixed[found.name]}) and varied "
                             f"(--range {text}): drop one of them")  # fmt: skip
        chosen[found.name] = found
    for default in map(parse, defaults):
        if default.name not in fixed:
            chosen.setdefault(default.name, default)
    if not chosen:
        raise InputError(f"there is nothing to search: every hyperparameter is fixed; add --range ({_FORM})")
    return tuple(chosen.values())


def to_request(ranges: Sequence[Range]) -> dict[str, Any]:
    """SageMaker's `ParameterRanges`."""
    request: dict[str, Any] = {}
    for r in ranges:
        item: dict[str, Any] = {"Name": r.name}
        if r.values:
            item["Values"] = list(r.values)
        else:
            item |= {"MinValue": r.low, "MaxValue": r.high, "ScalingType": "Logarithmic" if r.log else "Linear"}
        request.setdefault(f"{r.kind}ParameterRanges", []).append(item)
    return request


def _interval(name: str, kind: str, body: str) -> Range:
    low, high, *scale = (part.strip() for part in body.split(":"))
    if len(scale) > 1 or (scale and scale[0] not in ("log", "linear")):
        raise InputError(f"the range {name}={body} cannot be read: {_FORM}")
    if kind not in ("int", "float"):
        raise InputError(f"{name} has no low and high: give the values to try, --range {name}=a,b")
    for value in (low, high):
        _check(name, body, value)
    if not float(low) < float(high):
        raise InputError(f"the range {name}={body} is empty: {low} is not below {high}")
    if scale == ["log"] and float(low) <= 0:
        raise InputError(f"the range {name}={body} cannot be logarithmic: its lower end {low} must be above 0")
    return Range(name, "Integer" if kind == "int" else "Continuous", low, high, scale == ["log"])


def _categorical(name: str, body: str) -> Range:
    values = tuple(part.strip() for part in body.split(","))
    if len(values) < 2:
        raise InputError(f"the range {name}={body} has one value: fix it with --{name} {body}, or {_FORM}")
    if len(values) > _MOST_VALUES or len(set(values)) < len(values):
        raise InputError(f"the range {name}={body} needs 2 to {_MOST_VALUES} values, each once")
    for value in values:
        _check(name, body, value)
    return Range(name, "Categorical", values=values)


def _check(name: str, body: str, value: str) -> None:
    """Raises InputError, which tells the range, when the hyperparameter may not have this value."""
    try:
        config.Config.parse({name: value})
    except InputError as error:
        raise InputError(f"--range {name}={body}: {error}") from None
