"""Rates, each with whose word it is, and the tables of docs/17-scale.md that follow from them.

Everything is arithmetic on `Rates` and prices of `orchestrate/prices.json`; the docstrings have the formulas. Nothing
here measures: `rates` reads what other programs measured, from benchmarks/results.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from benchmarks import conditions
from orchestrate import prices
from orchestrate.hosting_options import A_MINUTE
from orchestrate.pricing import HOURS_A_MONTH
from orchestrate.sharding import SHARD_BYTES

PHOTOGRAPHS = (8_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
REQUESTS = (1, 10, 100, 1_000, 10_000)
CPU, GPU, SERVING, SERVING_GPU = "ml.m5.xlarge", "ml.g5.xlarge", "ml.m5.large", "ml.g4dn.xlarge"
MEASURED, DERIVED, AWS, GUESS = "measured", "derived", "AWS", "assumed"
HOUR = 3600
# Of its capacity, what an instance is asked to do: scale_traffic.py shows why.
SHARE = 0.5
EPOCHS, TRIALS = 10, 20
_DAY = 24
_HEAD = ("rate", "value", "of what", "kind", "source")


@dataclass(frozen=True)
class Rate:
    """`kind`: MEASURED here; DERIVED from what is measured; AWS: what it publishes; GUESS: an assumption. `value` has
    four digits, so that the tables can be computed again from the page."""

    value: float
    unit: str
    kind: str
    source: str


Rates = Mapping[str, Rate]


def _number(page: str, pattern: str) -> float:
    """The group of a pattern in a page of benchmarks/results; a page of another form is an error of ours."""
    text = (conditions.RESULTS / page).read_text("utf-8")
    found = re.search(pattern, text, re.MULTILINE | re.DOTALL)
    if not found:
        raise ValueError(f"{page} has no line like {pattern}: benchmarks/scale_plan.py reads it")
    return float(found[1].replace(",", ""))


def rates() -> dict[str, Rate]:
    """Those of all tables, by their names. Raises ValueError: a page of results has another form than this reads."""
    size = r"^\| 320 px, 25 KB \| "
    decode = _number("training.md", size + r"random crop, mirrored \| 2, a second \| (\d+)") / 2
    seen = _number("training.md", size + r"as evaluation sees it \| 2, a second \| (\d+)") / 2
    fp32 = _number("engines.md", r"^\| resnet18 \| fp32 \| [^|]+\| [^|]+\| [^|]+\| (\d+) ")
    torch32 = _number("engines.md", r"^\| resnet18 \| torch \| [^|]+\| [^|]+\| [^|]+\| [^|]+\| [^|]+\| (\d+) ") / 2
    kept = _number("serving.md", r"## resnet18\n.*?the server keeps [\d.]+ and ([\d.]+) of them")
    row = r"\n.*?^\| Kennel \| [^|]+\| [^|]+\| [^|]+\| [^|]+\| (\d+) "
    fast, fast50 = _number("serving.md", "## resnet18" + row), _number("serving.md", "## resnet50" + row)
    fp32_50 = _number("engines.md", r"^\| resnet50 \| fp32 \| [^|]+\| [^|]+\| [^|]+\| (\d+) ")
    kept50 = _number("serving.md", r"## resnet50\n.*?the server keeps [\d.]+ and ([\d.]+) of them")
    # Of ResNet-50, times its multiplications over ResNet-18's (torchvision: 4.09 and 1.81 GFLOPS), times the tensor
    # TFLOPS of an A10G over an A100's (NVIDIA: 70 and 312).
    a100 = 2470.0
    learn = a100 * 4.09 / 1.81 * 70 / 312
    nvidia = "2,470/s with AMP (NVIDIA DeepLearningExamples), scaled"
    served, share = "results/serving.md", "results/engines.md x what the server keeps"
    made = {
        "photograph": Rate(25_000, "bytes, 320 px", MEASURED, "results/training.md"),
        "decode": Rate(decode, "/s a vCPU, random crop", MEASURED, "results/training.md"),
        "embed, CPU": Rate(torch32, "/s a vCPU in fp32 (ml.m5 has no bf16)", MEASURED, "results/engines.md, torch"),
        "embed, GPU": Rate(4 * decode, f"/s of {GPU}, whose 4 vCPUs decode", GUESS, "decode x 4: the GPU waits for it"),
        "learn, GPU": Rate(learn, f"/s of {GPU}, all of ResNet-18", GUESS, "from ResNet-50 on an A100: " + nvidia),
        "serve, fast": Rate(fast, "/s of 2 vCPUs, ResNet-18; bf16 here, taken for int8 on ml.m5", MEASURED, served),
        "serve, fp32": Rate(fp32 * kept, "/s of 2 vCPUs, ResNet-18", DERIVED, share),
        "serve ResNet-50, fast": Rate(fast50, "/s of 2 vCPUs; as above", MEASURED, served),
        "serve ResNet-50, fp32": Rate(fp32_50 * kept50, "/s of 2 vCPUs", DERIVED, share),
        "serve, GPU": Rate(
            4 * seen * kept, f"/s of {SERVING_GPU}, whose 4 vCPUs decode", GUESS, "decoding x 4 x share"
        ),
        "answering": Rate(0.1, "s that a serverless endpoint bills for a photograph", GUESS, "-"),
        "network": Rate(
            156e6, f"bytes/s of {CPU}: 1.25 Gbit/s", AWS, "EC2, specifications of general purpose instances"
        ),
        "list": Rate(0.1, "s a page of 1,000 names", GUESS, "-"),
        "S3 reads": Rate(5500, "/s a prefix", AWS, "Best practices design patterns: optimizing Amazon S3 performance"),
        "put": Rate(0.005, "USD for 1,000 objects", AWS, "Amazon S3 pricing, us-east-1, 2025"),
        "get": Rate(0.0004, "USD for 1,000 reads", AWS, "Amazon S3 pricing, us-east-1, 2025"),
        "start of a job": Rate(240, "s: machine, image, first line", GUESS, "-"),
        "start of an instance": Rate(480, "s until an endpoint's new instance answers", GUESS, "-"),
    }
    return {name: replace(rate, value=float(f"{rate.value:.4g}")) for name, rate in made.items()}


def told(found: Rates) -> str:
    """The table of the rates."""
    rows = [[name, f"{r.value:,.10g}", r.unit, r.kind, r.source] for name, r in found.items()]
    return conditions.table(_HEAD, rows)


def parsed(page: str) -> dict[str, Rate]:
    """The inverse: of a page that has that table."""
    lines = page[page.index(conditions.table(_HEAD, [])) :].splitlines()[2:]
    cells = [line.strip("| ").split(" | ") for line in itertools.takewhile(lambda line: line.startswith("|"), lines)]
    return {name: Rate(float(value.replace(",", "")), unit, kind, source) for name, value, unit, kind, source in cells}


def usd_an_hour(instance_type: str) -> float:
    """Of the dated table, which is asked for nothing else."""
    price = prices.of("us-east-1", None)(instance_type, "Train")
    assert price is not None
    return price.usd


def data_set(found: Rates) -> str:
    """Bytes: photographs x photograph; shards: bytes / 150 MB; checked: photographs / (decode x 2 vCPUs); listed:
    photographs / 1,000 x list; sent: photographs / 1,000 x put; read: photographs / S3 reads; copied: bytes / network.
    """
    rows = []
    for count in PHOTOGRAPHS:
        size = count * found["photograph"].value
        shards = math.ceil(size / SHARD_BYTES)
        rows.append([
            f"{count:,}", _bytes(size), f"{shards:,}", _time(count / found["decode"].value / 2),
            _time(count / 1000 * found["list"].value), _usd(count / 1000 * found["put"].value),
            _time(count / found["S3 reads"].value), _time(size / found["network"].value),
            _usd(size / 1e9 * prices.storage("S3")),
        ])  # fmt: skip
    return conditions.table(
        ["photographs", "data", "shards", "`prepare` decodes them, 2 vCPUs", "files: to list",
         "to send", "to read at S3's rate", "to copy to an instance", "a month in S3"], rows,
    )  # fmt: skip


def training(found: Rates) -> str:
    """Features: photographs / (embed, CPU x 4 vCPUs) or / embed, GPU. All of ResNet-18: epochs x photographs / learn,
    GPU, on the fewest instances, a power of two, that do it within a day. USD: hours x instances x price."""
    rows = []
    for count in PHOTOGRAPHS:
        on_cpu = count / (4 * found["embed, CPU"].value) / HOUR
        on_gpu = count / found["embed, GPU"].value / HOUR
        instances, hours = fine_tuning(found, count)
        rows.append([
            f"{count:,}", f"{_hours(on_cpu)}, {_usd(on_cpu * usd_an_hour(CPU))}",
            f"{_hours(on_gpu)}, {_usd(on_gpu * usd_an_hour(GPU))}", _bytes(count * 512 * 2),
            f"{instances} x {_hours(hours)}, {_usd(instances * hours * usd_an_hour(GPU))}",
        ])  # fmt: skip
    return conditions.table(
        ["photographs", f"features once, {CPU}", f"features once, {GPU}", "features",
         f"all of ResNet-18, {EPOCHS} epochs, {GPU}"], rows,
    )  # fmt: skip


def fine_tuning(found: Rates, count: int) -> tuple[int, float]:
    """(instances, hours) of `training`."""
    alone = EPOCHS * count / found["learn, GPU"].value / HOUR
    instances = 1
    while alone / instances > _DAY:
        instances *= 2
    return instances, alone / instances


def streaming(found: Rates) -> str:
    """All of ResNet-18 as in `training`, from S3 with FastFile: each photograph is a read. Reads a second: instances x
    learn, GPU; prefixes: those / S3 reads; USD: epochs x photographs / 1,000 x get. Bytes: reads x photograph."""
    rows = []
    for count in PHOTOGRAPHS:
        instances, _ = fine_tuning(found, count)
        reads = instances * found["learn, GPU"].value
        rows.append([
            f"{count:,}", f"{reads:,.0f}", f"{math.ceil(reads / found['S3 reads'].value)}",
            f"{reads / instances * found['photograph'].value / 1e6:.0f} MB/s",
            _usd(EPOCHS * count / 1000 * found["get"].value),
        ])  # fmt: skip
    return conditions.table(
        ["photographs", "reads a second", "prefixes that allow them", "to each instance", f"{EPOCHS} epochs of reads"],
        rows,
    )


def tuning(found: Rates) -> str:
    """Trials on features: the features once, then a start of a job for each trial, whose head takes seconds to minutes;
    in one job: one start. Trials of the whole network: each as in `training`. On a hundredth: that of count / 100."""
    start = found["start of a job"].value / HOUR
    rows = []
    for count in PHOTOGRAPHS:
        features = count / found["embed, GPU"].value / HOUR

        def whole(part: int) -> float:
            instances, hours = fine_tuning(found, part)
            return TRIALS * instances * (hours + start) * usd_an_hour(GPU)

        on_features = (start + features) * usd_an_hour(GPU)
        rows.append([
            f"{count:,}", _usd(on_features + TRIALS * start * usd_an_hour(CPU)),
            _usd(on_features), _usd(whole(count)), _usd(whole(max(count // 100, 1))),
        ])  # fmt: skip
    return conditions.table(
        ["photographs", "on features, a job a trial", "on features, in one job", "whole network",
         "whole network, on a hundredth"], rows,
    )  # fmt: skip


def serving(found: Rates) -> str:
    """Instances: requests / (SHARE x what one answers), rounded up; a month: 730 hours of them. Serverless: requests x
    answering x 4 GB. In batches: the month's requests / what the 4 vCPUs of ml.m5.xlarge answer, twice those of 2."""
    month = HOURS_A_MONTH * HOUR
    rows = []
    for count in REQUESTS:
        cells = [f"{count:,}"]
        cells.append(_usd(count * month * found["answering"].value * 4 * prices.serverless()))
        for name, instance in (("serve, fp32", SERVING), ("serve, fast", SERVING), ("serve, GPU", SERVING_GPU)):
            instances = math.ceil(count / (SHARE * found[name].value))
            cells.append(f"{instances:,}: {_usd(instances * HOURS_A_MONTH * usd_an_hour(instance))}")
        batch = count * month / (2 * found["serve, fast"].value) / HOUR
        cells.append(_usd(batch * usd_an_hour(CPU)))
        rows.append(cells)
    return conditions.table(
        ["requests a second", "serverless", f"{SERVING}, fp32", f"{SERVING}, int8", SERVING_GPU, "in batches"], rows
    )


