"""The names of the logged metrics and the one form in which they are logged.

SageMaker reads metrics out of the log with regular expressions. The writer of the line and the expressions stand here
together, so that they cannot drift apart. Pure Python.
"""

from __future__ import annotations

from collections.abc import Mapping

NAMES = ("train:loss", "valid:loss", "valid:accuracy", "test:loss", "test:accuracy")
# Any float that Python prints, `1e-05`, `nan` and `-inf` included.
_NUMBER = r"([-+]?(?:[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|nan|inf))"


def definitions() -> list[dict[str, str]]:
    """SageMaker's `MetricDefinitions` for what `line` writes."""
    return [{"Name": name, "Regex": f"{name}={_NUMBER}"} for name in NAMES]


def line(metrics: Mapping[str, float]) -> str:
    """`train:loss=0.4312 valid:accuracy=0.8125`: five significant digits are enough to read and to tune by."""
    return " ".join(f"{name}={value:.5g}" for name, value in metrics.items())
