"""What a caller may choose about the answer: read from a header's attributes or from a JSON body's members."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from classifier.errors import InputError

TOP = "top"


class BadOption(InputError):
    """An option with a value that it cannot have; the message says what is allowed."""


@dataclass(frozen=True)
class Options:
    """`top_k`: at most so many labels; `threshold`: none below this probability; `features`: the backbone's pooled
    features too; `probabilities`: those of all classes, in their order, instead of labels; `explain`: the class (or
    TOP, the most probable) whose activation map is the answer.
    """

    top_k: int = 5
    threshold: float = 0.0
    features: bool = False
    probabilities: bool = False
    explain: str | None = None


NAMES = tuple(field.name for field in dataclasses.fields(Options))


def from_attributes(text: str) -> dict[str, str]:
    """`top_k=3, explain=Afghan%20hound` -> its options, percent-decoded.

    Attributes are separated by commas or semicolons; others than ours are not ours to judge (trace ids, say).
    """
    pairs = (part.partition("=") for part in text.replace(";", ",").split(","))
    return {key: unquote(value.strip()) for name, _, value in pairs if (key := name.strip().lower()) in NAMES}


def from_members(members: Mapping[str, object]) -> dict[str, str]:
    """The members of a JSON body that are options, as text.

    Raises:
        BadOption: one is neither text nor a number nor true or false.
    """
    texts = {}
    for name, value in members.items():
        if not isinstance(value, str | int | float):
            raise BadOption(f"option {name} is not valid: it must be text, a number, true or false")
        texts[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return texts


def read(texts: Mapping[str, str], classes: Sequence[str]) -> Options:
    """Checks the values of options, given by their names.

    Raises:
        BadOption: a value is not allowed, or two options contradict each other.
    """
    readers: dict[str, Callable[[str], object]] = {
        "top_k": _whole_number,
        "threshold": _probability,
        "features": lambda text: _one_of(text, {"true": True, "false": False}),
        "probabilities": lambda text: _one_of(text, {"all": True}),
        "explain": lambda text: _label(text, classes),
    }
    values = {}
    for name, text in texts.items():
        try:
            values[name] = readers[name](text)
        except ValueError as error:
            raise BadOption(f"option {name}={text[:50]!r} is not valid: it must be {error}") from None
    options = Options(**values)  # type: ignore[arg-type]
    if options.probabilities and ("top_k" in texts or "threshold" in texts):
        raise BadOption("probabilities=all answers with every class: leave out top_k and threshold")
    if options.probabilities and options.features:
        raise BadOption("probabilities=all and features=true are two answers: ask for one of them")
    if options.explain is not None and len(texts) > 1:
        raise BadOption("explain answers with a picture: leave out the other options")
    return options


def _whole_number(text: str) -> int:
    number = int(text[:9]) if text.isascii() and text.isdigit() else 0
    if not number:
        raise ValueError("a whole number from 1")
    return number


def _probability(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 <= (value := float(text)) <= 1:
            return value
    raise ValueError("a number from 0 to 1")


def _one_of(text: str, values: Mapping[str, bool]) -> bool:
    if text.lower() not in values:
        raise ValueError(" or ".join(values))
    return values[text.lower()]


def _label(text: str, classes: Sequence[str]) -> str:
    if text == TOP or text in classes:
        return text
    close = difflib.get_close_matches(text[:100], classes)
    meant = f"; did you mean {close[0]!r}?" if close else f", as {classes[0]!r} is"
    raise ValueError(f"{TOP} or one of the model's {len(classes)} classes{meant}")
