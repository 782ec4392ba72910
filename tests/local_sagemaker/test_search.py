"""Ranges and proposals, without a server."""

from __future__ import annotations

import statistics
from typing import Any

import pytest

from local_sagemaker.errors import ApiError
from local_sagemaker.ranges import combinations, parse
from local_sagemaker.search import Method, Search


def continuous(low: str, high: str, scaling: str = "Auto", name: str = "x") -> dict[str, Any]:
    return {"ContinuousParameterRanges": [{"Name": name, "MinValue": low, "MaxValue": high, "ScalingType": scaling}]}


def integer(low: str, high: str, scaling: str = "Auto") -> dict[str, Any]:
    return {"IntegerParameterRanges": [{"Name": "x", "MinValue": low, "MaxValue": high, "ScalingType": scaling}]}


def proposals(requested: dict[str, Any], count: int = 200) -> list[float]:
    search = Search(Method("Random", seed=1), parse(requested), "Maximize", count)
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
        (integer("100", "1000000", "Logarithmic"), 100, 1000000, 10000),
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
    search = Search(Method("Random", seed=1), parse(requested), "Maximize", 30)
    found = [search.ask() for _ in range(30)]
    assert {proposal["x"] for proposal in found} == {"1", "2", "3"}
    assert {proposal["model"] for proposal in found} == {"a", "b"}


@pytest.mark.parametrize("direction", ["Maximize", "Minimize"])
def test_a_bayesian_search_learns(direction: str) -> None:
    """It proposes values near the optimum more often than chance; a failed trial teaches nothing and harms nothing."""
    search = Search(Method("Bayesian", seed=3), parse(continuous("0", "1", "Linear")), direction, 60)
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
        (continuous("nan", "1"), "are not both numbers"),
        (continuous("0", "inf"), "are not both numbers"),
        (integer("0.5", "1"), "are not both integers"),
        (continuous("2", "1"), "greater than its MaxValue"),
        (continuous("0", "1", "Logarithmic"), "needs a MinValue greater than 0"),
        (continuous("0", "1", "ReverseLogarithmic"), "0 <= x < 1"),
        (integer("0", "9", "ReverseLogarithmic"), "needs a Continuous range"),
        ({"CategoricalParameterRanges": [{"Name": "x", "Values": []}]}, "has no values"),
        ({**continuous("0", "1"), **integer("1", "2")}, "more than one range"),
        (
            {"CategoricalParameterRanges": [{"Name": str(n), "Values": ["a"]} for n in range(31)]},
            "31 hyperparameters together",
        ),
    ],
)
def test_bounds_that_are_no_range(requested: dict[str, Any], message: str) -> None:
    with pytest.raises(ApiError, match=message):
        parse(requested)


CHOICES = {
    "CategoricalParameterRanges": [{"Name": "a", "Values": ["1", "2"]}, {"Name": "b", "Values": ["x", "y", "z"]}]
}


def test_combinations() -> None:
    assert combinations(parse({**CHOICES, **integer("3", "7")})) == 30
    assert combinations(parse({**CHOICES, **continuous("3", "3")})) == 6
    assert combinations(parse(continuous("0", "1"))) == float("inf")


def test_a_grid_is_tried_whole_and_once() -> None:
    search = Search(Method("Grid", seed=4), parse(CHOICES), "Maximize", 6)
    found = []
    for number in range(6):
        found.append(tuple(search.ask().values()))
        search.tell(number, None if number == 2 else 1.0)
    assert sorted(found) == [(a, b) for a in "12" for b in "xyz"]


@pytest.mark.parametrize("strategy", ["Bayesian", "Random"])
def test_few_combinations_are_not_tried_twice(strategy: str) -> None:
    search = Search(Method(strategy, 3), parse(CHOICES), "Maximize", 6)
    found = []
    for number in range(6):
        found.append(tuple(search.ask().values()))
        search.tell(number, float(found[-1] == ("1", "x")))
    assert len(set(found)) == 6
    assert tuple(search.ask().values()) in found  # there is no other


