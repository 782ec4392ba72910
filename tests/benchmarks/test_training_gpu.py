from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
RATIO = r"[\d.]+ \([\d.]+ to [\d.]+\)"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: the program itself measures it")
def test_runs_without_a_gpu_and_says_that_it_is_none(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    tiny = "--models resnet18 --image-size 32 --batch-size 8 --steps 2 --photographs 24 --repeats 1"
    program = [sys.executable, str(ROOT / "benchmarks" / "training_gpu.py"), *tiny.split(), "--out", str(page)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert "not measured on a GPU: there is none here" in text
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "resnet18" in line]
    on_device, jpegs, bounds = (row for row in rows if row[0] == "resnet18")
    assert on_device[1] == "on the device" and jpegs[1] == "JPEGs, cut out on the CPU"
    for row in (on_device, jpegs):
        assert float(row[2]) > 0 and float(row[3]) > 0 and re.fullmatch(RATIO, row[4])
    assert float(jpegs[5]) > 0
    # 1.8 billion multiplications and additions forward at 224 pixels: a forty-ninth of that, and three passes.
    assert 0.15 < float(bounds[1].split()[0]) < 0.35
