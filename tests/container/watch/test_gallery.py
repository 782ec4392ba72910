"""The gallery: each rule, and a real training that provokes it; and a healthy one, where none fires.

A training runs until the rules that it is for have fired, however slow the machine; that they fire is never a matter
of how fast it is. The machine is read fifty times a second, so that seconds have as many readings as a job's minutes.
There is no GPU here: NVML is a fake. So are the cores' counters where a shared machine cannot be made to do what the
rule is about, to be idle or to wait for a disk.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from classifier import fitting, material, precision, rule_settings
from classifier.config import Config
from classifier.errors import InputError
from classifier.job import Job
from classifier.material import Material
from classifier.steps import Step
from classifier.training import Observer
from classifier.watch.recorder import Recorder
from classifier.watch.rules import machine_rules
from classifier.watch.rules.rule import Finding
from classifier.watch.system import System
from photographs import data_set

from .provoked import Cores, Given, NowAndThen, Nvml, pictures, repeated, small, tiny

CPU = precision.Precision(torch.device("cpu"), None)
READ_EVERY_S = 0.02
# So many epochs that only a rule that does not fire sees their end.
PATIENT = 2000


class Gallery:
    """Trains on generated photographs of 32 pixels, watched."""

    def __init__(self, root: Path) -> None:
        self._root, self._runs = root, 0
        self.data = data_set(root / "data", {"train": 16, "valid": 6})

    def material(self, config: Config, data: Path | None = None, **replaced: Any) -> Material:
        torch.manual_seed(0)
        channels = {name: (data or self.data) / name for name in ("train", "valid")}
        return dataclasses.replace(material.of_photographs(config, channels, [], CPU), **replaced)

    def light(
        self, config: Config, network: torch.nn.Module | None = None, data: Path | None = None, **more: Any
    ) -> Material:
        """A tiny network, on photographs that are decoded once."""
        given = self.material(config, data)
        torch.manual_seed(0)
        return dataclasses.replace(
            given,
            network=network or tiny(len(given.classes)),
            training=repeated(given.training, **more),
            held_out={"valid": list(given.held_out["valid"])},
        )

    def train(
        self, config: Config, given: Material, expected: Collection[str] = (),
        observers: Callable[[Recorder], Sequence[Observer]] = lambda recorder: (),
    ) -> tuple[dict[str, Finding], Recorder]:  # fmt: skip
        """Until the `expected` have fired, or all epochs are done; without any, until all rules have judged."""
        self._runs += 1
        root = self._root / str(self._runs)
        job = Job(
            name="gallery", channels={}, model_dir=root / "model", output_dir=root / "output",
            checkpoints=root / "checkpoints", hook_file=root / "hook.json", weights=root, stop=threading.Event(),
        )  # fmt: skip
        job.output_dir.mkdir(parents=True)
        self.last = job.output_dir
        log: list[str] = []
        recorder = Recorder(config, job, CPU.device, time.time(), log.append)
        recorder.system = System(READ_EVERY_S, recorder.judge.on_sample)
        recorder.know(given, {}, {})

        def done() -> bool:
            if not recorder.timeline.epochs:
                return False  # there has to be one to keep
            found = {finding.rule: finding for finding in recorder.judge.findings()}
            return all(found[name].fired for name in expected) if expected else all(f.points for f in found.values())

        with recorder:
            fitting.fit(config, given, CPU, [*recorder.observers, *observers(recorder)], done)
        findings = {finding.rule: finding for finding in recorder.judge.findings()}
        document = json.loads((job.output_dir / "report.json").read_text())
        assert document["missing"] == []
        for finding in findings.values():
            assert finding.fired <= finding.points
            assert bool(finding.fired) == bool(finding.firings) and all(firing.detail for firing in finding.firings)
            said = [line for line in log if line.startswith(f"finding: {finding.rule} (")]
            assert bool(said) == bool(finding.fired)
            assert all(line.endswith(finding.advice) for line in said)
        assert [(f["rule"], f["points"], f["fired"]) for f in document["findings"]] == [
            (f.rule, f.points, f.fired) for f in findings.values()
        ]
        return findings, recorder


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    return Gallery(tmp_path_factory.mktemp("gallery"))


@pytest.fixture(autouse=True)
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Gives the machine GPUs; none unless called."""

    def give(*found: tuple[float, float]) -> None:
        monkeypatch.setitem(sys.modules, "pynvml", Nvml(*found))

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    give()
    return give


