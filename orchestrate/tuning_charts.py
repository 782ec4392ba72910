"""The geometry of a search's charts: lines and points in a box of WIDTH by HEIGHT, for the page's SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrate import follow, plot, scales
from orchestrate.follow import Trial
from orchestrate.plot import WIDTH


@dataclass(frozen=True)
class Line:
    """`good`: 0 for the worst trial, 100 for the best; None for a line that belongs to no trial."""

    path: str
    title: str
    good: int | None
    is_best: bool = False


@dataclass(frozen=True)
class Point:
    """A trial."""

    x: float
    y: float
    title: str
    good: int
    is_best: bool = False


@dataclass(frozen=True)
class Chart(plot.Frame):
    """The curves of trials, or a point a trial."""

    lines: list[Line]
    points: list[Point]


@dataclass(frozen=True)
class Axis:
    """One upright of the parallel coordinates."""

    x: float
    title: str
    marks: list[tuple[float, str]]


def goodness(trials: Sequence[Trial], direction: str) -> dict[int, int]:
    """Trial's number -> 0 to 100 by its rank among those with an objective."""
    sign = 1 if direction == "Maximize" else -1
    scored = sorted((t for t in trials if t.objective is not None), key=lambda t: sign * (t.objective or 0.0))
    return {t.number: round(100 * i / max(1, len(scored) - 1)) if len(scored) > 1 else 100
            for i, t in enumerate(scored)}  # fmt: skip


def objective_by_trial(trials: Sequence[Trial], best: Trial, objective: str, direction: str) -> Chart:
    """Each trial a point; a line of the best so far."""
    good = goodness(trials, direction)
    scored = [(t, t.objective) for t in trials if t.objective is not None]
    y = scales.around([value for _, value in scored])
    x = scales.Numbers(0.5, max(t.number for t in trials) + 0.5)
    choose = max if direction == "Maximize" else min
    steps, top = [], scored[0][1]
    for i, (trial, value) in enumerate(scored):
        top = choose(top, value)
        place = f"{plot.x(x, trial.number)},{plot.y(y, top)}"
        steps.append(f"M{place}" if i == 0 else f"H{plot.x(x, trial.number)}V{plot.y(y, top)}")
    steps.append(f"H{WIDTH:.0f}")
    points = [
        Point(plot.x(x, t.number), plot.y(y, value), str(t), good[t.number], t == best) for t, value in scored
    ]  # fmt: skip
    return Chart(
        f"{objective} by trial", "trial", plot.x_marks(x),
        plot.y_marks(y), [Line("".join(steps), "best so far", None)], points,
    )  # fmt: skip


def learning_curves(trials: Sequence[Trial], best: Trial, metric: str, direction: str) -> Chart | None:
    """One line a trial over its epochs; None where no trial told the metric."""
    good = goodness(trials, direction)
    curves = [(t, [(e["epoch"], e[metric]) for e in t.curve if math.isfinite(e.get(metric, math.nan))]) for t in trials]
    told = [(t, points) for t, points in curves if points]
    if not told:
        return None
    y = scales.around([value for _, points in told for _, value in points])
    last = max(epoch for _, points in told for epoch, _ in points)
    x = scales.Numbers(1, last) if last > 1 else scales.Numbers(0, 2)
    # The best is drawn last, above the others.
    told.sort(key=lambda item: (item[0] == best, good.get(item[0].number, 0)))
    lines, points = [], []
    for trial, values in told:
        shown = good.get(trial.number, 0)
        places = [(plot.x(x, epoch), plot.y(y, value)) for epoch, value in values]
        lines.append(Line(plot.path(places), str(trial), shown, trial == best))
        points.append(Point(*places[-1], str(trial), shown, trial == best))
    return Chart(metric + (" (logarithmic)" if y.log else ""), "epoch", plot.x_marks(x), plot.y_marks(y), lines, points)


def parallel_coordinates(
    trials: Sequence[Trial], best: Trial, objective: str, direction: str
) -> tuple[list[Axis], list[Line]]:
    """An axis for each hyperparameter that differs, the objective the last; a line for each trial with a value."""
    good = goodness(trials, direction)
    scored = [(t, t.objective) for t in trials if t.objective is not None]
    names = [name for name in sorted({n for t, _ in scored for n in t.hyperparameters})
             if all(name in t.hyperparameters for t, _ in scored)]  # fmt: skip
    of = {name: scales.of([t.hyperparameters[name] for t, _ in scored]) for name in names}
    y = scales.around([value for _, value in scored])
    place = {name: round(WIDTH * i / len(names), 1) for i, name in enumerate(names)}
    axes = [
        Axis(place[name], name, [(plot.up(at), follow.short(text)) for at, text in of[name].marks()]) for name in names
    ]
    axes.append(Axis(WIDTH, objective, plot.y_marks(y)))
    lines = []
    for trial, value in sorted(scored, key=lambda item: (item[0] == best, good[item[0].number])):
        places = [(place[name], plot.up(of[name].at(trial.hyperparameters[name]))) for name in names]
        path = plot.path([*places, (WIDTH, plot.y(y, value))])
        lines.append(Line(path, str(trial), good[trial.number], trial == best))
    return axes, lines
