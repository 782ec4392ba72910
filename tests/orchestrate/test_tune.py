"""Searches on a real server whose container is a few lines: features, all trials in one job, what people are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrate import (
    best_trial,
    channels,
    console,
    features,
    jobs,
    options,
    ranges,
    storage,
    train,
    tune,
    tuning_page,
)
from orchestrate.channels import Weights
from orchestrate.errors import InputError, JobFailed
from orchestrate.search import Search, Way
from orchestrate.session import Session
from photographs import data_set

MACHINE = jobs.Machine("ml.m5.xlarge", 600)
SPACE = Search((ranges.parse("learning-rate=0.001:0.1:log"),), trials=2)


def training_jobs(session: Session) -> int:
    return len(session.client("sagemaker").list_training_jobs(MaxResults=100)["TrainingJobSummaries"])


def test_features_are_computed_once_and_trials_read_nothing_else(
    local: Session, inputs: dict[str, str], out: console.Console, capsys: pytest.CaptureFixture[str]
) -> None:
    name = jobs.unique_name("tune")
    found = tune.tune(local, out, name, inputs, {}, MACHINE, SPACE, Way())
    assert found.features and found.features.training_job
    assert local.storage.size(storage.join(found.features.uri, "features.json"))
    client = local.client("sagemaker")
    trial = client.describe_training_job(TrainingJobName=found.best.name)
    (channel,) = trial["InputDataConfig"]
    assert (channel["ChannelName"], channel["DataSource"]["S3DataSource"]["S3Uri"]) == ("features", found.features.uri)
    assert trial["HyperParameters"]["data-fingerprint"] == features.fingerprint_of(local, inputs)
    assert found.best.curve[-1]["valid:accuracy"] == found.best.objective

    chosen, image, photographs = best_trial.of(local, name)
    assert (chosen, image, photographs) == (found.hyperparameters, "process", inputs)
    assert chosen.keys() == {"learning-rate"}, "the training is an ordinary one, on photographs"
    again = train.train(local, out, jobs.unique_name("train"), image, photographs, chosen, MACHINE)
    assert again.results.model["channels"] == ["test", "train", "valid"]

    capsys.readouterr()
    second = tune.tune(local, out, jobs.unique_name("tune"), inputs, {}, MACHINE, SPACE, Way())
    assert f"features reused: {found.features.uri}" in capsys.readouterr().err
    assert second.features and (second.features.uri, second.features.seconds) == (found.features.uri, 0)
    third = tune.tune(local, out, jobs.unique_name("tune"), inputs, {}, MACHINE, SPACE, Way(in_one_job=True))
    assert third.features and third.features.uri == found.features.uri


def test_features_that_were_named_are_compared_before_anything_starts(
    local: Session, inputs: dict[str, str], out: console.Console, tmp_path: Path
) -> None:
    key = features.key_of(features.fingerprint_of(local, inputs), {}, Weights(), "process")
    made = features.embed(local, out, inputs, {}, MACHINE, key, options.unguarded)
    others = channels.publish(local, str(data_set(tmp_path / "others", {"train": 3, "valid": 1})), Weights())
    before = training_jobs(local)
    for given, fixed, sentence in (
        (others, {}, "of other photographs: data-fingerprint is"),
        (inputs, {"image-size": "96"}, "of another image-size: image-size is 224 there and 96 here"),
        (inputs, {"augment": "true"}, "of another augment"),
        (inputs, {"model": "resnet50"}, "of another model"),
    ):
        with pytest.raises(InputError, match=sentence):
            tune.tune(local, out, jobs.unique_name("tune"), given, fixed, MACHINE, SPACE, Way(features=made.uri))
    with pytest.raises(InputError, match=r"there is no features\.json"):
        tune.tune(local, out, "x", inputs, {}, MACHINE, SPACE, Way(features=tmp_path.as_uri()))
    assert training_jobs(local) == before
    found = tune.tune(local, out, jobs.unique_name("tune"), inputs, {}, MACHINE, SPACE, Way(features=made.uri))
    assert found.features and found.features.uri == made.uri


def test_all_trials_in_one_job(
    local: Session, inputs: dict[str, str], out: console.Console, capsys: pytest.CaptureFixture[str]
) -> None:
    before, name = training_jobs(local), jobs.unique_name("tune")
    space = Search(SPACE.ranges, trials=5)
    fixed = {"optimizer": "sgd", "freeze-backbone": "false"}
    found = tune.tune(local, out, name, inputs, fixed, MACHINE, space, Way(in_one_job=True))
    assert training_jobs(local) == before + 1
    assert [(t.number, t.status, t.seconds) for t in found.trials] == [(n, "Completed", 0.25) for n in range(1, 6)]
    told = capsys.readouterr().err
    assert "trial 5/5: valid:accuracy=" in told and "epoch 1/1: train:loss" in told
    assert "trial 1: epoch" not in told
    assert found.hyperparameters == {**fixed, **found.best.hyperparameters}
    assert best_trial.of(local, name) == (found.hyperparameters, "process", inputs)
    assert tune.attach(local, out, name) == found
    assert json.loads(local.storage.read(found.best_json))["best"]["trial"] == found.best.number
    assert name in tuning_page.local_file(found).read_text("utf-8")


def test_what_a_search_cannot_build_on(local: Session, inputs: dict[str, str], out: console.Console) -> None:
    running, one_job, plain = (jobs.unique_name("tune") for _ in range(3))
    tune.tune(local, out, one_job, inputs, {}, MACHINE, SPACE, Way(in_one_job=True))
    jobs.create(local, "CreateTrainingJob", jobs.training(local, plain, "process", inputs, {}, MACHINE))
    request = jobs.tuning(local, running, "process", inputs, {"workers": "60"}, MACHINE, SPACE)
    jobs.create(local, "CreateHyperParameterTuningJob", request)
    for name, sentence in (
        ("nobody", "there is no search nobody"),
        (running, "is InProgress: wait for its end"),
        (one_job, "is a search in one job"),
        (plain, "is a training job and no search"),
    ):
        with pytest.raises(InputError, match=sentence):
            space = Search(SPACE.ranges, trials=2, warm_start=(name,))
            tune.tune(local, out, jobs.unique_name("tune"), inputs, {}, MACHINE, space)
    with pytest.raises(InputError, match="InProgress and has no best trial"):
        best_trial.of(local, running)
    local.client("sagemaker").stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=running)


def test_warm_start(local: Session, inputs: dict[str, str], out: console.Console) -> None:
    parent = tune.tune(local, out, jobs.unique_name("tune"), inputs, {}, MACHINE, SPACE)
    space = Search(SPACE.ranges, trials=2, warm_start=(parent.name,), warm_start_type="identical")
    found = tune.tune(local, out, jobs.unique_name("tune"), inputs, {}, MACHINE, space)
    job = local.client("sagemaker").describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=found.name)
    assert job["WarmStartConfig"]["ParentHyperParameterTuningJobs"] == [{"HyperParameterTuningJobName": parent.name}]
    other = Search(SPACE.ranges, trials=2, objective="valid:loss", warm_start=(parent.name,))
    with pytest.raises(InputError, match="add --objective valid:accuracy"):
        tune.tune(local, out, jobs.unique_name("tune"), inputs, {}, MACHINE, other)


def test_an_objective_that_the_log_never_tells_is_told_after_the_first_trial(
    local: Session, inputs: dict[str, str], out: console.Console, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(JobFailed, match="ended"):
        tune.tune(local, out, jobs.unique_name("tune"), inputs, {"label-smoothing": "0.8"}, MACHINE, SPACE)
    lines = [line for line in capsys.readouterr().err.splitlines() if "trial" in line]
    first = next(i for i, line in enumerate(lines) if line.startswith("trial 1 "))
    assert "its log never told valid:accuracy" in lines[first + 1]
    assert sum("never told" in line for line in lines) == 1

    # Of these two one fails, whichever comes first, and the other one is the first that ends well.
    space = Search((ranges.parse("weight-decay=0,1"),), trials=2, strategy="grid")
    with pytest.raises(JobFailed, match=r"ended .*: the bowl is empty"):
        tune.tune(local, out, jobs.unique_name("tune"), inputs, {"label-smoothing": "0.8"}, MACHINE, space)
    assert capsys.readouterr().err.count("ended well and its log never told valid:accuracy") == 1
