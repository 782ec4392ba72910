from __future__ import annotations

import re

import pytest
import torch

from classifier import metrics
from classifier.config import Config
from classifier.log import Log
from classifier.loss import criterion
from classifier.precision import Precision
from classifier.training import train

STEP = re.compile(r"step (\d+)/3 of epoch (\d+)/2: loss=(\S+) (\d+) images/s")


class Noise(list[tuple[torch.Tensor, torch.Tensor]]):
    def set_epoch(self, epoch: int, done: int = 0) -> None:
        pass

    def examples(self, batch: int) -> list[str]:
        return []


def logged(log: Log, capsys: pytest.CaptureFixture[str]) -> list[str]:
    batches = Noise([(torch.randn(2, 4), torch.tensor([0, 1]))] * 3)
    config, device = Config(freeze_backbone="false", epochs=2, batch_size=2), torch.device("cpu")
    train(
        torch.nn.Linear(4, 2), config, batches, batches, lambda x: x, criterion(config), Precision(device, None), [log]
    )
    return capsys.readouterr().out.splitlines()


def test_a_long_epoch_says_how_far_it_has_come(capsys: pytest.CaptureFixture[str]) -> None:
    lines = logged(Log(2, steps=3, patience_s=0.0), capsys)
    steps = [STEP.fullmatch(line) for line in lines]
    assert [(m[1], m[2]) for m in steps if m] == [(s, e) for e in "12" for s in "123"]
    assert all(float(m[3]) > 0 for m in steps if m)
    assert [bool(m) for m in steps] == [True, True, True, False] * 2


def test_sagemaker_reads_no_metric_out_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    steps = [line for line in logged(Log(2, steps=3, patience_s=0.0), capsys) if line.startswith("step")]
    assert steps
    assert not [line for line in steps for d in metrics.definitions() if re.search(d["Regex"], line)]


@pytest.mark.parametrize(
    "log", [Log(2, steps=3, patience_s=3600.0), Log(2, patience_s=0.0)], ids=["short", "unknown length"]
)
def test_else_there_is_a_line_for_each_epoch_alone(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    assert [line.partition(":")[0] for line in logged(log, capsys)] == ["epoch 1/2", "epoch 2/2"]
