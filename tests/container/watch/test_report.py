"""report.json: what was measured, as JSON, whatever the numbers were."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from classifier.watch import report
from classifier.watch.collected import EpochMetrics, Sample, StepTime

from . import runs

NAN, INF = math.nan, math.inf


def test_the_document_says_what_was_measured(tmp_path: Path) -> None:
    page = report.write(tmp_path, runs.document())
    assert page == tmp_path / "report.html"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]
    values = json.loads((tmp_path / "report.json").read_text())
    assert (values["version"], values["status"], values["kept_epoch"]) == (1, "completed", 4)
    ending, speed, rules = values["summary"]
    accuracy = runs.epochs(5, 3)[3].valid_accuracy
    assert ending.startswith("The job completed 5 epochs in 55 s; ")
    assert f"valid:accuracy={accuracy:.4g} in epoch 4 and test:accuracy=0.66" in ending
    assert "95.5 images/s" in speed and "the computing of the network's steps" in speed
    assert rules == "1 of 3 rules fired: StepOutlier (3 of 100)."
    steps = values["ranks"][0]["steps"]
    assert steps["number"] == list(range(1, 101))
    # The parts of the run make the whole.
    time = values["time"]
    assert time["forward"] == pytest.approx(sum(steps["forward_s"]))
    assert (time["initialization"], time["evaluation"], time["total"]) == pytest.approx((5.0, 2.0, 55.0))
    assert sum(s for name, s in time.items() if name != "total") == pytest.approx(time["total"])
    assert [o["name"] for o in values["operators"]] == ["aten::relu_", "aten::convolution"]
    assert len(values["ranks"][0]["samples"]["cpu"]) == 2
    assert values["missing"] == ["the machine has no GPU"]


def test_numbers_that_are_none(tmp_path: Path) -> None:
    collected = runs.rank(gpus=1)
    collected.steps.append(StepTime(101, 5, 64, runs.BEGAN + 51, NAN, INF, -INF, NAN, NAN))
    collected.samples.append(Sample(runs.BEGAN, (NAN, INF), NAN, 0, NAN, INF, NAN, NAN))
    bad = EpochMetrics(1, runs.BEGAN, INF, NAN, NAN, INF, NAN, -INF, [[0, 0], [0, 0]], [0, 0])
    tensors = runs.tensors(["weight"], 2)
    tensors["weight"]["std"] = [NAN, INF]
    cases: tuple[dict[str, Any], ...] = (
        {"epochs": [bad], "kept_epoch": 1},
        {"epochs": [bad, *runs.epochs(2, 2)], "kept_epoch": None, "status": "failed", "reason": "it burnt"},
        {"epochs": [], "kept_epoch": None, "ended": None, "status": "running"},
    )
    for values in cases:
        page = report.write(tmp_path, runs.document(
            classes_named=["a", "b"], ranks=[collected], tensors=tensors, losses={"train": [(0, NAN), (1, INF)]},
            metrics={"valid:accuracy": NAN}, **values,
        ))  # fmt: skip
        html = page.read_text()
        assert not {"NaN", "nan", "Infinity", "inf"} & set(html.replace(",", " ").replace('"', " ").split())
        json.loads((tmp_path / "report.json").read_text(), parse_constant=pytest.fail)


def test_classes_and_what_they_were_taken_for() -> None:
    matrix = [[3, 1, 0], [0, 0, 0], [2, 0, 2]]
    found = runs.document(matrix=matrix, judged_split="test")
    assert (found["judged_split"], found["confusion"]) == ("test", matrix)
    first, absent, third = found["per_class"]
    assert (first["photographs"], first["precision"], first["recall"]) == (4, 0.6, 0.75)
    assert (first["called_instead"], first["called_instead_photographs"]) == ("002.Breed_2", 1)
    assert (absent["precision"], absent["recall"], absent["called_instead"]) == (0.0, None, None)
    assert (third["precision"], third["recall"], third["called_instead"]) == (1.0, 0.5, "001.Breed_1")


def test_what_to_change_first_is_what_saves_most() -> None:
    def first(**changes: object) -> tuple[object, object, object]:
        found = runs.document(**{"findings": [], **changes})["first"]  # type: ignore[arg-type]
        return (found["rule"], found["advice"], found["saves"]) if found else (None, None, None)

    # Features of a frozen backbone: 4 of 5 epochs of 10 s are computed again.
    frozen = {"epochs": "5", "freeze-backbone": "true", "augment": "false"}
    rule, advice, saves = first(hyperparameters=frozen)
    assert (rule, saves) == (None, "up to 40 s of 55 s (73 %)")
    assert "mode=embed" in str(advice)
    assert "mode=embed" not in str(first(hyperparameters=frozen, on_features=True)[1])
    augmented = first(hyperparameters=frozen | {"augment": "true", "views": "0"})
    assert augmented[2] == "up to 10 s of 55 s (18 %)", "features keep four views"
    # Epochs that nobody needed: the second was the best, and two more may be waited for.
    rule, advice, saves = first(kept_epoch=2, ranks=[])
    assert ("early-stopping-patience=2" in str(advice), saves) == (True, "up to 10 s of 55 s (18 %)")
    # A rule that fired gives its own advice; an error comes before everything.
    slow = runs.finding("MaxInitializationTime", fired=1, points=1)
    assert first(findings=[slow])[:2] == ("MaxInitializationTime", "mend what MaxInitializationTime found")
    wrong = runs.finding("ExplodingTensor", fired=1, severity="error", subject="model")
    assert first(findings=[slow, wrong], hyperparameters=frozen)[0] == "ExplodingTensor"
    warning = runs.finding("Overfit", fired=1, subject="model")
    assert first(findings=[warning], ranks=[]) == (
        "Overfit", "mend what Overfit found", "no time that could be measured: it is about what the model learns",
    )  # fmt: skip
    assert first(ranks=[]) == (None, None, None)
