"""The image under test and what its tests need to know about it: the command line's options."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from image.containers import Container

# What Kennel needs for a run of seconds.
HYPERPARAMETERS = {
    "epochs": "1", "image-size": "32", "weights": "none", "freeze-backbone": "false", "batch-size": "8",
}  # fmt: skip
LONG_HYPERPARAMETERS = {"epochs": "1000"}
TRAIN_STOP_S = 120
SERVE_STOP_S = 30


@dataclass(frozen=True)
class Subject:
    """`channels`: name -> directory. `bad_body` is one that the server must refuse."""

    image: str
    hyperparameters: Mapping[str, str]
    long_hyperparameters: Mapping[str, str]
    under_way: str
    channels: Mapping[str, Path]
    body: bytes
    content_type: str
    bad_body: bytes
    options: tuple[str, ...]
    start_within_s: float
    stop_within_s: float | None

    def start(self, program: str, *options: str, port: int = 8080) -> Container:
        return Container.start(self.image, program, (*self.options, *options), port)


def refuse(sentence: str) -> NoReturn:
    """Ends the run: with a wrong option no test can tell anything."""
    pytest.exit(sentence, returncode=pytest.ExitCode.USAGE_ERROR)


def json_strings(text: str, option: str) -> dict[str, str]:
    """The JSON object of an option, whose values SageMaker makes strings."""
    try:
        return {str(name): value if isinstance(value, str) else json.dumps(value) for name, value in
                json.loads(text).items()}  # fmt: skip
    except (ValueError, AttributeError) as error:
        refuse(f'{option} {text!r} is no JSON object ({error}); give one as \'{{"a": "1"}}\'')


def directories(given: list[str]) -> dict[str, Path]:
    """NAME=DIR of `--channel`."""
    channels = {}
    for text in given:
        name, equals, directory = text.partition("=")
        if not (name and equals and Path(directory).is_dir()):
            refuse(f"--channel {text!r} is not NAME=DIR with a directory that exists; correct it")
        channels[name] = Path(directory).resolve()
    return channels


def file(path: str, option: str) -> bytes:
    """What `--body` and the like name."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        refuse(f"{option} {path} cannot be read ({error.strerror}); name a file")
