"""docs/pictures/scale.svg: what photographs and what requests cost, from the tables of scale_plan.py."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 260, 230, 70, 46, 215
_LABEL = 15  # pixels between two names at least
_COLOURS = ("#4c78a8", "#e07b39", "#3f9b57", "#b0489a", "#8a8a8a")
# One grey that is read on a light page and on a dark one: a picture does not know which its page is.
_STYLE = """text{font:13px system-ui,sans-serif;fill:#78818b}.small{font-size:12px}
.title{font-weight:600;font-size:14px}.grid{stroke:#8884;stroke-width:1}.line{fill:none;stroke-width:2}"""


@dataclass(frozen=True)
class Panel:
    """Lines over `at`, both axes logarithmic; `lines`: name -> USD at each."""

    title: str
    under: str
    at: Sequence[float]
    lines: dict[str, list[float]]


def columns(table: str, wanted: dict[str, str]) -> tuple[list[float], dict[str, list[float]]]:
    """(first column, name -> dollars) of a table in Markdown; `wanted`: head of a column -> name of the line."""
    head, _, *rows = [[cell.strip() for cell in line.strip("| \n").split(" | ")] for line in table.splitlines()]
    found = {name: [_dollars(row[head.index(column)]) for row in rows] for column, name in wanted.items()}
    return [float(row[0].replace(",", "")) for row in rows], found


def draw(panels: Sequence[Panel]) -> str:
    """The panels side by side."""
    width = _LEFT + len(panels) * (_WIDTH + _GAP)
    parts = [_panel(panel, _LEFT + i * (_WIDTH + _GAP)) for i, panel in enumerate(panels)]
    height = _TOP + _HEIGHT + 44
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">\n'
            f"<style>{_STYLE}</style>\n{''.join(parts)}</svg>\n")  # fmt: skip


def _dollars(cell: str) -> float:
    found = re.search(r"([\d.,]+) USD", cell)
    assert found, cell
    return float(found[1].replace(",", ""))


def _panel(panel: Panel, left: float) -> str:
    every = [usd for line in panel.lines.values() for usd in line]
    low, high = math.floor(math.log10(min(every))), math.ceil(math.log10(max(every)))
    first, last = math.log10(panel.at[0]), math.log10(panel.at[-1])

    def x(value: float) -> float:
        return left + _WIDTH * (math.log10(value) - first) / (last - first)

    def y(usd: float) -> float:
        return _TOP + _HEIGHT * (high - math.log10(usd)) / (high - low)

    made = [f'<text class="title" x="{left}" y="20">{escape(panel.title)}</text>']
    for power in range(low, high + 1):
        at = y(10.0**power)
        made.append(f'<path class="grid" d="M{left},{at:.1f}h{_WIDTH}"/><text class="small" text-anchor="end" '
                    f'x="{left - 6}" y="{at + 4:.1f}">{_short(10.0**power)} USD</text>')  # fmt: skip
    for value in panel.at:
        made.append(f'<text class="small" text-anchor="middle" x="{x(value):.1f}" y="{_TOP + _HEIGHT + 17}">'
                    f"{_short(value)}</text>")  # fmt: skip
    made.append(f'<text class="small" text-anchor="middle" x="{left + _WIDTH / 2}" y="{_TOP + _HEIGHT + 36}">'
                f"{escape(panel.under)}</text>")  # fmt: skip
    names = _apart({name: y(line[-1]) for name, line in panel.lines.items()})
    for colour, (name, line) in zip(_COLOURS, panel.lines.items(), strict=False):
        points = " ".join(f"{x(at):.1f},{y(usd):.1f}" for at, usd in zip(panel.at, line, strict=True))
        right, down = left + _WIDTH + 12, names[name]
        made.append(f'<polyline class="line" stroke="{colour}" points="{points}"/>'
                    f'<circle cx="{right}" cy="{down - 4:.1f}" r="4" fill="{colour}"/>'
                    f'<text class="small" x="{right + 9}" y="{down:.1f}">{escape(name)}</text>')  # fmt: skip
    return "\n".join(made) + "\n"


def _apart(places: dict[str, float]) -> dict[str, float]:
    """The names' places, from the top down, so that none covers another."""
    found: dict[str, float] = {}
    for name, at in sorted(places.items(), key=lambda item: item[1]):
        found[name] = max(at + 4, max(found.values(), default=0.0) + _LABEL)
    return found


def _short(value: float) -> str:
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
