"""What training costs, over the usual way: photographs made ready, epochs, growth from 1,000 to 50,000.

    python benchmarks/training.py                   # about ten minutes; prints, writes benchmarks/results/training.md
    python benchmarks/training.py --only epochs     # one part of it

It measures and asserts nothing. The usual way is benchmarks/baselines/usual_training.py, with as many of the
DataLoader's workers, none or 2, as are faster here. Both ways take turns, epoch by epoch, so that a busy machine
disturbs both alike, and are compared pair by pair. An epoch is a pass over `train` in which is learned and one over
`valid` in which is judged; nothing is kept from one to the next but the weights.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "container_src")]

from benchmarks import conditions  # noqa: E402
from benchmarks import input as photographs  # noqa: E402
from benchmarks.baselines import usual_training as usual  # noqa: E402
from classifier import device, embedding, features, fitting, machine, material, precision  # noqa: E402
from classifier.config import Config  # noqa: E402
from classifier.evaluation import evaluate  # noqa: E402
from classifier.job import Job  # noqa: E402
from classifier.training import Epoch, Observer  # noqa: E402

PARTS = ("input", "epochs", "growth")
SPLITS = ("train", "valid", "test")
USUAL = "the usual way"
# On features an epoch of the head takes milliseconds, so that it is given as many as it needs, within the time told.
HEAD_EPOCHS = 30
FEATURES = f"features first, then {HEAD_EPOCHS} epochs of the head"


@dataclass(frozen=True)
class Case:
    """`share`: of the training photographs, where an epoch of all of them would take too long to repeat."""

    model: str
    config: Config
    share: float = 1.0

    @property
    def name(self) -> str:
        what = "frozen" if self.config.head_only else "trained"
        return f"{self.model}, backbone {what}"


@dataclass
class Way:
    """`times`: of each epoch, seconds of the wall clock and of the processors."""

    times: list[tuple[float, float]] = field(default_factory=list)
    accuracies: list[str] = field(default_factory=list)

    def timed(self, work: Callable[[], object]) -> None:
        began, before = time.perf_counter(), processor_s()
        work()
        self.times.append((time.perf_counter() - began, processor_s() - before))


def cases(options: argparse.Namespace) -> Iterator[Case]:
    config = Config(image_size=options.image_size, epochs=options.epochs, batch_size=options.batch_size, workers=-1)
    yield Case("resnet18", replace(config, learning_rate=0.003))
    yield Case("resnet50", replace(config, model="resnet50", learning_rate=0.003), options.share)
    # Fewer than 1,000 photographs of ten classes: with ImageNet's customary rate both ways forget what was pretrained.
    yield Case("resnet18", replace(config, freeze_backbone="false", learning_rate=0.0003, augment=True))


def compare(case: Case, data: Path, weights: Path | None) -> tuple[dict[str, Way], int, str]:
    """The ways, the usual one last; the usual one's workers; the pretrained weights."""
    compute = precision.choose(device.find("train"))
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        few = subset(data, Path(folder) / "data", case.share)
        found = sorted(weights.glob(f"{case.model}-*.pth")) if weights else []
        config = case.config if found else replace(case.config, weights="none")
        own = Path(folder)
        job = Job(
            "benchmark", {name: few / name for name in SPLITS} | ({"weights": weights} if weights else {}),
            own / "model", own / "output", own / "checkpoints", own / "no-hook.json", own / "no-weights",
            threading.Event(),
        )  # fmt: skip
        given = material.open(config, job, compute)
        baseline = Usual(config, few, found[0] if found else None, len(given.classes))
        ways = {"photographs in every epoch": Way()}
        if config.head_only:
            ways[FEATURES] = Way()
        ways[USUAL] = baseline.way

        def others(epoch: Epoch) -> None:
            print(f"{case.name}: epoch {epoch.number} of {config.epochs}", flush=True)
            if config.head_only:
                ways[FEATURES].timed(lambda: head(replace(config, epochs=HEAD_EPOCHS), job, compute))
            baseline.way.timed(baseline.epoch)

        ours = ways["photographs in every epoch"]
        watch = Turns(ours, others)
        fitted = fitting.fit(config, given, compute, [watch])
        if found:
            criterion = torch.nn.CrossEntropyLoss()

            def judged(valid: float) -> list[str]:
                test = evaluate(given.network, given.held_out["test"], criterion, given.prepare, compute)
                return [f"{valid:.3f}", f"{test.accuracy:.3f}"]

            ours.accuracies = judged(fitted.metrics["valid:accuracy"])
            if config.head_only:
                learned, frozen = head(replace(config, epochs=HEAD_EPOCHS), job, compute)
                given.network.load_state_dict({**frozen, **learned.state})
                ways[FEATURES].accuracies = judged(learned.metrics["valid:accuracy"])
            baseline.judge()
        return ways, baseline.workers, found[0].name if found else "none"