def targets(found: Rates) -> str:
    """The --scale-target for SHARE of the capacity: SHARE x answers x 60; and what share deploy.py's own is."""
    of = {
        "serve, fast": f"ResNet-18, int8, {SERVING}", "serve, fp32": f"ResNet-18, fp32, {SERVING}",
        "serve ResNet-50, fast": f"ResNet-50, int8, {SERVING}", "serve ResNet-50, fp32": f"ResNet-50, fp32, {SERVING}",
        "serve, GPU": f"ResNet-18, {SERVING_GPU}",
    }  # fmt: skip
    rows = [
        [what, f"{found[name].value:.0f}/s", f"{SHARE * found[name].value * 60:.0f}",
         f"{A_MINUTE / 60 / found[name].value:.0%} of it"]
        for name, what in of.items()
    ]  # fmt: skip
    return conditions.table(
        ["engine", "answers", f"`--scale-target` at {SHARE:.0%}", f"{A_MINUTE:.0f}, the default, is"], rows
    )


def _bytes(count: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else "under 1 s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * HOUR else f"{seconds / HOUR:.3g} h"


def _hours(hours: float) -> str:
    return _time(hours * HOUR)


def _usd(amount: float) -> str:
    if amount < 0.01:
        return "under 0.01 USD"
    return f"{amount:,.2f} USD" if amount < 100 else f"{amount:,.0f} USD"
