"""What a step does with the learning rate, the loss scale and the averaged weights."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from classifier.config import Config
from classifier.errors import InputError
from classifier.loss import criterion
from classifier.network import freeze_backbone
from classifier.optimization import Optimization
from classifier.precision import Precision

CPU = Precision(torch.device("cpu"), None)
CONFIG = Config(freeze_backbone="false", epochs=4, learning_rate=0.1, weight_decay=0.1)


class Network(torch.nn.Module):
    """A backbone with statistics, and a head by the name that the head has."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.bn, self.fc = torch.nn.Linear(4, 6), torch.nn.BatchNorm1d(6), torch.nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.bn(self.body(x)).relu())  # type: ignore[no-any-return]


def stepped(net: Network, optimization: Optimization, precision: Precision = CPU) -> torch.Tensor:
    """One step on fixed examples; its loss."""
    inputs = torch.arange(32.0).view(8, 4).sin()
    with precision.autocast():
        logits = net(inputs).float()
    loss = torch.nn.functional.cross_entropy(logits, torch.arange(8) % 3)
    optimization.backward(loss)
    optimization.step()
    return loss.detach()


def rates(config: Config, steps: int) -> list[list[float]]:
    """Of every step of the training, those of backbone and head."""
    net = Network()
    optimization, found = Optimization(net, config, steps, CPU), []
    for _ in range(config.epochs * steps):
        found.append([group["lr"] for group in optimization.optimizer.param_groups])
        stepped(net, optimization)
    return found


def test_the_learning_rate_rises_along_a_line_and_falls_along_a_cosine() -> None:
    head = [rate for _, rate in rates(replace(CONFIG, warmup_epochs=1.5), 4)]
    warmup, fall = head[:6], head[6:]
    assert warmup == pytest.approx([0.1 * k / 7 for k in range(1, 7)])
    cosine = [0.05 * (1 + torch.tensor(torch.pi * k / 10).cos().item()) for k in range(10)]
    assert fall == pytest.approx(cosine, abs=1e-8)
    assert rates(CONFIG, 4)[0] == [0.1, 0.1]


def test_the_backbones_rate_is_a_part_of_the_heads() -> None:
    for backbone, head in rates(replace(CONFIG, backbone_learning_rate_factor=0.2, warmup_epochs=0.5), 3):
        assert backbone == pytest.approx(0.2 * head)


def test_a_warm_up_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="warmup-epochs=4 leaves nothing of epochs=4"):
        Optimization(Network(), replace(CONFIG, warmup_epochs=4.0), 5, CPU)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_frozen_backbone_stands_still_and_learns_when_its_time_comes(optimizer: str) -> None:
    """Not even weight decay moves it."""
    net = Network()
    optimization = Optimization(net, replace(CONFIG, optimizer=optimizer), 5, CPU)
    freeze_backbone(net)
    before = copy.deepcopy(net.state_dict())
    stepped(net, optimization)
    moved = {name for name, p in net.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"fc.weight", "fc.bias"}
    freeze_backbone(net, frozen=False)
    stepped(net, optimization)
    assert not [name for name, p in net.named_parameters() if torch.equal(p, before[name])]


def test_the_average_is_the_exponential_one_of_weights_and_statistics() -> None:
    net = Network()
    optimization = Optimization(net, replace(CONFIG, ema_decay=0.5), 5, CPU)
    assert optimization.average
    expected: dict[str, torch.Tensor] = {}
    for n in range(20):
        stepped(net, optimization)
        decay = min(0.5, (1 + n) / (10 + n)) if n else 0.0
        for name, tensor in net.state_dict().items():
            if tensor.is_floating_point():
                expected[name] = decay * expected.get(name, tensor) + (1 - decay) * tensor
    found = optimization.average.module.state_dict()
    assert {"bn.running_mean", "fc.weight"} <= expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor)
        assert not torch.equal(found[name], net.state_dict()[name])


def test_float16_skips_a_step_whose_gradients_left_its_range_and_lowers_the_scale() -> None:
    """On a CPU as on a GPU, but for the speed."""
    precision, net = Precision(torch.device("cpu"), torch.float16), Network()
    optimization = Optimization(net, CONFIG, 50, precision)
    losses = [stepped(net, optimization, precision) for _ in range(30)]
    assert losses[-1] < losses[0] / 2
    scale = optimization.state_dict()["scaler"]["scale"]
    assert scale >= 2.0**15
    before = copy.deepcopy(net.state_dict())
    optimization.backward(net(torch.full((8, 4), float("inf"))).sum())
    optimization.step()
    assert all(torch.equal(p, before[name]) for name, p in net.named_parameters())
    assert optimization.state_dict()["scaler"]["scale"] == scale / 2


@pytest.mark.parametrize("half", [None, torch.float16], ids=["float32", "float16"])
def test_it_goes_on_from_its_state(half: torch.dtype | None) -> None:
    config, precision = replace(CONFIG, ema_decay=0.9, warmup_epochs=1.0), Precision(torch.device("cpu"), half)
    net = Network()
    optimization = Optimization(net, config, 5, precision)
    for _ in range(7):
        stepped(net, optimization, precision)
    state = copy.deepcopy(optimization.state_dict())
    assert optimization.average
    again, average = copy.deepcopy(net), copy.deepcopy(optimization.average.module.state_dict())
    resumed = Optimization(again, config, 5, precision)
    resumed.load_state_dict(state)
    assert resumed.average
    resumed.average.module.load_state_dict(average)
    for _ in range(6):
        assert torch.equal(stepped(net, optimization, precision), stepped(again, resumed, precision))
    for one, other in ((net, again), (optimization.average.module, resumed.average.module)):
        assert all(
            torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
        )


def test_balanced_weights_make_the_classes_equal() -> None:
    loss = criterion(Config(class_weights="balanced"), [30, 10, 20])
    logits, labels = torch.zeros(6, 3), torch.tensor([0, 0, 0, 1, 2, 2])
    logits.requires_grad_(True)
    loss(logits, labels).backward()
    assert logits.grad is not None
    by_class = [float(logits.grad[labels == c, c].sum()) for c in range(3)]
    assert by_class == pytest.approx([by_class[0]] * 3)
    # The mean over the examples: that of the parts makes that of the whole.
    noise = torch.randn(6, 3)
    parts = sum(loss(noise[i : i + 2], labels[i : i + 2]) for i in (0, 2, 4)) / 3
    torch.testing.assert_close(loss(noise, labels), parts)
    assert loss(torch.zeros(6, 3), labels).item() == pytest.approx(torch.tensor(3.0).log().item())
    plain = criterion(Config())
    assert loss(noise[:1], labels[:1]).item() == pytest.approx(plain(noise[:1], labels[:1]).item() * 60 / (3 * 30))
