"""What photographs cost before a network sees them: decoding, folders and shards, growth from 1,000 to 50,000.

    python benchmarks/input.py                  # some minutes; prints, and writes benchmarks/results/input.md

It measures and asserts nothing. The usual way is Pillow's full decode and torchvision's Resize(256), CenterCrop(224),
ToTensor, Normalize, in a DataLoader where all cores are used. Both ways are measured in turn, so that a busy machine
disturbs both alike, and compared pair by pair.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "container_src")]

from benchmarks import conditions  # noqa: E402
from classifier import data, machine, network  # noqa: E402
from classifier.images import load, load_views, normalize  # noqa: E402
from classifier.loading import Loader  # noqa: E402
from classifier.preprocessing import Preprocessing  # noqa: E402
from orchestrate import dataset, sharding  # noqa: E402

DOGS, WEIGHTS = ROOT.parent / "shared" / "dogs", ROOT.parent / "shared" / "weights"
OURS = Preprocessing.for_size(224)
BATCH = 32
DISTINCT = 40  # small pictures; the files are links to them, so that 50,000 are made in seconds
SCALED = [transforms.Resize(256), transforms.CenterCrop(224)]
TENSOR = [transforms.ToTensor(), transforms.Normalize(OURS.mean, OURS.std)]
CROPPED = [transforms.RandomResizedCrop(224, (0.35, 1.0)), transforms.RandomHorizontalFlip()]


def generated(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Noise with large structures, which compresses as photographs do."""
    coarse = Image.fromarray(rng.integers(0, 255, (12, 16, 3), np.uint8)).resize((width, height))
    pixels = np.asarray(coarse, np.int16) + rng.integers(-12, 12, (height, width, 3), np.int16)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=90)
    return stream.getvalue()


def photographs(longer: int, count: int) -> list[bytes]:
    """JPEGs whose longer side has so many pixels: of real photographs where they are at hand."""
    paths = sorted(DOGS.glob("train/*/*.jpg"))
    random.Random(0).shuffle(paths)
    rng = np.random.default_rng(0)
    originals = [Image.open(p).convert("RGB") for p in paths[:count]] or [
        generated(rng, 640, 480) for _ in range(count)
    ]
    scales = [longer / max(image.size) for image in originals]
    return [
        encoded(image.resize((round(image.width * s), round(image.height * s)), Image.Resampling.LANCZOS))
        for image, s in zip(originals, scales, strict=True)
    ]


class Usual(torch.utils.data.Dataset[torch.Tensor]):
    """What ImageFolder and the customary transforms do, on bytes in memory."""

    def __init__(self, files: Sequence[bytes], first: Sequence[Any]) -> None:
        self.files, self.transform = files, transforms.Compose([*first, *TENSOR])

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> torch.Tensor:
        made: torch.Tensor = self.transform(Image.open(io.BytesIO(self.files[i])).convert("RGB"))
        return made


