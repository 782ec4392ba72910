"""What a result needs to be read: the machine, the versions, the date; tables in Markdown, and the page itself."""

from __future__ import annotations

import datetime
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def sentence(*packages: str) -> str:
    """Hardware, system, versions of these packages, commit and date, for the head of a page of results."""
    gigabytes = psutil.virtual_memory().total / 2**30
    versions = ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in packages)])
    return (
        f"{_processor()}, {psutil.cpu_count()} cores, {gigabytes:.0f} GiB, {platform.system()} {platform.release()}; "
        f"{versions}; commit {_commit()}, {datetime.date.today()}."
    )


def publish(text: str, path: Path) -> None:
    """Prints a page of results and writes it."""
    print(text)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(f"written: {path}")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"
