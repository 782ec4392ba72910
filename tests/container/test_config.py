from __future__ import annotations

import argparse
import re
import subprocess
import sys

import pytest

from classifier import metrics
from classifier.config import Config, add_arguments, given, hyperparameters, reference
from classifier.errors import InputError
from conftest import ROOT


def test_what_sagemaker_carries_comes_back_unchanged() -> None:
    config = Config(learning_rate=1e-5, augment=True, model="resnet50", seed=3, rules="Overfit:off")
    assert Config.parse(config.to_hyperparameters()) == config
    carried = config.to_hyperparameters()
    assert (carried["augment"], carried["debug"], carried["seed"]) == ("true", "false", "3")


def test_booleans_as_python_json_and_people_write_them() -> None:
    for text in ("True", "true", "1"):
        assert Config.parse({"augment": text}).augment is True
    for text in ("False", "FALSE", "0"):
        assert Config.parse({"freeze-backbone": text}).freeze_backbone == "false"


def test_when_the_backbone_is_frozen() -> None:
    frozen = {value: Config.parse({"freeze-backbone": value}) for value in ("1", "false", "until-epoch-12")}
    assert {value: config.head_only for value, config in frozen.items()} == {
        "1": True, "false": False, "until-epoch-12": False
    }  # fmt: skip
    assert [config.is_frozen(12) for config in frozen.values()] == [True, False, True]
    assert [config.is_frozen(13) for config in frozen.values()] == [True, False, False]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"lr": "0.1"}, f"unknown hyperparameter 'lr': known are: {', '.join(hyperparameters())}"),
        ({"epoch": "3"}, "did you mean 'epochs'?"),
        ({"epochs": "2.5"}, "a whole number between 1 and 1000"),
        ({"learning-rate": "nan"}, "a number between 1e-07 and 10"),
        ({"learning-rate": "fast"}, "a number between"),
        ({"label-smoothing": "1"}, "between 0.0 and 0.9"),
        ({"learning-rate": "11"}, "hyperparameter learning-rate='11' is not valid: it must be a number between 1e-07"),
        ({"epochs": "0"}, "hyperparameter epochs='0' is not valid: it must be a whole number between 1 and 1000"),
        ({"epochs": "1001"}, "between 1 and 1000"),
        ({"augment": "maybe"}, "hyperparameter augment='maybe' is not valid: it must be true or false"),
        ({"model": "vgg"}, "it must be one of resnet18, resnet34, resnet50, resnet101, resnet152"),
        ({"batch-size": "1"}, "between 2 and 4096"),
        ({"freeze-backbone": "until-epoch-0"}, "it must be true, false or until-epoch-N"),
        ({"freeze-backbone": "3"}, "it must be true, false or until-epoch-N"),
    ],
)
def test_what_is_refused(values: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        Config.parse(values)


def test_every_default_is_within_its_own_bounds() -> None:
    assert Config.parse(Config().to_hyperparameters()) == Config()


def test_the_ends_of_a_range_belong_to_it() -> None:
    assert [Config.parse({"epochs": text}).epochs for text in ("1", "1000")] == [1, 1000]
    assert [Config.parse({"label-smoothing": text}).label_smoothing for text in ("0", "0.9")] == [0.0, 0.9]


def test_a_value_may_be_a_number_where_json_is_read() -> None:
    assert Config.parse({"epochs": 3, "learning-rate": 0.5, "debug": True}) == Config(
        epochs=3, learning_rate=0.5, debug=True
    )


def test_what_follows_from_others() -> None:
    assert Config(learning_rate=0.1, batch_size=64).peak_learning_rate == 0.1
    assert Config(learning_rate=0.1, batch_size=64, base_batch_size=256).peak_learning_rate == 0.025
    assert Config(augment=False, views=9).stored_views == 1
    assert Config(augment=True, views=9).stored_views == 9
    assert Config(augment=True, views=0).stored_views == 4
    assert Config(seed=7).stored_seed is None
    assert Config(seed=7, augment=True).stored_seed == Config(seed=7, weights="none").stored_seed == 7


def test_the_command_line_gives_only_what_was_given() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert given(parser.parse_args(["--learning-rate", "0.1", "--augment", "true"])) == {
        "learning-rate": "0.1",
        "augment": "true",
    }
    help_text = " ".join(parser.format_help().split())
    for name, f in hyperparameters().items():
        assert f"--{name} " in help_text
        assert " ".join(f.metadata["help"].split()) in help_text
    assert "--epochs INT passes over the training split; between 1 and 1000 (default: 5)" in help_text
    assert (
        "--augment BOOL random crops and mirrored photographs in training; true or false (default: false)" in help_text
    )
    assert "--stop-on STR rules that end the job when they fire, separated by commas; any (default: none)" in help_text


def test_config_needs_no_torch() -> None:
    code = (
        "import sys; import classifier.config, classifier.metrics, classifier.fingerprint, classifier.search_space; "
        "assert not {'torch', 'numpy'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("value", [0.5, 1e-7, 123456.0, float("nan"), float("-inf"), -3.25e12])
def test_the_expressions_read_what_the_line_writes(value: float) -> None:
    text = "epoch 1/2: " + metrics.line(dict.fromkeys(metrics.NAMES, value)) + " (3 images/s)"
    for definition in metrics.definitions():
        found = re.findall(definition["Regex"], text)
        assert len(found) == 1
        assert float(found[0]) == pytest.approx(value, rel=1e-4, nan_ok=True)


def test_the_page_of_hyperparameters_is_what_the_code_says() -> None:
    assert (ROOT / "docs" / "hyperparameters.md").read_text() == reference(), "run `make docs`"
