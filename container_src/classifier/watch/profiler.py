"""What the machine does while training: the time of each step, and CPU, memory and disk twice a second."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import psutil

from classifier.steps import Step
from classifier.training import Epoch, Observer
from classifier.watch.collected import StepTime


@dataclass
class Sample:
    """One reading: `cpu` and `iowait` in percent of all CPUs, `memory` in bytes held by this process and its children,
    `read` and `written` in bytes of disk traffic of the machine since the reading before."""

    at_s: float
    cpu: float
    iowait: float
    memory: int
    read: int
    written: int


@dataclass
class Profiler(Observer):
    """An observer of training; `start` begins the sampling thread, `close` ends it."""

    interval_s: float = 0.5
    steps: list[StepTime] = field(default_factory=list)
    epochs: list[Epoch] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    started_s: float = field(default_factory=time.perf_counter)
    first_step_s: float | None = None
    _done: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to sample."""
        self._thread = threading.Thread(target=self._sample, name="profiler", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the sampling thread."""
        self._done.set()
        if self._thread is not None:
            self._thread.join()

    def on_step(self, step: Step) -> None:
        if self.first_step_s is None:
            self.first_step_s = time.perf_counter() - self.started_s
        self.steps.append(
            StepTime(step.number, step.epoch, step.images, step.began, step.wait_s, step.copy_s, step.forward_s,
                     step.backward_s, step.optimizer_s)
        )  # fmt: skip

    def on_epoch(self, epoch: Epoch) -> None:
        self.epochs.append(epoch)

    def _sample(self) -> None:
        process = psutil.Process()
        disk = psutil.disk_io_counters()
        psutil.cpu_times_percent()  # the first call only sets the mark from which the next one measures
        while not self._done.wait(self.interval_s):
            cpu = psutil.cpu_times_percent()
            now = psutil.disk_io_counters()
            self.samples.append(
                Sample(
                    at_s=time.perf_counter() - self.started_s,
                    cpu=100.0 - cpu.idle - getattr(cpu, "iowait", 0.0),
                    iowait=getattr(cpu, "iowait", 0.0),
                    memory=_resident(process),
                    read=now.read_bytes - disk.read_bytes if now and disk else 0,
                    written=now.write_bytes - disk.write_bytes if now and disk else 0,
                )
            )
            disk = now


def _resident(process: psutil.Process) -> int:
    total = process.memory_info().rss
    for child in process.children(recursive=True):
        try:
            total += child.memory_info().rss
        except psutil.NoSuchProcess:
            continue  # a worker ended between the listing and the reading
    return int(total)
