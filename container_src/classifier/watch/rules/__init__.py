"""Findings: what the collected numbers say about a run, with what to do about it.

The names and thresholds are those of SageMaker Debugger's built-in rules and of its profiler report
(docs.aws.amazon.com/sagemaker/latest/dg/debugger-built-in-rules.html), which are closed to new accounts.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from classifier.training import Epoch
from classifier.watch.collected import StepTime
from classifier.watch.profiler import Sample


@dataclass(frozen=True)
class Run:
    """What the rules look at."""

    epochs: Sequence[Epoch]
    steps: Sequence[StepTime]
    samples: Sequence[Sample]
    initialization_s: float


@dataclass(frozen=True)
class Finding:
    """`points`: how many data points the rule saw; `fired`: at how many it fired; `advice` only where it fired."""

    rule: str
    what: str
    points: int
    fired: int
    advice: str = ""


def loss_not_decreasing(run: Run, percent: float = 0.1) -> Finding:
    """Fires in each epoch whose training loss is not at least `percent` % below that of the epoch before."""
    losses = [e.train_loss for e in run.epochs]
    fired = sum(after > before * (1 - percent / 100) for before, after in itertools.pairwise(losses))
    return Finding(
        "LossNotDecreasing", "the training loss falls from epoch to epoch", max(len(losses) - 1, 0), fired,
        "Lower learning-rate, or train a deeper model if the loss has levelled off." if fired else "",
    )  # fmt: skip


def overfit(run: Run, ratio: float = 0.1, patience: int = 1) -> Finding:
    """Fires in each epoch, after the first `patience`, in which the validation loss rose by `ratio` over its best."""
    fired, best = 0, float("inf")
    for epoch in run.epochs:
        if epoch.number > patience and epoch.valid.loss > best * (1 + ratio):
            fired += 1
        best = min(best, epoch.valid.loss)
    return Finding(
        "Overfit", "the validation loss does not rise again", len(run.epochs), fired,
        "Train fewer epochs, turn augment on, or raise weight-decay or label-smoothing." if fired else "",
    )  # fmt: skip


def step_outlier(run: Run, deviations: float = 3.0, ignore: int = 10) -> Finding:
    """Fires at each step longer than the mean by `deviations` standard deviations, the first `ignore` left out."""
    times = [s.seconds for s in run.steps[ignore:]]
    fired = 0
    if len(times) > 1:
        limit = statistics.fmean(times) + deviations * statistics.stdev(times)
        fired = sum(t > limit for t in times)
    return Finding(
        "StepOutlier", "no step takes far longer than the others", len(times), fired,
        "Look at what else the machine did at those times: other jobs, checkpoints, a slow disk." if fired else "",
    )  # fmt: skip


def dataloader(run: Run, share: float = 0.3) -> Finding:
    """Fires at each step that spent more than `share` of its time waiting for its photographs."""
    fired = sum(s.wait_s > share * s.seconds for s in run.steps)
    return Finding(
        "Dataloader", f"steps wait for data less than {share:.0%} of their time", len(run.steps), fired,
        "Raise workers, or store smaller photographs: decoding them is what the network waits for." if fired else "",
    )  # fmt: skip


def io_bottleneck(run: Run, percent: float = 50.0) -> Finding:
    """Fires at each sample in which the CPUs waited for the disk for more than `percent` of the time."""
    fired = sum(s.iowait > percent for s in run.samples)
    return Finding(
        "IOBottleneck", "the CPUs do not wait for the disk", len(run.samples), fired,
        "Use a faster volume, or FastFile mode instead of many small downloads." if fired else "",
    )  # fmt: skip


def max_initialization_time(run: Run, threshold_s: float = 120.0) -> Finding:
    """Fires when it took longer than `threshold_s` until the first step was done."""
    fired = int(run.initialization_s > threshold_s)
    return Finding(
        "MaxInitializationTime", f"the first step ends within {threshold_s:g} s", 1, fired,
        "Look at what runs before training: imports, downloads, reading the data set." if fired else "",
    )  # fmt: skip


RULES: tuple[Callable[[Run], Finding], ...] = (
    loss_not_decreasing, overfit, step_outlier, dataloader, io_bottleneck, max_initialization_time,
)  # fmt: skip


def judge(run: Run) -> list[Finding]:
    """Every rule's finding, in a fixed order."""
    return [rule(run) for rule in RULES]
