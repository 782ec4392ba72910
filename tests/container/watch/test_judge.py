"""What the rules say, when, and what they end."""

from __future__ import annotations

from typing import Any

import pytest

from classifier import rule_settings
from classifier.watch import judge as judging
from classifier.watch.collected import EpochMetrics, StepTime
from classifier.watch.judge import Judge
from classifier.watch.rules.rule import KEPT_FIRINGS, Finding, Firing
from classifier.watch.rules.step_rules import StepOutlier


def epoch(number: int, loss: float) -> EpochMetrics:
    return EpochMetrics(number, 100.0 * number, 10.0, 50.0, loss, 1 / number, 0.5, 1.0, [[4, 4], [4, 4]], [8, 8])


def step(number: int) -> StepTime:
    return StepTime(number, 1, 8, float(number), 0.0, 0.0, 0.1, 0.1, 0.0)


def judged(rules: str = "", stop_on: str = "") -> tuple[Judge, list[str]]:
    """And the lines of the log that are about LossNotDecreasing: others have things to say of these epochs as well."""
    log: list[str] = []

    def say(line: str) -> None:
        if line.startswith("finding: LossNotDecreasing "):
            log.append(line)

    return Judge(rule_settings.parse(rules, stop_on), None, say), log


def test_the_first_firing_is_said_and_the_tenth() -> None:
    judge, log = judged("LossNotDecreasing:error")
    for number in range(1, 15):
        judge.on_epoch(epoch(number, 2.0))
    assert len(log) == 2
    assert log[0].startswith("finding: LossNotDecreasing (error) epoch 2: the training loss is 2 after 2 ")
    assert log[0].endswith("; " + rule_settings.RULES["LossNotDecreasing"].advice)
    assert log[1].startswith("finding: LossNotDecreasing (error) (fired 10 times) epoch 11: ")
    found = {finding.rule: finding for finding in judge.findings()}["LossNotDecreasing"]
    assert (found.points, found.fired, found.severity) == (13, 13, "error")
    assert found.firings[0].epoch == 2 and found.firings[0].at == 210.0
    assert judge.reason is None


def test_a_rule_that_ends_the_job() -> None:
    judge, log = judged(stop_on="LossNotDecreasing")
    judge.on_epoch(epoch(1, 2.0))
    assert not judge.should_stop()
    judge.on_epoch(epoch(2, 2.0))
    judge.on_epoch(epoch(3, 9.0))
    assert judge.should_stop() and judge.reason is not None
    assert judge.reason.startswith("stopped by the rule LossNotDecreasing: the training loss is 2 after 2 in the ")
    assert judge.reason.endswith(rule_settings.RULES["LossNotDecreasing"].advice)
    assert len(log) == 1


def test_a_rule_that_is_off_is_silent() -> None:
    judge, log = judged("LossNotDecreasing:off")
    judge.on_epoch(epoch(1, 2.0))
    judge.on_epoch(epoch(2, 2.0))
    assert log == [] and "LossNotDecreasing" not in {finding.rule for finding in judge.findings()}


def test_a_rule_that_fails_is_asked_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fail(self: Any, step: StepTime) -> None:
        asked.append(step.number)
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(StepOutlier, "on_step", fail)
    judge, _ = judged()
    for number in range(1, 4):
        judge.on_step(step(number))
    assert asked == [1]
    assert judge.missing == [
        "the rule StepOutlier ended with an error of its own (ZeroDivisionError: division by zero)"
    ]
    assert {f.rule: f.points for f in judge.findings()}["MaxInitializationTime"] == 1


def test_what_no_step_says() -> None:
    judge, _ = judged()
    judge.configure(began=-3600.0, classes=("cat", "dog"))
    judge.on_step(step(1))
    judge.on_epoch(epoch(1, 1.0)._replace(train_counts=[100, 1]))
    details = {f.rule: f.firings[0].detail for f in judge.findings() if f.fired}
    assert details == {
        "MaxInitializationTime": "the first step was done 60.0 minutes after the job began",
        "ClassImbalance": "cat has 100 photographs in training, dog has 1",
    }


def test_findings_of_several_ranks_are_one() -> None:
    def of_rank(*at: float) -> list[Finding]:
        firings = tuple(Firing(t, int(t), 1, f"at {t}") for t in at)
        return [
            Finding("StepOutlier", "system", "warning", "what", "advice", "source", {}, 100, len(at), firings),
            Finding("BatchSize", "system", "warning", "what", "advice", "source", {}, 0, 0, (), "no GPU"),
        ]  # fmt: skip

    ranks = [of_rank(1.0, 4.0), judging.read(judging.written(of_rank(3.0)))]
    outlier, batch = judging.merged(ranks)
    assert (outlier.points, outlier.fired) == (200, 3)
    assert [firing.at for firing in outlier.firings] == [1.0, 3.0, 4.0]
    assert (batch.points, batch.unseen) == (0, "no GPU")
    many, _ = judging.merged([of_rank(*range(0, 80, 2)), of_rank(*range(1, 81, 2))])
    assert [firing.at for firing in many.firings] == [*range(KEPT_FIRINGS - 1), 79]
