"""Images a second that a GPU trains on, over the usual AMP loop, and the bound that stops it.

    python benchmarks/training_gpu.py           # about five minutes; prints, writes benchmarks/results/training-gpu.md

It measures and asserts nothing. Ours and the usual loop (autocast, channels first, `loss.item()` in every step) take
turns in one process, epoch by epoch, and are compared pair by pair; the first pair warms up. Input on the device is one
batch of pixels that is used again; real input are JPEGs of 320 x 240 pixels, made here. Without a GPU it runs on the
CPU, to show that it runs, and says so.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "container_src")]

from benchmarks import conditions  # noqa: E402
from benchmarks import input as photographs  # noqa: E402
from benchmarks.baselines import usual_training as usual  # noqa: E402
from classifier import data, device, fitting, machine, material, network, precision  # noqa: E402
from classifier.config import Config  # noqa: E402
from classifier.errors import InputError  # noqa: E402
from classifier.images import normalize  # noqa: E402
from classifier.preprocessing import Preprocessing  # noqa: E402
from classifier.running import Running  # noqa: E402
from classifier.steps import Stopwatch  # noqa: E402
from classifier.training import Epoch, Observer, train  # noqa: E402

CLASSES = 10
DISTINCT = 256  # pictures; the other files are hard links to them
NOT_MEASURED = "**not measured on a GPU: there is none here; the numbers are the CPU's and only show that it runs.**\n"
# Parts of the names of kernels that are products of matrices; what normalizes comes first, as cuDNN has some of both.
_NORMALIZATION, _PRODUCTS = ("bn_", "batch_norm", "batchnorm"), (
    "gemm", "conv", "cutlass", "xmma", "fprop", "wgrad", "dgrad", "nvjet", "cudnn",
)  # fmt: skip


class Resident:
    """One batch that is on the device already, `steps` times an epoch."""

    def __init__(self, compute: precision.Precision, size: int, batch_size: int, steps: int) -> None:
        pixels = torch.randint(0, 256, (batch_size, size, size, 3), dtype=torch.uint8, device=compute.device)
        self.batch = pixels, torch.arange(batch_size, device=compute.device) % CLASSES
        self._steps = steps

    def set_epoch(self, epoch: int, done: int = 0) -> None:
        pass

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return iter([self.batch] * self._steps)

    def examples(self, batch: int) -> list[str]:
        return ["made"]


@dataclass
class Rates(Observer):
    """Images a second of ours, epoch by epoch, and of what takes its turn after each."""

    other: Callable[[], float] = lambda: 0.0
    ours: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)

    def on_epoch(self, epoch: Epoch) -> None:
        self.ours.append(epoch.images_per_s)
        self.others.append(self.other())

    def row(self) -> list[str]:
        """Medians, and the ratio of the pairs: median and range; all without the first."""
        ours, others = self.ours[1:], self.others[1:]
        ratios = [a / b for a, b in zip(ours, others, strict=True)]
        told = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        return [f"{statistics.median(ours):.0f}", f"{statistics.median(others):.0f}", told]


class Usual:
    """The usual AMP loop."""

    def __init__(self, model: str, compute: precision.Precision) -> None:
        self._compute, self._net = compute, usual.network(model, None, CLASSES, False).to(compute.device).train()
        self._sgd = torch.optim.SGD(self._net.parameters(), lr=0.001, momentum=0.9)

    def epoch(self, batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> float:
        """Images a second."""
        seen, began = 0, time.perf_counter()
        for inputs, labels in batches:
            inputs, labels = (tensor.to(self._compute.device, non_blocking=True) for tensor in (inputs, labels))
            self._sgd.zero_grad()
            with torch.autocast(self._compute.device.type, torch.bfloat16):
                loss = torch.nn.functional.cross_entropy(self._net(inputs), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            self._sgd.step()
            loss.item()
            seen += len(labels)
        return seen / (time.perf_counter() - began)


def resident(
    config: Config, compute: precision.Precision, steps: int, other: Callable[[Resident], float] = lambda _: 0.0
) -> Rates:
    """Ours on input that is on the device already."""
    source = Resident(compute, config.image_size, config.batch_size, steps)
    net = network.build(config.model, CLASSES).to(compute.device)
    prepare = partial(normalize, preprocessing=Preprocessing.for_size(config.image_size))
    rates = Rates(lambda: other(source))
    train(net, config, source, [source.batch], prepare, torch.nn.CrossEntropyLoss(), compute, [rates])
    return rates


def real(config: Config, compute: precision.Precision, folder: Path, on_cpu: bool, workers: int) -> Rates:
    """Ours on JPEGs, cut out and mirrored on the device, or `on_cpu`; the usual loop on the same."""
    channels = {split: folder / split for split in ("train", "valid")}
    given = material.of_photographs(config, channels, [], compute)
    if on_cpu:
        given = replace(given, training=loading(config, folder, compute, on_cpu))
    other = Usual(config.model, compute)
    batches = usual.loader(folder / "train", config.image_size, config.batch_size, shuffle=True, augment=True,
                           workers=workers)  # fmt: skip
    rates = Rates(lambda: other.epoch(batches))
    fitting.fit(config, given, compute, [rates])
    return rates


def loading(config: Config, folder: Path, compute: precision.Precision, on_cpu: bool) -> data.Batches:
    """Batches of JPEGs on the device, as a training has them; its views cut out there or `on_cpu`."""
    split = data.find_split("train", folder / "train")
    cut = torch.device("cpu") if on_cpu else compute.device
    views = data.Photographs(split, Preprocessing.for_size(config.image_size), True, config.seed, device=cut)
    return data.Batches(views, config.batch_size, max(1, machine.cpus()), True, config.seed, compute.device)


def loading_rate(batches: data.Batches, compute: precision.Precision) -> float:
    """Photographs a second, alone."""
    seen, began = 0, time.perf_counter()
    for _, labels in batches:
        seen += len(labels)
    _done(compute)
    return seen / (time.perf_counter() - began)


def made(root: Path, count: int) -> Path:
    """`count` JPEGs of 320 x 240 pixels in folders of CLASSES."""
    rng = np.random.default_rng(0)
    for i in range(min(count, DISTINCT)):
        (root / f"{i}.jpg").write_bytes(photographs.encoded(photographs.generated(rng, 320, 240)))
    for split, number in (("train", count), ("valid", CLASSES)):
        for i in range(number):
            folder = root / "data" / split / f"class-{i % CLASSES}"
            folder.mkdir(parents=True, exist_ok=True)
            os.link(root / f"{i % min(count, DISTINCT)}.jpg", folder / f"{i:06}.jpg")
    return root / "data"


def matrix_peak(compute: precision.Precision, side: int) -> float:
    """bfloat16 TFLOP/s of one large product."""
    a, b = (torch.randn(side, side, device=compute.device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / _fastest(lambda: a @ b, compute) / 1e12


def bandwidth(compute: precision.Precision, size: int) -> float:
    """GB/s, read and written, of a copy of `size` bytes."""
    source = torch.empty(size, dtype=torch.uint8, device=compute.device)
    target = torch.empty_like(source)
    return 2 * size / _fastest(lambda: target.copy_(source), compute) / 1e9


def gigaflops(config: Config, compute: precision.Precision) -> float:
    """Of one image's step, counted by torch."""
    batch = torch.randn(2, 3, config.image_size, config.image_size, device=compute.device)
    net = network.build(config.model, CLASSES).to(compute.device)
    with FlopCounterMode(display=False) as counter:
        net(batch).sum().backward()
    return float(counter.get_total_flops()) / len(batch) / 1e9


