from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_measures_tiny_trainings_and_jobs(tmp_path: Path) -> None:
    page = tmp_path / "profiling.md"
    few = "--cases trained --jobs 1 --epochs 2 --job-epochs 1 --classes 2 --per-class 12"
    tiny = f"{few} --size 32 --batch-size 8 --threads 1 --out {page}".split()
    program = [sys.executable, str(ROOT / "benchmarks" / "profiling.py"), *tiny]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    steps, job = (line for line in page.read_text().splitlines() if line.startswith("| ResNet-18, all trained"))
    cells = [cell.strip() for cell in steps.strip("|").split("|")]
    assert cells[1] in ("1.03", "1.05") and cells[-1] == "1 of 2 steps"
    assert re.fullmatch(r"[\d.]+ \([\d.]+ to [\d.]+\)", cells[3]) and float(cells[4]) > 0 and float(cells[5]) > 0
    assert "tensors" in job and "report.html" in job
