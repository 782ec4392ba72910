"""Several processes that train one network: as one process would, through interruptions, and to their common end."""

from __future__ import annotations

import dataclasses
import functools
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from classifier import data, distributed, loss, precision, training
from classifier.checkpoint import Checkpoints
from classifier.config import Config
from classifier.errors import InputError
from classifier.evaluation import evaluate
from classifier.features import FeatureBatches
from classifier.features import Split as FeatureSplit
from classifier.images import Preprocessing, normalize
from classifier.steps import Step
from conftest import ROOT
from contract_training import QUIET
from photographs import data_set

SMALL = Preprocessing.for_size(32)
PREPARE = functools.partial(normalize, preprocessing=SMALL)
CPU = precision.Precision(torch.device("cpu"), None)
# 37 photographs of 3 classes: four batches of 8 and one of 5 in each epoch.
COUNTS = (20, 12, 5)
BASE = Config(
    weights="none", freeze_backbone="false", image_size=32, batch_size=8, epochs=3, learning_rate=0.01, augment=True,
    workers=0,
)  # fmt: skip
CONFIGS = {
    "augmented": BASE,
    "frozen": dataclasses.replace(BASE, freeze_backbone="true", optimizer="sgd", ema_decay=0.9),
    "balanced": dataclasses.replace(BASE, class_weights="balanced", label_smoothing=0.1, views=2),
}


class Network(torch.nn.Sequential):
    """Without batch normalization, whose statistics would be of a process' own part of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 6, 3, stride=4)
        self.fc = torch.nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.conv(x).relu().mean(dim=(2, 3)))  # type: ignore[no-any-return]


class Until(training.Observer):
    """Stops a training after that many of its steps."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def on_step(self, step: Step) -> None:
        self._left -= 1

    def __call__(self) -> bool:
        return self._left <= 0


Result = tuple[dict[str, torch.Tensor], training.Outcome]


def fit(
    photographs: Path, config: Config, ranks: distributed.Ranks, checkpoints: Checkpoints | None = None,
    until: Until | None = None,
) -> Result:  # fmt: skip
    """Trains the network above on its rank's share, and leaves (weights, outcome)."""
    torch.manual_seed(3)
    net = Network()
    train = data.find_split("train", photographs / "train")
    valid = data.find_split("valid", photographs / "valid", train.classes)
    source = data.Batches(
        data.Photographs(train, SMALL, config.augment, config.seed, config.views), config.batch_size, 0, True,
        config.seed, share=ranks.share,
    )  # fmt: skip
    held_out = data.Batches(data.Photographs(valid, SMALL), 8, 0, share=ranks.share)
    outcome = training.train(
        net, config, source, held_out, PREPARE, loss.criterion(config, COUNTS), CPU, [until] if until else [],
        until or (lambda: False), checkpoints, ranks,
    )  # fmt: skip
    return net.state_dict(), outcome


