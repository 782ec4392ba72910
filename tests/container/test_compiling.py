"""torch.compile where there is a compiler, and the sentence where there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from classifier.config import Config
from classifier.loss import criterion
from classifier.precision import Precision
from classifier.training import Batch, train
from conftest import ROOT

CPU = torch.device("cpu")


class Batches(list[Batch]):
    def set_epoch(self, epoch: int, done: int = 0) -> None:
        pass

    def examples(self, batch: int) -> list[str]:
        return []


class Network(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.fc = torch.nn.Linear(8, 16), torch.nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.body(x).relu())  # type: ignore[no-any-return]


def trained(compile: bool) -> list[float]:
    generator = torch.Generator().manual_seed(1)
    batches = Batches((torch.randn(4, 8, generator=generator), torch.tensor([0, 1, 2, 0])) for _ in range(3))
    config = Config(freeze_backbone="until-epoch-1", epochs=3, batch_size=4, learning_rate=0.01, compile=compile)
    network = Network()
    outcome = train(network, config, batches, batches, lambda x: x, criterion(config), Precision(CPU, None))
    assert set(network.state_dict()) == {"body.weight", "body.bias", "fc.weight", "fc.bias"}
    return [epoch.train_loss for epoch in outcome.history]


def test_a_compiled_network_learns_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when its backbone begins to learn on the way. All but the last step of torch.compile: code for the processor
    takes minutes on a busy one."""
    networks, torchs = list[str](), torch.compile

    def compile(network: torch.nn.Module) -> object:
        networks.append(type(network).__name__)
        return torchs(network, backend="aot_eager")

    expected = trained(compile=False)
    monkeypatch.setattr(torch, "compile", compile)
    assert trained(compile=True) == pytest.approx(expected, rel=1e-5)
    assert networks == ["ReLU", "Network"] * 2, "anew when the backbone began to learn"


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs g++")
def test_with_a_compiler_it_compiles(tmp_path: Path) -> None:
    """One layer, forward: what the smallest of functions takes."""
    done = run(
        "import torch; from classifier.compiling import compiled; layer = torch.nn.ReLU()\n"
        "made = compiled(layer, torch.device('cpu'))\n"
        "print(made(torch.tensor([-1.0, 2.0] * 4)).tolist())",
        {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path)},
    )
    assert done == f"{[0.0, 2.0] * 4}\n"
    assert list(tmp_path.rglob("*.so")), "machine code was made"


def run(code: str, variables: dict[str, str]) -> str:
    """What a Python of its own prints: torch keeps what it has compiled in the process."""
    environment = {name: value for name, value in os.environ.items() if name not in ("CXX", "CC")}
    environment |= {"PYTHONPATH": str(ROOT / "container_src")} | variables
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return done.stdout


def test_without_a_compiler_it_says_what_is_missing(tmp_path: Path) -> None:
    said = run(
        "import torch; from classifier.compiling import compiled\n"
        "try: compiled(torch.nn.Linear(2, 2), torch.device('cpu'))\n"
        "except Exception as error: print(type(error).__name__, error)",
        {"PATH": str(tmp_path), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")},
    )
    assert said.startswith("InputError compile=true does not work on this machine (")
    assert "No working C++ compiler found" in said
    assert said.count("\n") == 1
