"""What a program that has ended must not leave behind."""

from __future__ import annotations

from pathlib import Path

import psutil


def processes_of(folder: Path) -> list[str]:
    """Commands of processes that work in `folder` or name it."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        command = " ".join(process.info["cmdline"] or [])
        if str(folder) in command or (process.info["cwd"] or "").startswith(str(folder)):
            found.append(command)
    return found
