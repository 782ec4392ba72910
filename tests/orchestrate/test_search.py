"""What a search is asked for: options -> Search, and everything that is refused before anything starts."""

from __future__ import annotations

import argparse

import pytest

from local_sagemaker import validation
from orchestrate import features, jobs, options, search
from orchestrate.channels import Weights
from orchestrate.errors import InputError
from orchestrate.session import open_session

VALUES = ["--range", "batch-size=16,32", "--range", "optimizer=adamw,sgd"]


def parsed(*arguments: str) -> argparse.Namespace:
    parser = options.parser(None)
    search.add_arguments(parser, trials=4)
    options.add_training(parser)
    return parser.parse_args(["--image", "image", *arguments])


def asked(*arguments: str) -> tuple[search.Search, search.Way, dict[str, str]]:
    args = parsed(*arguments)
    return search.of(args, options.hyperparameters(args)[0])


def test_without_options() -> None:
    space, way, fixed = asked()
    assert [str(r) for r in space.ranges] == [
        "learning-rate 0.001 to 0.1 (log)", "batch-size in 16, 32, 64, 128, 256", "epochs 2 to 10",
    ]  # fmt: skip
    assert (space.trials, space.parallel, space.strategy, way, fixed) == (4, 1, "bayesian", search.Way(), {})


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--trials", "0"], "between 1 and 750"),
        (["--trials", "2", "--parallel", "3"], "--parallel 3"),
        (
            ["--strategy", "grid", "--range", "epochs=2:4"],
            "a grid takes every combination of values, and epochs 2 to 4",
        ),
        (["--strategy", "grid"], "nothing to search"),
        (["--strategy", "grid", *VALUES, "--trials", "3"], "has 4 combinations, and --trials is 3"),
        (["--strategy", "hyperband", "--range", "epochs=2:4"], "hyperband itself chooses how many epochs"),
        (["--strategy", "hyperband", "--early-stopping"], "which stops trials itself"),
        (
            ["--range", "epochs=2:3", "--batch-size", "8", "--learning-rate", "0.1", "--trials", "3"],
            "the 2 combinations",
        ),
        (["--warm-start", "rex", "--warm-start", "rex"], "each once"),
        (["--in-one-job", "--parallel", "2"], "leave --parallel 2 out"),
        (["--in-one-job", "--warm-start", "rex"], "leave --warm-start out"),
        (["--in-one-job", "--cache-features", "off"], "leave --cache-features off out"),
        (["--in-one-job", "--range", "workers=0:2"], "workers cannot be varied"),
        (["--cache-features", "on", "--freeze-backbone", "false"], "needs a frozen backbone"),
        (["--features", "s3://bucket/features", "--range", "freeze-backbone=true,false"], "needs a frozen backbone"),
        (["--cache-features", "on", "--range", "image-size=64,96"], "--range image-size makes others"),
        (["--cache-features", "on", "--augment", "true", "--range", "seed=1:9"], "--range seed makes others"),
        (["--features", "s3://bucket/features", "--cache-features", "off"], "drop one of them"),
        (["--keep-alive", "60", "--spot"], "exclude each other"),
        (["--keep-alive", "3601"], "between 0 and 3600"),
        (["--range", "mode=train,embed"], "mode cannot be varied"),
    ],
)
def test_what_contradicts_itself(arguments: list[str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        asked(*arguments)


@pytest.mark.parametrize("option", ["--mode", "--search", "--data-fingerprint"])
def test_what_the_scripts_set_themselves_is_no_option(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(option, "train")
    assert f"unrecognized arguments: {option}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        (["--strategy", "grid", *VALUES], {"Strategy": "Grid", "ResourceLimits.MaxNumberOfTrainingJobs": 4}),
        (["--strategy", "hyperband"], {"StrategyConfig.HyperbandStrategyConfig.MaxResource": 10}),
        (["--early-stopping", "--parallel", "2"], {"TrainingJobEarlyStoppingType": "Auto"}),
        (["--seed", "3"], {"RandomSeed": 3, "HyperParameterTuningJobObjective.Type": "Maximize"}),
        (["--objective", "valid:loss"], {"RandomSeed": 0, "HyperParameterTuningJobObjective.Type": "Minimize"}),
    ],
)  # fmt: skip
def test_requests(arguments: list[str], settings: dict[str, object]) -> None:
    args = parsed(*arguments)
    space, _, fixed = search.of(args, options.hyperparameters(args)[0])
    session = open_session(args, dry=True)
    request = jobs.tuning(session, "rex", "image", {"train": "s3://b/train"}, fixed, options.machine(args), space)
    validation.check("sagemaker", "CreateHyperParameterTuningJob", request)
    for path, value in settings.items():
        found = request["HyperParameterTuningJobConfig"]
        for member in path.split("."):
            found = found[member]
        assert found == value


def test_spot_warm_pools_and_warm_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KENNEL_OUTPUT", "s3://bucket/kennel")
    args = parsed("--spot", "--max-runtime-s", "600", "--warm-start", "rex", "--warm-start-type", "identical")
    space, _, _ = search.of(args, {})
    session = open_session(args, dry=True)
    request = jobs.tuning(session, "max", "image", {"train": "s3://b/train"}, {}, options.machine(args), space)
    validation.check("sagemaker", "CreateHyperParameterTuningJob", request)
    definition = request["TrainingJobDefinition"]
    assert definition["EnableManagedSpotTraining"] is True
    assert definition["StoppingCondition"] == {"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 1200}
    assert definition["CheckpointConfig"]["S3Uri"] == "s3://bucket/kennel/max/checkpoints"
    assert request["WarmStartConfig"]["WarmStartType"] == "IdenticalDataAndAlgorithm"
    warm = options.machine(parsed("--keep-alive", "300"))
    request = jobs.tuning(session, "max", "image", {"train": "s3://b/train"}, {}, warm, space)
    validation.check("sagemaker", "CreateHyperParameterTuningJob", request)
    assert request["TrainingJobDefinition"]["ResourceConfig"]["KeepAlivePeriodInSeconds"] == 300


@pytest.mark.parametrize(
    ("arguments", "disk", "mode"),
    [([], 30, "File"), (["--volume-gb", "200", "--input-mode", "fastfile"], 200, "FastFile")],
)
def test_where_photographs_are_put(arguments: list[str], disk: int, mode: str) -> None:
    args = parsed(*arguments)
    session = open_session(args, dry=True)
    request = jobs.training(session, "rex", "image", {"train": "s3://b/train"}, {}, options.machine(args))
    validation.check("sagemaker", "CreateTrainingJob", request)
    assert request["ResourceConfig"]["VolumeSizeInGB"] == disk
    assert request["AlgorithmSpecification"]["TrainingInputMode"] == mode


def test_a_job_needs_a_disk() -> None:
    with pytest.raises(InputError, match="--volume-gb 0 must be at least 1"):
        options.machine(parsed("--volume-gb", "0"))


def test_an_embed_job_is_given_what_it_heeds() -> None:
    session = open_session(parsed("--role", "arn:aws:iam::123456789012:role/kennel"), dry=True)
    fixed = {"image-size": "64", "max-bad-images": "2", "epochs": "3", "optimizer": "sgd"}
    key = features.key_of("0" * 64, fixed, Weights(), "image")
    request = features.request(session, "rex", {"train": "s3://b/train"}, fixed, options.machine(parsed()), key)
    validation.check("sagemaker", "CreateTrainingJob", request)
    assert request["HyperParameters"] == {
        "mode": "embed", "image-size": "64", "max-bad-images": "2", "data-fingerprint": "0" * 64,
    }  # fmt: skip


def test_the_container_reads_what_is_sent_for_one_job() -> None:
    from classifier import search_space
    from classifier.config import Config

    space, _, _ = asked("--in-one-job", "--strategy", "random", "--seed", "5", "--trials", "9", "--range", "epochs=2:4")
    read = search_space.parse(Config(mode="search", search=search.to_hyperparameter(space)))
    assert (read.strategy, read.trials, read.objective, read.seed) == ("random", 9, "valid:accuracy", 5)
    assert {r.name: (r.low, r.high, r.log, r.values) for r in read.ranges} == {
        "learning-rate": (0.001, 0.1, True, ()), "epochs": (2, 4, False, ()),
        "batch-size": (0, 0, False, ("16", "32", "64", "128", "256")),
    }  # fmt: skip


def test_a_search_that_is_too_long_for_a_hyperparameter() -> None:
    """SageMaker takes 2,500 characters; the message tells what to shorten."""

    def lists(characters: int) -> list[str]:
        numbers = ",".join(f"0.1{i:0{characters - 3}}" for i in range(30))
        return [f"--range={name}={numbers}" for name in ("learning-rate", "weight-decay", "label-smoothing")]

    with pytest.raises(InputError, match=r"of the 2,500 that SageMaker allows: .*--range label-smoothing") as refused:
        asked("--in-one-job", *lists(24))
    assert "or leave --in-one-job out" in str(refused.value)
    asked(*lists(24))  # a job a trial has its ranges in the request
    space, _, _ = asked("--in-one-job", *lists(19))
    assert 2350 < len(search.to_hyperparameter(space)) <= 2500
