"""The notebook's charts: a search's trials, a training's learning curves, where its time went and what the CPUs did."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator, MaxNLocator, ScalarFormatter

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from orchestrate.tuned import Tuned

_BEST, _OTHER, _MUTED = "tab:blue", "tab:orange", "0.7"
_PARTS = {"wait": "waiting for data", "copy": "copying to the device", "checkpoint": "writing checkpoints"}


def trials(tuned: Tuned) -> None:
    """The objective of each trial, and of each the learning curve; the best trial is blue."""
    _, (by_trial, by_epoch) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
    for trial in tuned.trials:
        colour = _BEST if trial == tuned.best else _MUTED
        if trial.objective is not None:
            by_trial.plot(trial.number, trial.objective, "o", color=colour)
        told = [(e["epoch"], e[tuned.objective]) for e in trial.curve if tuned.objective in e]
        by_epoch.plot(*zip(*told, strict=True), ".-", color=colour, zorder=3 if trial == tuned.best else 2)
    for axes, title, along in ((by_trial, "each trial", "trial"), (by_epoch, "its way there", "epoch")):
        _labels(axes, f"{tuned.objective}, {title}", along)


def learning(report: Mapping[str, Any]) -> None:
    """Loss of training and validation, and accuracy, by epoch. `report`: report.json."""
    _, (loss, accuracy) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
    epochs = report["epochs"]
    numbers = [epoch["number"] for epoch in epochs]
    loss.plot(numbers, [epoch["train_loss"] for epoch in epochs], ".-", color=_OTHER, label="train")
    loss.plot(numbers, [epoch["valid_loss"] for epoch in epochs], ".-", color=_BEST, label="valid")
    # The first epochs of a network with random weights may be far off, and would press all else to the floor.
    loss.set_yscale("log")
    loss.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    loss.yaxis.set_major_formatter(ScalarFormatter())
    loss.minorticks_off()
    accuracy.plot(numbers, [epoch["valid_accuracy"] for epoch in epochs], ".-", color=_BEST, label="valid")
    accuracy.axhline(1 / len(report["classes"]), linestyle=":", color=_MUTED, label="chance")
    accuracy.axvline(report["kept_epoch"], linestyle="--", color=_MUTED, label="epoch that was kept")
    accuracy.set_ylim(0, 1.03)
    for axes, title in ((loss, "loss"), (accuracy, "accuracy")):
        axes.legend(frameon=False)
        _labels(axes, title, "epoch")


def resources(report: Mapping[str, Any]) -> None:
    """Where the seconds of the training went, and how busy the CPUs were that it had. `report`: report.json."""
    _, (time, busy) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
    spent = {part: seconds for part, seconds in report["time"].items() if part != "total"}
    parts = sorted(spent, key=lambda part: spent[part])
    time.barh([_PARTS.get(part, part) for part in parts], [spent[part] for part in parts], color=_BEST)
    _labels(time, "where the time went", "seconds")
    samples = report["ranks"][0]["samples"]
    seconds = [at - report["began"] for at in samples["at"]]
    # `cpu` has a list for each core.
    busy.plot(seconds, [fmean(cores) for cores in zip(*samples["cpu"], strict=True)], color=_BEST, label="CPUs")
    busy.plot(seconds, samples["iowait"], color=_OTHER, label="waiting for the disk")
    busy.set_ylim(0, 105)
    busy.legend(frameon=False)
    _labels(busy, "busy, percent", "seconds")


def _labels(axes: Axes, title: str, along: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(along)
    axes.spines[["top", "right"]].set_visible(False)
    if along in ("trial", "epoch"):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
