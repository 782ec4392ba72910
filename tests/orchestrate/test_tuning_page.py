"""The page of a search: whole, well-formed, of nothing but itself, whatever the trials were."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from orchestrate import curves, importance, scales, tuning_page
from orchestrate.features import Features
from orchestrate.follow import Trial
from orchestrate.prices import FREE, Price
from orchestrate.tuned import Tuned


def trial(number: int, rate: float, objective: float | None, **more: object) -> Trial:
    lines = [
        f"epoch {e}/2: train:loss=0.{9 - e} valid:loss=0.5 valid:accuracy={objective} (9 images/s)" for e in (1, 2)
    ]
    made = Trial(
        number, f"rex-{number:03}-a", "Completed", {"learning-rate": str(rate), "optimizer": "sgd" if number % 2 else
        "adamw", "epochs": "2"}, objective, 1.5, "", curves.read(lines) if objective is not None else (),
    )  # fmt: skip
    return replace(made, **more)  # type: ignore[arg-type]


def search(*trials: Trial, best: int = 0) -> Tuned:
    return Tuned(
        "rex", "valid:accuracy", "Maximize", trials, trials[best], {}, 90.0, "ml.m5.xlarge", False,
        Features("s3://bucket/features", "embed", 30), "s3://bucket/rex",
    )  # fmt: skip


MANY = [trial(n, 0.001 * 1.5**n, 0.9 - abs(n - 6) * 0.05) for n in range(1, 11)]


def test_everything_is_on_the_page() -> None:
    failed = trial(11, 0.5, None, status="Failed", failure="<script>alert('the bowl')</script>")
    html = tuning_page.render(search(*MANY, failed, best=5), Price(0.23, "us-east-1 prices of 2025"))
    assert "<script" not in html
    assert re.search(r'<tr class="why">.*&lt;script&gt;alert.*the bowl', html), "why it failed has a row of its own"
    assert not re.search(r"(src|href)=|url\(|@import", html), "nothing is loaded from elsewhere"
    drawn = [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", html, re.S)]
    by_trial, parallel, *learning = drawn
    assert len(by_trial.findall("circle")) == 10, "a trial without a value has no point"
    assert len(parallel.findall("path")) == 10
    assert [len(svg.findall("path")) for svg in learning] == [10, 10, 10]
    for svg in drawn:
        best = [p for p in svg.findall("path") if "best" in p.get("class", "").split()]
        assert len(best) == (0 if svg is by_trial else 1)
    # 11 jobs of 1.5 s and the embedding's 30 s.
    assert f"{(11 * 1.5 + 30) / 3600 * 0.23:.4f} USD" in html
    assert html.count("<tr>") >= 11


@pytest.mark.parametrize("price", [FREE, None])
def test_a_single_trial(price: Price | None) -> None:
    html = tuning_page.render(search(trial(1, 0.01, 0.5)), price)
    assert "Cannot be told" in html
    assert ("none" if price else "unknown") in html


def test_importance_finds_what_matters() -> None:
    shares = importance.of(MANY)
    assert next(iter(shares)) == "learning-rate" and sum(shares.values()) == pytest.approx(1)
    assert "epochs" not in shares, "what is the same in every trial explains nothing"
    assert importance.of(MANY[:3]) == {}


def test_scales() -> None:
    wide = scales.of(["0.001", "0.1", "0.01"])
    assert [wide.at(v) for v in ("0.001", "0.01", "0.1")] == pytest.approx([0, 0.5, 1])
    assert scales.of(["adamw", "sgd", "sgd"]).marks() == [(0.0, "adamw"), (1.0, "sgd")]
    assert scales.of(["5", "5"]).marks() == [(0.5, "5")]
    marks = [text for _, text in scales.Numbers(2, 10).marks()]
    assert marks == ["2", "4", "6", "8", "10"]
    assert [text for _, text in scales.around([0.5, 0.75]).marks()] == ["0.5", "0.55", "0.6", "0.65", "0.7", "0.75"]
    diverged = scales.around([0.5, 2, 4e13])
    assert [text for _, text in diverged.marks()] == ["10", "1e+04", "1e+07", "1e+10", "1e+13"]
    assert 0 < diverged.at(0.5) < diverged.at(2) - 0.01 < diverged.at(4e13) < 1


def test_curves_take_the_last_of_an_epoch_that_came_twice() -> None:
    found = curves.read(
        ["epoch 1/2: valid:loss=3", "noise epoch", "epoch 1/2: valid:loss=2.5e-1", "epoch 2/2: valid:loss=1"]
    )
    assert found == ({"epoch": 1, "valid:loss": 0.25}, {"epoch": 2, "valid:loss": 1})
