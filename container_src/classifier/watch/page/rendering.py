"""report.json -> the page: one HTML file that asks for nothing else, light or dark as the reader's system is."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from classifier.config import Config
from classifier.rule_settings import RULES
from classifier.watch import confusion
from classifier.watch.page import charts, heat, machine, scales, tensors, timeline
from classifier.watch.times import words

_HERE = Path(__file__).parent / "templates"
SCRIPTS = ("page.js", "charts.js", "timeline.js", "tensors.js", "confusion.js")
# Rows of a table that nobody reads to its end.
MOST_OPERATORS, MOST_TENSORS = 120, 400
# As high as the matrix beside them: of numbers, or a picture.
FEW_PAIRS, MOST_PAIRS = 8, 18
# From this many classes on a matrix of numbers is no longer read.
MOST_NUMBERED = 16
MOST_POINTS_OF_EPOCHS = 600


def render(document: Mapping[str, Any]) -> str:
    """The page of a document that `report.document` made."""
    from markupsafe import Markup

    total = max(document["time"]["total"], 1e-3)
    numbered = len(document["classes"]) <= MOST_NUMBERED
    # A closing tag within a string would end the script's element: no `<` is left in it.
    data = json.dumps(_data(document, total), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    page: str = _template().render(
        doc=document, total=total,
        style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup("\n".join((_HERE / name).read_text(encoding="utf-8") for name in SCRIPTS)),
        data=Markup(data),
        curves=_curves(document), lanes=timeline.lanes(document, total), lane_width=timeline.WIDTH,
        lane_height=timeline.HEIGHT, clock=scales.clock(0.0, total),
        hosts=machine.hosts(document, total),
        findings=sorted(
            document["findings"], key=lambda f: (not f["fired"], f["severity"] != "error", not f["points"])
        ),
        thresholds={name: spec.thresholds for name, spec in RULES.items()},
        operators=document["operators"][:MOST_OPERATORS],
        tensor_pictures=tensors.pictures(document), tensor_rows=tensors.table(document)[:MOST_TENSORS],
        pairs=confusion.pairs(document["classes"], document["confusion"], FEW_PAIRS if numbered else MOST_PAIRS),
        matrix_picture=heat.shares(document["confusion"]) if document["confusion"] else None,
        numbered=numbered,
        defaults=Config().to_hyperparameters(),
        width=charts.WIDTH, height=charts.HEIGHT,
    )  # fmt: skip
    return page


def _data(document: Mapping[str, Any], total: float) -> dict[str, Any]:
    return {
        "timeline": timeline.data(document, total),
        "colours": [f"{r:02x}{g:02x}{b:02x}" for r, g, b in heat.colours()],
        "tensors": tensors.data(document),
        "confusion": {
            "classes": document["classes"],
            "cells": [[i, j, n] for i, row in enumerate(document["confusion"]) for j, n in enumerate(row) if n],
        },
    }


def _curves(document: Mapping[str, Any]) -> list[charts.Chart]:
    epochs = document["epochs"]
    numbers = [float(e["number"]) for e in epochs]

    def by_epoch(title: str, lines: Mapping[str, str], floor: float | None = None) -> charts.Chart | None:
        series = {
            name: charts.thin(numbers, [e[column] for e in epochs], MOST_POINTS_OF_EPOCHS)
            for name, column in lines.items()
        }
        return charts.chart(title, series, x_title="epoch", kind="epoch", floor=floor)

    def by_step(title: str, phase: str, x_title: str) -> charts.Chart | None:
        points = document["losses"].get(phase) or []
        series = charts.thin([float(step) for step, _ in points], [loss for _, loss in points], 400)
        return charts.chart(title, {phase: series}, x_title=x_title, kind="epoch", note="by smdebug")

    made = [
        by_epoch("Loss", {"train:loss": "train_loss", "valid:loss": "valid_loss"}),
        by_epoch("Accuracy", {"valid:accuracy": "valid_accuracy", "valid:top5": "valid_top5"}),
        by_step("Training loss by step", "train", "step"),
        by_step("Evaluation loss by batch", "eval", "batch"),
        by_epoch("Images a second in training", {"images/s": "images_per_s"}, floor=0.0),
    ]
    return [chart for chart in made if chart]


def number(value: float | None, digits: int = 4) -> str:
    """`–` for None."""
    return "–" if value is None else f"{value:.{digits}g}"


def percent(share: float | None) -> str:
    """Of 1; it is not broken into two lines."""
    return "–" if share is None else f"{100 * share:.{1 if share < 0.0995 else 0}f}\u00a0%"


def size(count: float) -> str:
    """Bytes in words."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(count) >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:.0f} B"


def breakable(name: str) -> Any:
    """A class's name, which may be broken after each underscore."""
    from markupsafe import Markup, escape

    return Markup(str(escape(name)).replace("_", "_<wbr>"))


def moment(at: float) -> str:
    """Seconds since 1970 as a date."""
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


@functools.cache
def _template() -> Any:
    """Compiled once: half a second, and a job's page is written many times while it runs."""
    import jinja2

    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    templates.filters |= {f.__name__: f for f in (words, number, percent, size, moment, breakable)}
    return templates.get_template("report.html.j2")