def config(**changed: Any) -> Config:
    values: dict[str, Any] = {
        "weights": "none", "freeze_backbone": "false", "image_size": 32, "batch_size": 8, "epochs": PATIENT,
        "learning_rate": 1e-3, "workers": 0, "debug": True, "save_interval": 5,
    }  # fmt: skip
    return Config(**values | changed)


PROVOKED: set[str] = set()


def provokes(*rules: str) -> pytest.MarkDecorator:
    """Gives the test the names of the rules that its training provokes."""
    PROVOKED.update(rules)
    return pytest.mark.parametrize("expected", [set(rules)], ids=[" ".join(rules)])


def test_the_gallery_is_complete() -> None:
    assert set(rule_settings.RULES) == PROVOKED


def fired(findings: dict[str, Finding]) -> set[str]:
    return {name for name, finding in findings.items() if finding.fired}


def test_healthy(gallery: Gallery, gpus: Callable[..., None], tmp_path: Path) -> None:
    """With two GPUs that are well used, so that every rule has something to judge."""
    gpus((92, 60), (88, 62))
    data = data_set(tmp_path, {"train": 32, "valid": 6})
    this = config(learning_rate=3e-4, batch_size=16)
    findings, _ = gallery.train(this, gallery.material(this, data, network=small(3)))
    assert fired(findings) == set(), {name: finding.firings for name, finding in findings.items()}
    assert list(findings) == list(rule_settings.RULES)
    assert [name for name, finding in findings.items() if not finding.points] == []


@provokes("LossNotDecreasing", "WeightUpdateRatio")
def test_a_learning_rate_of_ten(expected: set[str], gallery: Gallery) -> None:
    this = config(learning_rate=10.0)
    findings, _ = gallery.train(this, gallery.light(this), expected)
    assert fired(findings) >= expected


@provokes("ExplodingTensor")
def test_a_learning_rate_of_ten_with_decay(expected: set[str], gallery: Gallery) -> None:
    """Each step multiplies the weights by -9."""
    this = config(learning_rate=10.0, optimizer="sgd", weight_decay=1.0, save_interval=1)
    given = gallery.light(this, times=10)
    with pytest.raises(InputError, match="lower learning-rate"):
        gallery.train(this, given, expected)
    document = json.loads((gallery.last / "report.json").read_text())
    assert document["status"] == "failed"
    found = {finding["rule"]: finding for finding in document["findings"]}
    assert found["ExplodingTensor"]["fired"] > 0
    assert found["ExplodingTensor"]["severity"] == "error"


@provokes("PoorWeightInitialization")
def test_weights_that_are_all_zero(expected: set[str], gallery: Gallery) -> None:
    network = tiny(3, (8, 8))
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    this = config()
    findings, _ = gallery.train(this, gallery.light(this, network), expected)
    assert fired(findings) >= expected


@provokes("VanishingGradient")
def test_weights_that_are_too_small_for_gradients(expected: set[str], gallery: Gallery) -> None:
    network = tiny(3, (8, 8, 8))
    with torch.no_grad():
        for module in network:
            if isinstance(module, torch.nn.Conv2d):
                module.weight.mul_(1e-4)
    this = config(optimizer="sgd")
    findings, _ = gallery.train(this, gallery.light(this, network), expected)
    assert fired(findings) >= expected


