"""The report of a watched run: `report.json` for machines, one self-contained `report.html` for people.

The page is made of the document alone, and so can be made again from report.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from classifier.atomic import replacing
from classifier.watch import columns, confusion, times, verdict
from classifier.watch.collected import Collected, EpochMetrics
from classifier.watch.page import rendering
from classifier.watch.rules.rule import Finding

VERSION = 1
# Steps, and samples, of all ranks together.
MOST_ROWS = 40_000
PAGE, DOCUMENT = "report.html", "report.json"
Status = Literal["running", "completed", "stopped", "failed"]


def document(
    *,
    job: str,
    status: Status,
    began: float,
    ended: float | None,
    classes: Sequence[str],
    hyperparameters: Mapping[str, str],
    reason: str | None = None,
    epochs: Sequence[EpochMetrics] = (),
    findings: Sequence[Finding] = (),
    ranks: Sequence[Collected] = (),
    losses: Mapping[str, Sequence[tuple[int, float]]] | None = None,
    tensors: Mapping[str, Mapping[str, Any]] | None = None,
    metrics: Mapping[str, float] | None = None,
    kept_epoch: int | None = None,
    versions: Mapping[str, str] | None = None,
    hardware: Mapping[str, Any] | None = None,
    dataset: Mapping[str, Any] | None = None,
    judged_split: str = "valid",
    matrix: Sequence[Sequence[int]] | None = None,
    mistakes: Sequence[Mapping[str, Any]] = (),
    missing: Sequence[str] = (),
    on_features: bool = False,
) -> dict[str, Any]:
    """report.json: all of it safe for JSON, NaN and infinities as None.

    `began`, `ended`: seconds since 1970; `ended` is None while the job runs. `matrix`: the confusion of `judged_split`,
    [i][j] examples of class i that were called j; None takes that of the best epoch so far. `mistakes`: as
    `pictures.mistakes` makes them. `on_features`: the job trained on stored features. What `ranks` miss is added to
    `missing`.
    """
    if matrix is None:
        best = max(epochs, key=lambda e: (e.valid_accuracy, -e.valid_loss), default=None)
        judged_split, matrix = "valid", best.valid_confusion if best else []
        kept_epoch = kept_epoch or (best.number if best else None)
    told = [*missing, *(f"rank {r.rank}: {text}" if len(ranks) > 1 else text for r in ranks for text in r.missing)]
    values: dict[str, Any] = columns.jsonable({
        "version": VERSION,
        "job": job,
        "status": status,
        "reason": reason,
        "written": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "began": began,
        "ended": ended,
        "metrics": dict(metrics or {}),
        "kept_epoch": kept_epoch,
        "hyperparameters": dict(hyperparameters),
        "on_features": on_features,
        "versions": dict(versions or {}),
        "hardware": dict(hardware or {}),
        "dataset": dict(dataset or {}),
        "classes": list(classes),
        "epochs": [
            {name: value for name, value in e._asdict().items() if name != "valid_confusion"} for e in epochs
        ],
        "losses": {phase: list(points) for phase, points in (losses or {}).items()},
        "findings": [{**asdict(f), "firings": [firing._asdict() for firing in f.firings]} for f in findings],
        "ranks": [columns.of(rank, max(1, MOST_ROWS // len(ranks))) for rank in ranks],
        "operators": columns.operators(ranks),
        "traces": [trace for rank in ranks for trace in rank.traces],
        "tensors": columns.tensors(tensors or {}),
        "judged_split": judged_split,
        "confusion": [list(row) for row in matrix],
        "per_class": confusion.per_class(classes, matrix),
        "mistakes": list(mistakes),
        "missing": list(dict.fromkeys(told)),
    })  # fmt: skip
    values["time"] = times.spent(values)
    values["first"] = verdict.first(values)
    values["summary"] = verdict.summary(values)
    return values


def write(directory: Path, document: Mapping[str, Any]) -> Path:
    """Writes both files, each whole or not at all, and returns the path of the page. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    with replacing(directory / DOCUMENT) as file:
        file.write_text(json.dumps(document, separators=(",", ":"), allow_nan=False) + "\n", encoding="utf-8")
    path = directory / PAGE
    with replacing(path) as file:
        file.write_text(rendering.render(document), encoding="utf-8")
    return path