class Turns(Observer):
    """Lets the other ways do their epoch after each of ours."""

    def __init__(self, way: Way, others: Callable[[Epoch], None]) -> None:
        self._way, self._others = way, others
        self._processor = processor_s()

    def on_epoch(self, epoch: Epoch) -> None:
        self._way.times.append((epoch.seconds, processor_s() - self._processor))
        self._others(epoch)
        self._processor = processor_s()


def head(config: Config, job: Job, compute: precision.Precision) -> tuple[fitting.Fitted, dict[str, torch.Tensor]]:
    """Features of all photographs, made anew, and the head's epochs on them; what it learned, and the backbone."""
    with tempfile.TemporaryDirectory() as folder:
        channels = {name: path for name, path in job.channels.items() if name != "test"}
        folder_ = embedding.embed(config, replace(job, channels=channels, checkpoints=Path(folder)), compute)
        found = features.read(folder_)
    given = material.of_features(config, found, job.weights_directories, compute)
    return fitting.fit(config, given, compute), dict(given.frozen)


class Usual:
    """The usual way, of which the best epoch's weights are kept as ours are."""

    def __init__(self, config: Config, data: Path, weights: Path | None, classes: int) -> None:
        self.way = Way()
        self._config, self._data = config, data
        self._model = usual.network(config.model, weights, classes, config.head_only)
        self._adam = usual.optimizer(self._model, config.learning_rate)
        self._best, self._state = -1.0, self._model.state_dict()
        tried = {workers: self._probe(workers) for workers in (0, 2)}
        self.workers = min(tried, key=lambda workers: tried[workers])

    def epoch(self) -> None:
        usual.epoch(self._model, self._loader("train"), self._adam)
        accuracy = usual.accuracy(self._model, self._loader("valid"))
        if accuracy > self._best:
            self._best, self._state = accuracy, copy.deepcopy(self._model.state_dict())

    def judge(self) -> None:
        self._model.load_state_dict(self._state)
        test = usual.accuracy(self._model, self._loader("test"))
        self.way.accuracies = [f"{self._best:.3f}", f"{test:.3f}"]

    def _probe(self, workers: int) -> float:
        self.workers = workers
        began = time.perf_counter()
        usual.accuracy(self._model, self._loader("valid"))
        return time.perf_counter() - began

    def _loader(self, split: str) -> usual.Batches:
        training = split == "train"
        return usual.loader(self._data / split, self._config.image_size, self._config.batch_size, shuffle=training,
                            augment=training and self._config.augment, workers=self.workers)  # fmt: skip


def subset(data: Path, folder: Path, share: float) -> Path:
    """The first of each class' photographs, at least one."""
    for split in SPLITS:
        for label in sorted(path for path in (data / split).iterdir() if path.is_dir()):
            (folder / split / label.name).mkdir(parents=True)
            files = sorted(path for path in label.iterdir() if path.is_file())
            for file in files[: max(1, round(len(files) * share))]:
                (folder / split / label.name / file.name).symlink_to(file.resolve())
    return folder


def processor_s() -> float:
    """Of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Of the pairs: median and range."""
    found = [b / a for a, b in zip(ours, theirs, strict=True)]
    return f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"


def epochs(options: argparse.Namespace, data: Path, weights: Path | None) -> str:
    rows = []
    for case in cases(options):
        ways, workers, file = compare(case, data, weights)
        theirs = ways[USUAL]
        for name, way in ways.items():
            wall, cpu = zip(*way.times, strict=True)
            other_wall, other_cpu = zip(*theirs.times, strict=True)
            ours = name != USUAL
            rows.append([
                case.name, name if ours else f"{name}, {workers} workers", f"{statistics.median(wall):.1f} s",
                f"{statistics.median(cpu):.1f} s", ratio(wall, other_wall) if ours else "",
                ratio(cpu, other_cpu) if ours else "", *(way.accuracies or ["", ""]), file,
            ])  # fmt: skip
    counts = {split: sum(1 for path in (data / split).rglob("*") if path.is_file()) for split in SPLITS}
    return "\n".join([
        f"Epochs at {options.image_size} pixels, batches of {options.batch_size}, {options.epochs} epochs a way; "
        f"{counts['train']} photographs of {data.name} to learn from, {counts['valid']} to judge by in every epoch and "
        f"{counts['test']} once (ResNet-50: {options.share:.0%} of them); {machine.cpus()} threads, ours in "
        f"{precision.choose(device.find('train'))}. Nothing is cached: `features first` makes the features of all "
        f"photographs anew in every one of its epochs, as a job does in its first. Accuracies are the best epoch's, "
        f"and left out where no pretrained weights are at hand; {counts['test']} photographs leave a standard error "
        f"of 0.03 to 0.04. Medians; the ratios are of pairs, median and range.\n",
        conditions.table(
            ["network", "way", "an epoch", "processor time", "times faster", "less processor time", "valid", "test",
             "pretrained weights"], rows,
        ),
    ])  # fmt: skip


