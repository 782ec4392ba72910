from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_measures_a_pair_of_tiny_jobs(tmp_path: Path) -> None:
    page = tmp_path / "profiling.md"
    tiny = "--cases trained --pairs 1 --epochs 1 --classes 2 --per-class 12 --size 32 --batch-size 8 --threads 1"
    program = [sys.executable, str(ROOT / "benchmarks" / "profiling.py"), *tiny.split(), "--out", str(page)]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    speed, written = (line for line in page.read_text().splitlines() if line.startswith("| ResNet-18, all trained"))
    cells = [cell.strip() for cell in speed.strip("|").split("|")]
    assert cells[2] == "2" and all(re.fullmatch(r"[\d.]+ \([\d.]+ to [\d.]+\)", cell) for cell in cells[4:7])
    assert "tensors" in written and "report.html" in written
