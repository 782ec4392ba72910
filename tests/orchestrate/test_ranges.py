"""What a search varies."""

from __future__ import annotations

import pytest

from orchestrate import ranges
from orchestrate.errors import InputError


def test_the_three_forms() -> None:
    assert ranges.parse("learning-rate=0.001:0.1:log") == ranges.Range(
        "learning-rate", "Continuous", "0.001", "0.1", log=True
    )
    assert ranges.parse("epochs=2:10") == ranges.Range("epochs", "Integer", "2", "10")
    assert ranges.parse("freeze-backbone=true,false").values == ("true", "false")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("learning-rate", "cannot be read"),
        ("learning-rate=", "cannot be read"),
        ("learning-rate=0.1:1:cubic", "cannot be read"),
        ("learning_rat=0.1:1", "there is no hyperparameter 'learning_rat': did you mean 'learning-rate'"),
        ("lr=0.1:1", "'lr': a search may vary model, weights, freeze-backbone, image-size, epochs, batch-size"),
        ("learning-rate=0.1:11", "--range learning-rate=0.1:11: hyperparameter learning-rate='11' is not valid"),
        ("learning-rate=0.1:nan", "'nan' is not valid"),
        ("learning-rate=0.1:0.01", "0.1 is not below 0.01"),
        ("epochs=3:3", "3 is not below 3"),
        ("epochs=1.5:3", "'1.5' is not valid"),
        ("weight-decay=0:0.1:log", "must be above 0"),
        ("optimizer=adamw:sgd", "has no low and high"),
        ("optimizer=adamw", "one value: fix it with --optimizer adamw"),
        ("optimizer=adamw,lion", "'lion' is not valid"),
        ("batch-size=16,16", "each once"),
        ("batch-size=" + ",".join(str(n) for n in range(2, 33)), "2 to 30 values"),
    ],
)
def test_bad_ranges(text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence.replace("+", r"\+")):
        ranges.parse(text)


def test_what_is_fixed_is_not_searched() -> None:
    assert [r.name for r in ranges.choose((), {"epochs": "3"})] == ["learning-rate", "batch-size"]


def test_what_is_given_replaces_the_default() -> None:
    chosen = {r.name: r for r in ranges.choose(["epochs=1:2"], {})}
    assert (chosen["epochs"].low, chosen["epochs"].high) == ("1", "2")


@pytest.mark.parametrize(
    ("given", "fixed", "sentence"),
    [
        (["epochs=1:2", "epochs=1:3"], {}, "given twice"),
        (["epochs=1:2"], {"epochs": "3"}, "both fixed .* and varied"),
        ([], {"epochs": "3", "batch-size": "16", "learning-rate": "0.1"}, "nothing to search"),
    ],
)
def test_contradictions(given: list[str], fixed: dict[str, str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        ranges.choose(given, fixed)
