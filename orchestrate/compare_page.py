"""The page and the table of a comparison: one HTML file that needs nothing else, light or dark as the system is."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrate import compare, plot, scales
from orchestrate.compare import Comparison, Pair
from orchestrate.console import Console
from orchestrate.report_file import Finding

_CURVES = (("valid_accuracy", "valid:accuracy"), ("valid_loss", "valid:loss"), ("train_loss", "train:loss"))
_LABELS = {
    "images_per_s": "images/s", "epoch_s": "epoch, s", "step_s": "step, s", "step wait_s": "of it waiting for data, s",
    "step copy_s": "of it copy to the device, s", "step forward_s": "of it forward, s",
    "step backward_s": "of it backward, s", "step optimizer_s": "of it optimizer, s", "job_s": "job, s",
    "wait": "waiting for data", "copy": "copy to the device", "other": "everything else",
}  # fmt: skip
# Beyond it the points of a curve would hide its line.
_MOST_POINTS = 12
_MOST_CLASSES = 20
_Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Curve:
    """A line of one run; `run`: a or b."""

    run: str
    path: str
    points: list[tuple[float, float]]


@dataclass(frozen=True)
class Chart(plot.Frame):
    """The curves of two runs."""

    curves: list[Curve]


def render(found: Comparison) -> str:
    """The page."""
    import jinja2

    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    templates.filters["told"] = told
    longest = max([1e-9, *(sum(getattr(pair, run) for pair in found.times) for run in "ab")])
    return templates.get_template("compare_page.html.j2").render(
        found=found, charts=charts(found), runs={"a": found.a, "b": found.b}, longest=longest,
        began={run: time.strftime("%Y-%m-%d %H:%M", time.localtime(report.document["began"]))
               for run, report in (("a", found.a), ("b", found.b))},
        classes=found.classes[:_MOST_CLASSES], labels=_LABELS,
        width=plot.WIDTH, height=plot.HEIGHT,
    )  # fmt: skip


def show(found: Comparison, out: Console) -> None:
    """The same as a table."""
    out.say(f"A: {found.a.job} ({found.a.document['status']})")
    out.say(f"B: {found.b.job} ({found.b.document['status']})")
    rows = [(_LABELS.get(p.name, p.name), told(p.a), told(p.b), change(p)) for p in (*found.metrics, *found.speed)]
    out.table(("", "A", "B", "change"), rows)
    settings = [(title.lower(), p.name, told(p.a), told(p.b)) for title, pairs in found.settings.items() for p in pairs]
    if settings:
        out.table(("differs", "", "A", "B"), settings)
    else:
        out.say("nothing that was set differs")
    if found.findings:
        out.table(("rule", "A fired", "B fired"), [(v.rule, _fired(v.a), _fired(v.b)) for v in found.findings])
    for sentence in found.summary:
        out.say(sentence)


def told(value: Any) -> str:
    """A value for people."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    return ", ".join(map(told, value)) if isinstance(value, list) else str(value)


def change(pair: Pair) -> str:
    """`+0.0123`, or how many times where it is a time or a speed."""
    if pair.change is None:
        return ""
    if pair.name.endswith(("_s", "_per_s")):
        return f"x {pair.ratio:.2f}" if pair.ratio else ""
    return f"{pair.change:+.4f}"


def charts(found: Comparison) -> list[Chart]:
    """Curves of both over epochs, and of the loss over steps; without those that neither has."""
    a, b = found.a.document, found.b.document
    made = [_chart(title, "epoch", compare.curve(a, key), compare.curve(b, key)) for key, title in _CURVES]
    made.append(_chart("loss of each recorded step", "step", *(_losses(report) for report in (a, b))))
    return [chart for chart in made if chart]


def _losses(report: Mapping[str, Any]) -> list[tuple[float, float]]:
    return [(float(step), loss) for step, loss in report["losses"].get("train", []) if loss is not None]


def _chart(
    title: str, x_title: str, a: Sequence[tuple[float, float]], b: Sequence[tuple[float, float]]
) -> Chart | None:
    values = [*a, *b]
    if max(len(a), len(b)) < (2 if x_title == "step" else 1):
        return None
    first, last = min(x for x, _ in values), max(x for x, _ in values)
    x = scales.Numbers(first, last) if last > first else scales.Numbers(first - 1, first + 1)
    y = scales.around([value for _, value in values])
    curves = []
    for run, line in (("a", a), ("b", b)):
        if line:
            places = [(plot.x(x, at), plot.y(y, value)) for at, value in line]
            curves.append(Curve(run, plot.path(places), places if len(places) <= _MOST_POINTS else places[-1:]))
    return Chart(title + (" (logarithmic)" if y.log else ""), x_title, plot.x_marks(x), plot.y_marks(y), curves)


def _fired(finding: Finding | None) -> str:
    return f"{finding.fired:,} of {finding.points:,}" if finding else "not run"
