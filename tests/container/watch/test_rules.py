from __future__ import annotations

import torch

from classifier.evaluation import Evaluation
from classifier.training import Epoch
from classifier.watch.collected import StepTime
from classifier.watch.profiler import Sample
from classifier.watch.rules import Finding, Run, judge


def epochs(*losses: tuple[float, float]) -> list[Epoch]:
    return [
        Epoch(i, 0.0, train, Evaluation(valid, 0.5, 0.5, torch.eye(2, dtype=torch.int64)), 10.0, 1.0, 0.1)
        for i, (train, valid) in enumerate(losses, 1)
    ]


def step(number: int, wait_s: float, forward_s: float) -> StepTime:
    return StepTime(number, 1, 8, 0.0, wait_s, 0.0, forward_s, 0.0, 0.0)


def findings(run: Run) -> dict[str, Finding]:
    return {f.rule: f for f in judge(run)}


def test_a_healthy_run_fires_nothing() -> None:
    run = Run(
        epochs((1.0, 1.0), (0.8, 0.9), (0.6, 0.85)),
        [step(i, 0.01, 0.1 + 0.001 * (i % 3)) for i in range(50)],
        [Sample(i / 2, 80.0, 1.0, 10**9, 0, 0) for i in range(20)],
        5.0,
    )
    assert {f.rule: f.fired for f in judge(run)} == dict.fromkeys(findings(run), 0)
    assert all(not f.advice for f in judge(run))


def test_each_rule_fires_where_it_should() -> None:
    slow = [step(i, 0.1, 0.1) for i in range(40)]
    slow[30] = step(30, 0.1, 9.0)
    run = Run(
        epochs((1.0, 1.0), (1.2, 1.0), (0.9, 1.2)),
        slow,
        [Sample(0.5, 10.0, 60.0, 10**9, 0, 0), Sample(1.0, 10.0, 0.0, 10**9, 0, 0)],
        200.0,
    )
    found = findings(run)
    assert (found["LossNotDecreasing"].points, found["LossNotDecreasing"].fired) == (2, 1)
    assert (found["Overfit"].points, found["Overfit"].fired) == (3, 1)
    assert (found["StepOutlier"].points, found["StepOutlier"].fired) == (30, 1)
    assert (found["Dataloader"].points, found["Dataloader"].fired) == (40, 39)
    assert (found["IOBottleneck"].points, found["IOBottleneck"].fired) == (2, 1)
    assert found["MaxInitializationTime"].fired == 1
    assert all(f.advice for f in found.values())


def test_nothing_recorded_is_no_finding() -> None:
    assert all(f.fired == 0 for f in judge(Run([], [], [], 0.0)))
