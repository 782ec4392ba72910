"""What is learned of a job's progress from its log."""

from __future__ import annotations

import math

import pytest

from classifier import metrics
from orchestrate.job_log import Progress


def read(*lines: tuple[float, str]) -> Progress:
    progress = Progress()
    for at, line in lines:
        progress.read(line, at)
    return progress


def epoch(number: int, accuracy: float, seconds: float = 100.0) -> str:
    told = metrics.line({"train:loss": 2 / number, "valid:loss": 1.0, "valid:accuracy": accuracy})
    return f"epoch {number}/4: {told} (95 images/s, {seconds:.1f} s)"


def test_before_the_first_line() -> None:
    progress = Progress()
    assert not progress.read("data: 588 train, 126 valid photographs of 6 classes", 5.0)
    assert (progress.done, progress.left_s(9.0), progress.best("valid:accuracy")) == (0.0, None, None)


def test_epochs_and_steps() -> None:
    progress = read((0, epoch(1, 0.5)), (100, epoch(2, 0.75)), (150, "step 5/10 of epoch 3/4: loss=nan 96 images/s"))
    assert (progress.epoch, progress.epochs, progress.step, progress.steps) == (3, 4, 5, 10)
    assert progress.done == pytest.approx(2.5 / 4)
    assert progress.loss is not None and math.isnan(progress.loss)
    assert progress.images_per_s == 96
    assert progress.last("valid:accuracy") == 0.75 and progress.best("valid:accuracy") == (0.75, 2)
    # 1.5 epochs of 100 s are left when the line comes, 10 s of them are over.
    assert progress.left_s(160) == pytest.approx(140)
    assert progress.left_s(1000) == 0
    for number, accuracy in ((3, math.nan), (4, 0.75)):
        progress.read(epoch(number, accuracy), 400)
    assert (progress.done, progress.step, progress.best("valid:accuracy")) == (1.0, 0, (0.75, 2))


def test_the_first_epoch_is_timed_by_its_steps() -> None:
    steps = [(10.0 * i, f"step {10 * i}/100 of epoch 1/4: loss=2.5 95 images/s") for i in (1, 2, 3)]
    assert read(steps[0]).left_s(11) is None, "one line tells no speed"
    # 20 of 400 steps in 20 s.
    assert read(*steps).left_s(30) == pytest.approx(370)
    # Somebody who comes late reads all lines at once.
    assert read(*((30.0, line) for _, line in steps)).left_s(31) is None


def test_findings_by_their_rule() -> None:
    progress = read(
        (1, "finding: Overfit (warning) epoch 2: 20 % above its best; train fewer epochs"),
        (2, "finding: LossNotDecreasing (error) epoch 2: it rose; lower learning-rate"),
        (3, "finding: Overfit (warning) epoch 9: fired 10 times; train fewer epochs"),
    )
    assert [(f.rule, f.severity) for f in progress.findings.values()] == [
        ("Overfit", "warning"),
        ("LossNotDecreasing", "error"),
    ]
    assert progress.findings["Overfit"].text == "epoch 9: fired 10 times; train fewer epochs"
