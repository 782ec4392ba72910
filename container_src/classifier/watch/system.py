"""What the machine does while a job runs, read twice a second on a thread of its own."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import psutil

from classifier.watch.collected import Sample
from classifier.watch.gpus import Gpus
from classifier.watch.thinned import Thinned

# To find all children a reading of every process of the machine is needed; worker processes live for a whole run.
_CHILDREN_EVERY_S = 10.0
Value = TypeVar("Value")


class System:
    """Samples from `start` to `close`. `on_sample` is called with each, on the sampling thread.

    What cannot be read is NaN in the samples (bytes of memory: 0) and a sentence in `missing`.
    """

    def __init__(self, interval_s: float = 0.5, on_sample: Callable[[Sample], None] = lambda sample: None) -> None:
        self.missing: list[str] = []
        self._interval_s, self._on_sample = interval_s, on_sample
        self._samples: Thinned[Sample] = Thinned()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="system", daemon=True)

    @property
    def samples(self) -> list[Sample]:
        """Those kept until now; each stands for `thinned`."""
        return self._samples.kept()

    @property
    def thinned(self) -> int:
        return self._samples.every

    def start(self) -> None:
        """Begins to sample."""
        self._thread.start()

    def close(self) -> None:
        """Ends the sampling thread."""
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        failed = 0
        with Gpus(self._miss) as gpus:
            reader = Reader(gpus, self._miss)
            while not self._done.wait(self._interval_s):
                try:
                    sample = reader.read()
                    self._samples.append(sample)
                    self._on_sample(sample)
                except Exception as error:  # one bad reading does not end the watching
                    failed += 1
                    if failed == 1:
                        self._miss(f"a reading of the machine failed: {type(error).__name__}: {error}")

    def _miss(self, sentence: str) -> None:
        if sentence not in self.missing:
            self.missing.append(sentence)


class Reader:
    """One reading after the other; rates are of the time since the one before, the first since this was made."""

    def __init__(self, gpus: Gpus, miss: Callable[[str], None]) -> None:
        self._gpus, self._miss = gpus, miss
        self._cores = sorted(os.sched_getaffinity(0))
        self._process = psutil.Process()
        self._children: list[psutil.Process] = []
        self._children_until = 0.0
        self._at = time.monotonic()
        self._cpu = self._busy()
        self._bytes = self._counters()

    def read(self) -> Sample:
        """Of now."""
        at, cpu, counted = time.monotonic(), self._busy(), self._counters()
        elapsed = max(at - self._at, 1e-6)
        busy, waiting = [], []
        for (total, idle, wait), (total_before, idle_before, wait_before) in zip(cpu, self._cpu, strict=True):
            # The kernel's counters are hundredths of a second, and that of waiting may go backwards.
            ticks = total - total_before
            waited = min(max(wait - wait_before, 0.0), ticks)
            waiting.append(100 * waited / ticks if ticks > 0 else 0.0)
            rest = ticks - waited - (idle - idle_before)
            busy.append(min(max(100 * rest / ticks, 0.0), 100.0) if ticks > 0 else 0.0)
        read, written, received, sent = (
            (now - before) / elapsed for now, before in zip(counted, self._bytes, strict=True)
        )
        self._at, self._cpu, self._bytes = at, cpu, counted
        return Sample(
            time.time(), tuple(busy), sum(waiting) / len(waiting), self._resident(at), read, written, received, sent,
            self._gpus.read(),
        )  # fmt: skip

    def _busy(self) -> list[tuple[float, float, float]]:
        """Seconds in all, idle, and waiting for a disk, of each core that the job may use."""
        times = psutil.cpu_times(percpu=True)
        cores = [times[i] for i in self._cores if i < len(times)] or times
        # Guests' time is in user and nice already.
        return [(sum(t[:8]), t.idle, getattr(t, "iowait", 0.0)) for t in cores]

    def _counters(self) -> tuple[float, float, float, float]:
        """Bytes read, written, received and sent since the machine began."""
        disk = self._try("disks", lambda: psutil.disk_io_counters(nowrap=False))
        nics = self._try("network interfaces", lambda: psutil.net_io_counters(pernic=True, nowrap=False))
        nan = float("nan")
        read, written = (disk.read_bytes, disk.write_bytes) if disk else (nan, nan)
        if nics is None:
            return read, written, nan, nan
        outside = [counters for name, counters in nics.items() if name != "lo"]
        return read, written, sum(c.bytes_recv for c in outside), sum(c.bytes_sent for c in outside)

    def _try(self, what: str, ask: Callable[[], Value]) -> Value | None:
        try:
            found = ask()
        except (OSError, RuntimeError, NotImplementedError, ValueError) as error:
            self._miss(f"the machine's {what} could not be read: {error}")
            return None
        if found is None:  # psutil finds none
            self._miss(f"the machine's {what} could not be read: there are none to see")
        return found

    def _resident(self, at: float) -> int:
        if at >= self._children_until:
            self._children, self._children_until = self._process.children(recursive=True), at + _CHILDREN_EVERY_S
        total = 0
        for process in (self._process, *self._children):
            try:
                total += process.memory_info().rss
            except psutil.Error:
                continue  # it ended
        return total