def of_one_of_two(photographs: Path, results: Path) -> None:
    """What each of two processes does; the first leaves what came of it."""
    ranks = distributed.join(torch.device("cpu"))
    found: dict[str, Any] = {name: fit(photographs, config, ranks) for name, config in CONFIGS.items()}

    kept = Checkpoints(results / "training", {}, 3, 0) if ranks.first else None
    # Only the second is asked to stop; and the checkpoints of the first are what both go on from.
    stopped = Until(7) if not ranks.first else None
    with pytest.raises(InputError, match="lower learning-rate"):
        fit(photographs, dataclasses.replace(BASE, learning_rate=10, optimizer="sgd", epochs=100), ranks)
    interrupted = fit(photographs, BASE, ranks, kept, stopped)[1]
    found["interrupted"] = interrupted.stopped, len(interrupted.history)
    found["resumed"] = fit(photographs, BASE, ranks, kept)

    torch.manual_seed(0)
    net, own = torch.nn.Linear(4, 3), torch.randn(11, 4)
    features = FeatureSplit(own[:, None].half(), torch.arange(11) % 3)
    batches = FeatureBatches(features, 4, 0, ranks.share)
    found["sizes"] = ranks.gather([len(labels) for _, labels in batches])
    part = features.chunks(2, ranks.share)
    found["evaluation"] = evaluate(net, part, torch.nn.CrossEntropyLoss(), torch.Tensor.float, CPU, ranks)
    found["of one example"] = evaluate(
        net, part[:1] if ranks.first else [], torch.nn.CrossEntropyLoss(), torch.Tensor.float, CPU, ranks
    )
    if ranks.first:
        torch.save(found, results / "found.pt")
    assert ranks.part_together(failed=False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = data_set(tmp_path_factory.mktemp("photographs"), {"train": 20, "valid": 5})
    for name, count in zip(("amber", "blue", "green"), COUNTS, strict=True):
        for i in range(count, 20):
            (folder / "train" / name / f"{i}.jpg").unlink()
    return folder


@pytest.fixture(scope="module")
def together(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """What `of_one_of_two` finds."""
    results = tmp_path_factory.mktemp("results")
    program = "import sys, pathlib, test_distributed as t; t.of_one_of_two(*map(pathlib.Path, sys.argv[1:]))"
    surroundings = {
        "PATH": os.environ["PATH"], "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()),
        "GLOO_SOCKET_IFNAME": "lo",
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "container_src", ROOT / "tests", Path(__file__).parent))),
        **QUIET,
    }  # fmt: skip
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(photographs), str(results)], env=surroundings | {"RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        said = [process.communicate(timeout=600)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], said
    return dict(torch.load(results / "found.pt", weights_only=False))


@pytest.mark.parametrize("name", CONFIGS)
def test_two_processes_learn_what_one_does(together: Mapping[str, Any], photographs: Path, name: str) -> None:
    """The same loss curve, the same weights, the same evaluation with the same mistakes: to rounding."""
    weights, outcome = fit(photographs, CONFIGS[name], distributed.ALONE)
    found, of_two = together[name]
    for parameter, values in weights.items():
        torch.testing.assert_close(found[parameter], values, rtol=1e-4, atol=1e-6)
    assert len(of_two.history) == len(outcome.history) == 3
    for one, two in zip(outcome.history, of_two.history, strict=True):
        assert two.train_loss == pytest.approx(one.train_loss, rel=1e-5)
        assert two.valid.loss == pytest.approx(one.valid.loss, rel=1e-5)
        assert two.valid.confusion.equal(one.valid.confusion)
        assert two.valid.top5_accuracy == one.valid.top5_accuracy
        assert {m.number for m in two.valid.mistakes} == {m.number for m in one.valid.mistakes}


def test_one_that_is_to_stop_stops_both_and_they_go_on_to_the_same_weights(together: Mapping[str, Any]) -> None:
    assert together["interrupted"] == (True, 1)
    (expected, outcome), (found, again) = together["augmented"], together["resumed"]
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert [e.train_loss for e in outcome.history] == [e.train_loss for e in again.history]


def test_shares_of_the_last_batch_and_of_a_split(together: Mapping[str, Any]) -> None:
    # 11 in batches of 4: of the last one, of three, only one process could have two, and it is left out.
    assert together["sizes"] == [[2, 2], [2, 2]]
    whole = together["evaluation"]
    assert int(whole.confusion.sum()) == 11 and int(together["of one example"].confusion.sum()) == 2
    assert whole.confusion.sum(dim=1).tolist() == [4, 4, 3]
    torch.manual_seed(0)
    net, own = torch.nn.Linear(4, 3), torch.randn(11, 4)
    alone = evaluate(
        net, FeatureSplit(own[:, None].half(), torch.arange(11) % 3).chunks(4), torch.nn.CrossEntropyLoss(),
        torch.Tensor.float, CPU,
    )  # fmt: skip
    assert whole.loss == pytest.approx(alone.loss) and whole.confusion.equal(alone.confusion)
    assert [m.number for m in whole.mistakes] == [m.number for m in alone.mistakes]
