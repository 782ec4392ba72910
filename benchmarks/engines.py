"""The engines that serve a model on a CPU, alone: what each computes a second, its start, its memory, its answers.

    python benchmarks/engines.py                                   # ResNet-18 and ResNet-50 at 224 pixels
    python benchmarks/engines.py --models resnet18 --seconds 0.5   # quicker
    python benchmarks/engines.py --artifact DIR                    # one that `train` wrote

Each engine in processes of its own. Where the photographs and weights of ../shared are, ResNet-18 gets a trained head
and is judged on dogs/test; any other network has random weights, and only its speed says something.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "container_src")]

import numpy as np  # noqa: E402

from benchmarks import conditions  # noqa: E402
from classifier import artifact, machine  # noqa: E402
from classifier.engines import choosing  # noqa: E402

DOGS, WEIGHTS = ROOT.parent / "shared" / "dogs", ROOT.parent / "shared" / "weights"
BATCHES = (1, 8)
HEAD = ("model", "engine", "start, s", "memory, MB", "1 process: batch 1", "batch 8", "1 thread each: batch 1",
        "batch 8", "labels as fp32", "right of test")  # fmt: skip


def trained(folder: Path, model: str, image_size: int) -> None:
    """The artifact: a head on the pretrained backbone where there is one and dogs, else random weights."""
    from classifier import network
    from classifier.preprocessing import Preprocessing

    if list(WEIGHTS.glob(f"{model}-*.pth")) and DOGS.is_dir():
        import train
        from classifier.config import Config

        space = {"strategy": "random", "trials": 1, "objective": "valid:accuracy",
                 "ranges": [{"name": "learning-rate", "kind": "Categorical", "values": [0.01]}]}  # fmt: skip
        settings = {"mode": "search", "search": json.dumps(space), "model": model, "image-size": image_size,
                    "epochs": 60, "quantize": "never"}  # fmt: skip
        train.run(Config.parse(settings), job(folder))
        return
    classes = sorted(path.name for path in (DOGS / "train").glob("*")) or [str(i) for i in range(133)]
    artifact.write(folder / "model", model=model, classes=classes, preprocessing=Preprocessing.for_size(image_size),
                   metrics={}, provenance={}, state=network.build(model, len(classes)).state_dict())  # fmt: skip


def job(folder: Path) -> Any:
    from classifier.job import Job

    channels = {split: DOGS / split for split in ("train", "valid", "test")}
    return Job("engines", channels, folder / "model", folder, folder, folder / "hook", WEIGHTS, threading.Event())


def calibrate(model_dir: Path) -> str:
    """Adds int8 whether it is good enough or not: here it is to be seen what it is worth."""
    from classifier import calibration, data
    from classifier.config import Config

    began, found = time.perf_counter(), artifact.read(model_dir)
    train = data.find_split("train", DOGS / "train")
    samples = [calibration.sample(split, found, Config(), 300)
               for split in (train, data.find_split("valid", DOGS / "valid", train.classes))]  # fmt: skip
    graph, judgement, distance = calibration.make(found, *samples)
    artifact.add_engine(model_dir, "int8", {"distance": distance}, calibration.saved(graph))
    verdict = "kept" if judgement.is_good else "not kept by training"
    return f"int8 of {found.model}: {verdict}; {judgement}; made and judged in {time.perf_counter() - began:.0f} s"


def probe(model_dir: Path, seconds: float, judged: bool) -> dict[str, Any]:
    """In a process of its own: start and memory first; then speeds, when the parent says so; then answers."""
    from classifier.predictor import Predictor

    began = time.perf_counter()
    found = artifact.read(model_dir)
    predictor = Predictor(found)
    predictor.warm_up()
    result: dict[str, Any] = {"start": time.perf_counter() - began, "choice": predictor.choice}
    pixels = np.repeat(choosing.pictures(found.preprocessing.crop), 2, axis=0)
    for size in BATCHES:
        predictor.predict(pixels[:size])
    lines = Path("/proc/self/status").read_text().splitlines()
    result["memory"] = int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) / 1024
    for size in BATCHES:
        print("ready", flush=True)
        sys.stdin.readline()
        count, ends, began = 0, time.perf_counter() + seconds, time.perf_counter()
        while time.perf_counter() < ends:
            predictor.predict(pixels[:size])
            count += size
        result[f"batch {size}"] = count / (time.perf_counter() - began)
    if judged:
        from classifier import data, images

        split = data.find_split("test", DOGS / "test", found.classes)
        rows = [predictor.predict(images.load(split.store.read(i), found.preprocessing)[None])[0]
                for i in range(len(split))]  # fmt: skip
        result["labels"] = np.argmax(rows, axis=1).tolist()
        result["right"] = float((np.argmax(rows, axis=1) == np.array(split.labels)).mean())
    return result


def probes(count: int, threads: int, engine: str, arguments: list[str]) -> list[dict[str, Any]]:
    """What `count` processes found out at the same time; empty where the engine is not to be had."""
    env = os.environ | {"KENNEL_ENGINE": engine, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, __file__, "--probe", *arguments]
    started = [subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
               for _ in range(count)]  # fmt: skip
    for _ in BATCHES:  # together
        if [process.stdout.readline() for process in started if process.stdout] != ["ready\n"] * count:
            print(f"{engine or 'the choice'}: not to be had here", flush=True)
            for process in started:
                process.communicate()
            return []
        for process in started:
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
    return [json.loads(process.communicate()[0].splitlines()[-1]) for process in started]


def measured(model_dir: Path, seconds: float, judged: bool) -> tuple[list[list[str]], str]:
    """A row for each engine, and what the predictor chooses by itself."""
    model, cpus = artifact.read(model_dir).model, machine.cpus()
    arguments = [str(model_dir), "--seconds", str(seconds), *["--judged"] * judged]
    rows: list[list[str]] = []
    labels: list[int] = []
    for engine in ("fp32", "bf16", "int8", "torch"):
        alone = probes(1, cpus, engine, arguments)
        if not alone:
            continue
        together = probes(cpus, 1, engine, arguments[:3])
        labels = labels or alone[0].get("labels", [])
        same = np.mean(np.array(labels) == np.array(alone[0]["labels"])) if judged else None
        rows.append([model, engine, f"{alone[0]['start']:.2f}", f"{alone[0]['memory']:.0f}",
                     *(f"{sum(found[f'batch {size}'] for found in some):.0f}"
                       for some in (alone, together) for size in BATCHES),
                     "" if same is None else f"{same:.1%}", f"{alone[0]['right']:.3f}" if judged else ""])  # fmt: skip
        print("  ".join(rows[-1]), flush=True)
    (chosen,) = probes(1, cpus, "", arguments[:3])
    return rows, f"{model}: {chosen['choice']} (ready after {chosen['start']:.2f} s)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["resnet18", "resnet50"])
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--artifact", type=Path, help="measure this one, as it is")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each speed")
    parser.add_argument("--out", type=Path, default=conditions.RESULTS / "engines.md")
    parser.add_argument("--probe", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--judged", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.probe:
        print(json.dumps(probe(options.probe, options.seconds, options.judged)))
        return
    load_at_start, rows, notes = os.getloadavg()[0], [], []
    with tempfile.TemporaryDirectory(prefix="engines-") as name:
        for model in options.models if not options.artifact else [""]:
            folder, judged = Path(name) / model, False
            model_dir = options.artifact or folder / "model"
            if not options.artifact:
                folder.mkdir()
                trained(folder, model, options.image_size)
                judged = DOGS.is_dir() and bool(artifact.read(model_dir).metrics)
                if DOGS.is_dir():
                    notes.append(calibrate(model_dir))
                    print(notes[-1], flush=True)
            found, chosen = measured(model_dir, options.seconds, judged)
            rows += found
            notes.append(f"chosen for {chosen}")
    text = "\n".join(
        [
            "# The engines alone\n",
            f"`python benchmarks/engines.py`. {conditions.sentence('openvino', 'nncf', 'torch')} Load when it began: "
            f"{load_at_start:.1f}.\n",
            f"Photographs a second at {options.image_size} pixels, from decoded pixels to probabilities: one process "
            f"with {machine.cpus()} threads, and {machine.cpus()} processes of one thread together. `start`: from the "
            "artifact's files to the first answer, with the imports; `torch` is eager float32 with folded "
            "normalizations.\n",
            conditions.table(HEAD, rows),
            *(f"- {note}" for note in notes),
            "",
        ]
    )
    conditions.publish(text, options.out)


if __name__ == "__main__":
    main()
