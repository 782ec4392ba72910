from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from photographs import CLASSES, data_set

ROOT = Path(__file__).resolve().parents[2]
RATIO = r"[\d.]+ \([\d.]+ to [\d.]+\)"


def test_measures_tiny_epochs_of_both_ways(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", {"train": 8, "valid": 4, "test": 4})
    page = tmp_path / "training.md"
    tiny = "--image-size 32 --batch-size 8 --epochs 1 --share 0.5 --pictures 4 --repeats 1 --counts 24"
    program = [sys.executable, str(ROOT / "benchmarks" / "training.py"), *tiny.split()]
    options = ["--data", str(data), "--weights", str(tmp_path / "none"), "--out", str(page)]
    done = subprocess.run([*program, *options], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.read_text().splitlines()]
    epochs = [row for row in rows if "backbone" in row[0]]
    assert [row[0] for row in epochs] == [
        *["resnet18, backbone frozen"] * 3, *["resnet50, backbone frozen"] * 3, *["resnet18, backbone trained"] * 2
    ]  # fmt: skip
    for row in epochs:
        compared = not row[1].startswith("the usual way")
        assert all(bool(re.fullmatch(RATIO, cell)) == compared for cell in row[4:6]), row
    assert sum(bool(re.fullmatch(RATIO, row[-1])) for row in rows) == 8  # the input: sizes, ways and cores
    assert next(row for row in rows if row[0] == "24")[1].endswith(" s")


def test_the_usual_way_learns(tmp_path: Path) -> None:
    """A baseline that does not learn would be no baseline."""
    data = data_set(tmp_path, {"train": 12, "valid": 6})
    program = [sys.executable, str(ROOT / "benchmarks" / "baselines" / "usual_training.py")]
    options = "--weights none --fine-tune --image-size 32 --batch-size 8 --learning-rate 0.001 --epochs 6"
    done = subprocess.run(
        [*program, "--data", str(data), *options.split()], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(told) == 6 and min(line["train:loss"] for line in told) < told[0]["train:loss"] / 2
    assert max(line["valid:accuracy"] for line in told) > 1.5 / len(CLASSES)
