"""The view of a training job that runs: on a terminal its log with one panel below, elsewhere the log's lines alone.

The panel: epochs with a bar, loss, accuracy, speed, time gone and left, and what its rules have found.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from orchestrate import follow
from orchestrate.console import Console
from orchestrate.job_log import Progress
from orchestrate.session import Session

if TYPE_CHECKING:
    from rich.panel import Panel

_MOST_FINDINGS = 4
_STYLES = {"warning": "yellow", "error": "bold red"}


def training(session: Session, name: str, console: Console) -> tuple[Any, Progress]:
    """Shows a training job until it ends, however it ends: the SDK's TrainingJob and what its log has told."""
    view = _View(name, console)
    if not console.is_live:
        return follow.plainly(session, name, console, view.tell), view.progress
    with console.live(view.render):
        return follow.until_ended(session, name, view.on_status, view.tell), view.progress


class _View:
    def __init__(self, name: str, console: Console) -> None:
        self._name, self._console = name, console
        self._status, self._since = "", time.time()
        self.progress = Progress()

    def on_status(self, job: Any) -> None:
        self._status = job.secondary_status
        self._since = (job.training_start_time or job.creation_time).timestamp()
        self._console.say(f"[{self._status}]", style="dim")

    def tell(self, line: str) -> None:
        is_progress = self.progress.read(line, time.time())
        # The panel has the step; what else was said stays in the terminal's scrollback.
        if self._console.is_live and is_progress and line.startswith("step "):
            return
        told = next((f for f in reversed(self.progress.findings.values()) if line.startswith(f"finding: {f.rule} ")),
                    None)  # fmt: skip
        self._console.say(f"  {line}", style=_STYLES[told.severity] if told else None)

    def render(self) -> Panel:
        from rich.console import Group
        from rich.panel import Panel
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        now, so_far = time.time(), self.progress
        head = Table.grid(padding=(0, 1), expand=True)
        head.add_column(no_wrap=True)
        head.add_column(ratio=1)
        head.add_column(no_wrap=True, justify="right")
        where = f"epoch {so_far.epoch} of {so_far.epochs}" if so_far.epochs else "before the first epoch"
        step = f"step {so_far.step} of {so_far.steps}" if so_far.steps else ""
        head.add_row(where, ProgressBar(total=1.0, completed=so_far.done), f"{so_far.done:.0%} {step}".rstrip())
        lines = [Text(text, overflow="ellipsis", no_wrap=True) for text in (self._figures(), self._times(now)) if text]
        findings = list(so_far.findings.values())[-_MOST_FINDINGS:]
        lines += [
            Text(f"{f.rule} ({f.severity}): {f.text}", style=_STYLES[f.severity], overflow="ellipsis", no_wrap=True)
            for f in findings
        ]
        return Panel(Group(head, *lines), title=Text(f"{self._name}  {self._status}"), title_align="left",
                     border_style="dim")  # fmt: skip

    def _figures(self) -> str:
        so_far = self.progress
        accuracy, best = so_far.last("valid:accuracy"), so_far.best("valid:accuracy")
        parts = [f"loss {so_far.loss:.4g}"] if so_far.loss is not None else []
        if accuracy is not None and best:
            parts.append(f"valid accuracy {accuracy:.4f} (best {best[0]:.4f}, epoch {best[1]})")
        if so_far.images_per_s is not None:
            parts.append(f"{so_far.images_per_s:,.0f} images/s")
        return "   ".join(parts)

    def _times(self, now: float) -> str:
        left = self.progress.left_s(now)
        return f"elapsed {_clock(now - self._since)}" + (f"   left about {_clock(left)}" if left is not None else "")


def _clock(seconds: float) -> str:
    """`1:05` or `2:01:05`."""
    minutes, s = divmod(max(0, round(seconds)), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}" if hours else f"{m}:{s:02}"
