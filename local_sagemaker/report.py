"""What `status` and `prune` print."""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from local_sagemaker import daemon, remote
from local_sagemaker import prune as pruning
from local_sagemaker.logs import LogStore
from local_sagemaker.overview import KINDS, Row, rows
from local_sagemaker.records import Records

NEWEST = 10  # of a kind, where not all are asked for
_WIDTH = 160  # columns where no terminal says how many
_COLOURS = {
    "Completed": "green", "InService": "green", "Failed": "red", "Stopped": "yellow",
    "InProgress": "cyan", "Creating": "cyan", "Stopping": "yellow", "Deleting": "yellow",
}  # fmt: skip
_STEPS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def as_json(state: Path) -> dict[str, Any]:
    """Every row of every kind."""
    records = Records(state)
    return {folder: [asdict(item) for item in rows(records, kind)] for folder, kind in KINDS.items()}


def table(state: Path, everything: bool) -> None:
    """A table of the newest of each kind; trials are in the line of their tuning job unless `everything` is asked."""
    records, now = Records(state), time.time()
    shown = Table(box=None, pad_edge=False)
    for title in ("KIND", "NAME", "STATUS", "AGE", "TOOK", "ABOUT"):
        shown.add_column(title, no_wrap=title != "ABOUT", overflow="fold")
    hidden = 0
    for kind in KINDS.values():
        found = [item for item in rows(records, kind) if everything or item.tuning is None]
        hidden += 0 if everything else max(0, len(found) - NEWEST)
        for item in found if everything else found[:NEWEST]:
            shown.add_row(
                kind.words,
                Text(item.name),
                Text(item.status, _COLOURS.get(item.status, "")),
                span(now - item.created),
                _took(item, now),
                Text(" ".join(item.about.split())),
            )
    console = _console()
    if shown.row_count:
        console.print(shown)
    if hidden:
        console.print(f"... and {hidden} more: `status --all` shows every one, `prune` removes what has ended.")


def _took(item: Row, now: float) -> str:
    if item.kind in ("endpoints", "model-packages"):
        return ""
    return span((item.ended or now) - item.created)


def span(seconds: float) -> str:
    """`span(3700)` -> `1h 1m`."""
    left, parts = max(0, int(seconds)), []
    for unit, length in _STEPS:
        if left >= length:
            parts.append(f"{left // length}{unit}")
        left %= length
    return " ".join(parts[:2]) or "0s"


def prune(state: Path, url: str | None, older_than_s: float, dry_run: bool) -> list[pruning.Leftover]:
    """Through the server that runs; without one on the state itself, which no server can take meanwhile."""
    if url:
        answer = remote.post(url, "/local/prune", {"older_than_s": older_than_s, "dry_run": dry_run})
        return [pruning.Leftover(**item) for item in answer["found"]]
    state.mkdir(parents=True, exist_ok=True)
    with daemon.alone(state):
        return pruning.prune(Records(state), LogStore(state / "logs"), state, older_than_s, dry_run)


def leftovers(found: list[pruning.Leftover], what: str) -> None:
    """Says what is, or was, removed, and how much disk that frees."""
    shown = Table(box=None, pad_edge=False)
    for title in ("KIND", "NAME", "DISK"):
        shown.add_column(title, no_wrap=True)
    for item in found:
        kind = KINDS[item.kind].words if item.kind in KINDS else item.kind
        shown.add_row(kind, Text(item.name), size(item.size))
    console = _console()
    console.print(shown)
    console.print(f"{len(found)} {what}: {size(sum(item.size for item in found))} of disk.")


def size(count: int) -> str:
    """`size(1500)` -> `1.5 kB`."""
    from rich.filesize import decimal

    return decimal(count)


def _console() -> Console:
    """As wide as the terminal; wide where the output is no terminal, so that no name is cut."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDTH
    return Console(width=width, highlight=False, markup=False)