@provokes("DeadRelu")
def test_biases_that_keep_every_relu_shut(expected: set[str], gallery: Gallery) -> None:
    network = tiny(3, (8, 8))
    first = network[0]
    assert isinstance(first, torch.nn.Conv2d) and first.bias is not None
    torch.nn.init.constant_(first.bias, -10.0)
    this = config()
    findings, _ = gallery.train(this, gallery.light(this, network), expected)
    assert fired(findings) >= expected


@provokes("UnchangedTensor")
def test_a_layer_that_should_learn_and_does_not(expected: set[str], gallery: Gallery) -> None:
    network = tiny(3, (8, 8))
    dict(network.named_parameters())["2.weight"].register_hook(torch.zeros_like)  # type: ignore[no-untyped-call]
    this = config(weight_decay=0.0)
    findings, _ = gallery.train(this, gallery.light(this, network), expected)
    assert fired(findings) >= expected
    assert "2.weight" in findings["UnchangedTensor"].firings[0].detail


@provokes("Overfit", "Overtraining")
def test_a_handful_of_random_labels(expected: set[str], gallery: Gallery) -> None:
    """They can be learned by heart, and the more they are, the worse the network gets on others."""
    this = config(learning_rate=0.01)
    given = gallery.light(this, tiny(3, (32, 64)))
    given.training.set_epoch(1)
    pixels, labels = next(iter(given.training))
    generator = torch.Generator().manual_seed(0)
    by_heart = [(pixels, torch.randint(3, labels.shape, generator=generator))]
    given = dataclasses.replace(given, training=Given(by_heart))
    findings, _ = gallery.train(this, given, expected)
    assert fired(findings) >= expected


@provokes("ClassImbalance")
def test_one_class_with_95_percent_of_the_photographs(expected: set[str], gallery: Gallery, tmp_path: Path) -> None:
    pictures(tmp_path / "train", {"amber": (0.1, 76), "blue": (0.4, 2), "green": (0.7, 2)})
    pictures(tmp_path / "valid", dict.fromkeys(("amber", "blue", "green"), (0.1, 2)))
    this = config()
    findings, _ = gallery.train(this, gallery.light(this, data=tmp_path), expected)
    assert fired(findings) >= expected


@provokes("Confusion")
def test_two_classes_that_look_the_same(expected: set[str], gallery: Gallery, tmp_path: Path) -> None:
    for split in ("train", "valid"):
        pictures(tmp_path / split, {"amber": (0.1, 16), "blue": (0.6, 16), "orange": (0.1, 16)})
    this = config(learning_rate=0.01)
    findings, _ = gallery.train(this, gallery.light(this, data=tmp_path), expected)
    assert fired(findings) >= expected
    detail = findings["Confusion"].firings[0].detail
    assert "amber" in detail and "orange" in detail


