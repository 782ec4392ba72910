"""The rules on tensors are rules of smdebug's: they judge what its own hook wrote, in any training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from classifier import rule_settings
from classifier.errors import InputError
from classifier.watch.rules import tensor_rules
from classifier.watch.rules.rule import Finding
from classifier.watch.smdebug_client import smd


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.relu, self.last = torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.last(self.relu(self.first(x)))
        return found


def trial(directory: Path, rate: float, steps: int = 8, **options: Any) -> Path:
    """Of a training that knows nothing of Kennel."""
    torch.manual_seed(0)
    net, criterion = options.pop("net", None) or Net(), torch.nn.CrossEntropyLoss()
    hook = smd.Hook(
        out_dir=str(directory), save_config=smd.SaveConfig(save_interval=1),
        include_collections=["losses", "gradients", "weights", "biases"], include_regex=["relu_output"], **options,
    )  # fmt: skip
    hook.set_mode(smd.modes.TRAIN)
    hook.register_module(net)
    hook.register_loss(criterion)
    optimizer = torch.optim.SGD(net.parameters(), rate)
    inputs, labels = torch.randn(32, 4), torch.arange(32) % 3
    for _ in range(steps):
        loss = criterion(net(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    hook.close()
    return directory


def judged(directory: Path) -> dict[str, Finding]:
    return {f.rule: f for f in tensor_rules.judge(directory, rule_settings.parse("", ""))}


def test_a_training_that_learns(tmp_path: Path) -> None:
    findings = judged(trial(tmp_path / "trial", 0.1))
    assert list(findings) == [rule.__name__ for rule in tensor_rules.RULES]
    assert {name for name, finding in findings.items() if finding.fired} == set()
    assert {name for name, finding in findings.items() if not finding.points} == set()


def test_one_that_stands_still(tmp_path: Path) -> None:
    findings = judged(trial(tmp_path / "trial", 0.0))
    assert {name for name, finding in findings.items() if finding.fired} == {"UnchangedTensor", "WeightUpdateRatio"}
    assert findings["UnchangedTensor"].firings[0].step == 3


def test_reductions_alone(tmp_path: Path) -> None:
    """What needs whole tensors says that it saw none."""
    reductions = smd.ReductionConfig(reductions=["min", "max", "mean", "std"], abs_reductions=["mean"])
    findings = judged(trial(tmp_path / "trial", 0.0, reduction_config=reductions))
    assert {name for name, finding in findings.items() if finding.fired} == {"UnchangedTensor"}
    assert {name for name, finding in findings.items() if not finding.points} == {"DeadRelu", "WeightUpdateRatio"}
    assert findings["DeadRelu"].unseen == "no relu were recorded"


def test_smdebug_invokes_them(tmp_path: Path) -> None:
    from smdebug.rules.rule_invoker import invoke_rule

    net = Net()
    with torch.no_grad():
        net.first.bias.fill_(-100.0)
    found = smd.create_trial(str(trial(tmp_path / "trial", 0.1, steps=5, net=net)))
    rule = tensor_rules.DeadRelu(found)
    invoke_rule(rule, end_step=5)
    assert (rule.points, rule.fired) == (5, 5)
    assert rule.firings[0].detail == "100 % of the channels of relu_output_0 are dead"


def test_a_directory_without_a_trial(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no tensors of smdebug"):
        tensor_rules.judge(tmp_path, rule_settings.parse("", ""))