def one_epoch(root: Path, options: argparse.Namespace) -> dict[str, float]:
    """Runs in a process of its own: all that a job does before and in an epoch; seconds and MiB."""
    compute = precision.choose(device.find("train"))
    config = Config(weights="none", freeze_backbone="false", image_size=options.small, epochs=1, batch_size=256)
    warm = photographs.resident()
    began = time.perf_counter()
    given = material.of_photographs(config, {split: root / split for split in ("train", "valid")}, [], compute)
    ready = time.perf_counter() - began
    seen: list[Epoch] = []
    observer = Observer()
    observer.on_epoch = seen.append  # type: ignore[method-assign, assignment]
    before = processor_s()
    fitting.fit(config, given, compute, [observer])
    return {"ready": ready, "seconds": seen[0].seconds, "cpu": processor_s() - before,
            "memory": photographs.resident("VmHWM") - warm}  # fmt: skip


def growth(options: argparse.Namespace) -> str:
    rows = []
    for count in options.counts:
        print(f"growth: {count:,} photographs", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            data, _ = photographs.small_set(Path(folder), count)
            program = [sys.executable, __file__, "--epoch-of", str(data), "--small", str(options.small)]
            done = subprocess.run(program, check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        rows.append([f"{count:,}", f"{found['ready']:.2f} s", f"{found['seconds']:.1f} s",
                     f"{found['seconds'] / count * 1e3:.2f} ms", f"{found['cpu'] / count * 1e3:.2f} ms",
                     f"{found['memory']:.0f} MiB"])  # fmt: skip
    return "\n".join([
        f"Growth: one epoch of ResNet-18, all of it trained, at {options.small} pixels in batches of 256, each in a "
        f"process of its own. {photographs.DISTINCT} generated JPEGs of 96 x 72 pixels, to which the other files are "
        f"hard links. `memory` is the peak less what the imports took.\n",
        conditions.table(
            ["photographs", "until the first step", "the epoch", "a photograph", "processor time", "memory"], rows
        ),
    ])  # fmt: skip


def ready(options: argparse.Namespace) -> str:
    rows = photographs.speeds({320: options.pictures, 1600: max(1, options.pictures // 4)}, options.repeats)
    return "\n".join([
        "Bytes of a JPEG -> normalized float32 of 224 x 224, photographs a second (measured as benchmarks/input.py "
        f"does, which tells more); the ratio is of pairs, median and range of {options.repeats}.\n",
        conditions.table(["longer side", "what", "cores", "ours", USUAL, "ours over it"], rows),
    ])  # fmt: skip


def generated(folder: Path) -> Path:
    """A data set where the real one is not at hand."""
    prepare = [sys.executable, str(ROOT / "orchestrate" / "prepare.py"), "--source", "synthetic", "--classes", "10"]
    subprocess.run([*prepare, "--per-class", "70", "--output", str(folder)], stdout=subprocess.DEVNULL, check=True)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to measure")
    parser.add_argument("--data", type=Path, default=photographs.DOGS, help="generated where it is missing")
    parser.add_argument("--weights", type=Path, default=photographs.WEIGHTS, help="directory of pretrained weights")
    parser.add_argument("--pictures", type=int, default=128, help="of 320 pixels, for the input; a quarter of 1600")
    parser.add_argument("--repeats", type=int, default=5, help="pairs of the input")
    parser.add_argument("--image-size", type=int, default=224, help="of the epochs")
    parser.add_argument("--batch-size", type=int, default=64, help="of the epochs")
    parser.add_argument("--epochs", type=int, default=3, help="pairs of epochs")
    parser.add_argument("--share", type=float, default=0.3, help="of the photographs for ResNet-50")
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10000, 50000], help="photographs, for growth")
    parser.add_argument("--small", type=int, default=32, help="image size, for growth")
    parser.add_argument("--out", type=Path, default=conditions.RESULTS / "training.md", help="where to write")
    parser.add_argument("--epoch-of", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.epoch_of:
        print(json.dumps(one_epoch(options.epoch_of, options)))
        return
    load, threads = os.getloadavg()[0], torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        data = options.data if options.data.is_dir() else generated(Path(folder) / "generated")
        weights = options.weights if options.weights.is_dir() else None
        texts = {"epochs": lambda: epochs(options, data, weights), "growth": lambda: growth(options),
                 "input": lambda: ready(options)}  # fmt: skip
        told = {}
        for part in PARTS:
            if part in options.only:
                print(f"measuring: {part}", flush=True)
                told[part] = texts[part]()
                torch.set_num_threads(threads)  # one core's speed was measured on one
    text = "\n".join([
        "# What training costs\n",
        f"`{shlex.join(['python', 'benchmarks/training.py', *sys.argv[1:]])}`. "
        f"{conditions.sentence('torch', 'torchvision', 'pillow', 'simplejpeg')} Load when it began: {load:.1f}.\n",
        *told.values(),
    ])  # fmt: skip
    conditions.publish(text, options.out)


if __name__ == "__main__":
    main()