def shares(config: Config, compute: precision.Precision, steps: int) -> tuple[float, float, float]:
    """Of the time of steps on resident input: products of matrices, other kernels, nothing at all."""
    source = Resident(compute, config.image_size, config.batch_size, 1)
    net = network.build(config.model, CLASSES).to(compute.device)
    prepare = partial(normalize, preprocessing=Preprocessing.for_size(config.image_size))
    running = Running(net, config, prepare, torch.nn.CrossEntropyLoss(), compute, steps)
    running.begin(1)
    watch = Stopwatch(compute.device)

    def some() -> None:
        for _ in range(steps):
            watch.start()
            running.learn(*source.batch, watch)

    some()
    _done(compute)
    began = time.perf_counter()
    some()
    _done(compute)
    passed = time.perf_counter() - began  # of steps that are not recorded, which takes time
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded:
        some()
        _done(compute)
    products = others = 0.0
    for event in recorded.events() or ():
        if event.device_type == torch.autograd.DeviceType.CUDA:  # type: ignore[attr-defined]
            took = event.time_range.elapsed_us() / 1e6
            name = event.name.lower()
            is_product = any(part in name for part in _PRODUCTS) and not any(part in name for part in _NORMALIZATION)
            products, others = products + took * is_product, others + took * (not is_product)
    return products / passed, others / passed, max(0.0, 1 - (products + others) / passed)


def bound(products: float, others: float, idle: float) -> str:
    """What to work on first."""
    if idle > 0.1 and idle > min(products, others):
        return "launch gaps"
    return "products of matrices" if products > others else "memory bandwidth"


def _fastest(work: Callable[[], object], compute: precision.Precision, times: int = 10) -> float:
    taken = []
    for _ in range(times):
        _done(compute)
        began = time.perf_counter()
        work()
        _done(compute)
        taken.append(time.perf_counter() - began)
    return min(taken)


def _done(compute: precision.Precision) -> None:
    if compute.device.type == "cuda":
        torch.cuda.synchronize()


def choices(config: Config, compute: precision.Precision, steps: int) -> list[list[str]]:
    """What could be faster, on resident input."""
    rows = []
    for name, chosen, tuned in (
        ("as it is", config, False),
        ("cudnn.benchmark", config, True),
        ("compile=true", replace(config, compile=True), False),
    ):
        before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, tuned  # as torch has it
        try:
            told = f"{statistics.median(resident(chosen, compute, steps).ours[1:]):.0f}"
        except InputError as error:
            told = str(error)
        finally:
            torch.backends.cudnn.benchmark = before
        rows.append([config.model, name, told])
    return rows


