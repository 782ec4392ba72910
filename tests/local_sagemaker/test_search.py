"""Ranges and proposals, without a server."""

from __future__ import annotations

import statistics
from typing import Any

import pytest

from local_sagemaker.errors import ApiError
from local_sagemaker.search import Search, ranges


def continuous(low: str, high: str, scaling: str = "Auto", name: str = "x") -> dict[str, Any]:
    return {"ContinuousParameterRanges": [{"Name": name, "MinValue": low, "MaxValue": high, "ScalingType": scaling}]}


def integer(low: str, high: str, scaling: str = "Auto") -> dict[str, Any]:
    return {"IntegerParameterRanges": [{"Name": "x", "MinValue": low, "MaxValue": high, "ScalingType": scaling}]}


def proposals(requested: dict[str, Any], count: int = 200) -> list[float]:
    search = Search("Random", ranges(requested), "Maximize", count, seed=1)
    return [float(search.ask()["x"]) for _ in range(count)]


@pytest.mark.parametrize(
    ("requested", "low", "high", "middle"),
    [
        (continuous("0", "1", "Linear"), 0, 1, 0.5),
        (continuous("0.0001", "1", "Logarithmic"), 0.0001, 1, 0.01),
        (continuous("0.0001", "1"), 0.0001, 1, 0.01),  # Auto: four orders of magnitude
        (continuous("1", "9"), 1, 9, 5),  # Auto: less than two
        (continuous("0", "0.9999", "ReverseLogarithmic"), 0, 0.9999, 0.99),
        (integer("1", "9"), 1, 9, 5),
        (integer("1", "10000", "Logarithmic"), 1, 10000, 100),
    ],
)
def test_scales(requested: dict[str, Any], low: float, high: float, middle: float) -> None:
    found = proposals(requested)
    assert low <= min(found) <= max(found) <= high
    median = statistics.median(found)
    # 0.99 is to be met in its distance to 1, small numbers in their ratio.
    distance = (1 - median) / (1 - middle) if middle == 0.99 else median / middle
    assert 0.4 < distance < 2.5


def test_integers_and_choices_are_written_as_such() -> None:
    requested = {**integer("1", "3"), "CategoricalParameterRanges": [{"Name": "model", "Values": ["a", "b", "a"]}]}
    search = Search("Random", ranges(requested), "Maximize", 30, seed=1)
    found = [search.ask() for _ in range(30)]
    assert {proposal["x"] for proposal in found} == {"1", "2", "3"}
    assert {proposal["model"] for proposal in found} == {"a", "b"}


@pytest.mark.parametrize("direction", ["Maximize", "Minimize"])
def test_a_bayesian_search_learns(direction: str) -> None:
    """It proposes values near the optimum more often than chance; a failed trial teaches nothing and harms nothing."""
    search = Search("Bayesian", ranges(continuous("0", "1", "Linear")), direction, 60, seed=3)
    sign = 1 if direction == "Maximize" else -1
    found = []
    for number in range(60):
        x = float(search.ask()["x"])
        found.append(x)
        search.tell(number, None if number % 10 == 9 else -sign * (x - 0.8) ** 2)
    assert sum(abs(x - 0.8) < 0.1 for x in found[30:]) > 12  # chance: 6 of 30


@pytest.mark.parametrize(
    ("requested", "message"),
    [
        (continuous("a", "1"), "are not both numbers"),
        (continuous("nan", "1"), "greater than its MaxValue"),
        (integer("0.5", "1"), "are not both integers"),
        (continuous("2", "1"), "greater than its MaxValue"),
        (continuous("0", "1", "Logarithmic"), "needs a MinValue greater than 0"),
        (continuous("0", "1", "ReverseLogarithmic"), "0 <= x < 1"),
        (integer("0", "9", "ReverseLogarithmic"), "needs a Continuous range"),
        ({"CategoricalParameterRanges": [{"Name": "x", "Values": []}]}, "has no values"),
        ({**continuous("0", "1"), **integer("1", "2")}, "more than one range"),
    ],
)
def test_bounds_that_are_no_range(requested: dict[str, Any], message: str) -> None:
    with pytest.raises(ApiError, match=message):
        ranges(requested)
