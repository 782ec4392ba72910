"""Opening a page for the person at the machine, where there is one."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from orchestrate.console import Console


def add_argument(parser: argparse.ArgumentParser) -> None:
    """--open and --no-open."""
    parser.add_argument(
        "--open", action=argparse.BooleanOptionalAction, default=None,
        help="open the report in a browser (default: on a terminal with a display; never where CI is set)",
    )  # fmt: skip


def show(page: Path, asked: bool | None, out: Console) -> None:
    """Opens a page. `asked`: what --open or --no-open says, None for neither."""
    import webbrowser

    wanted = asked if asked is not None else sys.stdin.isatty() and sys.stdout.isatty() and _has_display()
    if not wanted or os.environ.get("CI"):
        return
    if not webbrowser.open(page.resolve().as_uri()):
        out.say(f"no browser was found: open {page} in one")


def _has_display() -> bool:
    return sys.platform in ("darwin", "win32") or any(os.environ.get(v) for v in ("DISPLAY", "WAYLAND_DISPLAY"))
