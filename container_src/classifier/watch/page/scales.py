"""Values -> the marks on an axis."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

# What clocks count in, in seconds.
_CLOCK = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
Mark = tuple[float, str]


def numbers(low: float, high: float, most: int = 5) -> list[Mark]:
    """(value, text) of round numbers within, at most `most`."""
    return [(value, f"{value:.4g}") for value in _steps(low, high, _step((high - low) / most), most)]


def whole(low: float, high: float, most: int = 6) -> list[Mark]:
    """As `numbers`, of whole ones: epochs and steps."""
    return [(value, f"{value:.0f}") for value in _steps(low, high, max(1.0, _step((high - low) / most)), most)]


def clock(low: float, high: float, most: int = 6) -> list[Mark]:
    """As `numbers`, of seconds since the job began."""
    rough = (high - low) / most
    step = next((s for s in _CLOCK if s >= rough), _step(rough)) if rough > 0.5 else _step(rough)
    return [(at, instant(at, step)) for at in _steps(low, high, step, most)]


def instant(at: float, step: float = 1.0) -> str:
    """`90` -> `1:30`, with as many digits after the point as `step` needs."""
    if step < 1:
        return f"{at:.{min(6, max(0, -math.floor(math.log10(step) + 1e-9)))}f} s"
    whole_s = round(at)
    if whole_s < 60:
        return f"{whole_s} s"
    hours, minutes, seconds = whole_s // 3600, whole_s // 60 % 60, whole_s % 60
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def around(values: Iterable[float | None], floor: float | None = None) -> tuple[float, float]:
    """A range with some room around the values; with `floor` it begins there or below."""
    known = [value for value in values if value is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)
    if floor is not None:
        low, high = min(low, floor), max(high, floor)
    # Halves, as the difference of the largest numbers is infinite.
    room = (high / 2 - low / 2) * 0.1 or abs(high) * 0.1 or 1.0
    return (low if low == floor else max(low - room, -1e300)), min(high + room, 1e300)


def _step(rough: float) -> float:
    """The next of 1, 2, 5, 10, ... that is no smaller."""
    if not rough > 0 or math.isinf(rough):
        return 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def _steps(low: float, high: float, step: float, most: int) -> Sequence[float]:
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, min(math.floor(high / step + 1e-9), first + 2 * most) + 1)]
