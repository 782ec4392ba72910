from __future__ import annotations

import json
from pathlib import Path

import torch

from classifier.evaluation import Evaluation
from classifier.steps import Step
from classifier.training import Epoch
from classifier.watch import report, rules
from classifier.watch.profiler import Profiler


def test_values_that_are_no_numbers_do_not_break_the_page(tmp_path: Path) -> None:
    profiler = Profiler()
    for number, loss in enumerate((1.0, float("nan"), float("inf"), 0.5), 1):
        result = Evaluation(loss, 0.5, 1.0, torch.eye(2, dtype=torch.int64))
        profiler.on_epoch(Epoch(number, 0.0, loss, result, 10.0, 1.0, 0.1))
        profiler.on_step(
            Step(number, 1, 8, 0.0, 0.1, 0.0, 0.2, 0.0, 0.0, torch.zeros(()), torch.zeros(8, dtype=torch.int64))
        )
    summary = {
        "job": "<script>alert(1)</script>", "created": "now", "hardware": "CPU", "judged_split": "valid",
        "hyperparameters": {"model": "resnet18"},
        "metrics": {"valid:loss": float("nan")}, "versions": {}, "dataset": {},
    }  # fmt: skip
    page = report.write(
        tmp_path, summary=summary, classes=["a<b", "c"], confusion=torch.tensor([[3, 1], [0, 0]]), profiler=profiler,
        losses={"train": [(0, 1.0), (2, float("nan"))]}, findings=rules.judge(rules.Run([], [], [], 0.0)),
    )  # fmt: skip
    html = page.read_text()
    assert "nan" not in "".join(part for part in html.split('d="')[1:]).split('"')[0]
    assert "<script>" not in html
    assert "a&lt;b" in html
    values = json.loads((tmp_path / "report.json").read_text())
    assert [e["train:loss"] for e in values["epochs"]] == [1.0, None, None, 0.5]
    assert values["confusion"] == [[3, 1], [0, 0]]


def test_a_chart_scales_into_its_box_and_breaks_at_gaps() -> None:
    chart = report.Chart("t", "x", {"line": [(0, 0.0), (1, 2.0), (2, float("nan")), (4, 4.0)]})
    assert chart.svg_lines(100, 50) == [("line", "M0.0 50.0L25.0 25.0M100.0 0.0")]
    assert chart.finite() == 3
