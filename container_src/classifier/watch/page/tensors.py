"""Distributions of tensors over the steps: for the script every one, as pictures a few, as a table all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from classifier.watch.page import charts

# Numbers of a statistic, of all tensors together.
MOST_NUMBERS = 30_000
MOST_PICTURES = 6
STATISTICS = ("mean", "std", "min", "max")


def data(document: Mapping[str, Any]) -> dict[str, Any]:
    """name -> the steps and the statistics, at as many steps as fit."""
    tensors = document["tensors"]
    most = max(12, min(200, MOST_NUMBERS // max(1, len(tensors))))
    return {name: _thinned(tensor, most) for name, tensor in tensors.items()}


def pictures(document: Mapping[str, Any]) -> list[charts.Chart]:
    """Of each collection the first and the last tensor, those first that were saved most often."""
    ends: dict[str, list[str]] = {}
    for name, tensor in document["tensors"].items():
        ends[tensor["collection"]] = [*ends.get(tensor["collection"], [])[:1], name]
    names = sorted(
        (name for pair in ends.values() for name in pair), key=lambda name: -len(document["tensors"][name]["steps"])
    )[:MOST_PICTURES]
    return [made for name in names if (made := _chart(name, document["tensors"][name]))]


def table(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of each tensor its statistics at the first and the last step that was saved."""
    return [
        {"name": name, "collection": tensor["collection"], "saved": len(tensor["steps"]),
         "first": {s: tensor[s][0] for s in STATISTICS}, "last": {s: tensor[s][-1] for s in STATISTICS}}
        for name, tensor in document["tensors"].items() if tensor["steps"]
    ]  # fmt: skip


def _chart(name: str, tensor: Mapping[str, Any]) -> charts.Chart | None:
    thinned = _thinned(tensor, charts.MOST_POINTS // 4)
    steps, mean, std = thinned["steps"], thinned["mean"], thinned["std"]
    bands = [
        [None if m is None or s is None else m + sign * s for m, s in zip(mean, std, strict=True)] for sign in (-1, 1)
    ]
    return charts.chart(
        name,
        {"mean": charts.Series(steps, mean, *bands), "max": charts.Series(steps, thinned["max"]),
         "min": charts.Series(steps, thinned["min"])},
        x_title="step", kind="epoch", note=tensor["collection"],
    )  # fmt: skip


def _thinned(tensor: Mapping[str, Any], most: int) -> dict[str, Any]:
    steps = tensor["steps"]
    each = math.ceil(len(steps) / most) or 1

    def of(column: str) -> list[float | None]:
        made: list[float | None] = []
        for i in range(0, len(steps), each):
            known = [value for value in tensor[column][i : i + each] if value is not None]
            value = {"min": min, "max": max}.get(column, _mean)(known) if known else None
            made.append(None if value is None else float(f"{value:.4g}"))
        return made

    return {"collection": tensor["collection"], "steps": steps[::each]} | {s: of(s) for s in STATISTICS}


def _mean(values: list[float]) -> float:
    return math.fsum(value / len(values) for value in values)
