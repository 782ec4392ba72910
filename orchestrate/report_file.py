"""The report.json of a training job, as the container's `classifier.watch.report` writes it (version 1)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrate.errors import InputError

NAME = "report.json"
PAGE = "report.html"
_VERSION = 1


@dataclass(frozen=True)
class Finding:
    """What a rule saw: `fired` of `points` data points; `detail`: of its first firing, empty where it never fired."""

    rule: str
    severity: str
    points: int
    fired: int
    detail: str
    advice: str

    def __str__(self) -> str:
        return f"{self.rule} ({self.severity}) fired at {self.fired:,} of {self.points:,}: {self.detail}; {self.advice}"


@dataclass(frozen=True)
class Report:
    """`path`: of the page beside it; `document`: all of report.json."""

    path: Path
    document: dict[str, Any]
    findings: tuple[Finding, ...]

    @property
    def job(self) -> str:
        """The job's name."""
        return str(self.document["job"])

    @property
    def fired(self) -> list[Finding]:
        """Those that fired, errors first, then the most frequent."""
        found = [f for f in self.findings if f.fired]
        return sorted(found, key=lambda f: (f.severity != "error", -f.fired))


def find(folder: Path) -> Report | None:
    """The report below a folder; None where there is none.

    Raises:
        InputError: its report.json has a form that is not known here.
    """
    path = next(iter(sorted(folder.rglob(NAME))), None)
    if path is None:
        return None
    try:
        document = json.loads(path.read_text("utf-8"))
        if document["version"] != _VERSION:
            raise ValueError(f"version {document['version']}")
        return Report(path.with_name(PAGE), document, tuple(_finding(item) for item in document["findings"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} has another form than this version reads ({error!r}): take the orchestrate/ of the "
                         f"image's commit; the page {PAGE} beside it opens in any browser") from None  # fmt: skip


def table(fired: Sequence[Finding]) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Columns and rows of rules that fired."""
    return (("rule", "severity", "fired", "of", "first seen", "what to change"),
            [(f.rule, f.severity, f.fired, f.points, f.detail, f.advice) for f in fired])  # fmt: skip


def _finding(item: dict[str, Any]) -> Finding:
    firings = item["firings"]
    detail = str(firings[0]["detail"]) if firings else ""
    return Finding(item["rule"], item["severity"], item["points"], item["fired"], detail, item["advice"])
