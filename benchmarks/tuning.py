"""What a search costs three ways: the usual loop, a job a trial on cached features, all trials in one job.

    python benchmarks/tuning.py --quick       # minutes: few trials of few epochs
    python benchmarks/tuning.py               # about an hour and a half: 20 trials each way, and 5, 20 and 80 of ours

It measures and asserts nothing; it prints, and writes benchmarks/results/tuning.md. Everything is counted: imports,
the start of the local server and of every job, the one pass for the features, the script that follows. Processor time
is that of the script, of the server and of all their children. The usual loop (benchmarks/baselines/usual_tuning.py)
runs the very trials that the search with a job a trial chose.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import conditions  # noqa: E402

SHARED = ROOT.parent / "shared"
TUNE = ROOT / "orchestrate" / "tune.py"
USUAL = ROOT / "benchmarks" / "baselines" / "usual_tuning.py"


@dataclass(frozen=True)
class Material:
    """`weights`: a file, or none."""

    data: Path
    weights: str
    image_size: int
    epochs: str

    @property
    def words(self) -> str:
        count = sum(1 for path in self.data.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
        return (
            f"{count} photographs of {self.data.name}, resnet18 ({Path(self.weights).name}), {self.image_size} pixels"
        )


@dataclass(frozen=True)
class Measured:
    """`trials`: of each its hyperparameters, as the search chose them."""

    wall_s: float
    cpu_s: float
    accuracy: float
    trials: list[dict[str, str]]


def search(material: Material, trials: int, *ways: str) -> Measured:
    """One search through a local SageMaker of its own, which starts and ends with it."""
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state"
        environment = {**os.environ, "LOCAL_SAGEMAKER_STATE": str(state)}
        before, began = _children_s(), time.perf_counter()
        done = subprocess.run(
            [sys.executable, TUNE, "--local", "--json", "--data", material.data, "--weights", material.weights,
             "--image-size", str(material.image_size), "--range", f"epochs={material.epochs}",
             "--trials", str(trials), "--strategy", "random", "--cache-features", "on", *ways],
            cwd=folder, env=environment, stdout=subprocess.PIPE, check=True,
        )  # fmt: skip
        wall_s = time.perf_counter() - began
        server = psutil.Process(json.loads((state / "server.json").read_text())["pid"])
        # Of the server itself and of the jobs, which it has waited for.
        cpu_s = _children_s() - before + sum(server.cpu_times()[:4])
        subprocess.run([sys.executable, ROOT / "orchestrate" / "clean.py", "--local", "--stop-server"], cwd=folder,
                       env=environment, stdout=subprocess.DEVNULL, check=True)  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return Measured(wall_s, cpu_s, found["best"]["objective"], [t["hyperparameters"] for t in found["trials"]])


def usual(material: Material, trials: list[dict[str, str]]) -> Measured:
    """The same trials as the notebooks run them."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trials.json"
        file.write_text(json.dumps(trials))
        before, began = _children_s(), time.perf_counter()
        done = subprocess.run(
            [sys.executable, USUAL, file, "--data", material.data, "--weights", material.weights,
             "--image-size", str(material.image_size)],
            stdout=subprocess.PIPE, check=True,
        )  # fmt: skip
        wall_s, cpu_s = time.perf_counter() - began, _children_s() - before
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return Measured(wall_s, cpu_s, max(line["valid:accuracy"] for line in lines), trials)


def material(options: argparse.Namespace, folder: Path) -> Material:
    """The real photographs where they are; else generated ones and random weights."""
    weights = sorted((SHARED / "weights").glob("resnet18-*.pth"))
    if (SHARED / "dogs").is_dir() and weights:
        return Material(SHARED / "dogs", str(weights[0]), options.image_size, options.epochs)
    data = folder / "generated"
    prepare = ROOT / "orchestrate" / "prepare.py"
    subprocess.run(
        [sys.executable, prepare, "--source", "synthetic", "--classes", "10", "--per-class", "70", "--output", data],
        cwd=folder, stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    return Material(data, "none", options.image_size, options.epochs)


def _children_s() -> float:
    """Processor seconds of the ended children, theirs included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _row(name: str, goal: str, measured: Measured, baseline: Measured) -> list[str]:
    return [
        name, goal, f"{measured.wall_s:.0f} s", f"{measured.cpu_s:.0f} s", f"{baseline.cpu_s / measured.cpu_s:.1f}",
        f"{measured.accuracy:.4f}",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=20, help="of each way")
    parser.add_argument("--growth", default="5,20,80", help="numbers of trials that show how the cost grows")
    parser.add_argument("--epochs", default="2:10", help="range of the epochs of a trial")
    parser.add_argument(
        "--image-size", type=int, default=160, help="side of what the network sees; the smaller favours the usual loop"
    )
    parser.add_argument("--quick", action="store_true", help="2 trials of 2 or 3 epochs, growth to 6")
    parser.add_argument("--out", type=Path, default=conditions.RESULTS / "tuning.md", help="where to write")
    options = parser.parse_args()
    if options.quick:
        options.trials, options.growth, options.epochs = 2, "2,6", "2:3"
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        given = material(options, Path(folder))
        counts = sorted({options.trials, *map(int, options.growth.split(","))})
        single = {n: search(given, n) for n in counts}
        together = {n: search(given, n, "--in-one-job") for n in counts}
        baseline = usual(given, single[options.trials].trials)
        words = given.words
    epochs = sum(int(trial["epochs"]) for trial in baseline.trials)
    growth = [
        [str(n), f"{baseline.cpu_s * n / options.trials:.0f} s",
         f"{single[n].cpu_s:.0f} s", f"{single[n].wall_s:.0f} s",
         f"{together[n].cpu_s:.0f} s", f"{together[n].wall_s:.0f} s", f"{together[n].accuracy:.4f}"]
        for n in counts
    ]  # fmt: skip
    text = "\n".join([
        "# What a search costs\n",
        f"`{shlex.join(['python', 'benchmarks/tuning.py', *sys.argv[1:]])}`. "
        f"{conditions.sentence('torch', 'torchvision', 'optuna')} Load when it began: {load:.1f}.\n",
        f"{options.trials} trials ({epochs} epochs in all) over learning rate, batch size and epochs ({given.epochs}), "
        f"random search; {words}; n = 1. Everything is counted: imports, servers, jobs, the pass for the features.\n",
        conditions.table(
            ["way", "goal", "wall time", "processor time", "times less than the usual loop", "best valid:accuracy"],
            [_row("the usual loop", "", baseline, baseline),
             _row("`--cache-features on`, a job a trial", "10", single[options.trials], baseline),
             _row("`--in-one-job`", "50", together[options.trials], baseline)],
        ),
        f"How the cost grows. The usual loop costs the same for each trial: its column is the measured "
        f"{options.trials} trials, scaled.\n",
        conditions.table(
            ["trials", "usual loop, processor", "a job a trial, processor", "wall", "in one job, processor", "wall",
             "best valid:accuracy in one job"], growth,
        ),
    ])  # fmt: skip
    conditions.publish(text, options.out)


if __name__ == "__main__":
    main()
