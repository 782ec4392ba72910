"""What mode=embed costs: memory on 1,000 and on 20,000 photographs, and time beside the bare forward pass.

    python benchmarks/embedding.py              # some minutes; prints, and writes benchmarks/results/embedding.md

It measures and asserts nothing. The photographs are generated: noise with large structures, which compresses as
photographs do. Times are processor seconds of the process, all threads together, and each is measured in turn with the
others so that a busy machine disturbs all alike.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "container_src")]

from benchmarks import conditions  # noqa: E402
from classifier import device, embedding, network, precision  # noqa: E402
from classifier.config import Config  # noqa: E402
from classifier.images import normalize  # noqa: E402
from classifier.job import Job  # noqa: E402
from classifier.preprocessing import Preprocessing  # noqa: E402

CLASSES = 4
DISTINCT = 40  # pictures; the files are copies of them, so that 20,000 are written in seconds


def photographs(root: Path, count: int, width: int, height: int) -> dict[str, Path]:
    """Class folders of `count` JPEGs in `train`, and the smallest `valid`."""
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(DISTINCT):
        coarse = Image.fromarray(rng.integers(0, 255, (12, 16, 3), np.uint8)).resize((width, height))
        pixels = np.asarray(coarse, np.int16) + rng.integers(-12, 12, (height, width, 3), np.int16)
        stream = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=90)
        pictures.append(stream.getvalue())
    for split, number in (("train", count), ("valid", CLASSES)):
        for i in range(number):
            folder = root / split / f"class-{i % CLASSES}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{i}.jpg").write_bytes(pictures[i % DISTINCT])
    return {split: root / split for split in ("train", "valid")}


def embed(config: Config, channels: dict[str, Path]) -> None:
    """One job, in a folder of its own."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        job = Job("benchmark", channels, root, root, root / "checkpoints", root, root, threading.Event())
        embedding.embed(config, job, precision.choose(device.find("train")))


def memory(config: Config, root: Path) -> dict[str, float]:
    """Runs in a process of its own: peak memory (MiB) and processor seconds of one job."""
    embed(config, {split: root / split for split in ("train", "valid")})
    status = Path("/proc/self/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return {"peak": int(peak.split()[1]) / 1024, "cpu": time.process_time()}


def memories(config: Config, counts: list[int], images: Path) -> list[list[str]]:
    rows = []
    for count in counts:
        root = images / str(count)
        photographs(root, count, 96, 72)
        command = [sys.executable, __file__, "--memory-of", str(root), "--size", str(config.image_size)]
        began = time.perf_counter()
        done = subprocess.run([*command, "--views", str(config.views)], check=True, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        rows.append([f"{count:,}", f"{found['peak']:.0f} MiB", f"{time.perf_counter() - began:.0f} s",
                     f"{found['cpu']:.0f} s"])  # fmt: skip
    return rows


def speeds(config: Config, count: int, repeats: int, images: Path) -> list[list[str]]:
    """Photographs a processor second, and a second: embed, the same pass without decoding, and the customary pass."""
    channels = photographs(images / "speed", count, 320, 240)
    compute = precision.choose(device.find("train"))
    preprocessing = Preprocessing.for_size(config.image_size)
    side = config.image_size
    pixels = torch.randint(0, 256, (64, side, side, 3), dtype=torch.uint8)
    customary = network.backbone(network.build(config.model, CLASSES))[0].eval().to(compute.device)
    whole = list(range(0, count, 64))

    def bare() -> None:
        with torch.inference_mode():
            for start in whole:
                batch = pixels[: min(64, count - start)].to(compute.device)
                with compute.autocast():
                    customary(normalize(batch, preprocessing)).cpu()

    ways: dict[str, Callable[[], None]] = {
        "embed: decode, forward, write": lambda: embed(config, channels),
        "bare forward pass, cores share a batch of 64": bare,
        "bare forward pass, one thread": lambda: _single(bare),
    }
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, way in ways.items():
            cpu, wall = time.process_time(), time.perf_counter()
            way()
            if repeat:  # the first one warms up
                rates[name].append((count / (time.process_time() - cpu), count / (time.perf_counter() - wall)))
    return [
        [name, *(f"{statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f})"
                 for values in zip(*found, strict=True)), str(repeats)]
        for name, found in rates.items()
    ]  # fmt: skip


def _single(way: Callable[[], None]) -> None:
    with precision.threads(1):
        way()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 20000], help="photographs, for the memory")
    parser.add_argument("--size", type=int, default=64, help="pixels that the network sees, for the memory")
    parser.add_argument("--views", type=int, default=2, help="stored views of a photograph, for the memory")
    parser.add_argument("--photographs", type=int, default=384, help="of 320 x 240 pixels, for the speed at 224 pixels")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each speed")
    parser.add_argument("--out", type=Path, default=conditions.RESULTS / "embedding.md", help="where to write")
    parser.add_argument("--memory-of", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    small = Config(weights="none", image_size=options.size, augment=True, views=options.views)
    if options.memory_of:
        print(json.dumps(memory(small, options.memory_of)))
        return
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as images:
        held = memories(small, options.counts, Path(images))
        fast = speeds(Config(weights="none"), options.photographs, options.repeats, Path(images))
    compute = precision.choose(device.find("train"))
    text = "\n".join(
        [
            "# What embedding costs\n",
            f"`python benchmarks/embedding.py`. {conditions.sentence('torch', 'torchvision', 'pillow')} "
            f"Load when it began: {load:.1f}. ResNet-18, {compute}.\n",
            f"Memory: generated JPEGs of 96 x 72 pixels, the network sees {small.image_size}, {small.views} views of "
            "each are stored; a process each, start-up included.\n",
            conditions.table(["photographs", "peak memory", "time", "processor time"], held),
            f"Speed: {options.photographs} generated JPEGs of 320 x 240 pixels, the network sees 224, one view; the "
            "bare passes take random pixels that are in memory. Median and range of photographs. Embed includes "
            "building the network, its checksum and the writing.\n",
            conditions.table(["what", "a processor second", "a second", "n"], fast),
        ]
    )
    conditions.publish(text, options.out)


if __name__ == "__main__":
    main()
