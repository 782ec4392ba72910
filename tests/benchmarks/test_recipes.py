"""benchmarks/recipes.py measures every row, and says so where it cannot."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from conftest import ROOT
from photographs import data_set

PROGRAM = ROOT / "benchmarks" / "recipes.py"


def run(*words: object) -> str:
    done = subprocess.run([sys.executable, PROGRAM, *map(str, words)], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def test_every_part_is_measured(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", {"train": 6, "valid": 3, "test": 3})
    said = run("--data", data, "--weights", "none", "--image-size", 32, "--seeds", 2, "--out", tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert page in said
    rows = [line for line in page.splitlines() if " ± " in line and line.startswith("|")]
    assert len(rows) == 4 + 10
    assert rows[0].startswith("| a linear head, all defaults |") and rows[0].endswith("| +0.000 |")
    assert ": the recipe |" in rows[3]


def test_without_the_photographs_it_says_so(tmp_path: Path) -> None:
    said = run("--data", tmp_path / "nowhere", "--out", tmp_path / "page.md")
    assert said.startswith("not measured: it needs photographs in ")
    assert not (tmp_path / "page.md").exists()
