"""Several processes that train one network: as one process would, through interruptions, and to their common end."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

import launching
from classifier import data, device, distributed, loss, out_of_memory, precision, training
from classifier.checkpoint import Checkpoints
from classifier.config import Config
from classifier.driver import Driver, Gpu
from classifier.errors import InputError
from classifier.evaluation import evaluate
from classifier.features import FeatureBatches
from classifier.features import Split as FeatureSplit
from classifier.images import Preprocessing, normalize
from classifier.optimization import Optimization
from classifier.steps import Step
from conftest import ROOT
from contract_training import QUIET, Job
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


QUICK = {"weights": "none", "freeze-backbone": "false", "image-size": "32", "batch-size": "8"}


class Hosts:
    """`train` on several hosts of one job, each with a /opt/ml of its own, as processes of this machine."""

    def __init__(self, root: Path, photographs: Path, count: int) -> None:
        # Addresses of this machine that no other job has, as local SageMaker gives them.
        number = zlib.crc32(str(root).encode()) % 250
        self.names = [f"127.201.{number}.{i + 1}" for i in range(count)]
        channels = {name: photographs / name for name in ("train", "valid")}
        self.jobs = [Job(root / name, channels) for name in self.names]
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, hyperparameters: Mapping[str, str]) -> None:
        for name, job in zip(self.names, self.jobs, strict=True):
            shutil.rmtree(job.root / "input", ignore_errors=True)
            job.write(hyperparameters)
            path = job.root / "input" / "config" / "resourceconfig.json"
            told = json.loads(path.read_text()) | {"hosts": self.names, "current_host": name}
            told["instance_groups"][0]["hosts"] = self.names
            path.write_text(json.dumps(told))
            self.processes.append(job.start())

    def until(self, beginning: str) -> str:
        """What the first has printed until a line begins so."""
        seen = ""
        assert self.processes[0].stdout
        for line in self.processes[0].stdout:
            seen += line
            if line.startswith(beginning):
                return seen
        raise AssertionError(seen)

    def ended(self) -> list[tuple[int, str]]:
        """(exit code, what else was printed) of each; none of their processes is left."""
        found = []
        for process in self.processes:
            log, _ = process.communicate(timeout=600)
            found.append((process.returncode, log))
        self.processes.clear()
        assert self.ranks() == {}
        return found

    def ranks(self) -> dict[int, psutil.Process]:
        """The processes that train, by rank."""
        ours, found = {str(job.root) for job in self.jobs}, {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                surroundings = process.environ()
                if surroundings.get("SAGEMAKER_BASE_DIR") in ours and "RANK" in surroundings:
                    found[int(surroundings["RANK"])] = process
        return found

    def close(self) -> None:
        for process in self.processes:
            process.kill()
        for rank in self.ranks().values():
            rank.kill()


@pytest.fixture
def hosts(photographs: Path, tmp_path: Path) -> Iterator[Callable[[int], Hosts]]:
    made: list[Hosts] = []

    def make(count: int) -> Hosts:
        made.append(Hosts(tmp_path / str(len(made)), photographs, count))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_job_on_every_host_with_a_reason(hosts: Callable[[int], Hosts]) -> None:
    two = hosts(2)
    two.start(QUICK | {"epochs": "1000", "processes": "2"})
    two.until("epoch 1/")
    two.ranks()[3].kill()
    (first, _), (second, log) = two.ended()
    assert (first, second) == (1, 1), log
    assert two.jobs[1].failure().startswith("process 3 of the training was killed (SIGKILL")
    assert re.match(r"process [01] lost the others: \w", two.jobs[0].failure())
    assert not any(any((job.root / "model").iterdir()) for job in two.jobs)


@pytest.mark.slow
def test_sigterm_on_one_host_stops_all_and_they_go_on_to_the_same_weights(hosts: Callable[[int], Hosts]) -> None:
    """One host with two processes ends with the weights of two hosts with one; batch normalization learns."""
    alone, two = hosts(1), hosts(2)
    hyperparameters = QUICK | {"epochs": "6"}
    alone.start(hyperparameters | {"processes": "2"})
    seen = alone.until("epoch 6/")
    ((code, log),) = alone.ended()
    assert code == 0, log
    assert seen.count("data: 37 train") == seen.count("epoch 1/6: ") == 1, "the first process speaks alone"
    expected = json.loads((alone.jobs[0].root / "model" / "model.json").read_text())
    assert expected["provenance"]["processes"] == 2

    two.start(hyperparameters)
    two.until("epoch 2/")
    two.jobs[1].terminate(two.processes[1])
    assert [code for code, _ in two.ended()] == [0, 0]
    first, second = (job.root for job in two.jobs)
    assert json.loads((first / "model" / "model.json").read_text())["provenance"]["stopped_early"] is True
    assert not any((second / "model").iterdir()) and not any((second / "checkpoints").iterdir())

    shutil.rmtree(first / "model")
    two.start(hyperparameters)
    assert "checkpoint: going on after step" in two.until("epoch 6/")
    assert [code for code, _ in two.ended()] == [0, 0]
    found = json.loads((first / "model" / "model.json").read_text())
    assert found["weights_sha256"] == expected["weights_sha256"]
    assert found["metrics"] == expected["metrics"]


@pytest.mark.parametrize(
    ("hyperparameters", "reason"),
    [
        ({"batch-size": "3"}, "batch-size=3 is for all 2 processes together, and each needs 2 photographs of a batch"),
        ({"mode": "embed", "freeze-backbone": "true"}, "processes=2 is for one training, which mode=embed is not"),
    ],
)
def test_what_several_processes_cannot_do(
    photographs: Path, tmp_path: Path, hyperparameters: dict[str, str], reason: str
) -> None:
    job = Job(tmp_path / "ml", {name: photographs / name for name in ("train", "valid")})
    code, log = job.run(QUICK | {"processes": "2"} | hyperparameters)
    assert code == 1 and job.failure().startswith(reason), log
    assert "Traceback" not in log


GPUS = tuple(Gpu("NVIDIA L4", 24 << 30, 8) for _ in range(4))


@pytest.mark.parametrize(
    ("gpus", "hyperparameters", "hosts", "on_features", "expected"),
    [
        (0, {}, 1, False, 1),
        (4, {}, 1, False, 4),
        (4, {}, 2, True, 1),
        (4, {"processes": "2"}, 2, False, 2),
        (4, {"processes": "8"}, 1, False, "processes=8, and the instance has 4 GPUs"),
        (4, {"batch-size": "15"}, 2, False, "batch-size=15 is for all 8 processes together, .* batch-size=16 or more"),
    ],
)
def test_how_many_processes(
    gpus: int, hyperparameters: dict[str, str], hosts: int, on_features: bool, expected: int | str
) -> None:
    found = device.Device(GPUS[:gpus], "bfloat16", "")
    config = Config.parse(hyperparameters)
    if isinstance(expected, int):
        assert launching.processes(config, found, hosts, on_features) == expected
    else:
        with pytest.raises(InputError, match=expected):
            launching.processes(config, found, hosts, on_features)


def test_the_device_s_line_tells_of_the_gpus_that_are_used() -> None:
    wheel, driver = device.Wheel("2.10.0", (12, 8)), Driver("570.1", (12, 8), GPUS, None)
    lines = [device.choose("train", driver, wheel, [], None, every).line for every in (True, False)]
    assert "4 x NVIDIA L4, 24.0 GiB; " in lines[0] and "NVIDIA L4, 24.0 GiB (the first of 4); " in lines[1]


def test_the_learning_rate_in_proportion_to_the_batch() -> None:
    config = Config(learning_rate=0.01, batch_size=256, base_batch_size=64)
    assert config.peak_learning_rate == 0.04
    (group,) = Optimization(torch.nn.Linear(2, 2), config, 10, CPU).optimizer.param_groups
    assert group["lr"] == 0.04
    assert dataclasses.replace(config, base_batch_size=0).peak_learning_rate == 0.01


def test_the_batch_that_would_fit_is_that_of_all_processes() -> None:
    def step(examples: int) -> None:
        if examples > 2:
            raise torch.OutOfMemoryError

    said = str(out_of_memory.explained(dataclasses.replace(BASE, batch_size=64), CPU.device, step, processes=8))
    assert "batch-size=64 " in said and "batch-size=16 does" in said
