"""When a search is over, by its values alone."""

from __future__ import annotations

import pytest

from local_sagemaker.completion import CONVERGED_AFTER, Progress


@pytest.mark.parametrize(("direction", "sign"), [("Maximize", 1), ("Minimize", -1)])
def test_what_improves(direction: str, sign: int) -> None:
    progress = Progress(direction)
    # A hundredth of the best so far is an improvement; less is a new best and none.
    seen = [(progress.take(sign * value), progress.not_improving) for value in (100, 101, 101.5, 99, 103)]
    assert seen == [(True, 0), (True, 0), (True, 1), (False, 2), (True, 0)]
    assert progress.best == sign * 103
    assert progress.is_better(sign * 102.9) and not progress.is_better(sign * 103)


def test_of_nothing_anything_is_better() -> None:
    progress = Progress("Minimize")
    progress.take(0.0)
    assert progress.take(-1e-9)
    assert progress.not_improving == 0
    assert not Progress("Minimize").is_better(5.0)


@pytest.mark.parametrize(("enabled", "complete"), [("Enabled", True), ("Disabled", False)])
def test_convergence_is_found_and_ends_the_search_where_asked(enabled: str, complete: bool) -> None:
    progress = Progress("Maximize", {"ConvergenceDetected": {"CompleteOnConvergence": enabled}})
    for _ in range(CONVERGED_AFTER):
        progress.take(1.0)
        assert not progress.is_complete()
        assert progress.converged_at is None
    progress.take(1.0)
    assert progress.is_complete() is complete
    assert progress.details() == {
        "NumberOfTrainingJobsObjectiveNotImproving": CONVERGED_AFTER,
        "ConvergenceDetectedTime": progress.converged_at,
    }
