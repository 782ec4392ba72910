"""How rules run, as the user says it."""

from __future__ import annotations

import pytest

from classifier import rule_settings
from classifier.errors import InputError
from classifier.watch.rules.every import ALL


def test_words_change_what_they_name() -> None:
    settings = rule_settings.parse(
        "Overfit:ratio_threshold=0.2:patience=2; DeadRelu : off ;LossNotDecreasing:error", " Overfit,"
    )
    assert settings.rules["Overfit"].parameters == {"ratio_threshold": 0.2, "patience": 2}
    assert settings.rules["Overfit"].severity == "warning"
    assert settings.rules["DeadRelu"].severity == "off"
    assert settings.rules["LossNotDecreasing"].severity == "error"
    assert settings.stop_on == {"Overfit"}
    untouched = rule_settings.parse("", "")
    assert untouched.rules["VanishingGradient"] == settings.rules["VanishingGradient"]
    assert untouched.rules["ExplodingTensor"].severity == "error"


def test_there_is_a_class_for_each_rule_of_the_catalogue() -> None:
    assert [rule.__name__ for rule in ALL] == list(rule_settings.RULES)


def test_every_default_is_within_its_range() -> None:
    for spec in rule_settings.RULES.values():
        for name, threshold in spec.thresholds.items():
            assert threshold.low <= threshold.default <= threshold.high, f"{spec.name}:{name}"
        assert spec.what and spec.advice and spec.source


@pytest.mark.parametrize(
    ("rules", "stop_on", "reason"),
    [
        ("overfit:off", "", "hyperparameter rules: there is no rule 'overfit'; did you mean Overfit?"),
        (
            "Overfit:sometimes",
            "",
            "rules: Overfit knows no 'sometimes'; it takes ratio_threshold=NUMBER, ",
        ),
        (
            "Overfit:patience=",
            "",
            "rules: Overfit:patience= is not valid: it must be a number between 1",
        ),
        ("Overfit:patience=inf", "", "Overfit:patience=inf is not valid"),
        ("", "Overfit;DeadRelu", "hyperparameter stop-on: there is no rule 'Overfit;DeadRelu'"),
        ("Overfit:off", "Overfit", "hyperparameter stop-on: Overfit is turned off by the hyperparameter rules"),
    ],
)
def test_what_cannot_be_is_refused(rules: str, stop_on: str, reason: str) -> None:
    with pytest.raises(InputError) as refused:
        rule_settings.parse(rules, stop_on)
    assert reason in str(refused.value)


def test_collections() -> None:
    assert rule_settings.collections("relu, weights") == ("losses", "weights", "relu")
    assert rule_settings.collections("") == ("losses",)
    with pytest.raises(InputError, match="there is no collection 'everything'; known are: losses, gradients"):
        rule_settings.collections("everything")
