"""The ranges of a search: what a request says of each tuned hyperparameter, and how Optuna is to sample it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from local_sagemaker import errors

if TYPE_CHECKING:
    import optuna

# Auto scaling: where the range spans two orders of magnitude, equal steps would hardly ever try its lower end.
LOGARITHMIC_FROM = 100.0
MOST = 30  # tuned hyperparameters, of all kinds together


@dataclass(frozen=True)
class Range:
    """One tuned hyperparameter: a numeric range with its scale, or choices."""

    name: str
    low: float = 0.0
    high: float = 0.0
    integer: bool = False
    scale: str = "Linear"
    choices: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        if self.choices:
            return "Categorical"
        return "Integer" if self.integer else "Continuous"

    @property
    def values(self) -> float:
        """How many different values it has."""
        if self.choices:
            return len(self.choices)
        if self.integer:
            return self.high - self.low + 1
        return 1 if self.low == self.high else math.inf

    def texts(self) -> Sequence[str]:
        """All of its values, where they can be counted."""
        if self.choices:
            return self.choices
        if self.integer:
            return [str(value) for value in range(int(self.low), int(self.high) + 1)]
        return [str(self.low)]

    def distribution(self) -> optuna.distributions.BaseDistribution:
        from optuna import distributions

        if self.choices:
            return distributions.CategoricalDistribution(self.choices)
        is_log = self.scale == "Logarithmic"
        if self.integer:
            return distributions.IntDistribution(int(self.low), int(self.high), log=is_log)
        if self.scale == "ReverseLogarithmic":  # the distance to 1 is what is searched, logarithmically
            return distributions.FloatDistribution(1 - self.high, 1 - self.low, log=True)
        return distributions.FloatDistribution(self.low, self.high, log=is_log)

    def text(self, value: Any) -> str:
        """A proposed value as the hyperparameter that the job receives."""
        if self.scale == "ReverseLogarithmic":
            value = min(max(1 - value, self.low), self.high)
        return str(value)

    def value(self, text: str) -> Any:
        """The opposite of `text`; None for a text that is no value of this range."""
        if self.choices:
            return text if text in self.choices else None
        try:
            value = int(text) if self.integer else float(text)
        except ValueError:
            return None
        if not self.low <= value <= self.high:
            return None
        return 1 - value if self.scale == "ReverseLogarithmic" else value


def parse(request: dict[str, Any]) -> list[Range]:
    """The ParameterRanges of a request. Raises ApiError for bounds that are no range."""
    found = [
        _numeric(item, integer)
        for integer in (True, False)
        for item in request.get("IntegerParameterRanges" if integer else "ContinuousParameterRanges", [])
    ]
    for item in request.get("CategoricalParameterRanges", []):
        if not item["Values"]:
            raise errors.validation(f"The categorical parameter '{item['Name']}' has no values.")
        found.append(Range(item["Name"], choices=tuple(dict.fromkeys(item["Values"]))))
    names = [item.name for item in found]
    for name in names:
        if names.count(name) > 1:
            raise errors.validation(f"The hyperparameter '{name}' has more than one range.")
    if len(found) > MOST:
        raise errors.validation(f"The ranges have {len(found)} hyperparameters together; at most {MOST} can be tuned.")
    return found


def combinations(found: list[Range]) -> float:
    """How many different proposals there are; infinite as soon as one range is continuous."""
    return math.prod(item.values for item in found)


def _numeric(item: dict[str, str], integer: bool) -> Range:
    name, scale = item["Name"], item.get("ScalingType", "Auto")
    try:
        low, high = ((int if integer else float)(item[bound]) for bound in ("MinValue", "MaxValue"))
    except ValueError:
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high)):
        raise errors.validation(
            f"MinValue '{item['MinValue']}' and MaxValue '{item['MaxValue']}' of '{name}' "
            f"are not both {'integers' if integer else 'numbers'}."
        )
    if low > high:
        raise errors.validation(f"MinValue {low} of '{name}' is greater than its MaxValue {high}.")
    if scale == "Auto":
        scale = "Logarithmic" if low > 0 and high / low >= LOGARITHMIC_FROM else "Linear"
    if scale == "Logarithmic" and low <= 0:
        raise errors.validation(f"Logarithmic scaling of '{name}' needs a MinValue greater than 0, not {low}.")
    if scale == "ReverseLogarithmic" and (integer or low < 0 or high >= 1):
        raise errors.validation(f"ReverseLogarithmic scaling of '{name}' needs a Continuous range with 0 <= x < 1.")
    return Range(name, low, high, integer, scale)
