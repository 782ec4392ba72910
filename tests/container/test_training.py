from __future__ import annotations

import copy
import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from classifier import data, network, precision, training
from classifier.config import Config
from classifier.errors import InputError
from classifier.evaluation import evaluate
from classifier.images import Preprocessing, normalize
from classifier.steps import Step
from photographs import data_set

SMALL = Preprocessing.for_size(32)
PREPARE = functools.partial(normalize, preprocessing=SMALL)


class Setting:
    """A data set of three hues, learnable in seconds by an unfrozen network."""

    def __init__(self, root: Path) -> None:
        data_set(root, {"train": 16, "valid": 6})
        self.train = data.find_split("train", root / "train")
        self.valid = data.find_split("valid", root / "valid", self.train.classes)

    def run(self, config: Config, **options: Any) -> tuple[torch.nn.Module, training.Outcome]:
        torch.manual_seed(0)
        net = options.pop("net", None) or network.build("resnet18", 3)
        outcome = training.train(
            net, config,
            data.Batches(
                data.Photographs(self.train, SMALL, config.augment, config.seed), config.batch_size, 0,
                shuffle=True, seed=config.seed,
            ),
            self.valid_batches(), PREPARE, torch.nn.CrossEntropyLoss(),
            precision.Precision(torch.device("cpu"), None), **options,
        )  # fmt: skip
        return net, outcome

    def valid_batches(self) -> Any:
        return data.Batches(data.Photographs(self.valid, SMALL), 8, 0)


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    return Setting(tmp_path_factory.mktemp("data"))


UNFROZEN = Config(weights="none", freeze_backbone="false", image_size=32, batch_size=8, epochs=4, learning_rate=1e-3)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_learns_and_leaves_the_best_weights(setting: Setting, optimizer: str) -> None:
    rate = {"adamw": 1e-3, "sgd": 1e-2}[optimizer]
    config = Config(**{**UNFROZEN.__dict__, "optimizer": optimizer, "learning_rate": rate})
    net, outcome = setting.run(config)
    assert outcome.history[-1].train_loss < outcome.history[0].train_loss
    assert outcome.kept.valid.accuracy == max(e.valid.accuracy for e in outcome.history) > 0.6
    again = evaluate(
        net, setting.valid_batches(), torch.nn.CrossEntropyLoss(), PREPARE,
        precision.Precision(torch.device("cpu"), None),
    )  # fmt: skip
    assert again.accuracy == outcome.kept.valid.accuracy
    assert again.loss == pytest.approx(outcome.kept.valid.loss, rel=1e-4)


def test_a_frozen_backbone_stays_as_it_was(setting: Setting) -> None:
    torch.manual_seed(0)
    net = network.build("resnet18", 3)
    before = copy.deepcopy(net.state_dict())
    setting.run(Config(weights="none", freeze_backbone="true", image_size=32, batch_size=8, epochs=1), net=net)
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"fc.weight", "fc.bias"}


def test_early_stopping(setting: Setting) -> None:
    config = Config(**{**UNFROZEN.__dict__, "epochs": 40, "learning_rate": 1e-7, "early_stopping_patience": 2})
    _, outcome = setting.run(config)
    assert len(outcome.history) == outcome.kept.number + 2 < 40
    assert not outcome.stopped


def test_stopping_from_outside(setting: Setting) -> None:
    class Counter(training.Observer):
        steps = 0

        def on_step(self, step: Step) -> None:
            self.steps += 1

    counter = Counter()
    _, outcome = setting.run(UNFROZEN, observers=[counter], should_stop=lambda: counter.steps >= 8)
    assert outcome.stopped
    assert (len(outcome.history), counter.steps) == (1, 8)
    with pytest.raises(InputError, match="before its first epoch"):
        setting.run(UNFROZEN, should_stop=lambda: True)


def test_evaluation_counts() -> None:
    """A network that reads the class off the pixels, wrong on purpose for class 2."""

    class Reader(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            called = (x[:, 0, 0, 0] * SMALL.std[0] + SMALL.mean[0]).mul(255).round().long()
            return torch.nn.functional.one_hot(torch.where(called == 2, 0, called), 3).float() * 10

    labels = torch.tensor([0, 0, 1, 2, 2, 2])
    pixels = labels.to(torch.uint8)[:, None, None, None].expand(6, 4, 4, 3)
    result = evaluate(
        Reader(), [(pixels[:4], labels[:4]), (pixels[4:], labels[4:])], torch.nn.CrossEntropyLoss(), PREPARE,
        precision.Precision(torch.device("cpu"), None),
    )  # fmt: skip
    assert result.confusion.tolist() == [[2, 0, 0], [0, 1, 0], [3, 0, 0]]
    assert result.accuracy == 0.5
    assert result.top5_accuracy == 1.0
    assert result.loss == pytest.approx(5.0, abs=0.01)


def test_the_averaged_weights_are_judged_and_kept(setting: Setting) -> None:
    class Raw(training.Observer):
        """The weights themselves, when an epoch is over."""

        def on_start(self, network: torch.nn.Module, criterion: torch.nn.Module) -> None:
            self.network = network

        def on_epoch(self, epoch: training.Epoch) -> None:
            self.state = copy.deepcopy(self.network.state_dict())

    raw = Raw()
    config = replace(UNFROZEN, ema_decay=0.8, epochs=2)
    net, outcome = setting.run(config, observers=[raw])
    plain, without = setting.run(replace(config, ema_decay=0.0))
    assert [e.train_loss for e in outcome.history] == [e.train_loss for e in without.history]
    assert [e.valid.loss for e in outcome.history] != [e.valid.loss for e in without.history]
    if outcome.kept.number == without.kept.number == 2:
        assert all(torch.equal(raw.state[name], tensor) for name, tensor in plain.state_dict().items())
    for name in ("fc.weight", "layer4.1.conv2.weight", "bn1.running_mean"):
        assert not torch.equal(net.state_dict()[name], raw.state[name])
    again = evaluate(
        net, setting.valid_batches(), torch.nn.CrossEntropyLoss(), PREPARE,
        precision.Precision(torch.device("cpu"), None),
    )  # fmt: skip
    assert again.loss == pytest.approx(outcome.kept.valid.loss, rel=1e-4)


def test_a_backbone_that_is_frozen_at_first_learns_from_its_epoch_on(setting: Setting) -> None:
    class Backbone(training.Observer):
        """What changed of it in each epoch, weights and statistics."""

        def on_start(self, network: torch.nn.Module, criterion: torch.nn.Module) -> None:
            self.network, self.before, self.changed = network, copy.deepcopy(network.state_dict()), list[int]()

        def on_epoch(self, epoch: training.Epoch) -> None:
            state = self.network.state_dict()
            self.changed.append(sum(not torch.equal(state[name], self.before[name]) for name in state))
            self.before = copy.deepcopy(state)

    backbone = Backbone()
    setting.run(replace(UNFROZEN, freeze_backbone="until-epoch-2", epochs=3), observers=[backbone])
    assert backbone.changed[:2] == [2, 2], "the head's weight and bias"
    assert backbone.changed[2] == len(backbone.before)


def test_mixed_photographs_are_learned_from(setting: Setting) -> None:
    plain, _ = setting.run(UNFROZEN)
    mixed, outcome = setting.run(replace(UNFROZEN, mixup_alpha=0.2, cutmix_alpha=1.0, class_weights="balanced"))
    assert not torch.equal(plain.state_dict()["fc.weight"], mixed.state_dict()["fc.weight"])
    assert outcome.kept.valid.accuracy > 0.6
