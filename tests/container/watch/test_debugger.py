"""What is recorded of a training's tensors: it is what the training had, and costs it nothing but time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from classifier import artifact
from classifier.config import Config
from classifier.fitting import fit
from classifier.material import Material
from classifier.material import open as open_material
from classifier.precision import Precision
from classifier.rule_settings import COLLECTIONS
from classifier.training import Observer
from classifier.watch.debugger import Debugger
from classifier.watch.recording_times import SPACING, Sparingly
from classifier.watch.smdebug_client import error_handling_agent, smd
from photographs import data_set

from . import watched

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data_set(tmp_path_factory.mktemp("data"), {"train": 8, "valid": 4})


def trained(
    root: Path, data: Path, *, interval: int = 1, half: torch.dtype | None = None, frozen: bool = False,
    hook_file: Path | None = None, collections: Sequence[str] = COLLECTIONS, others: Sequence[Observer] = (),
) -> tuple[Debugger, Material]:  # fmt: skip
    """Two epochs of three steps, each step of which is recorded."""
    config = Config(
        weights="none", freeze_backbone=str(frozen).lower(), image_size=32, batch_size=8, epochs=2, workers=0
    )
    precision = Precision(CPU, half)
    material = open_material(config, watched.job(root, data), precision)
    debugger = Debugger(root / "tensors", interval, collections, hook_file)
    try:
        fit(config, material, precision, [*others, debugger])
    finally:
        debugger.close()
    return debugger, material


def test_the_files_hold_what_the_training_had(tmp_path: Path, data: Path) -> None:
    class Gradients(Observer):
        """Told before the debugger is."""

        def __init__(self) -> None:
            self.of: list[torch.Tensor] = []
            self.losses: list[float] = []

        def on_start(self, network: torch.nn.Module, criterion: torch.nn.Module) -> None:
            self.weight = network.get_parameter("fc.weight")

        def on_step(self, step: Any) -> None:
            assert self.weight.grad is not None
            self.of.append(self.weight.grad.clone())
            self.losses.append(float(step.loss))

    seen = Gradients()
    debugger, _ = trained(tmp_path / "run", data, interval=2, others=[seen])
    assert debugger.missing == []
    trial = smd.create_trial(str(debugger.directory))
    train = smd.modes.TRAIN
    # Steps are counted from 0 by smdebug.
    assert trial.steps(mode=train) == [0, 2, 4]
    loss = trial.tensor("CrossEntropyLoss_output_0")
    assert [float(loss.value(step, mode=train)) for step in (0, 2, 4)] == seen.losses[::2]
    assert debugger.losses()["train"] == [(step + 1, seen.losses[step]) for step in (0, 2, 4)]
    assert [step for step, _ in debugger.losses()["eval"]] == [3, 6]
    gradient = trial.tensor("gradient/ResNet_fc.weight")
    for step in (0, 2, 4):
        whole = seen.of[step].numpy()
        for name, absolute in (("min", False), ("max", False), ("mean", False), ("mean", True)):
            expected = getattr(np.abs(whole) if absolute else whole, name)()
            reduced = gradient.reduction_value(step, name, mode=train, abs=absolute)
            assert reduced == pytest.approx(expected, rel=1e-4, abs=1e-6)
        assert gradient.reduction_value(step, "std", mode=train) == pytest.approx(whole.std(ddof=1), rel=1e-3)
    for collection, count in {"losses": 1, "gradients": 62, "weights": 41, "biases": 21, "relu": 17}.items():
        assert len(trial.tensor_names(collection=collection, mode=train)) == count, collection
    drawn = debugger.tensors()["gradient/ResNet_fc.weight"]
    assert (drawn["collection"], drawn["steps"]) == ("gradients", [1, 3, 5])
    assert drawn["max"] == pytest.approx([float(seen.of[step].max()) for step in (0, 2, 4)])


def test_watching_changes_nothing(tmp_path: Path, data: Path) -> None:
    """The weights are the same bit for bit."""
    digests = []
    for debug in ("true", "false"):
        job = watched.job(tmp_path / debug, data)
        given = {"debug": debug, "save_interval": "1", "augment": "true"}
        if debug == "true":
            assert watched.run(job, **given)["missing"] == []
        else:
            with pytest.raises(FileNotFoundError):
                watched.run(job, **given)
        artifact.read(job.model_dir)
        digests.append(json.loads((job.model_dir / artifact.DESCRIPTION).read_text())["weights_sha256"])
    assert digests[0] == digests[1]


def test_a_frozen_backbone_is_recorded_once(tmp_path: Path, data: Path) -> None:
    debugger, _ = trained(tmp_path / "run", data, frozen=True)
    drawn = debugger.tensors()
    assert {name for name, series in drawn.items() if len(series["steps"]) == 6} == {
        "ResNet_fc.weight", "ResNet_fc.bias", "gradient/ResNet_fc.weight", "gradient/ResNet_fc.bias"
    }  # fmt: skip
    assert {len(series["steps"]) for series in drawn.values()} == {1, 6}
    assert debugger.missing == []


def test_bfloat16(tmp_path: Path, data: Path) -> None:
    debugger, _ = trained(tmp_path / "run", data, half=torch.bfloat16)
    assert debugger.missing == []
    assert len(debugger.losses()["train"]) == 6
    assert "relu" in {series["collection"] for series in debugger.tensors().values()}


def test_a_network_without_relus(tmp_path: Path, data: Path) -> None:
    head = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8, 3))
    debugger = Debugger(tmp_path / "tensors", 1, COLLECTIONS)
    debugger.on_start(head, torch.nn.CrossEntropyLoss())
    debugger.close()
    assert debugger.unseen("relu") == "the network that is trained has no ReLU"
    assert debugger.unseen("weights") == ""


def test_only_what_was_asked_for(tmp_path: Path, data: Path) -> None:
    debugger, _ = trained(tmp_path / "run", data, collections=("losses", "biases"))
    assert {series["collection"] for series in debugger.tensors().values()} == {"biases"}
    assert debugger.unseen("gradients") == "the collection gradients is not recorded"


def test_the_hook_file_of_sagemaker(tmp_path: Path, data: Path) -> None:
    """As SageMaker writes it for a DebugHookConfig with two collections, all values strings."""
    file = tmp_path / "debughookconfig.json"
    file.write_text(json.dumps({
        "S3OutputPath": "s3://bucket/prefix", "LocalPath": str(tmp_path / "debug"),
        "HookParameters": {"save_interval": "2"},
        "CollectionConfigurations": [
            {"CollectionName": "gradients", "CollectionParameters": {"train.save_interval": "3"}},
            {"CollectionName": "first", "CollectionParameters": {"include_regex": "^conv1_output", "end_step": "1"}},
        ],
    }))  # fmt: skip
    debugger, _ = trained(tmp_path / "run", data, hook_file=file)
    assert debugger.missing == []
    assert debugger.directory == tmp_path / "debug"
    trial = smd.create_trial(str(debugger.directory))
    assert trial.tensor("CrossEntropyLoss_output_0").steps(mode=smd.modes.TRAIN) == [0, 2, 4]
    gradient = trial.tensor("gradient/ResNet_conv1.weight")
    assert gradient.steps(mode=smd.modes.TRAIN) == [0, 3]
    assert gradient.value(3, mode=smd.modes.TRAIN).shape == (64, 3, 7, 7)
    output = trial.tensor("conv1_output_0")
    assert output.steps(mode=smd.modes.TRAIN) == [0]
    assert output.value(0, mode=smd.modes.TRAIN).shape == (8, 64, 16, 16)
    assert debugger.unseen("relu") == "the collection relu is not recorded"


def test_smdebug_turns_itself_off(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(error_handling_agent, "disable_smdebug", False)  # and so it is again afterwards

    class Off(Observer):
        def on_step(self, step: Any) -> None:
            # What its own error handling does.
            error_handling_agent.disable_smdebug |= step.number == 3

    debugger, material = trained(tmp_path / "run", data, others=[Off()])
    assert debugger.missing == ["tensors after step 2 are missing: smdebug failed (it met an error of its own and "
                                "turned itself off)"]  # fmt: skip
    assert [step for step, _ in debugger.losses()["train"]] == [1, 2]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in material.network.modules())


def test_sparingly() -> None:
    dear = Sparingly()
    assert [number for number in range(1000) if _recorded(dear, number, 1e9)] == [0, 2]
    free = Sparingly()
    assert [number for number in range(300) if _recorded(free, number, 0.0)] == list(range(0, 300, 2))
    later = [number for number in range(300, 10_000) if _recorded(free, number, 0.0)]
    assert later[-1] - later[-2] == 99
    assert len(later) < 5 * SPACING


def _recorded(sparingly: Sparingly, number: int, cost_s: float) -> bool:
    due = sparingly.due(number)
    if due:
        sparingly.cost(cost_s, goes_on=False)
    return due
