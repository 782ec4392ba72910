"""A Chrome trace of PyTorch's profiler -> its operators.

The profiler's own table (`key_averages`) says the same of operators, and takes a second for what this does in
hundredths. The format: docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from classifier.watch.collected import Operator

_HOST = ("cpu_op", "user_annotation")
_GPU = ("kernel", "gpu_memcpy", "gpu_memset")
_MEMORY = "[memory]"
_MICROSECOND = 1e-6


@dataclass
class _Row:
    calls: int = 0
    self_us: float = 0.0
    total_us: float = 0.0
    memory_bytes: int = 0


class Operators:
    """Sums of one trace after the other."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], _Row] = {}

    def add(self, trace: Mapping[str, Any]) -> None:
        """Counts what the trace holds: operators on the host, and what ran on the GPU under its own name."""
        events = trace["traceEvents"]
        on_gpu = [event for event in events if event.get("cat") in _GPU]
        for event in on_gpu:
            row = self._row(event["name"], "cuda")
            row.calls += 1
            row.self_us += event["dur"]
            row.total_us += event["dur"]
        # Bytes are those of the device that computes; the profiler's numbers for devices: 0 CPU, 1 CUDA.
        memory_of = 1 if on_gpu else 0
        threads: dict[Any, list[Mapping[str, Any]]] = {}
        for event in events:
            memory = event.get("name") == _MEMORY and event["args"].get("Device Type") == memory_of
            if memory or event.get("cat") in _HOST:
                threads.setdefault(event["tid"], []).append(event)
        for of_thread in threads.values():
            self._add_nested(of_thread)

    def rows(self, limit: int) -> list[Operator]:
        """Those that took the most time themselves, the longest first."""
        longest = sorted(self._rows.items(), key=lambda item: -item[1].self_us)[:limit]
        return [
            Operator(name, device, row.calls, row.self_us * _MICROSECOND, row.total_us * _MICROSECOND,
                     row.memory_bytes)
            for (name, device), row in longest
        ]  # fmt: skip

    def _add_nested(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Of one thread: what an operator's callees took is not its own time, and a byte is the innermost one's."""
        open_: list[tuple[float, _Row]] = []  # (end, row), the innermost last
        for event in sorted(events, key=lambda event: (event["ts"], -event.get("dur", 0.0))):
            while open_ and event["ts"] >= open_[-1][0]:
                open_.pop()
            if event["name"] == _MEMORY:
                if open_:
                    open_[-1][1].memory_bytes += event["args"]["Bytes"]
                continue
            row = self._row(event["name"], "cpu")
            row.calls += 1
            row.self_us += event["dur"]
            row.total_us += event["dur"]
            if open_:
                open_[-1][1].self_us -= event["dur"]
            open_.append((event["ts"] + event["dur"], row))

    def _row(self, name: str, device: str) -> _Row:
        return self._rows.setdefault((name, device), _Row())
