"""What debug=true costs: the time of a step and of a whole job with everything on, over the same job without it.

    python benchmarks/profiling.py              # half an hour; prints, and writes benchmarks/results/profiling.md

It measures and asserts nothing. Steps: one process trains the same network twice, watched and not watched, an epoch of
one after an epoch of the other, so that a busy machine disturbs both alike. An epoch's training part over its steps is
the step time: what happens between two steps (smdebug writing, the profiler's windows) is in it. Jobs: processes of
their own, as the image runs them, with and without in turn.
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
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "container_src")]

from benchmarks import conditions  # noqa: E402

PREPARE = ROOT / "orchestrate" / "prepare.py"
HOUR_S = 3600
CASES = ("trained", "frozen", "head")
WARM_UP = 1  # epochs that are left out: the network's first, with the first recorded step and imports


@dataclass(frozen=True)
class Case:
    name: str
    hyperparameters: dict[str, str]
    target: str = ""
    on_features: bool = False


@dataclass(frozen=True)
class Epoch:
    """The training part of one epoch: seconds, processor seconds of the process, steps."""

    wall_s: float
    cpu_s: float
    steps: int


@dataclass(frozen=True)
class Run:
    """One job. `left`: bytes under each name in the output; `written`: bytes that the process gave to the kernel."""

    wall_s: float
    cpu_s: float
    train_s: float
    left: dict[str, int]
    written: int


class Turns:
    """Of two threads one runs, the other waits."""

    def __init__(self) -> None:
        self._turn, self._ended = 0, False
        self._changed = threading.Condition()

    def wait(self, me: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._turn == me or self._ended)

    def give(self, me: int, ended: bool = False) -> None:
        with self._changed:
            self._turn, self._ended = 1 - me, self._ended or ended
            self._changed.notify_all()


class Clock:
    """Takes the epochs of one training, and lets the other one have its turn before each."""

    def __init__(self, me: int = 0, turns: Turns | None = None) -> None:
        self.epochs: list[Epoch] = []
        self._me, self._turns = me, turns
        self._began, self._began_cpu, self._steps = 0.0, 0.0, 0

    def on_phase(self, phase: Literal["train", "eval"]) -> None:
        if phase == "eval":
            wall_s, cpu_s = time.perf_counter() - self._began, time.process_time() - self._began_cpu
            self.epochs.append(Epoch(wall_s, cpu_s, self._steps))
            return
        if self._turns:
            self._turns.give(self._me)
            self._turns.wait(self._me)
        self._began, self._began_cpu, self._steps = time.perf_counter(), time.process_time(), 0

    def on_step(self) -> None:
        self._steps += 1


def train(hyperparameters: dict[str, str], channels: dict[str, str], folder: Path) -> None:
    """One job in this process. Its clock is that of the thread."""
    import train as entry
    from classifier.config import Config
    from classifier.job import Job

    given = {name: Path(path) for name, path in channels.items()}
    job = Job(
        "benchmark", given, folder / "model", folder / "output", folder / "checkpoints", folder / "none", folder,
        threading.Event(),
    )  # fmt: skip
    for directory in (job.model_dir, job.output_dir):
        directory.mkdir(parents=True)
    entry.run(Config.parse(hyperparameters), job)


def timed() -> threading.local:
    """From now on what a training logs drives `clock` of its thread."""
    from classifier import log
    from classifier.steps import Step

    local = threading.local()

    class Timed(log.Log):
        def on_phase(self, phase: Literal["train", "eval"]) -> None:
            local.clock.on_phase(phase)
            super().on_phase(phase)

        def on_step(self, step: Step) -> None:
            local.clock.on_step()
            super().on_step(step)

    log.Log = Timed  # type: ignore[misc]
    return local


def child(given: dict[str, Any]) -> None:
    """What a process of its own does: one job, or two in turn."""
    folder, local = Path(given["folder"]), timed()
    if not given["in_turn"]:
        local.clock = Clock()
        train(given["hyperparameters"], given["channels"], folder)
        train_s = sum(epoch.wall_s for epoch in local.clock.epochs)
        found: Any = {"train_s": train_s, "written": psutil.Process().io_counters().write_chars}
    else:
        # The watched training has but half of the time that passes, by which it measures what it may spend.
        from classifier.watch import operators, recorder, recording_times

        operators.BUDGET /= 2
        recording_times.SHARE /= 2
        recorder.SHARE /= 2
        recorder.REWRITTEN_S *= 2
        turns = Turns()
        clocks = [Clock(me, turns) for me in (0, 1)]

        def one(me: int) -> None:
            local.clock = clocks[me]
            turns.wait(me)
            try:
                told = {**given["hyperparameters"], "debug": ("false", "true")[me]}
                train(told, given["channels"], folder / str(me))
            finally:
                turns.give(me, ended=True)

        other = threading.Thread(target=one, args=(0,))
        other.start()
        one(1)  # PyTorch's profiler wants the main thread
        other.join()
        found = [[vars(epoch) for epoch in clock.epochs] for clock in clocks]
    (folder / "measured.json").write_text(json.dumps(found))


def process(hyperparameters: dict[str, str], channels: dict[str, str], folder: Path, in_turn: bool = False) -> Any:
    """What `child` measured in a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    given = {
        "hyperparameters": hyperparameters, "channels": channels, "folder": str(folder), "in_turn": in_turn
    }  # fmt: skip
    subprocess.run([sys.executable, __file__, "--child", json.dumps(given)], check=True, stdout=subprocess.DEVNULL)
    return json.loads((folder / "measured.json").read_text())


