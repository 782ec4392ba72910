"""Metrics: the request's own regular expressions, run over each line of the log as it comes."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

OnMetric = Callable[[str, float, float], None]  # name of the metric, value, seconds since 1970
log = logging.getLogger(__name__)


class MetricWatcher:
    """Keeps the last value of each metric, and every value in `path`. Any thread may feed it.

    `path` has JSON lines: MetricName, Value, Timestamp (seconds since 1970). `on_metric` is told each value, from the
    thread that fed the line.
    """

    def __init__(self, definitions: list[dict[str, str]], path: Path, on_metric: OnMetric | None = None) -> None:
        self._patterns = [(definition["Name"], re.compile(definition["Regex"])) for definition in definitions]
        self._path = path
        self._on_metric = on_metric
        self._last: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def feed(self, timestamp: float, line: str) -> None:
        for name, pattern in self._patterns:
            found = pattern.search(line)
            value = _number(found.group(1)) if found else None
            if value is None:
                continue
            metric = {"MetricName": name, "Value": value, "Timestamp": timestamp}
            with self._lock:
                self._last[name] = metric
                _append(self._path, json.dumps(metric) + "\n")
            if self._on_metric:
                self._on_metric(name, value, timestamp)

    def final(self) -> list[dict[str, Any]]:
        """FinalMetricDataList of DescribeTrainingJob."""
        with self._lock:
            return list(self._last.values())


def _append(path: Path, line: str) -> None:
    """Adds a whole line or nothing: on a full disk the job goes on, and its last values are still in the record."""
    with path.open("ab", buffering=0) as stream:
        size = os.fstat(stream.fileno()).st_size
        try:
            stream.write(line.encode())
        except OSError as error:
            log.warning("a metric cannot be kept in %s: %s", path, error)
            os.ftruncate(stream.fileno(), size)


def read(path: Path) -> list[dict[str, Any]]:
    """Every whole value that a watcher wrote, oldest first; a line that is being written is left out."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


def _number(text: str | None) -> float | None:
    """A finite number: JSON 1.1 cannot carry others, and SageMaker leaves out what it cannot parse."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
