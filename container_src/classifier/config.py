"""Every hyperparameter, once: type, default, range and help.

The command line, SageMaker's `hyperparameters.json`, the tuner's ranges, the validation and the documentation are all
derived from `Config`. Pure Python: importable where torch is not installed.
"""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Mapping
from dataclasses import Field, asdict, dataclass, field, fields
from typing import Any

from classifier.errors import InputError

MODELS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
MODES = ("train", "embed", "search")
# What `embed` keeps of an augmented photograph where `views` asks for another view in every epoch.
DEFAULT_VIEWS = 4
# Photographs of a batch that each process of a training needs: batch normalization cannot train on one.
FEWEST = 2
# What a frozen backbone's features depend on, beside the photographs; the last only where there is a `stored_seed`.
FEATURES_DEPEND_ON = ("model", "weights", "image-size", "augment", "views", "seed")

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True)
class Bounds:
    """What a value may be. `low` and `high` are inclusive; a number has both."""

    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] | None = None
    pattern: str | None = None
    """of a text; `words` say it for people"""
    words: str = ""

    def __str__(self) -> str:
        if self.pattern:
            return self.words
        if self.choices:
            return "one of " + ", ".join(self.choices)
        return "any" if self.low is None else f"between {self.low} and {self.high}"


def _hyperparameter(
    default: Any, help: str, low: float | None = None, high: float | None = None,
    choices: tuple[str, ...] | None = None, pattern: str | None = None, words: str = "",
) -> Any:  # fmt: skip
    return field(default=default, metadata={"help": help, "bounds": Bounds(low, high, choices, pattern, words)})


