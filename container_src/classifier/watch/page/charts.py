"""Lines in a box of WIDTH by HEIGHT, for the page's SVG, and what its script needs to tell their values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from classifier.watch.page import scales

WIDTH, HEIGHT = 480.0, 180.0
# Points of a line, at most: about two for each pixel of a wide chart.
MOST_POINTS = 800
Numbers = Sequence[float | None]


class Series(NamedTuple):
    """`low` and `high` are where a point stands for several; None elsewhere."""

    x: list[float]
    y: list[float | None]
    low: list[float | None] | None = None
    high: list[float | None] | None = None


@dataclass(frozen=True)
class Line:
    """`band`: a closed path around the line, or empty. `dots`: where points are few."""

    name: str
    path: str
    band: str
    dots: list[tuple[float, float, str]]


@dataclass(frozen=True)
class Chart:
    """`data` is for the script. `kind`: how x is told: `number`, `epoch` or `clock`."""

    title: str
    note: str
    x_title: str
    x_marks: list[scales.Mark]
    y_marks: list[scales.Mark]
    lines: list[Line]
    data: dict[str, Any]
    kind: str


_MARKS: dict[str, Callable[[float, float], list[scales.Mark]]] = {
    "number": scales.numbers, "epoch": scales.whole, "clock": scales.clock,
}  # fmt: skip


def thin(x: Sequence[float], y: Numbers, most: int = MOST_POINTS) -> Series:
    """The means of as many neighbours as leave at most `most` points, with their smallest and largest."""
    if len(x) <= most:
        return Series(list(x), list(y))
    each = math.ceil(len(x) / most)
    groups = [[v for v in y[i : i + each] if v is not None] for i in range(0, len(x), each)]
    return Series(
        list(x[::each]), [math.fsum(v / len(group) for v in group) if group else None for group in groups],
        [min(group, default=None) for group in groups], [max(group, default=None) for group in groups],
    )  # fmt: skip


def chart(
    title: str,
    series: Mapping[str, Series],
    *,
    x_title: str,
    kind: str,
    unit: str = "",
    floor: float | None = None,
    x_range: tuple[float, float] | None = None,
    note: str = "",
) -> Chart | None:
    """None where no line has two points that can be drawn; one is enough for a chart of epochs."""
    drawn = {name: s for name, s in series.items() if any(v is not None for v in s.y)}
    if not drawn:
        return None
    x0, x1 = x_range or scales.around([x for s in drawn.values() for x in (s.x[0], s.x[-1])])
    if kind == "epoch" and x_range is None:
        x0, x1 = min(s.x[0] for s in drawn.values()), max(s.x[-1] for s in drawn.values())
        if x0 == x1:
            x0, x1 = x0 - 1, x1 + 1
    y0, y1 = scales.around([v for s in drawn.values() for values in (s.y, s.low, s.high) for v in values or ()], floor)

    def place(x: float, y: float) -> tuple[float, float]:
        # Halves, as the difference of the largest numbers is infinite.
        up = (y / 2 - y0 / 2) / (y1 / 2 - y0 / 2)
        return round((x - x0) / (x1 - x0) * WIDTH, 1), round((1 - min(1.0, max(0.0, up))) * HEIGHT, 1)

    lines = []
    for name, s in drawn.items():
        dots = [
            (*place(x, y), f"{name}: {y:.4g}{unit}, {x_title} {x:g}")
            for x, y in zip(s.x, s.y, strict=True) if y is not None
        ] if len(s.x) <= 30 else []  # fmt: skip
        lines.append(Line(name, _path(s.x, s.y, place), _band(s, place), dots))
    return Chart(
        title, note, x_title,
        [(place(at, y0)[0], text) for at, text in _MARKS[kind](x0, x1)],
        [(place(x0, at)[1], text + unit) for at, text in scales.numbers(y0, y1)],
        lines,
        {"kind": kind, "box": [WIDTH, HEIGHT], "title": x_title, "unit": unit, "x": [x0, x1], "y": [y0, y1],
         "lines": [{"name": name, "x": _short(s.x, 8), "y": _short(s.y)} for name, s in drawn.items()]},
        kind,
    )  # fmt: skip


def _path(x: Sequence[float], y: Numbers, place: Callable[[float, float], tuple[float, float]]) -> str:
    path, pen = [], "M"
    for at, value in zip(x, y, strict=True):
        if value is None:
            pen = "M"
            continue
        across, down = place(at, value)
        path.append(f"{pen}{across:g},{down:g}")
        pen = "L"
    return "".join(path)


def _band(s: Series, place: Callable[[float, float], tuple[float, float]]) -> str:
    if s.low is None or s.high is None:
        return ""
    rows = [(x, a, b) for x, a, b in zip(s.x, s.low, s.high, strict=True) if a is not None and b is not None]
    there = [place(x, high) for x, _, high in rows]
    back = [place(x, low) for x, low, _ in reversed(rows)]
    return "M" + "L".join(f"{x:g},{y:g}" for x, y in [*there, *back]) + "Z"


def _short(values: Numbers, digits: int = 5) -> list[float | None]:
    return [None if v is None else float(f"{v:.{digits}g}") for v in values]
