"""What a rule that judges a training run is made of. Pure Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["warning", "error", "off"]


@dataclass(frozen=True)
class Threshold:
    """One parameter of a rule; `low` and `high` are inclusive."""

    default: float
    low: float
    high: float
    help: str


@dataclass(frozen=True)
class Spec:
    """One rule. `what`: what is so while it does not fire. `advice`: what to change when it does."""

    name: str
    subject: Literal["model", "system"]
    what: str
    advice: str
    source: str
    thresholds: Mapping[str, Threshold] = field(default_factory=dict)
    severity: Severity = "warning"
