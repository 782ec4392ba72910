from __future__ import annotations

import time

from classifier.watch.profiler import Profiler


def test_samples_what_the_machine_does() -> None:
    profiler = Profiler(interval_s=0.05)
    profiler.start()
    deadline = time.perf_counter() + 60
    while len(profiler.samples) < 3 and time.perf_counter() < deadline:
        sum(range(10_000))  # keeps one CPU busy
    profiler.close()
    count = len(profiler.samples)
    assert count >= 3
    assert max(s.cpu for s in profiler.samples) > 5
    assert all(0 <= s.cpu <= 100 and s.memory > 1_000_000 for s in profiler.samples)
    assert [s.at_s for s in profiler.samples] == sorted(s.at_s for s in profiler.samples)
    time.sleep(0.2)
    assert len(profiler.samples) == count
