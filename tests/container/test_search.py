"""mode=search: the trials of a search in one job."""

from __future__ import annotations

import json
import re
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from classifier import artifact, embedding, fitting, search_space, trials
from classifier.config import Config
from classifier.errors import InputError
from classifier.job import Job
from classifier.precision import Precision
from photographs import data_set
from train import run

CPU = Precision(torch.device("cpu"), None)
RATE = {"name": "learning-rate", "kind": "Continuous", "low": 0.001, "high": 0.1, "log": True}
BATCH = {"name": "batch-size", "kind": "Categorical", "values": [8, "16"]}
EPOCHS = {"name": "epochs", "kind": "Integer", "low": 1, "high": 3}


def asked(**changes: Any) -> str:
    return json.dumps({"strategy": "bayesian", "trials": 5, "ranges": [RATE, BATCH, EPOCHS], "seed": 1} | changes)


def config(**changes: Any) -> Config:
    """A search that the text of `search` tells, `changes` to the fixed hyperparameters among them."""
    fixed = {"mode": "search", "weights": "none", "image_size": 32, "epochs": 3, "search": asked()}
    return Config(**{**fixed, **changes})


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The channels of a job: photographs, and the features of them under `features`."""
    root = data_set(tmp_path_factory.mktemp("data"), {"train": 8, "valid": 4, "test": 2})
    channels = {name: root / name for name in ("train", "valid", "test")}
    job = Job("embed", channels, root, root, root / "checkpoints", root, root, threading.Event())
    return {**channels, "features": embedding.embed(config(), job, CPU)}


@pytest.fixture
def job(source: dict[str, Path], tmp_path: Path) -> Job:
    return Job(
        "search", {"features": source["features"]}, tmp_path / "model", tmp_path / "output", tmp_path / "checkpoints",
        tmp_path / "no-hook.json", tmp_path, threading.Event(),
    )  # fmt: skip


def told(job: Job) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((job.output_dir / "trials.json").read_text())
    return values


def without_times(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{name: value for name, value in trial.items() if name != "seconds"} for trial in values["trials"]]


def test_a_search_from_photographs_to_the_best_artifact(
    source: dict[str, Path], job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    photographs = {name: path for name, path in source.items() if name != "features"}
    run(config(), replace(job, channels=photographs))
    log, found = capsys.readouterr().out, told(job)
    assert log.count("embed: photographs_per_second=") == 1
    assert [trial["number"] for trial in found["trials"]] == [1, 2, 3, 4, 5]
    assert found["embed_seconds"] > 0 and found["direction"] == "Maximize"
    best = found["trials"][found["best"] - 1]
    assert best["objective"] == max(trial["objective"] for trial in found["trials"])
    for trial in found["trials"]:
        assert len(trial["epochs"]) == int(trial["hyperparameters"]["epochs"])
        assert trial["objective"] == max(epoch["valid:accuracy"] for epoch in trial["epochs"])
        pattern = rf"^trial {trial['number']}/5: valid:accuracy=\S+ valid:loss=\S+ learning-rate=.* \(best: trial \d+, "
        assert re.search(pattern, log, re.M)
    assert re.search(r"^trial 3: epoch 1/\d: train:loss=", log, re.M)
    model = artifact.read(job.model_dir)
    assert model.metrics["valid:accuracy"] == pytest.approx(best["objective"])
    assert model.provenance["hyperparameters"]["learning-rate"] == best["hyperparameters"]["learning-rate"]
    # The platform takes the last value that a metric had in the log.
    last = re.findall(r"valid:accuracy=(\S+)", log)[-1]
    assert float(last) == pytest.approx(best["objective"], rel=1e-4)


@pytest.mark.parametrize("strategy", search_space.STRATEGIES)
def test_the_same_seed_gives_the_same_search(job: Job, tmp_path: Path, strategy: str) -> None:
    ranges = [BATCH, EPOCHS] if strategy == "grid" else [RATE, BATCH, EPOCHS]
    request = config(search=asked(strategy=strategy, ranges=ranges, trials=7, early_stopping=True))
    run(request, job)
    first = told(job)
    other = replace(job, checkpoints=tmp_path / "other")
    run(request, other)
    assert without_times(told(other)) == without_times(first)
    if strategy == "grid":
        pairs = {(t["hyperparameters"]["batch-size"], t["hyperparameters"]["epochs"]) for t in first["trials"]}
        assert len(first["trials"]) == len(pairs) == 6, "each once, although seven were asked for"


@pytest.mark.parametrize("strategy", ["hyperband", "random"])
def test_trials_that_are_worse_are_given_up(job: Job, strategy: str) -> None:
    """Rates far too small learn nothing: what comes after better trials ends early."""
    rates = {"name": "learning-rate", "kind": "Categorical", "values": [1e-7, 2e-7, 0.03, 0.02]}
    text = asked(strategy=strategy, ranges=[rates], trials=16, early_stopping=True, objective="valid:loss")
    run(config(epochs=9, search=text), job)
    found = told(job)
    stopped = [trial for trial in found["trials"] if trial["status"] == "Stopped"]
    assert stopped and all(len(trial["epochs"]) < 9 for trial in stopped)
    assert float(found["trials"][found["best"] - 1]["hyperparameters"]["learning-rate"]) > 0.01


def test_a_trial_that_diverges_is_told_and_the_others_go_on(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    rates = {"name": "weight-decay", "kind": "Categorical", "values": [0, 1]}
    epochs = {"name": "learning-rate", "kind": "Categorical", "values": [0.01, 10]}
    text = asked(strategy="grid", ranges=[rates, epochs], trials=4)
    run(config(optimizer="sgd", epochs=40, batch_size=2, search=text), job)
    found, log = told(job), capsys.readouterr().out
    failed = [trial for trial in found["trials"] if trial["status"] == "Failed"]
    assert len(failed) == 1 and failed[0]["hyperparameters"] == {"weight-decay": "1", "learning-rate": "10"}
    assert f"trial {failed[0]['number']}/4: failed: the training loss became" in log
    assert "lower learning-rate" in failed[0]["failure"]


def test_all_trials_failing_fails_the_job(job: Job) -> None:
    rates = {"name": "learning-rate", "kind": "Categorical", "values": [9, 10]}
    text = asked(strategy="grid", ranges=[rates], trials=2)
    with pytest.raises(InputError, match="all 2 trials failed, the last one because: the training loss became"):
        run(config(optimizer="sgd", weight_decay=1.0, epochs=40, batch_size=2, search=text), job)
    assert [trial["status"] for trial in told(job)["trials"]] == ["Failed", "Failed"]
    assert not job.model_dir.exists()


def test_a_search_goes_on_where_it_was_stopped(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit, fits = fitting.fit, []

    def counted(*args: Any) -> fitting.Fitted:
        fits.append(args)
        if len(fits) == 3:
            job.stop.set()
        return fit(*args)

    monkeypatch.setattr(fitting, "fit", counted)
    run(config(), job)
    assert len(told(job)["trials"]) == 2
    artifact.read(job.model_dir)  # the best of the two

    with (job.checkpoints.glob("search/*/trials.jsonl").__next__()).open("a") as log:
        log.write('{"number": 3, "sta')  # as if it had been killed while it wrote
    again = replace(job, stop=threading.Event())
    run(config(), again)
    assert len(fits) == 3 + 3, "two trials are not run again"
    fresh = replace(again, checkpoints=tmp_path / "fresh", model_dir=tmp_path / "fresh-model")
    resumed = told(again)
    run(config(), fresh)
    assert without_times(resumed) == without_times(told(fresh))
    digests = {json.loads((j.model_dir / "model.json").read_text())["weights_sha256"] for j in (again, fresh)}
    assert len(digests) == 1


def test_stopped_before_the_first_trial(job: Job) -> None:
    job.stop.set()
    with pytest.raises(InputError, match="stopped before its first trial was complete"):
        run(config(), job)


def test_a_damaged_photograph_ends_the_job_before_any_trial(
    source: dict[str, Path], job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(source["train"], tmp_path / "train"))
    (copy / "blue" / "3.jpg").write_bytes(b"no photograph")
    with pytest.raises(InputError, match=r"the photograph train/blue/3.jpg cannot be used"):
        run(config(), replace(job, channels={"train": copy, "valid": source["valid"]}))
    assert "trial 1" not in capsys.readouterr().out


def test_without_a_frozen_backbone_each_trial_is_an_ordinary_training(source: dict[str, Path], job: Job) -> None:
    ordinary = replace(job, channels={name: source[name] for name in ("train", "valid")})
    frozen = {"name": "freeze-backbone", "kind": "Categorical", "values": [True, False]}
    run(config(epochs=1, search=asked(strategy="grid", ranges=[frozen], trials=2)), ordinary)
    found = told(job)
    assert {t["hyperparameters"]["freeze-backbone"] for t in found["trials"]} == {"true", "false"}
    assert {t["status"] for t in found["trials"]} == {trials.COMPLETED}
    artifact.read(job.model_dir)


def test_features_of_another_size_are_refused_before_any_trial(job: Job) -> None:
    with pytest.raises(InputError, match="image-size is 32 in the channel `features` and 64 in the job"):
        run(config(image_size=64), job)
    assert not (job.output_dir / "trials.json").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "mode=search needs the hyperparameter `search`"),
        ("{strategy", "`search` is no JSON"),
        ("[1]", "must be a JSON object"),
        (asked(strategy="evolution"), "strategy='evolution': it must be one of bayesian, random, grid, hyperband"),
        (asked(trials=0), "trials=0: it must be a whole number from 1"),
        (asked(objective="test:accuracy"), "objective='test:accuracy': it must be one of valid:accuracy, valid:loss"),
        (asked(tries=3), "unknown member 'tries'"),
        (asked(ranges=[]), "no ranges"),
        (asked(ranges=[RATE, RATE]), "two ranges for learning-rate"),
        (asked(ranges=[RATE | {"high": 11}]), "learning-rate='11' is not valid: it must be a number between 1e-07"),
        (asked(ranges=[RATE | {"low": 0.2}]), "low=0.2 above high=0.1"),
        (asked(ranges=[RATE | {"name": "lr"}]), "unknown hyperparameter 'lr'"),
        (asked(ranges=[RATE | {"name": "weight-decay", "low": 0}]), "logarithmic and begins at 0"),
        (asked(ranges=[EPOCHS | {"kind": "Continuous"}]), "epochs is a whole number: its range must have kind=Integer"),
        (asked(ranges=[EPOCHS | {"name": "model"}]), "model='1' is not valid"),
        (asked(ranges=[BATCH | {"values": [16, 1]}]), "batch-size='1' is not valid"),
        (asked(ranges=[BATCH | {"values": [16, "16"]}]), "batch-size has a value twice"),
        (asked(ranges=[BATCH | {"name": "mode", "values": ["train"]}]), "mode cannot be varied"),
        (asked(strategy="grid"), "a grid cannot take every number between 0.001 and 0.1"),
    ],
)
def test_a_search_that_cannot_be(job: Job, text: str, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        run(config(search=text), job)