def in_turn(case: Case, channels: dict[str, str]) -> list[tuple[Epoch, Epoch]]:
    """(without, with) of each epoch."""
    with tempfile.TemporaryDirectory() as folder:
        both = process(case.hyperparameters, channels, Path(folder), in_turn=True)
    without, watched = ([Epoch(**epoch) for epoch in epochs] for epochs in both)
    found = list(zip(without, watched, strict=True))[WARM_UP:]
    ratios = [on.wall_s / off.wall_s for off, on in found]
    print(f"{case.name}: {statistics.median(ratios):.3f} of {len(ratios)} pairs of epochs", flush=True)
    return found


def jobs(case: Case, channels: dict[str, str], count: int) -> list[tuple[Run, Run]]:
    """(without, with) of each pair; which of the two comes first alternates."""
    found = []
    for number in range(count):
        two = {}
        for debug in ((False, True), (True, False))[number % 2]:
            with tempfile.TemporaryDirectory() as name:
                folder, before, began = Path(name), _children_s(), time.perf_counter()
                told = process({**case.hyperparameters, "debug": str(debug).lower()}, channels, folder)
                wall_s, cpu_s = time.perf_counter() - began, _children_s() - before
                left = {path.name: _bytes(path) for path in (folder / "output").iterdir()}
                two[debug] = Run(wall_s, cpu_s, told["train_s"], left, told["written"])
        found.append((two[False], two[True]))
        print(f"{case.name}: job {number + 1} of {count}: {two[True].wall_s - two[False].wall_s:+.1f} s", flush=True)
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
    process({"mode": "embed", "weights": "none", "image-size": str(image_size)}, channels, folder)
    return {"features": str(folder / "model")}


def step_row(case: Case, found: list[tuple[Epoch, Epoch]]) -> list[str]:
    without, watched = zip(*found, strict=True)
    together = sum(e.wall_s for e in watched) / sum(e.wall_s for e in without)
    cpu = sum(e.cpu_s for e in watched) / sum(e.cpu_s for e in without)
    ratios = [on.wall_s / off.wall_s for off, on in found]
    quarters = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return [
        case.name, case.target, f"{1000 * statistics.median(e.wall_s / e.steps for e in without):.3g} ms",
        f"{quarters[1]:.3f} ({quarters[0]:.3f} to {quarters[2]:.3f})", f"{together:.3f}", f"{cpu:.3f}",
        f"{len(found)} of {without[0].steps} steps",
    ]  # fmt: skip


def job_row(case: Case, found: list[tuple[Run, Run]]) -> list[str]:
    on = found[-1][1]
    written = statistics.median(watched.written - without.written for without, watched in found)
    hourly = statistics.median(HOUR_S * watched.left["tensors"] / watched.train_s for _, watched in found)
    left = ", ".join(f"{name} {_size(size)}" for name, size in sorted(on.left.items(), key=lambda item: -item[1]))
    return [
        case.name, f"{statistics.median(without.wall_s for without, _ in found):.1f} s",
        _spread(watched.wall_s - without.wall_s for without, watched in found),
        _spread(watched.cpu_s - without.cpu_s for without, watched in found),
        f"{on.train_s:.0f} s", left, _size(written), _size(hourly), str(len(found)),
    ]  # fmt: skip


def _spread(values: Iterable[float]) -> str:
    ordered = sorted(values)
    return f"{statistics.median(ordered):+.1f} s ({ordered[0]:+.1f} to {ordered[-1]:+.1f})"


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
    parser.add_argument("--epochs", type=int, default=25, help="of the network, for the time of a step")
    parser.add_argument("--head-epochs", type=int, default=300, help="of the head on features, for the same")
    parser.add_argument("--jobs", type=int, default=3, help="pairs of whole jobs of each case")
    parser.add_argument("--job-epochs", type=int, default=8, help="of such a job; of the head on features all")
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
        steps, whole = [], []
        for case in cases:
            channels = stored if case.on_features else photographs
            steps.append(step_row(case, in_turn(case, channels)))
            short = {} if case.on_features else {"epochs": str(options.job_epochs)}
            brief = replace(case, hyperparameters=case.hyperparameters | short)
            whole.append(job_row(brief, jobs(brief, channels, options.jobs)))
    text = "\n".join([
        "# What debug=true costs\n",
        f"`{' '.join(['python benchmarks/profiling.py', *sys.argv[1:]])}`. "
        f"{conditions.sentence('torch', 'smdebug', 'psutil')} Load when it began: "
        f"{load:.1f}; {found.line.removeprefix('device: ')}; "
        f"{f'{options.threads} threads' if options.threads else 'as many threads as torch takes'}.\n",
        f"The time of a step, watched with the defaults of debug=true over not watched: batches of "
        f"{options.batch_size}; one process trains twice, an epoch of one after an epoch of the other; the first of "
        "each is left out. What happens between steps is in it, the report of the running job after an epoch is not.\n",
        conditions.table(
            ["case", "target", "a step without", "median of the pairs (quartiles)", "all epochs together",
             "the same in processor time", "n, pairs of epochs"], steps,
        ),
        "Whole jobs, with imports, evaluation, artifact and report: processes of their own, with and without in turn; "
        "medians and ranges. An hour's tensors are extrapolated by the rate of these runs (recorded steps are the "
        "further apart the longer a run lasts, so this is too much); report and traces do not grow without end.\n",
        conditions.table(
            ["case", "the job without", "watched: more time", "more processor time", "training", "left by the last",
             "more bytes written", "tensors of an hour, at most", "n"], whole,
        ),
    ])  # fmt: skip
    conditions.publish(text, options.out)


if __name__ == "__main__":
    main()
