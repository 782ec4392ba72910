from __future__ import annotations

import time

import pytest
import torch

from classifier.config import Config
from classifier.loss import criterion
from classifier.precision import Precision
from classifier.training import train
from classifier.watch.thinned import Thinned
from classifier.watch.timeline import Timeline

CPU = Precision(torch.device("cpu"), None)


class Noise(list[tuple[torch.Tensor, torch.Tensor]]):
    """Five batches of three examples; of the four classes the last never comes."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        super().__init__((torch.randn(3, 8, generator=generator), torch.tensor([0, 1, i % 3])) for i in range(5))

    def set_epoch(self, epoch: int, done: int = 0) -> None:
        pass

    def examples(self, batch: int) -> list[str]:
        return []


def test_tells_every_step_and_what_lies_between_them() -> None:
    timeline = Timeline(began=time.time() - 3)
    network = torch.nn.Linear(8, 4)
    config = Config(freeze_backbone="false", epochs=2, batch_size=3)
    train(network, config, Noise(), list(Noise()), lambda x: x, criterion(config), CPU, [timeline])
    seen = timeline.collected()
    assert [(s.number, s.epoch, s.images) for s in seen.steps] == [(n, (n + 4) // 5, 3) for n in range(1, 11)]
    assert all(s.wait_s >= 0 and s.forward_s > 0 and s.backward_s > 0 and s.optimizer_s > 0 for s in seen.steps)
    assert [(s.name, s.epoch) for s in seen.spans] == [("initialization", 0), ("evaluation", 1), ("evaluation", 2)]
    first, evaluation, _ = seen.spans
    assert first.seconds >= 3 and first.began + first.seconds <= seen.steps[0].began
    last_of_first_epoch = seen.steps[4]
    # Instants are of the clock on the wall and durations of another one, which agree to some milliseconds.
    assert evaluation.began >= last_of_first_epoch.began + last_of_first_epoch.seconds - 0.05
    assert evaluation.began + evaluation.seconds <= seen.steps[5].began + 0.05
    assert seen.rank == 0 and seen.host and seen.cores > 0 and seen.memory_total > 2**20 and seen.steps_thinned == 1


def test_counts_what_was_seen_of_each_class_in_every_epoch() -> None:
    timeline = Timeline()
    config = Config(freeze_backbone="false", epochs=2, batch_size=3)
    train(torch.nn.Linear(8, 4), config, Noise(), list(Noise()), lambda x: x, criterion(config), CPU, [timeline])
    assert [epoch.train_counts for epoch in timeline.epochs] == [[7, 7, 1, 0]] * 2
    assert [epoch.number for epoch in timeline.epochs] == [1, 2]
    confusion = torch.tensor(timeline.epochs[0].valid_confusion)
    assert confusion.shape == (4, 4) and confusion.sum(1).tolist() == [7, 7, 1, 0]
    assert timeline.epochs[0].valid_accuracy == pytest.approx(float(confusion.diagonal().sum()) / 15)


def test_a_span_is_told_also_when_it_failed() -> None:
    timeline = Timeline()
    with pytest.raises(OSError), timeline.span("checkpoint", epoch=2):
        raise OSError("no space left")
    (span,) = timeline.collected().spans
    assert (span.name, span.epoch) == ("checkpoint", 2) and span.seconds >= 0


def test_a_series_stays_bounded_and_evenly_spread() -> None:
    series: Thinned[int] = Thinned(limit=10)
    for number in range(1000):
        series.append(number)
        assert len(series.kept()) <= 10
        assert series.kept() == list(range(0, number + 1, series.every))
    assert series.every == 128