def report(options: argparse.Namespace, compute: precision.Precision, folder: Path) -> list[str]:
    """The parts of the page."""
    on_gpu = compute.device.type == "cuda"
    steps, workers = options.steps, 0 if machine.cpus() <= 2 else machine.cpus()
    peak = matrix_peak(compute, 8192 if on_gpu else 512)
    speed = bandwidth(compute, 2**31 if on_gpu else 2**26)
    rates: list[list[str]] = []
    tried: list[list[str]] = []
    bounds: list[list[str]] = []
    root = made(folder, options.photographs)
    for model in options.models:
        print(f"measuring: {model}", flush=True)
        config = Config(
            model=model, weights="none", freeze_backbone="false", image_size=options.image_size, augment=True,
            batch_size=options.batch_size, epochs=options.repeats + 1, learning_rate=0.0001, optimizer="sgd",
        )  # fmt: skip
        other = Usual(model, compute)

        def amp(source: Resident, loop: Usual = other) -> float:
            pixels, labels = source.batch
            ready = normalize(pixels, Preprocessing.for_size(options.image_size)).contiguous()
            return loop.epoch([(ready, labels)] * steps)

        on_device = resident(config, compute, steps, amp)
        rates.append([model, "on the device", *on_device.row(), ""])
        for on_cpu in (False, True) if on_gpu else (True,):
            name = f"JPEGs, cut out on the {'CPU' if on_cpu else 'GPU'}"
            found = real(config, compute, root, on_cpu, workers)
            share = statistics.median(found.ours[1:]) / statistics.median(on_device.ours[1:])
            rates.append([model, name, *found.row(), f"{share:.2f}"])
        if on_gpu:  # a CPU compiles for minutes
            tried += choices(config, compute, steps)
        rate, work = statistics.median(on_device.ours[1:]), gigaflops(config, compute)
        achieved = f"{work:.1f} GFLOP an image: {rate * work / 1e3 / peak:.0%} of the peak"
        if on_gpu:
            parts = shares(config, compute, steps)
            bounds.append([model, achieved, *(f"{part:.0%}" for part in parts), bound(*parts)])
        else:
            bounds.append([model, achieved, "", "", "", "not measured on a GPU"])
    cut = [("GPU", False), ("CPU", True)] if on_gpu else [("CPU", True)]
    config = Config(image_size=options.image_size, batch_size=options.batch_size)
    alone = [[f"cut out on the {name}", f"{loading_rate(loading(config, root, compute, on_cpu), compute):.0f}"]
             for name, on_cpu in cut]  # fmt: skip
    return [
        f"Training all layers at {options.image_size} pixels, batches of {options.batch_size}; {compute}, "
        f"{machine.cpus()} CPUs; {steps} steps or {options.photographs} photographs an epoch. Images a second; medians "
        f"and the ratio of pairs, median and range of {options.repeats}, after one that warms up.\n",
        conditions.table(
            ["network", "input", "ours", "the usual AMP loop", "ours over it", "of input on the device"], rates
        ),
        *(
            [
                "What could be faster, on input on the device.\n",
                conditions.table(["network", "choice", "images a second"], tried),
            ]
            if on_gpu
            else []
        ),
        f"The bounds. One product of matrices in bfloat16: {peak:.1f} TFLOP/s; a copy: {speed:.0f} GB/s. Of the time "
        "of the steps on resident input: kernels that multiply matrices, all others (which wait for memory), no kernel "
        "at all (launch gaps).\n",
        conditions.table(["network", "work", "products", "other kernels", "gaps", "what stops it"], bounds),
        "Photographs a second that are made ready when nothing is trained.\n",
        conditions.table(["how", "photographs a second"], alone),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["resnet50", "resnet18"], help="backbones")
    parser.add_argument("--image-size", type=int, default=224, help="pixels")
    parser.add_argument("--batch-size", type=int, default=256, help="of all loops")
    parser.add_argument("--steps", type=int, default=40, help="of an epoch of input on the device")
    parser.add_argument("--photographs", type=int, default=16384, help="of an epoch of real input")
    parser.add_argument("--repeats", type=int, default=3, help="pairs of epochs, after one that warms up")
    parser.add_argument("--out", type=Path, default=conditions.RESULTS / "training-gpu.md", help="where to write")
    options = parser.parse_args()
    compute = precision.choose(device.find("train"))
    with tempfile.TemporaryDirectory() as folder:
        parts = report(options, compute, Path(folder))
    text = "\n".join([
        "# What a GPU trains\n",
        *([] if compute.device.type == "cuda" else [NOT_MEASURED]),
        f"`{shlex.join(['python', 'benchmarks/training_gpu.py', *sys.argv[1:]])}`. "
        f"{conditions.sentence('torch', 'torchvision')}\n",
        *parts,
    ])  # fmt: skip
    conditions.publish(text, options.out)


if __name__ == "__main__":
    main()