@provokes("Dataloader", "LowGPUUtilization", "BatchSize", "OverallSystemUsage")
def test_a_loader_that_sleeps_and_a_machine_that_idles(
    expected: set[str], gallery: Gallery, gpus: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus((7, 10), (9, 10))
    monkeypatch.setattr("psutil.cpu_times", Cores(busy=0.1))
    this = config()
    given = gallery.light(this, times=5, before=lambda number: time.sleep(0.05))
    findings, _ = gallery.train(this, given, expected)
    assert fired(findings) >= expected
    assert "waiting for photographs" in findings["Dataloader"].firings[0].detail
    assert "busiest core 10 / 10 / 10 %" in findings["OverallSystemUsage"].summary


@provokes("CPUBottleneck")
def test_a_core_that_feeds_a_gpu_and_another_that_stands_still(
    expected: set[str], gallery: Gallery, gpus: Callable[..., None]
) -> None:
    """The training itself keeps the one core busy that it is given."""
    gpus((5, 80), (4, 80))
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        this = config()
        findings, _ = gallery.train(this, gallery.material(this), expected)
    finally:
        os.sched_setaffinity(0, before)
    assert fired(findings) >= expected


@provokes("IOBottleneck")
def test_a_disk_that_is_waited_for(expected: set[str], gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.cpu_times", Cores(busy=0.3, waiting=0.65))
    this = config()
    findings, _ = gallery.train(this, gallery.light(this), expected)
    assert fired(findings) >= expected
    assert findings["CPUBottleneck"].unseen == findings["BatchSize"].unseen == machine_rules.NO_GPU


@provokes("GPUMemoryIncrease", "LoadBalancing")
def test_a_leak_and_a_gpu_that_does_the_work_of_two(
    expected: set[str], gallery: Gallery, gpus: Callable[..., None]
) -> None:
    gpus((95, 60), (5, 60))
    leaked: list[bytes] = []

    class Leak(Observer):
        def __init__(self, recorder: Recorder) -> None:
            self.system = recorder.system

        def on_step(self, step: Step) -> None:
            """By the readings and not by the steps, whose number depends on the machine."""
            leaked.extend(b"1" * (2 << 20) for _ in range(len(self.system.samples) - len(leaked)))

    this = config()
    findings, _ = gallery.train(this, gallery.light(this), expected, lambda recorder: [Leak(recorder)])
    assert fired(findings) >= expected
    assert "the job's processes" in findings["GPUMemoryIncrease"].firings[0].detail
    assert {f.detail for f in findings["LoadBalancing"].firings} == {
        "the utilizations of GPU 0 and GPU 1 differ by 90% on average"
    }


@provokes("StepOutlier")
def test_a_step_that_takes_long_now_and_then(expected: set[str], gallery: Gallery) -> None:
    this = config()
    given = gallery.light(this, NowAndThen(tiny(3), every=25, seconds=0.4), times=5)
    findings, _ = gallery.train(this, given, expected)
    assert fired(findings) >= expected
    assert "mostly forward" in findings["StepOutlier"].firings[0].detail


@provokes("MaxInitializationTime", "OverallFrameworkMetrics")
def test_a_slow_start_and_more_evaluation_than_training(expected: set[str], gallery: Gallery) -> None:
    """An import that takes two seconds; and thirty times as many photographs to evaluate on as to learn from."""

    class Import(Observer):
        def on_start(self, network: torch.nn.Module, criterion: torch.nn.Module) -> None:
            time.sleep(2)

    this = config(epochs=6, rules="MaxInitializationTime:threshold=0.02")
    given = gallery.light(this)
    given = dataclasses.replace(
        given, training=Given(list(given.training)[:1]), held_out={"valid": list(given.held_out["valid"]) * 100}
    )
    findings, _ = gallery.train(this, given, expected, lambda recorder: [Import()])
    assert fired(findings) >= expected
    assert "evaluation and the rest" in findings["OverallFrameworkMetrics"].summary


@provokes("LoadBalancing")
def test_a_rank_that_is_slower_than_the_other(expected: set[str], gallery: Gallery) -> None:
    """Of two trainings, as two ranks would tell of them."""
    this = config(epochs=2)
    ranks = []
    for rank, seconds in enumerate((0.0, 0.2)):
        given = gallery.light(this, NowAndThen(tiny(3), every=1, seconds=seconds))
        _, recorder = gallery.train(this, given, expected)
        ranks.append(dataclasses.replace(recorder.timeline.collected(), rank=rank))
    rule = machine_rules.LoadBalancing(rule_settings.parse("", "").rules["LoadBalancing"])
    rule.on_ranks([ranks[0], dataclasses.replace(ranks[0], rank=1)])
    assert (rule.points, rule.fired) == (1, 0)
    rule.on_ranks(ranks)
    assert (rule.points, rule.fired) == (2, 1)
    assert rule.firings[0].detail.startswith("rank 1 takes 0.2")
