"""Looks at the pulses of workers and predictors: which one hangs, which one lost its parent, how they did."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from classifier import pulse
from classifier.pulse import BATCHES, BEATS, BUSY, CLIENT_ERRORS, IMAGES, PARENT, PROGRESS, REQUESTS, SERVER_ERRORS

# A process that computes uses at least this share of a CPU, also on a machine that is shared by many.
_LEAST_SHARE = 0.02


@dataclass
class _Seen:
    """What was seen of a process, and for how many looks it has been so."""

    beats: int = -1
    progress: int = -1
    cpu_s: float = 0.0
    silent: int = 0
    idle: int = 0
    stuck: int = 0
    orphaned: int = 0


@dataclass
class Watch:
    """Counts its own looks instead of the clock: what stops everybody (a paused machine) is nobody's hanging.

    `hangs_after`: looks without any sign of life, or in work without a step and without use of a CPU;
    `stuck_after`: looks in work without a step, though it uses a CPU.
    """

    directory: Path
    every_s: float
    hangs_after: int
    stuck_after: int
    _seen: dict[Path, _Seen] = field(default_factory=dict)
    _gone: pulse.Numbers = field(default_factory=lambda: np.zeros(pulse.TIMES + pulse.CLASSES, np.uint64))
    _reported: pulse.Numbers = field(default_factory=lambda: np.zeros(pulse.TIMES + pulse.CLASSES, np.uint64))

    def look(self) -> dict[str, list[int]]:
        """Process ids that `hang`, and of workers that are `orphaned`: what starts new ones is gone. Once a tick."""
        found: dict[str, list[int]] = {"hang": [], "orphaned": []}
        for path in sorted(self.directory.glob("*-*")):
            pid = int(path.name.rpartition("-")[2])
            numbers = pulse.read(path)
            if numbers is None:
                continue
            try:
                process = psutil.Process(pid)
                if process.status() == psutil.STATUS_ZOMBIE:
                    raise psutil.NoSuchProcess(pid)
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                self._gone[REQUESTS:] += numbers[REQUESTS:]
                path.unlink()
                self._seen.pop(path, None)
                continue
            seen = self._seen.setdefault(path, _Seen())
            self._compare(seen, numbers, times.user + times.system)
            if max(seen.silent, seen.idle) >= self.hangs_after or seen.stuck >= self.stuck_after:
                found["hang"].append(pid)
            seen.orphaned = 0 if psutil.pid_exists(int(numbers[PARENT])) else seen.orphaned + 1
            if seen.orphaned >= self.hangs_after:
                found["orphaned"].append(pid)
        return found

    def _compare(self, seen: _Seen, numbers: pulse.Numbers, cpu_s: float) -> None:
        beats, progress = int(numbers[BEATS]), int(numbers[PROGRESS])
        stands = bool(numbers[BUSY]) and progress == seen.progress
        seen.silent = seen.silent + 1 if beats == seen.beats else 0
        seen.stuck = seen.stuck + 1 if stands else 0
        # Over all the time that it stands: a slow machine gives a process its turns in lumps.
        if not stands or cpu_s - seen.cpu_s > (seen.idle + 1) * self.every_s * _LEAST_SHARE:
            seen.idle, seen.cpu_s = 0, cpu_s
        else:
            seen.idle += 1
        seen.beats, seen.progress = beats, progress

    def report(self) -> dict[str, Any] | None:
        """What happened since the last report, of all processes together; None where there was no request."""
        now = self._gone.copy()
        for path in self.directory.glob("*-*"):
            numbers = pulse.read(path)
            if numbers is not None:
                now[REQUESTS:] += numbers[REQUESTS:]
        new = now - self._reported
        if not new[REQUESTS]:
            return None
        self._reported = now
        counts = Counter(requests=REQUESTS, client_errors=CLIENT_ERRORS, server_errors=SERVER_ERRORS)
        fields: dict[str, Any] = {name: int(new[index]) for name, index in counts.items()}
        for share in (50, 99):
            fields[f"p{share}_ms"] = round(pulse.percentile_ms(new, share / 100), 1)
        if new[BATCHES]:
            fields["batch_size"] = round(float(new[IMAGES] / new[BATCHES]), 2)
        return fields
