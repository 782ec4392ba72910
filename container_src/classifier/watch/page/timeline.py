"""The steps of each rank on the clock: a bar each, or one for several neighbours where they are many."""

from __future__ import annotations

import array
import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from classifier.watch.times import PARTS
from classifier.watch.verdict import step_seconds

# Of all ranks together. A bar takes 36 bytes, half as much again as text.
MOST_BARS = 24_000
MOST_SPANS, MOST_MARKS = 4_000, 600
# Of the picture that needs no script.
WIDTH, HEIGHT, COLUMNS = 1000.0, 90.0, 250
MOST_LANES = 16


@dataclass(frozen=True)
class Lane:
    """The picture of a rank's steps: of each part a closed path; `spans`: (x, width, name)."""

    name: str
    paths: dict[str, str]
    spans: list[tuple[float, float, str]]
    most_s: float


def data(document: Mapping[str, Any], total: float) -> dict[str, Any]:
    """What the script draws; seconds since the job began, arrays of little-endian numbers in base64."""
    ranks = document["ranks"][:MOST_LANES]
    most = MOST_BARS // max(1, len(ranks))
    return {
        "total": total, "parts": list(PARTS), "ranks": [_bars(r, document["began"], most) for r in ranks],
        "marks": _marks(document),
    }  # fmt: skip


def lanes(document: Mapping[str, Any], total: float) -> list[Lane]:
    """The whole run, the mean step of each of COLUMNS moments."""
    made = []
    for rank in document["ranks"][:MOST_LANES]:
        steps = rank["steps"]
        sums = [[0.0] * len(PARTS) for _ in range(COLUMNS)]
        counts = [0] * COLUMNS
        parts = [steps[f"{part}_s"] for part in PARTS]
        for at, long, values in zip(steps["began"], step_seconds(steps), zip(*parts, strict=True), strict=True):
            after = at - document["began"]
            for column in range(_column(after, total), _column(after + long, total) + 1):
                counts[column] += 1
                for i, value in enumerate(values):
                    sums[column][i] += value or 0.0
        means = [[value / count for value in row] if count else row for row, count in zip(sums, counts, strict=True)]
        most = max((math.fsum(row) for row in means), default=0.0) or 1.0
        paths, below = {}, [0.0] * COLUMNS
        for i, part in enumerate(PARTS):
            above = [low + row[i] for low, row in zip(below, means, strict=True)]
            paths[part] = _area(below, above, most)
            below = above
        spans = [  # those that would be seen
            (round((began - document["began"]) / total * WIDTH, 1), max(0.5, round(seconds / total * WIDTH, 1)), name)
            for name, _, began, seconds in _spans(rank, MOST_SPANS) if seconds / total * WIDTH > 0.2
        ]  # fmt: skip
        name = f"rank {rank['rank']} on {rank['host']}" if len(document["ranks"]) > 1 else "steps"
        made.append(Lane(name, paths, spans, most))
    return made


def _column(at: float, total: float) -> int:
    return min(COLUMNS - 1, max(0, int(at / total * COLUMNS)))


def _bars(rank: Mapping[str, Any], began: float, most: int) -> dict[str, Any]:
    steps = rank["steps"]
    count = len(steps["number"])
    each = max(1, math.ceil(count / most))
    seconds = step_seconds(steps)
    parts = [steps[f"{part}_s"] for part in PARTS]
    at, width, slowest, means, number, epoch = [], [], [], [], [], []
    for i in range(0, count, each):
        last = min(i + each, count) - 1
        here = range(i, last + 1)
        at.append(steps["began"][i] - began)
        width.append(steps["began"][last] - steps["began"][i] + seconds[last])
        slowest.append(max(seconds[k] for k in here))
        means += [math.fsum(part[k] or 0.0 for k in here) / len(here) for part in parts]
        number.append(steps["number"][i])
        epoch.append(steps["epoch"][i])
    return {
        "rank": rank["rank"], "host": rank["host"], "each": each * rank["steps_thinned"],
        "at": _packed("d", at), "width": _packed("f", width), "slowest": _packed("f", slowest),
        "means": _packed("f", means), "number": _packed("I", number), "epoch": _packed("I", epoch),
        "spans": [[name, epoch, round(start - began, 4), took] for name, epoch, start, took in _spans(rank, most // 6)],
    }  # fmt: skip


def _spans(rank: Mapping[str, Any], most: int) -> list[tuple[str, int, float, float]]:
    """The longest of them, in order: what is too short to be seen may be left out."""
    spans = rank["spans"]
    rows = zip(spans["name"], spans["epoch"], spans["began"], spans["seconds"], strict=True)
    longest = sorted((row for row in rows if row[3] is not None), key=lambda row: -row[3])[:most]
    return sorted(longest, key=lambda row: row[2])


def _marks(document: Mapping[str, Any]) -> list[list[Any]]:
    """[seconds, rule, severity, detail] of each firing that was kept."""
    marks = [
        [round(firing["at"] - document["began"], 3), f["rule"], f["severity"], firing["detail"]]
        for f in document["findings"] for firing in f["firings"] if firing["at"]
    ]  # fmt: skip
    return sorted(marks, key=lambda mark: mark[0])[:MOST_MARKS]


def _area(below: Sequence[float], above: Sequence[float], most: float) -> str:
    """Steps of a staircase, up and back; the columns without a step are left out."""
    across = WIDTH / len(above)
    path = []
    for i, (low, high) in enumerate(zip(below, above, strict=True)):
        if high > low:
            top, height = HEIGHT * (1 - high / most), HEIGHT * (high - low) / most
            path.append(f"M{i * across:g},{top:.1f}h{across:g}v{height:.1f}h-{across:g}z")
    return "".join(path)


def _packed(kind: str, values: Sequence[Any]) -> str:
    return base64.b64encode(array.array(kind, [value or 0 for value in values]).tobytes()).decode()
