"""What was seen of a run: plain numbers, one set for each rank. No torch: the report and the rules need none.

Instants are seconds since 1970, so that ranks on several machines can be laid beside each other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple


class StepTime(NamedTuple):
    """One optimizer step; the parts are those of `classifier.steps.Step`."""

    number: int
    epoch: int
    images: int
    began: float
    wait_s: float
    copy_s: float
    forward_s: float
    backward_s: float
    optimizer_s: float

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.wait_s + self.copy_s + self.forward_s + self.backward_s + self.optimizer_s


class Span(NamedTuple):
    """What training did beside its steps: `initialization` (until the first epoch), `evaluation`, `checkpoint`."""

    name: str
    epoch: int
    began: float
    seconds: float


class Gpu(NamedTuple):
    """One reading of one GPU, counted from 0: percent, bytes, degrees Celsius, watts. NaN, or 0 bytes: not to be
    read."""

    number: int
    utilization: float
    memory_bytes: int
    memory_total: int
    temperature_c: float
    power_w: float


class Sample(NamedTuple):
    """One reading of the machine. `cpu`: percent busy of each core that the job may use; `iowait`: percent of all of
    them. `memory_bytes`: resident, of this process and its children. The rest: bytes a second of the whole machine,
    without its loopback; NaN: it could not be read."""

    at: float
    cpu: tuple[float, ...]
    iowait: float
    memory_bytes: int
    read_bytes_s: float
    written_bytes_s: float
    received_bytes_s: float
    sent_bytes_s: float
    gpus: tuple[Gpu, ...] = ()


class EpochMetrics(NamedTuple):
    """One epoch. `valid_confusion[i][j]`: examples of class i that were called j; `train_counts`: photographs seen of
    each class. Metrics may be NaN or infinite."""

    number: int
    began: float
    seconds: float
    images_per_s: float
    train_loss: float
    valid_loss: float
    valid_accuracy: float
    valid_top5: float
    valid_confusion: list[list[int]]
    train_counts: list[int]


class Operator(NamedTuple):
    """One row of PyTorch's profiler, summed over its windows. `device`: cpu or cuda. Seconds; `memory_bytes` may be
    negative: freed more than it took."""

    name: str
    device: str
    calls: int
    self_s: float
    total_s: float
    memory_bytes: int


@dataclass
class Collected:
    """What one rank saw. `thinned`: each step and sample kept stands for this many, so that memory stays bounded.
    `missing`: what could not be seen, and why, a sentence each. `findings`: of its rules, where the first rank is to
    merge them."""

    rank: int
    host: str
    began: float
    cores: int
    memory_total: int
    steps: list[StepTime] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)
    profiled_steps: list[int] = field(default_factory=list)
    traces: list[str] = field(default_factory=list)
    steps_thinned: int = 1
    samples_thinned: int = 1
    missing: list[str] = field(default_factory=list)
    findings: list[dict[str, Any]] = field(default_factory=list)