@dataclass(frozen=True)
class Config:
    """The hyperparameters of one training job. A field `learning_rate` is the hyperparameter `learning-rate`."""

    mode: str = _hyperparameter(
        "train",
        "what the job does: `train` a model, `embed` the photographs (a frozen backbone's features, for the channel "
        "`features` of later jobs), or `search` (many trials in one job)",
        choices=MODES,
    )
    model: str = _hyperparameter("resnet18", "backbone", choices=MODELS)
    weights: str = _hyperparameter(
        "pretrained",
        "initial backbone weights: `pretrained` (<model>-<hash>.pth of the channel `weights`, else of the image) or "
        "`none` (random)",
        choices=("pretrained", "none"),
    )
    freeze_backbone: str = _hyperparameter(
        "true",
        "train only the head on fixed backbone features: to the end, never, or in the first N epochs, after which the "
        "backbone learns as well (gradual unfreezing)",
        pattern="true|false|until-epoch-[1-9][0-9]{0,3}",
        words="true, false or until-epoch-N",
    )
    image_size: int = _hyperparameter(224, "side of the square that the network sees, in pixels", 32, 1024)
    epochs: int = _hyperparameter(5, "passes over the training split", 1, 1000)
    batch_size: int = _hyperparameter(64, "photographs in one optimizer step, of all processes together", FEWEST, 4096)
    base_batch_size: int = _hyperparameter(
        0,
        "the batch size that learning-rate is meant for: with another batch-size it is scaled in proportion; 0 takes "
        "it as it is",
        0,
        4096,
    )
    learning_rate: float = _hyperparameter(0.003, "peak learning rate; decays to zero along a cosine", 1e-7, 10.0)
    optimizer: str = _hyperparameter("adamw", "update rule", choices=("adamw", "sgd"))
    weight_decay: float = _hyperparameter(0.01, "decoupled (adamw) or L2 (sgd) weight decay", 0.0, 1.0)
    label_smoothing: float = _hyperparameter(0.0, "share of the target spread over all classes", 0.0, 0.9)
    class_weights: str = _hyperparameter(
        "none",
        "weights of the classes in the loss: `balanced` are inverse to their numbers of training photographs",
        choices=("none", "balanced"),
    )
    warmup_epochs: float = _hyperparameter(
        0.0, "epochs, or parts of one, in which the learning rate rises to its peak", 0.0, 100.0
    )
    backbone_learning_rate_factor: float = _hyperparameter(
        1.0, "the backbone's learning rate over the head's, where the backbone is trained", 0.0, 10.0
    )
    ema_decay: float = _hyperparameter(
        0.0,
        "decay of an exponential moving average of the weights, which is then what is evaluated and kept; 0 keeps the "
        "weights themselves",
        0.0,
        0.99999,
    )
    mixup_alpha: float = _hyperparameter(
        0.0,
        "mixes each photograph, or its features, with another one by shares of Beta(alpha, alpha); 0 is off",
        0.0,
        10.0,
    )
    cutmix_alpha: float = _hyperparameter(
        0.0, "pastes a part of another photograph into each, by shares of Beta(alpha, alpha); 0 is off", 0.0, 10.0
    )
    augment: bool = _hyperparameter(False, "random crops and mirrored photographs in training")
    views: int = _hyperparameter(
        0,
        "distinct augmentations of each training photograph, used in turn, one an epoch; 0 makes another one in every "
        f"epoch, of which features keep {DEFAULT_VIEWS}",
        0,
        64,
    )
    seed: int = _hyperparameter(0, "seed of every random choice", 0, 2**31 - 1)
    early_stopping_patience: int = _hyperparameter(
        0, "stop after this many epochs without a better valid:accuracy; 0 never stops", 0, 1000
    )
    compile: bool = _hyperparameter(False, "compile the network (torch.compile); needs a compiler in the image")
    processes: int = _hyperparameter(
        0, "processes that train together on each instance; 0 is one for each GPU, and one on a CPU", 0, 64
    )
    workers: int = _hyperparameter(-1, "threads that decode photographs; -1 chooses by the CPUs at hand", -1, 64)
    max_bad_images: int = _hyperparameter(
        0,
        "photographs that may turn out to be unreadable: each is named and skipped, and another of its class takes its "
        "place; one more ends the job",
        0,
        1_000_000,
    )
    checkpoint_steps: int = _hyperparameter(0, "steps between two checkpoints; 0 goes by the time alone", 0, 1_000_000)
    checkpoint_minutes: float = _hyperparameter(
        10.0,
        "minutes between two checkpoints; 0 goes by the steps alone; a job that is stopped leaves one in any case",
        0.0,
        1440.0,
    )
    quantize: str = _hyperparameter(
        "auto",
        "whether the artifact gets the network in integers of 8 bits as well, for the CPUs that serve it; it is kept "
        "only if it is as good. `auto`: not in a tuning job's trials, nor with fewer photographs in `valid` than could "
        "show its cost in accuracy",
        choices=("auto", "always", "never"),
    )
    debug: bool = _hyperparameter(False, "watch the training: record tensors and times, judge them, write the report")
    save_interval: int = _hyperparameter(
        0,
        "steps between two whose tensors are recorded when debug is on; 0 records as often as costs at most 2 % of the "
        "time",
        0,
        100_000,
    )
    collections: str = _hyperparameter(
        "losses,gradients,weights,biases,relu", "what is recorded when debug is on, separated by commas"
    )
    rules: str = _hyperparameter(
        "", "how rules judge when debug is on: `NAME:off;NAME:error;NAME:threshold=number` (see rules.md)"
    )
    stop_on: str = _hyperparameter("", "rules that end the job when they fire, separated by commas")
    data_fingerprint: str = _hyperparameter(
        "", "when given, the fingerprint that the photographs or the features must have"
    )
    search: str = _hyperparameter("", "what mode=search does, as JSON: strategy, trials, objective, ranges")

    @classmethod
    def parse(cls, values: Mapping[str, object]) -> Config:
        """Checks and converts `{"learning-rate": "0.01", ...}`; absent names take their defaults.

        Raises:
            InputError: an unknown name, a value of the wrong type or out of its range.
        """
        known = hyperparameters()
        parsed: dict[str, Any] = {}
        for name, text in values.items():
            if name not in known:
                close = difflib.get_close_matches(name, known)
                hint = f"did you mean {close[0]!r}?" if close else "known are: " + ", ".join(known)
                raise InputError(f"unknown hyperparameter {name!r}: {hint}")
            parsed[known[name].name] = _convert(name, known[name], str(text))
        return cls(**parsed)

    @property
    def head_only(self) -> bool:
        """Whether the backbone is frozen to the end: then its features do not change."""
        return self.freeze_backbone == "true"

    def is_frozen(self, epoch: int) -> bool:
        """Whether the backbone is in that epoch, counted from 1."""
        until = self.freeze_backbone.rpartition("-")[2]
        return epoch <= int(until) if until.isdigit() else self.head_only

    @property
    def peak_learning_rate(self) -> float:
        """In proportion to the batch (Goyal et al., "Accurate, Large Minibatch SGD", 2017), where that is asked for."""
        return self.learning_rate * (self.batch_size / self.base_batch_size if self.base_batch_size else 1)

    @property
    def stored_views(self) -> int:
        """How many views of each training photograph its features have."""
        return (self.views or DEFAULT_VIEWS) if self.augment else 1

    @property
    def stored_seed(self) -> int | None:
        """The seed, where features depend on it: augmented photographs, or a backbone of random weights."""
        return self.seed if self.augment or self.weights == "none" else None

    def to_hyperparameters(self) -> dict[str, str]:
        """The form that SageMaker carries: every value a string."""
        return {
            name_of(key): str(value).lower() if isinstance(value, bool) else str(value)
            for key, value in asdict(self).items()
        }


