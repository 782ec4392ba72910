"""Two reports side by side: what is told of them, and a page that is whole and of nothing but itself."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from container.watch import runs
from orchestrate import compare, compare_page, console, report
from orchestrate.compare import Comparison, Pair


@pytest.fixture
def compared(tmp_path: Path) -> Any:
    """Compares two documents by way of their files."""

    def call(a: dict[str, Any], b: dict[str, Any]) -> Comparison:
        for name, document in (("a", a), ("b", b)):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "report.json").write_text(json.dumps(document))
        return compare.of(report.local(tmp_path / "a"), report.local(tmp_path / "b"))

    return call


def matrix(right: int, classes: int, photographs: int) -> list[list[int]]:
    """Of each class `right` of `photographs` are recognized, the others taken for the next."""
    rows = [[0] * classes for _ in range(classes)]
    for i in range(classes):
        rows[i][i] += right
        rows[i][(i + 1) % classes] += photographs - right
    return rows


A = runs.document(matrix=matrix(40, 3, 100), judged_split="test")
B = runs.document(
    job="another", judged_split="test", matrix=[[90, 10, 0], [0, 80, 20], [60, 0, 40]],
    hyperparameters={"model": "resnet50", "epochs": "5", "freeze-backbone": "false", "optimizer": "sgd"},
    metrics={"test:accuracy": 0.7}, versions={"torch": "2.10.0", "python": "3.12.1"},
    epochs=[e._replace(images_per_s=191.0, valid_loss=float("nan")) for e in runs.epochs(2, 3)],
    findings=[runs.finding("StepOutlier"), runs.finding("Overfit", fired=2, severity="error", advice="<b>less</b>")],
    ranks=[runs.rank(steps=0)], losses={}, ended=runs.BEGAN + 30,
)  # fmt: skip


def test_what_differs(compared: Any) -> None:
    found = compared(A, B)
    assert found.settings["Hyperparameters"] == (
        Pair("model", "resnet18", "resnet50"), Pair("augment", "false", None), Pair("optimizer", None, "sgd"),
    )  # fmt: skip
    assert found.settings["Versions"] == (Pair("python", None, "3.12.1"),)
    assert found.settings["Hardware"] == () and found.same["Hyperparameters"] == 2
    assert [v.rule for v in found.findings] == ["StepOutlier", "Overfit"]
    assert found.findings[1].a is None and found.findings[1].b.fired == 2
    by_class = {pair.name: round(pair.change, 6) for pair in found.classes}
    assert list(by_class.values()) == [0.5, 0.4, 0.0], "the largest changes come first"
    speed = {pair.name: pair for pair in found.speed}
    assert speed["images_per_s"].ratio == pytest.approx(2.0) and speed["images_per_s"].better == "b"
    assert speed["step_s"].b is None and speed["job_s"].better == "b"
    accuracy, pace, rules = found.summary
    # Two standard errors of 0.4 and 0.7, each of 300 photographs.
    assert "0.4000 in A and 0.7000 in B, 0.3000 higher in B: more than the 0.0775" in accuracy
    assert "2.00 times as many" in pace and "only in B: Overfit" in rules
    told = compare.document(found)
    assert json.loads(json.dumps(told)) == told
    assert told["findings"]["Overfit"] == {"a": None, "b": {"severity": "error", "fired": 2, "points": 100}}


def test_a_difference_that_chance_makes_is_called_so(compared: Any) -> None:
    other = runs.document(matrix=matrix(42, 3, 100), judged_split="test")
    assert "0.0200 higher in B: less than the 0.0" in compared(A, other).summary[0]
    assert compared(A, A).summary[0].endswith("the same.")


def test_one_that_did_not_come_to_the_test_split(compared: Any) -> None:
    """Both have their valid split in common: its photographs are counted in `dataset`."""
    half = runs.document(dataset={"valid": 18}, judged_split="valid", epochs=runs.epochs(2, 3), kept_epoch=2)
    found = compared({**A, "dataset": {"valid": 18}}, half)
    assert re.match(r"valid:accuracy is 0\.\d+ in A and 0\.\d+ in B, .* of 18 photographs", found.summary[0])
    assert found.classes == () and "A was judged on test, B on valid" in compare_page.render(found)


def test_the_page(compared: Any, out: console.Console, capsys: pytest.CaptureFixture[str]) -> None:
    found = compared(A, B)
    html = compare_page.render(found)
    assert "<b>less" not in html and "&lt;b&gt;less" in html
    assert not re.search(r"(src|href)=|url\(|@import|<script", html), "nothing is loaded, nothing runs"
    drawn = [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", html, re.S)]
    lines = [[path.get("class") for path in svg.findall("path")] for svg in drawn]
    assert lines == [["a", "b"], ["a"], ["a", "b"], ["a"]], "what one has not, the other has alone"
    for text in ("resnet50", "another", "&times;" if "&times;" in html else "×", "not run", "Recall by class"):
        assert text in html
    compare_page.show(found, out)
    table = [line.split() for line in capsys.readouterr().err.splitlines()]
    assert ["images/s", "95.5", "191", "x", "2.00"] in table and ["Overfit", "not", "run", "2", "of", "100"] in table


def test_two_that_ended_before_they_began(compared: Any) -> None:
    exploded = runs.document(epochs=[e._replace(train_loss=1e9) for e in runs.epochs(3, 3)])
    assert any("(logarithmic)" in chart.title for chart in compare_page.charts(compared(A, exploded)))
    empty = runs.document(
        status="failed", reason="no photographs", epochs=[], ranks=[], losses={}, metrics={}, findings=[], tensors={}
    )
    found = compared(empty, {**empty, "job": "another"})
    assert "cannot be compared" in found.summary[0] and found.findings == ()
    html = compare_page.render(found)
    assert "<svg" not in html and "no photographs" in html


def test_the_parts_of_a_run_have_the_colours_of_its_report() -> None:
    """Written twice, because what orchestrates knows nothing of the files in the image."""
    root = Path(compare.__file__).parent.parent
    of_report, of_comparison = (
        dict(re.findall(r"--(\w+): (light-dark\(.*?\))", (root / name).read_text(encoding="utf-8")))
        for name in ("container_src/classifier/watch/page/templates/page.css", "orchestrate/compare_page.html.j2")
    )
    assert len(of_comparison) > 8 and of_comparison.items() <= of_report.items()
