"""How time and memory of each step on a data set grow with its photographs: what benchmarks/scale.py measures.

Every step runs twice: once for its time, once for the peak of what Python allocates for it (tracemalloc, which slows it
down). Each number of photographs has a process of its own. The photographs are hard links to a few
generated JPEGs of 96 x 72 pixels: what is measured is what a photograph costs apart from its pixels. S3 is a stand-in
that tells names and takes uploads without sending them.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "container_src")]

from classifier import fingerprint  # noqa: E402
from orchestrate import dataset, sharding  # noqa: E402
from orchestrate.storage import Storage  # noqa: E402

CLASSES, DISTINCT = 8, 40
PHOTOGRAPH = 25_000  # bytes: what one of 320 pixels has in benchmarks/results/training.md
_PAGE = 1000  # names in one answer of ListObjectsV2


@dataclass(frozen=True)
class Measured:
    """One step on `photographs` of them: seconds, and the peak in bytes."""

    step: str
    photographs: int
    seconds: float
    peak: int


@dataclass(frozen=True)
class Growth:
    """`exponent`: of the seconds over the photographs (1: in proportion); `each`: bytes of memory a photograph;
    `seconds`: of the largest size, and `photographs` how many that is."""

    step: str
    photographs: int
    seconds: float
    exponent: float
    each: float

    def seconds_for(self, photographs: float) -> float:
        """In proportion to the largest size that was measured."""
        return self.seconds / self.photographs * photographs

    def fit_into(self, memory: float) -> float:
        """How many photographs fit into so many bytes."""
        return memory / self.each


def fit(measured: Sequence[Measured]) -> Growth:
    """One step at two sizes or more -> how it grows: the slopes of lines through the peaks, and through the logarithms
    of the seconds."""
    points = sorted(measured, key=lambda m: m.photographs)
    counts = np.array([p.photographs for p in points], float)
    exponent = np.polyfit(np.log(counts), np.log([p.seconds for p in points]), 1)[0]
    each = np.polyfit(counts, [p.peak for p in points], 1)[0]
    return Growth(points[-1].step, points[-1].photographs, points[-1].seconds, float(exponent), float(each))


class NoS3:
    """Stands for S3's client: holds `names`, and forgets what is sent."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def head_bucket(self, **_: Any) -> None:
        """It is there."""

    def upload_file(self, *_: Any) -> None:
        """Sent."""

    def get_paginator(self, _: str) -> NoS3:
        """Of list_objects_v2."""
        return self

    def paginate(self, **asked: Any) -> Iterator[dict[str, Any]]:
        """Pages of names below the prefix."""
        for start in range(0, len(self._names), _PAGE):
            names = self._names[start : start + _PAGE]
            yield {"Contents": [{"Key": f"{asked['Prefix']}{name}", "Size": PHOTOGRAPH} for name in names]}


def steps(root: Path) -> dict[str, Callable[[], Callable[[], object]]]:
    """Step -> what prepares it (not measured) and returns it. Everything reads what `small_set` made."""
    folders, packed = root / "folders", root / "packed"

    def listed() -> dataset.Layout:
        return dataset.read(folders)

    def splitting() -> Callable[[], object]:
        layout = {"": listed()["train"]}
        return lambda: dataset.split(layout, 0.15, 0.15, 0)

    def checking() -> Callable[[], object]:
        layout = listed()
        return lambda: dataset.unreadable(layout)

    def hashing() -> Callable[[], object]:
        layout = listed()
        return lambda: dataset.fingerprint(dataset.targets(layout))

    def packing() -> Callable[[], object]:
        files = dataset.targets(listed())
        fresh = Path(tempfile.mkdtemp(dir=root)) / "shards"
        return lambda: pack(files, fresh)

    def uploading() -> Callable[[], object]:
        return lambda: Storage(lambda: NoS3([])).publish(folders, "s3://bucket/data")

    def asking() -> Callable[[], object]:
        names = [path.relative_to(folders / "train").as_posix() for path in folders.glob("train/*/*.jpg")]
        store = Storage(lambda: NoS3(names))
        return lambda: fingerprint.fingerprint(
            ("train", Path(name), size) for name, size in store.list("s3://bucket/data/train")
        )

    def of_the_job(where: Path) -> Callable[[], Callable[[], object]]:
        def prepared() -> Callable[[], object]:
            from classifier import data

            return lambda: data.fingerprint([data.find_split("train", where / "train")])

        return prepared

    return {
        "prepare: list": lambda: listed,
        "prepare: decode every one": checking,
        "prepare: split": splitting,
        "prepare: hash every one": hashing,
        "prepare --shards: pack": packing,
        "upload of files: who is new": uploading,
        "tune: list the bucket": asking,
        "job: list files": of_the_job(folders),
        "job: list shards": of_the_job(packed),
    }


def pack(files: Mapping[str, Path], folder: Path) -> None:
    """Shards of as many photographs as there would be with photographs of 25 KB."""
    size = next(iter(files.values())).stat().st_size
    sharding.SHARD_BYTES = sharding.SHARD_BYTES * size // PHOTOGRAPH
    sharding.write(files, [f"class-{i}" for i in range(CLASSES)], folder)


def small_set(root: Path, count: int) -> None:
    """`count` photographs in `root/folders/train`, in CLASSES classes, and in shards in `root/packed/train`."""
    from benchmarks import input as photographs

    rng = np.random.default_rng(0)
    pictures = root / "pictures"
    pictures.mkdir(parents=True)
    for i in range(DISTINCT):
        (pictures / f"{i}.jpg").write_bytes(photographs.encoded(photographs.generated(rng, 96, 72)))
    for i in range(CLASSES):
        (root / "folders" / "train" / f"class-{i}").mkdir(parents=True)
    for i in range(count):
        os.link(pictures / f"{i % DISTINCT}.jpg", root / "folders" / "train" / f"class-{i % CLASSES}" / f"{i:09}.jpg")
    pack(dataset.targets(dataset.read(root / "folders")), root / "packed")


def one(step: str, prepare: Callable[[], Callable[[], object]], count: int) -> Measured:
    """Runs a step twice."""
    work = prepare()
    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    work = prepare()
    gc.collect()
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return Measured(step, count, seconds, peak)


def measure(counts: Sequence[int], tell: Callable[[str], None]) -> list[Measured]:
    """Every step at every size; `tell` is given a line for each."""
    found = []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            small_set(root, count)
            program = [sys.executable, __file__, folder, str(count)]
            with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as run:
                assert run.stdout
                for line in run.stdout:
                    measured = Measured(**json.loads(line))
                    tell(f"{count:,} photographs: {measured.step}: {measured.seconds:.2f} s")
                    found.append(measured)
            if run.returncode:
                raise RuntimeError(f"{count} photographs: exit code {run.returncode}, the reason is above")
    return found


if __name__ == "__main__":
    for name, prepare in steps(Path(sys.argv[1])).items():
        print(json.dumps(asdict(one(name, prepare, int(sys.argv[2])))), flush=True)
