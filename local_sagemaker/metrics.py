"""Metrics: the request's own regular expressions, run over each line of the log as it comes."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any


class MetricWatcher:
    """Keeps the last value of each metric, and every value in `path`.

    `path` has JSON lines: MetricName, Value, Timestamp (seconds since 1970).
    """

    def __init__(self, definitions: list[dict[str, str]], path: Path) -> None:
        self._patterns = [(definition["Name"], re.compile(definition["Regex"])) for definition in definitions]
        self._path = path
        self._last: dict[str, dict[str, Any]] = {}

    def feed(self, timestamp: float, line: str) -> None:
        for name, pattern in self._patterns:
            found = pattern.search(line)
            value = _number(found.group(1)) if found else None
            if value is not None:
                self._last[name] = {"MetricName": name, "Value": value, "Timestamp": timestamp}
                with self._path.open("a") as stream:
                    stream.write(json.dumps(self._last[name]) + "\n")

    def final(self) -> list[dict[str, Any]]:
        """FinalMetricDataList of DescribeTrainingJob."""
        return list(self._last.values())


def _number(text: str | None) -> float | None:
    """A finite number: JSON 1.1 cannot carry others, and SageMaker leaves out what it cannot parse."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
