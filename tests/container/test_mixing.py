"""Mixup and CutMix."""

from __future__ import annotations

import pytest
import torch

from classifier.config import Config
from classifier.mixing import Mix, Mixing

SHAPE = torch.Size([4, 3, 8, 6])


def pictures() -> torch.Tensor:
    """float32 [4, 3, 8, 6] in channels-last memory; every value of picture i is i."""
    return torch.arange(4.0).view(4, 1, 1, 1).expand(SHAPE).contiguous(memory_format=torch.channels_last)


def drawn(config: Config, steps: int = 300) -> list[Mix]:
    mixing = Mixing(config)
    found = [mixing.draw(step, SHAPE) for step in range(1, steps + 1)]
    return [mix for mix in found if mix]


def test_mixup_mixes_values_and_labels_by_the_same_share() -> None:
    mix = Mix(0.75)
    mixed = mix.inputs(pictures())
    for i, value in enumerate([0.75, 0.75, 1.75, 2.75]):  # the first with the last, the others with the one before
        assert mixed[i].flatten().tolist() == pytest.approx([value] * 144)
    assert mixed.is_contiguous(memory_format=torch.channels_last)
    assert mix.targets(torch.tensor([0, 1, 1, 2]), 3).tolist() == [
        [0.75, 0.0, 0.25], [0.25, 0.75, 0.0], [0.0, 1.0, 0.0], [0.0, 0.25, 0.75]
    ]  # fmt: skip
    features = torch.tensor([[0.0, 4.0], [8.0, 0.0]])
    assert mix.inputs(features).tolist() == [[2.0, 3.0], [6.0, 1.0]]


def test_cutmix_pastes_a_box_and_counts_its_pixels() -> None:
    mixes = drawn(Config(cutmix_alpha=1.0))
    assert len(mixes) == 300
    for mix in mixes:
        mixed, before = mix.inputs(pictures()), pictures()
        assert mixed.is_contiguous(memory_format=torch.channels_last)
        kept = (mixed == before).all(dim=1).float().mean(dim=(1, 2))
        assert kept.tolist() == pytest.approx([mix.share] * 4)
        assert set(mixed[2].flatten().tolist()) <= {1.0, 2.0}
    shares = torch.tensor([mix.share for mix in mixes])
    assert shares.min() < 0.2 and shares.max() > 0.9


def test_shares_are_those_of_the_distribution() -> None:
    """Beta(a, a) has mean 1/2 and variance 1 / (8a + 4)."""
    for alpha in (0.2, 1.0):
        shares = torch.tensor([mix.share for mix in drawn(Config(mixup_alpha=alpha), 4000)])
        assert shares.mean().item() == pytest.approx(0.5, abs=0.03)
        assert shares.var().item() == pytest.approx(1 / (8 * alpha + 4), rel=0.1)


def test_a_step_draws_the_same_whenever_it_comes_and_another_than_others() -> None:
    config = Config(mixup_alpha=0.4, cutmix_alpha=1.0)
    mixes = drawn(config)
    assert [Mixing(config).draw(step, SHAPE) for step in (17, 4)] == [mixes[16], mixes[3]]
    assert len({mix.share for mix in mixes}) > 100
    boxes = sum(mix.box is not None for mix in mixes)
    assert 100 < boxes < 200, "either takes half of the steps"
    assert drawn(Config(mixup_alpha=0.4, seed=1))[0] != drawn(Config(mixup_alpha=0.4))[0]
    assert not drawn(Config())
