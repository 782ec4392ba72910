"""The report of a profiled run: `report.json` for machines, one self-contained `report.html` for people."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jinja2
import torch

from classifier.training import Epoch
from classifier.watch.profiler import Profiler
from classifier.watch.rules import Finding

Series = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """Lines over one x axis; a point whose value is not finite breaks its line."""

    title: str
    x: str
    lines: Mapping[str, Series]

    def svg_lines(self, width: float, height: float) -> list[tuple[str, str]]:
        """(name, SVG path) a line, scaled into width x height with y upwards."""
        low_x, high_x, low_y, high_y = self.bounds()
        paths = []
        for name, points in self.lines.items():
            path, pen = [], "M"
            for x, y in points:
                if not math.isfinite(y):
                    pen = "M"
                    continue
                across = (x - low_x) / ((high_x - low_x) or 1) * width
                up = height - (y - low_y) / ((high_y - low_y) or 1) * height
                path.append(f"{pen}{across:.1f} {up:.1f}")
                pen = "L"
            paths.append((name, "".join(path)))
        return paths

    def bounds(self) -> tuple[float, float, float, float]:
        """Smallest and largest x, then y, of the finite points; the y axis begins at 0 or below."""
        points = [p for line in self.lines.values() for p in line if math.isfinite(p[1])] or [(0.0, 0.0)]
        xs, ys = zip(*points, strict=True)
        return min(xs), max(xs), min(0.0, *ys), max(ys)

    def finite(self) -> int:
        """How many points can be drawn."""
        return sum(math.isfinite(y) for line in self.lines.values() for _, y in line)


def write(
    directory: Path,
    *,
    summary: Mapping[str, Any],
    classes: Sequence[str],
    confusion: torch.Tensor,
    profiler: Profiler,
    losses: Mapping[str, Series],
    findings: Sequence[Finding],
) -> Path:
    """Writes both files and returns the path of the page.

    `summary`: metrics, hyperparameters, versions, hardware. `confusion`: int64 [classes, classes], of the split
    that `summary` names as `judged_split`. `losses`: what the debugger recorded, phase -> (step, loss).
    """
    directory.mkdir(parents=True, exist_ok=True)
    values = {
        **summary,
        "classes": list(classes),
        "epochs": [_epoch(e) for e in profiler.epochs],
        "findings": [asdict(f) for f in findings],
        "debugger_losses": {phase: list(points) for phase, points in losses.items()},
        "steps": [s._asdict() for s in profiler.steps],
        "system": [asdict(s) for s in profiler.samples],
        "confusion": confusion.tolist(),
    }
    (directory / "report.json").write_text(json.dumps(_jsonable(values), indent=1) + "\n", encoding="utf-8")
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    page = directory / "report.html"
    html = templates.get_template("old_report.html.j2").render(
        summary=summary,
        findings=findings,
        charts=[c for c in _charts(profiler, losses) if c.finite() > 1],
        classes=classes,
        confusion=confusion.tolist(),
    )
    page.write_text(html, encoding="utf-8")
    return page


def _charts(profiler: Profiler, losses: Mapping[str, Series]) -> list[Chart]:
    epochs, samples, steps = profiler.epochs, profiler.samples, profiler.steps
    return [
        Chart("Loss", "epoch", {"train:loss": [(e.number, e.train_loss) for e in epochs],
                                "valid:loss": [(e.number, e.valid.loss) for e in epochs]}),
        Chart("Accuracy", "epoch", {"valid:accuracy": [(e.number, e.valid.accuracy) for e in epochs],
                                    "valid:top5": [(e.number, e.valid.top5_accuracy) for e in epochs]}),
        Chart("Loss recorded by smdebug", "step", {f"{phase} loss": list(p) for phase, p in losses.items()}),
        Chart("Time of a step, s", "step", {"compute": [(s.number, s.seconds - s.wait_s) for s in steps],
                                            "wait for data": [(s.number, s.wait_s) for s in steps]}),
        Chart("CPU, %", "second", {"busy": [(s.at_s, s.cpu) for s in samples],
                                   "waiting for the disk": [(s.at_s, s.iowait) for s in samples]}),
        Chart("Memory, GB", "second", {"resident": [(s.at_s, s.memory / 1e9) for s in samples]}),
    ]  # fmt: skip


def _epoch(epoch: Epoch) -> dict[str, float]:
    return {
        "epoch": epoch.number, "train:loss": epoch.train_loss, "valid:loss": epoch.valid.loss,
        "valid:accuracy": epoch.valid.accuracy, "valid:top5_accuracy": epoch.valid.top5_accuracy,
        "images_per_s": epoch.images_per_s, "seconds": epoch.seconds,
    }  # fmt: skip


def _jsonable(value: Any) -> Any:
    """NaN and infinity are no JSON: they become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _jsonable(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(v) for v in value]
    return value