def ways(files: Sequence[bytes], augmented: bool, cores: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """(ours, the usual one): all files once, from bytes to normalized batches; one core is the caller's thread."""

    def item(i: int) -> tuple[torch.Tensor, int]:
        if augmented:
            return load_views(files[i], OURS, [random.Random(i)])[0], 0
        return torch.from_numpy(load(files[i], OURS)), 0

    order = [range(start, min(start + BATCH, len(files))) for start in range(0, len(files), BATCH)]
    loader = Loader(item, order, cores if cores > 1 else 0, torch.device("cpu"))
    usual = DataLoader(Usual(files, CROPPED if augmented else SCALED), BATCH, num_workers=cores if cores > 1 else 0,
                       persistent_workers=cores > 1)  # fmt: skip

    def ours() -> None:
        for pixels, _ in loader:
            normalize(pixels, OURS)

    def customary() -> None:
        for _ in usual:
            pass

    return ours, customary


def paired(
    one: Callable[[], object], other: Callable[[], object], clock: Callable[[], float], repeats: int
) -> tuple[float, float, str]:
    """Median seconds of both, and the ratios of the pairs: median and range."""
    seconds: list[tuple[float, float]] = []
    for repeat in range(repeats + 1):
        began = clock()
        one()
        between = clock()
        other()
        if repeat:  # the first pair warms up
            seconds.append((between - began, clock() - between))
    ratios = [b / a for a, b in seconds]
    told = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    return statistics.median(a for a, _ in seconds), statistics.median(b for _, b in seconds), told


def speeds(counts: dict[int, int], repeats: int) -> list[list[str]]:
    rows = []
    torch.set_num_threads(1)
    for longer, count in counts.items():
        files = photographs(longer, count)
        size = f"{longer} px, {sum(map(len, files)) / len(files) / 1000:.0f} KB"
        for what, augmented in (("as evaluation sees it", False), ("random crop, mirrored", True)):
            for cores, clock in ((1, time.thread_time), (machine.cpus(), time.perf_counter)):
                a, b, ratio = paired(*ways(files, augmented, cores), clock, repeats)
                unit = "1, a processor second" if cores == 1 else f"{cores}, a second"
                rows.append([size, what, unit, f"{count / a:.0f}", f"{count / b:.0f}", ratio])
    return rows


def differences(counts: dict[int, int]) -> list[list[str]]:
    """How far the pixels are from the usual ones, of 255."""
    rows = []
    usual = transforms.Compose(SCALED)
    for longer, count in counts.items():
        pairs = [(load(file, OURS).astype(np.int16), np.asarray(usual(Image.open(io.BytesIO(file)).convert("RGB"))))
                 for file in photographs(longer, count)]  # fmt: skip
        apart = [np.abs(a - b) for a, b in pairs]
        bias = statistics.mean(float((a - b).mean()) for a, b in pairs)
        mean = statistics.mean(float(d.mean()) for d in apart)
        high = statistics.median(float(np.percentile(d, 95)) for d in apart)
        rows.append([f"{longer} px", f"{mean:.2f}", f"{high:.0f}", f"{bias:+.2f}"])
    return rows


def accuracies() -> list[list[str]]:
    """A linear head on the features of a pretrained ResNet-18, from pixels made in either way; empty without them."""
    from sklearn.linear_model import LogisticRegression

    if not (DOGS.is_dir() and list(WEIGHTS.glob("resnet18-*.pth"))):
        return []
    net = network.build("resnet18", 2)
    network.load_pretrained(net, network.find_pretrained("resnet18", [WEIGHTS]))
    backbone = network.backbone(net)[0].eval()
    usual = transforms.Compose([*SCALED, *TENSOR])
    ways: dict[str, Callable[[bytes], torch.Tensor]] = {
        "ours": lambda file: normalize(torch.from_numpy(load(file, OURS))[None], OURS)[0],
        "the usual way": lambda file: usual(Image.open(io.BytesIO(file)).convert("RGB")),
    }
    called: dict[str, list[Any]] = {}
    rows = []
    splits = data.find_splits({split: DOGS / split for split in ("train", "valid", "test")})
    made: dict[str, dict[str, Any]] = {}
    for name, way in ways.items():
        made[name] = {}
        for split, files in splits.items():
            with torch.inference_mode():
                parts = [backbone(torch.stack([way(files.store.read(i)) for i in range(at, min(at + 16, len(files)))]))
                         for at in range(0, len(files), 16)]  # fmt: skip
            made[name][split] = torch.cat(parts).numpy()
    for trained in ways:
        head = LogisticRegression(C=0.1, max_iter=2000).fit(made[trained]["train"], splits["train"].labels)
        for judged in ways:
            right = [
                float((head.predict(made[judged][split]) == np.array(splits[split].labels)).mean())
                for split in ("valid", "test")
            ]
            called.setdefault(trained, []).append(head.predict(made[judged]["test"]))
            rows.append([trained, judged, *(f"{share:.3f}" for share in right)])
    one, other = called["ours"][0], called["the usual way"][1]
    rows.append(["both ways agree", "", "", f"{float((one == other).mean()):.3f} of the labels"])
    return rows


def small_set(root: Path, count: int) -> tuple[Path, Path]:
    """A data set of `count` small JPEGs in `train`, as folders and as shards."""
    folders, packed = root / f"{count}-folders", root / f"{count}-shards"
    rng = np.random.default_rng(0)
    pictures = root / "pictures"
    pictures.mkdir(exist_ok=True)
    for i in range(DISTINCT):
        (pictures / f"{i}.jpg").write_bytes(encoded(generated(rng, 96, 72)))
    for split, number in (("train", count), ("valid", 4)):
        for i in range(number):
            folder = folders / split / f"class-{i % 4}"
            folder.mkdir(parents=True, exist_ok=True)
            os.link(pictures / f"{i % DISTINCT}.jpg", folder / f"{i:06}.jpg")
    layout = dataset.read(folders)
    sharding.write(dataset.targets(layout), sorted(layout["train"]), packed)
    return folders, packed


def one_epoch(root: Path) -> dict[str, float]:
    """Runs in a process of its own: the list, the fingerprint and an epoch; seconds and MiB."""
    began, cpu = time.perf_counter(), time.process_time()
    before = resident()
    splits = data.find_splits({split: root / split for split in ("train", "valid")})
    data.fingerprint(list(splits.values()))
    listed = time.perf_counter() - began
    batches = data.Batches(
        data.Photographs(splits["train"], Preprocessing.for_size(64), True), 64, machine.cpus(), True
    )
    for _ in batches:
        pass
    return {"listed": listed, "seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu,
            "before": before, "peak": resident("VmHWM")}  # fmt: skip


def resident(which: str = "VmRSS") -> float:
    """MiB of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{which}:")).split()[1]) / 1024


def growth(counts: Sequence[int], root: Path) -> list[list[str]]:
    rows = []
    for count in counts:
        for kind, folder in zip(("folders", "shards"), small_set(root, count), strict=True):
            done = subprocess.run([sys.executable, __file__, "--epoch-of", str(folder)], check=True,
                                  capture_output=True, text=True)  # fmt: skip
            found = json.loads(done.stdout.splitlines()[-1])
            rows.append([f"{count:,}", kind, f"{found['listed']:.2f} s", f"{found['seconds']:.1f} s",
                         f"{found['cpu'] / count * 1e6:.0f} µs", f"{found['peak'] - found['before']:.0f} MiB",
                         f"{found['peak']:.0f} MiB"])  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10000, 50000], help="photographs, for growth")
    parser.add_argument("--photographs", type=int, default=128, help="of 320 pixels, for the speed; a quarter of 1600")
    parser.add_argument("--repeats", type=int, default=5, help="pairs of each speed")
    parser.add_argument("--out", type=Path, default=conditions.RESULTS / "input.md", help="where to write")
    parser.add_argument("--epoch-of", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.epoch_of:
        print(json.dumps(one_epoch(options.epoch_of)))
        return
    load_at_start = os.getloadavg()[0]
    counts = {320: options.photographs, 1600: max(1, options.photographs // 4)}
    kind = "photographs of dogs" if DOGS.is_dir() else "generated pictures"
    fast = speeds(counts, options.repeats)
    with tempfile.TemporaryDirectory() as folder:
        grown = growth(options.counts, Path(folder))
    judged = accuracies()
    text = "\n".join(
        [
            "# What photographs cost before a network sees them\n",
            f"`python benchmarks/input.py`. {conditions.sentence('torch', 'torchvision', 'pillow', 'simplejpeg')} "
            f"Load when it began: {load_at_start:.1f}.\n",
            f"Bytes of a JPEG -> normalized float32 of 224 x 224 in batches of {BATCH}: {kind}, JPEG quality 90. The "
            "usual way: Pillow, torchvision's transforms, and a DataLoader's processes where all cores are used. "
            f"Medians; the ratio is of pairs, median and range of {options.repeats}.\n",
            conditions.table(["longer side", "what", "cores", "ours", "the usual way", "ours over it"], fast),
            "Distance of the pixels from the usual way's, of 255, before normalization.\n",
            conditions.table(["longer side", "mean", "95th percentile", "bias"], differences(counts)),
            *([
                "Accuracy of a linear head (logistic regression) on features of the pretrained ResNet-18 at 224 "
                "pixels, trained and judged on pixels of either way.\n",
                conditions.table(["trained on", "judged on", "valid", "test"], judged),
            ] if judged else []),
            "Growth: the list, the fingerprint and one augmented epoch at 64 pixels in batches of 64, generated JPEGs "
            f"of 96 x 72 pixels, {machine.cpus()} threads, a process each. `memory` is the peak less what the imports "
            "took.\n",
            conditions.table(
                ["photographs", "form", "list and fingerprint", "all", "processor time a photograph", "memory", "peak"],
                grown,
            ),
        ]
    )  # fmt: skip
    conditions.publish(text, options.out)


if __name__ == "__main__":
    main()
