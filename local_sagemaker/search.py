"""The search strategies, by Optuna: ranges of a request -> proposals -> what was learned from their results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from local_sagemaker import errors

if TYPE_CHECKING:
    import optuna

STRATEGIES = ("Bayesian", "Random")
# Auto scaling: where the range spans two orders of magnitude, equal steps would hardly ever try its lower end.
LOGARITHMIC_FROM = 100.0


@dataclass(frozen=True)
class Range:
    """One tuned hyperparameter: a numeric range with its scale, or choices."""

    name: str
    low: float = 0.0
    high: float = 0.0
    integer: bool = False
    scale: str = "Linear"
    choices: tuple[str, ...] = ()

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


def ranges(request: dict[str, Any]) -> list[Range]:
    """The ParameterRanges of a request. Raises ApiError for bounds that are no range."""
    found = [
        _numeric(item, integer)
        for integer in (True, False)
        for item in request.get(f"{_KINDS[integer]}ParameterRanges", [])
    ]
    for item in request.get("CategoricalParameterRanges", []):
        if not item["Values"]:
            raise errors.validation(f"The categorical parameter '{item['Name']}' has no values.")
        found.append(Range(item["Name"], choices=tuple(dict.fromkeys(item["Values"]))))
    names = [item.name for item in found]
    for name in names:
        if names.count(name) > 1:
            raise errors.validation(f"The hyperparameter '{name}' has more than one range.")
    return found


class Search:
    """Proposes and learns. For one thread. The same seed, ranges and order of results give the same proposals."""

    def __init__(self, strategy: str, found: list[Range], direction: str, jobs: int, seed: int | None) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        if seed is not None:
            seed %= 2**32  # the range of numpy's seeds
        sampler: optuna.samplers.BaseSampler
        if strategy == "Random":
            sampler = optuna.samplers.RandomSampler(seed=seed)
        else:
            # Optuna's ten random trials at first would make a search of eight trials a random one.
            sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=min(10, max(3, jobs // 4)))
        self._ranges = found
        self._study = optuna.create_study(direction=optuna.study.StudyDirection[direction.upper()], sampler=sampler)
        self._failed = optuna.trial.TrialState.FAIL

    def ask(self) -> dict[str, str]:
        """The next proposal, by name, as strings; the first has number 0."""
        trial = self._study.ask({item.name: item.distribution() for item in self._ranges})
        return {item.name: item.text(trial.params[item.name]) for item in self._ranges}

    def tell(self, number: int, value: float | None) -> None:
        """The result of a proposal; None when its job gave none."""
        if value is None:
            self._study.tell(number, state=self._failed)
        else:
            self._study.tell(number, value)


_KINDS = {True: "Integer", False: "Continuous"}


def _numeric(item: dict[str, str], integer: bool) -> Range:
    name, scale = item["Name"], item.get("ScalingType", "Auto")
    try:
        low, high = ((int if integer else float)(item[bound]) for bound in ("MinValue", "MaxValue"))
    except ValueError:
        raise errors.validation(
            f"MinValue '{item['MinValue']}' and MaxValue '{item['MaxValue']}' of '{name}' "
            f"are not both {'integers' if integer else 'numbers'}."
        ) from None
    if not low <= high:
        raise errors.validation(f"MinValue {low} of '{name}' is greater than its MaxValue {high}.")
    if scale == "Auto":
        scale = "Logarithmic" if low > 0 and high / low >= LOGARITHMIC_FROM else "Linear"
    if scale == "Logarithmic" and low <= 0:
        raise errors.validation(f"Logarithmic scaling of '{name}' needs a MinValue greater than 0, not {low}.")
    if scale == "ReverseLogarithmic" and (integer or low < 0 or high >= 1):
        raise errors.validation(f"ReverseLogarithmic scaling of '{name}' needs a Continuous range with 0 <= x < 1.")
    return Range(name, low, high, integer, scale)
