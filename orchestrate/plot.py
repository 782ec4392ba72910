"""Places in a chart of WIDTH by HEIGHT, for an SVG: y grows downwards there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrate.scales import Numbers

WIDTH, HEIGHT = 620.0, 220.0


@dataclass(frozen=True)
class Frame:
    """What every chart has. `x_marks`, `y_marks`: (place in the chart, text)."""

    title: str
    x_title: str
    x_marks: list[tuple[float, str]]
    y_marks: list[tuple[float, str]]


def x(scale: Numbers, value: float) -> float:
    """The place of a value along the chart."""
    return round(WIDTH * scale.at(value), 1)


def y(scale: Numbers, value: float) -> float:
    """The place of a value in the chart's height."""
    return up(scale.at(value))


def up(at: float) -> float:
    """0 is the chart's lower edge, 1 its upper."""
    return round(HEIGHT * (1 - at), 1)


def x_marks(scale: Numbers) -> list[tuple[float, str]]:
    """(place, text), whole numbers only: epochs, steps, trials."""
    return [(WIDTH * at, text) for at, text in scale.marks() if "." not in text]


def y_marks(scale: Numbers) -> list[tuple[float, str]]:
    """(place, text)."""
    return [(up(at), text) for at, text in scale.marks()]


def path(places: Iterable[tuple[float, float]]) -> str:
    """A line through places."""
    return "M" + "L".join(f"{px},{py}" for px, py in places)