def hyperparameters() -> dict[str, Field[Any]]:
    """Hyperparameter name -> dataclass field, in the order of declaration."""
    return {name_of(f.name): f for f in fields(Config)}


def name_of(attribute: str) -> str:
    """`learning_rate` -> `learning-rate`."""
    return attribute.replace("_", "-")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One `--name VALUE` option a hyperparameter; what is not given stays out of the namespace.

    Values arrive as text and are checked by `Config.parse`, so that the command line, the container and the tuner
    refuse the same things in the same words.
    """
    for name, f in hyperparameters().items():
        parser.add_argument(
            f"--{name}",
            default=argparse.SUPPRESS,
            metavar=str(f.type).upper(),
            help=f"{f.metadata['help']}; {_range_of(f)} (default: {_shown(f)})".replace("%", "%%"),
        )


def given(namespace: argparse.Namespace) -> dict[str, str]:
    """The hyperparameters among parsed arguments, by hyperparameter name."""
    return {name: getattr(namespace, f.name) for name, f in hyperparameters().items() if hasattr(namespace, f.name)}


def _shown(f: Field[Any]) -> str:
    return str(f.default).lower() if isinstance(f.default, bool) else str(f.default) or "none"


def _range_of(f: Field[Any]) -> str:
    return "true or false" if f.type == "bool" else str(f.metadata["bounds"])


def _convert(name: str, f: Field[Any], text: str) -> object:
    bounds: Bounds = f.metadata["bounds"]
    problem = InputError(f"hyperparameter {name}={text!r} is not valid: it must be {_kind(f)}{_range_of(f)}")
    value: object
    try:
        if f.type == "bool":
            value = _BOOLEANS[text.lower()]
        elif f.type == "int":
            value = int(text)
        elif f.type == "float":
            value = float(text)
        elif bounds.pattern:
            # sagemaker-training gives `True` for the text `true`.
            value = str(_BOOLEANS.get(text, text)).lower()
        else:
            value = text
    except (KeyError, ValueError):
        raise problem from None
    if bounds.choices and value not in bounds.choices:
        raise problem
    if bounds.pattern and not re.fullmatch(bounds.pattern, str(value)):
        raise problem
    if isinstance(value, (int, float)) and bounds.low is not None and bounds.high is not None:
        inside = bounds.low <= value <= bounds.high  # NaN is not: it compares false with everything
        if not inside:
            raise problem
    return value


def _kind(f: Field[Any]) -> str:
    return {"int": "a whole number ", "float": "a number "}.get(str(f.type), "")


def reference() -> str:
    """The hyperparameters as a page of Markdown."""
    # A bracket would begin HTML, and a browser breaks no list that has no spaces.
    rows = [
        f"| `{name}` | {f.metadata['help'].replace('<', '&lt;')} | {_shown(f).replace(',', ',<wbr>')} "
        f"| {_range_of(f)} | {f.type} |"
        for name, f in hyperparameters().items()
    ]
    head = [
        "# Hyperparameters",
        "Written by `make docs` from `container_src/classifier/config.py`; the same names work on the command line of "
        "the scripts, in SageMaker's `hyperparameters.json` and in `--range`.",
        "",
        "| name | meaning | default | range | type |",
        "| --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*head, *rows]) + "\n"


if __name__ == "__main__":
    print(reference(), end="")
