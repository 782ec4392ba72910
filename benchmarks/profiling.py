"""What debug=true costs: the time of a step and of a whole job with everything on, over the same job without it.

    python benchmarks/profiling.py              # half an hour; prints, and writes benchmarks/results/profiling.md

It measures and asserts nothing. Each run is a job in a process of its own, as the image runs it, on the device that it
finds. Runs with and without take turns, and each ratio is of two neighbours, so that a busy machine disturbs both
alike. A step's time is that of the training part of all epochs over the number of steps: what happens between two steps
(smdebug writing, the profiler's windows) is in it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "container_src")]

from benchmarks import conditions  # noqa: E402

PREPARE = ROOT / "orchestrate" / "prepare.py"
HOUR_S = 3600


@dataclass(frozen=True)
class Case:
    name: str
    hyperparameters: dict[str, str]
    target: str = ""
    on_features: bool = False


CASES = ("trained", "frozen", "head")


@dataclass(frozen=True)
class Run:
    """One job. `train_s`, `train_cpu_s`: of the training parts of its epochs; `step_s`: the median step; `left`: bytes
    under each name in the output; `written`: bytes that the process gave to the kernel."""

    wall_s: float
    cpu_s: float
    train_s: float
    train_cpu_s: float
    steps: int
    step_s: float
    left: dict[str, int]
    written: int


@dataclass
class Clock:
    """What is measured within a job."""

    train_s: float = 0.0
    train_cpu_s: float = 0.0
    steps: list[float] = field(default_factory=list)
    _marks: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def on_phase(self, phase: Literal["train", "eval"]) -> None:
        now, cpu = time.perf_counter(), time.process_time()
        if phase == "eval":
            began, began_cpu, _ = self._marks
            self.train_s += now - began
            self.train_cpu_s += cpu - began_cpu
        self._marks = now, cpu, now

    def on_step(self) -> None:
        now = time.perf_counter()
        self.steps.append(now - self._marks[2])
        self._marks = *self._marks[:2], now


def child(given: dict[str, Any]) -> None:
    """One job in this process; leaves what it measured in its folder."""
    import train
    from classifier import log
    from classifier.config import Config
    from classifier.job import Job
    from classifier.steps import Step

    clock = Clock()

    class Timed(log.Log):
        def on_phase(self, phase: Literal["train", "eval"]) -> None:
            clock.on_phase(phase)
            super().on_phase(phase)

        def on_step(self, step: Step) -> None:
            clock.on_step()
            super().on_step(step)

    log.Log = Timed  # type: ignore[misc]
    folder = Path(given["folder"])
    channels = {name: Path(path) for name, path in given["channels"].items()}
    job = Job(
        "benchmark", channels, folder / "model", folder / "output", folder / "checkpoints", folder / "none",
        Path(given["channels"].get("weights", "none")), threading.Event(),
    )  # fmt: skip
    for directory in (job.model_dir, job.output_dir):
        directory.mkdir(parents=True)
    train.run(Config.parse(given["hyperparameters"]), job)
    measured = asdict(clock) | {"written": psutil.Process().io_counters().write_chars}
    (folder / "measured.json").write_text(json.dumps(measured))


def run(hyperparameters: dict[str, str], channels: dict[str, str], folder: Path) -> Run:
    """One job in a process of its own."""
    given = {"hyperparameters": hyperparameters, "channels": channels, "folder": str(folder)}
    before, began = _children_s(), time.perf_counter()
    subprocess.run([sys.executable, __file__, "--child", json.dumps(given)], check=True, stdout=subprocess.DEVNULL)
    wall_s, cpu_s = time.perf_counter() - began, _children_s() - before
    found = json.loads((folder / "measured.json").read_text())
    steps = found["steps"]
    return Run(
        wall_s, cpu_s, found["train_s"], found["train_cpu_s"], len(steps), statistics.median(steps) if steps else 0.0,
        {path.name: _bytes(path) for path in (folder / "output").iterdir()}, found["written"],
    )  # fmt: skip


def pairs(case: Case, channels: dict[str, str], count: int) -> list[tuple[Run, Run]]:
    """(without, with) of each; which of the two comes first alternates."""
    found = []
    for number in range(count):
        two = {}
        for debug in ((False, True), (True, False))[number % 2]:
            with tempfile.TemporaryDirectory() as folder:
                told = {**case.hyperparameters, "debug": str(debug).lower()}
                two[debug] = run(told, channels, Path(folder))
        found.append((two[False], two[True]))
        off, on = found[-1]
        print(f"{case.name}: pair {number + 1} of {count}: {on.train_s / off.train_s:.3f}, "
              f"processor {on.train_cpu_s / off.train_cpu_s:.3f}", flush=True)  # fmt: skip
    return found


def material(folder: Path, classes: int, per_class: int) -> dict[str, str]:
    """Generated photographs."""
    data = folder / "photographs"
    subprocess.run(
        [sys.executable, PREPARE, "--source", "synthetic", "--classes", str(classes), "--per-class", str(per_class),
         "--output", data], cwd=folder, stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    return {split: str(data / split) for split in ("train", "valid")}


def features(channels: dict[str, str], image_size: int, folder: Path) -> dict[str, str]:
    """What mode=embed makes of the photographs."""
    run({"mode": "embed", "weights": "none", "image-size": str(image_size)}, channels, folder)
    return {"features": str(folder / "model")}


def speed_row(case: Case, found: list[tuple[Run, Run]]) -> list[str]:
    off = [without for without, _ in found]
    seconds = [on.wall_s - without.wall_s for without, on in found]
    return [
        case.name, case.target, f"{off[0].steps}",
        f"{1000 * statistics.median(r.train_s / r.steps for r in off):.3g} ms",
        _spread(on.train_s / without.train_s for without, on in found),
        _spread(on.train_cpu_s / without.train_cpu_s for without, on in found),
        _spread(on.step_s / without.step_s for without, on in found),
        f"{statistics.median(r.wall_s for r in off):.1f} s",
        _spread(seconds, "+.1f") + " s",
        _spread((on.cpu_s - without.cpu_s for without, on in found), "+.1f") + " s",
    ]  # fmt: skip


def bytes_row(case: Case, found: list[tuple[Run, Run]]) -> list[str]:
    on = found[-1][1]
    typical: Callable[[Iterable[float]], float] = statistics.median
    written = typical(with_it.written - without.written for without, with_it in found)
    hourly = typical(HOUR_S * with_it.left.get("tensors", 0) / with_it.train_s for _, with_it in found)
    left = ", ".join(f"{name} {_size(size)}" for name, size in sorted(on.left.items(), key=lambda item: -item[1]))
    return [case.name, f"{on.train_s:.0f} s", left, _size(sum(on.left.values())), _size(written), _size(hourly)]


def _spread(values: Iterable[float], form: str = ".3f") -> str:
    ordered = sorted(values)
    return f"{statistics.median(ordered):{form}} ({ordered[0]:{form}} to {ordered[-1]:{form}})"


def _bytes(path: Path) -> int:
    return sum(p.stat().st_size for p in (path, *path.rglob("*")) if p.is_file())


def _size(count: float) -> str:
    return f"{count / 1e6:.2f} MB" if count < 1e7 else f"{count / 1e6:.0f} MB"


def _children_s() -> float:
    """Processor seconds of the ended children, theirs included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="what to measure")
    parser.add_argument("--threads", type=int, default=0, help="of torch on a CPU; 0 leaves it to torch")
    parser.add_argument("--pairs", type=int, default=5, help="of runs with and without, of each case")
    parser.add_argument("--epochs", type=int, default=15, help="of a run of the network")
    parser.add_argument("--head-epochs", type=int, default=300, help="of a run of the head on features")
    parser.add_argument("--classes", type=int, default=10, help="of generated photographs")
    parser.add_argument("--per-class", type=int, default=70, help="photographs")
    parser.add_argument("--size", type=int, default=96, help="pixels that the network sees where all of it is trained")
    parser.add_argument("--frozen-size", type=int, default=224, help="and where its backbone is frozen")
    parser.add_argument("--batch-size", type=int, default=32, help="photographs in a step")
    parser.add_argument("--out", type=Path, default=conditions.RESULTS / "profiling.md", help="where to write")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child)
        return
    from classifier import device

    found = device.find("train")
    target = "1.03" if found.gpus else "1.05"
    common = {"weights": "none", "batch-size": str(options.batch_size), "epochs": str(options.epochs)}
    frozen = common | {"image-size": str(options.frozen_size)}
    known = {
        "trained": Case(f"ResNet-18, all trained, {options.size} pixels",
                        {**common, "freeze-backbone": "false", "image-size": str(options.size)}, target),
        "frozen": Case(f"ResNet-18, backbone frozen, {options.frozen_size} pixels", frozen, target),
        "head": Case("head on its features", {**frozen, "epochs": str(options.head_epochs)}, on_features=True),
    }  # fmt: skip
    cases = [known[name] for name in options.cases]
    if options.threads:
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photographs = material(folder, options.classes, options.per_class)
        stored = features(photographs, options.frozen_size, folder / "features") if "head" in options.cases else {}
        rows = [(case, pairs(case, stored if case.on_features else photographs, options.pairs)) for case in cases]
    text = "\n".join([
        "# What debug=true costs\n",
        f"`python benchmarks/profiling.py`. {conditions.sentence('torch', 'smdebug', 'psutil')} Load when it began: "
        f"{load:.1f}; {found.line.removeprefix('device: ')}; "
        f"{f'{options.threads} threads' if options.threads else 'as many threads as torch takes'}.\n",
        f"{options.pairs} pairs of jobs, with and without debug=true and defaults otherwise, in turn; batches of "
        f"{options.batch_size}; medians and ranges of the pairs. A step's time is the mean of all steps of a run, what "
        "happens between them included; the processor's is of all threads of the training process; the median step "
        "is one at which nothing is recorded. The whole job includes imports, evaluation, artifact and report.\n",
        conditions.table(
            ["case", "target", "steps of a run", "a step without", "step time, with over without",
             "the same in processor time", "the median step", "the job without", "the job with: more time",
             "more processor time"],
            [speed_row(*row) for row in rows],
        ),
        "Bytes, of one run and for an hour of training. The hour is extrapolated: its tensors by the rate of these "
        "runs (recorded steps are the further apart the longer a run lasts, so this is too much); the report and the "
        "traces do not grow without end.\n",
        conditions.table(
            ["case", "training", "left by the last run", "together", "more bytes written in a run",
             "tensors of an hour, at most"],
            [bytes_row(*row) for row in rows],
        ),
    ])  # fmt: skip
    print(text)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text)


if __name__ == "__main__":
    main()
