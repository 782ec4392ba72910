"""Learning curves out of what a job logs: its lines `epoch 3/10: train:loss=0.41 valid:accuracy=0.8 ...`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from classifier import metrics

# Not `step 40/105 of epoch 3/10: `, which has no metrics.
_EPOCH = re.compile(r"(?<!of )\bepoch (\d+)/\d+: ")
_METRICS = {d["Name"]: re.compile(d["Regex"]) for d in metrics.definitions()}


def read(lines: Iterable[str]) -> tuple[Mapping[str, float], ...]:
    """Of each epoch its number as `epoch`, and its metrics by their names; the last of an epoch that came twice."""
    found: dict[int, dict[str, float]] = {}
    for line in lines:
        epoch = _EPOCH.search(line)
        if epoch:
            told = {name: regex.search(line) for name, regex in _METRICS.items()}
            values = {name: float(match[1]) for name, match in told.items() if match}
            found[int(epoch[1])] = {"epoch": float(epoch[1]), **values}
    return tuple(found[number] for number in sorted(found))