@pytest.mark.parametrize("strategy", ["Bayesian", "Random", "Grid", "Hyperband"])
def test_a_seed_repeats_a_search(strategy: str) -> None:
    def run(seed: int) -> list[dict[str, str]]:
        resource = (1, 4) if strategy == "Hyperband" else None
        search = Search(Method(strategy, seed, resource=resource), parse(CHOICES), "Maximize", 6)
        found = []
        for number in range(6):
            found.append(search.ask())
            for _ in range(4):
                search.report(number, float(found[-1]["a"]))
            search.tell(number, float(found[-1]["a"]))
        return found

    assert run(5) == run(5) != run(6)


def early_stopping(direction: str, lag: int = 1, completed: int = 3) -> Search:
    """A search whose completed trials had the values 1, 3, 5 (averages 1, 2, 3) and are to be judged by."""
    search = Search(Method("Random", 1, early_stopping=True, lag=lag), parse(continuous("0", "1")), direction, 9)
    for number in range(completed):
        search.ask()
        assert not any(search.report(number, value) for value in (1.0, 3.0, 5.0))
        search.tell(number, 5.0)
    search.ask()
    return search


@pytest.mark.parametrize(("direction", "better", "worse"), [("Maximize", 2.0, 1.9), ("Minimize", 2.0, 2.1)])
def test_early_stopping_compares_with_the_median_of_running_averages(
    direction: str, better: float, worse: float
) -> None:
    search = early_stopping(direction)
    assert not search.report(3, 1.0)
    assert not search.report(3, better)
    search = early_stopping(direction)
    assert not search.report(3, 1.0)
    assert search.report(3, worse)
    assert not search.report(3, worse)  # said once


def test_early_stopping_needs_completed_trials_before_it() -> None:
    assert not early_stopping("Maximize", completed=2).report(2, 0.0)
    assert not early_stopping("Maximize", lag=2).report(3, 0.0)  # sees trials 0 and 1 only
    search = early_stopping("Maximize")
    assert search.report(3, 0.0)
    search.tell(3, 9.0)
    search.ask()
    assert not any(search.report(4, value) for value in (1.0, 2.0))  # the stopped one is no example


def test_hyperband_ends_what_is_worse_and_what_takes_more_than_its_most() -> None:
    search = Search(Method("Hyperband", 1, resource=(2, 8)), parse(continuous("0", "1")), "Maximize", 30)
    given = []
    for number in range(30):
        value = float(search.ask()["x"])
        count = 1
        while not search.report(number, value):
            count += 1
        search.tell(number, value)
        given.append((count, value))
    assert {count for count, _ in given} <= {2, 6, 9}  # MinResource, three times that, more than MaxResource
    assert min(given)[0] == 2
    whole, stopped = ([value for count, value in given if (count == 9) is wanted] for wanted in (True, False))
    assert statistics.mean(whole) > statistics.mean(stopped)


def test_trials_of_other_searches_are_learned_from() -> None:
    earlier = [({"x": str(x / 40), "other": "1"}, -abs(x / 40 - 0.2)) for x in range(41)]
    search = Search(Method("Bayesian", seed=1), parse(continuous("0", "1", "Linear")), "Maximize", 20)
    search.learn([*earlier, ({"x": "7"}, 100.0), ({"x": "text"}, 100.0)])
    found = [float(search.ask()["x"]) for _ in range(20)]
    assert sum(abs(x - 0.2) < 0.1 for x in found) > 8  # chance: 4 of 20
    reverse = Search(Method("Bayesian", 1), parse(continuous("0", "0.999", "ReverseLogarithmic")), "Maximize", 20)
    reverse.learn([({"x": str(1 - 10 ** (-n / 10))}, -abs(n - 15)) for n in range(30)])
    near = [float(reverse.ask()["x"]) for _ in range(20)]
    assert sum(0.9 < x < 0.99 for x in near) > 8  # chance: a third
