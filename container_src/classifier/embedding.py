"""The one pass: every photograph through the frozen backbone once, its features in shards on disk.

Memory holds one shard, whatever the number of photographs. Each host takes a part of every split by itself: what the
others do follows from their number alone.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import save, save_file

from classifier import data, features, material, network
from classifier.atomic import replacing
from classifier.config import Config
from classifier.errors import InputError
from classifier.extraction import Batch, Forward, on_cores, on_gpu
from classifier.features import Key, Split
from classifier.job import Job
from classifier.loading import choose_workers
from classifier.log import say
from classifier.precision import Precision
from classifier.preprocessing import Preprocessing

# Pixels that go through the network at once: of 16 and of 256 pictures of 224 x 224. A core's cache holds few.
_PIXELS = {"cpu": 16 * 224 * 224, "cuda": 256 * 224 * 224}
_PROGRESS_S = 10.0


@dataclass(frozen=True)
class Shard:
    """The photographs `start` to `stop` of a split, in its order."""

    split: str
    start: int
    stop: int
    file: str


def plan(split: str, photographs: int, hosts: int) -> list[list[Shard]]:
    """The shards of each host: equal parts of the split, in shards of `features.SHARD` photographs at most."""
    of: list[list[Shard]] = []
    for rank in range(hosts):
        first, last = photographs * rank // hosts, photographs * (rank + 1) // hosts
        starts = range(first, last, features.SHARD)
        of.append([Shard(split, start, min(start + features.SHARD, last), f"{split}-{rank:03}-{i:05}.safetensors")
                   for i, start in enumerate(starts)])  # fmt: skip
    return of


def embed(config: Config, job: Job, precision: Precision) -> Path:
    """Computes this host's shards into a folder of the checkpoints, which is the folder that `features.read` reads.

    Shards that are there already are kept; a job that is stopped keeps the photographs that it has done.

    Raises:
        InputError: the data set or the weights cannot be used, or the job was stopped before the end.
    """
    splits = data.find_splits(job.channels)
    fingerprint = data.fingerprint(list(splits.values()))
    material.check_data(config, fingerprint)
    classes = splits["train"].classes
    net, weights = material.first_network(config, len(classes), job.weights_directories)
    head = network.HEAD + "."
    backbone = save({name: t.contiguous() for name, t in net.state_dict().items() if not name.startswith(head)})
    key = Key(
        data_fingerprint=fingerprint,
        model=config.model,
        backbone_sha256=sha256(backbone).hexdigest(),
        weights=weights,
        preprocessing=Preprocessing.for_size(config.image_size),
        augment=config.augment,
        views=config.stored_views,
        seed=config.stored_seed,
    )
    folder = job.checkpoints / "features" / key.digest[:16]
    folder.mkdir(parents=True, exist_ok=True)
    shards = {name: plan(name, len(split), job.hosts) for name, split in splits.items()}
    headless, dimension = network.backbone(net)
    forward = Forward(network.fuse(headless).to(precision.device), key.preprocessing, precision)
    work = _Pass(config, key, folder, precision, job.stop.is_set, sum(s.stop - s.start for of in shards.values()
                                                                      for s in of[job.rank]))  # fmt: skip
    say(f"embed: {', '.join(f'{len(s)} {name}' for name, s in splits.items())} photographs of {len(classes)} classes, "
        f"{config.model} at {config.image_size} pixels, weights {weights or 'random'}, {key.views} a training "
        f"photograph; {precision}" + (f"; host {job.rank + 1} of {job.hosts}" if job.hosts > 1 else ""))  # fmt: skip
    bad = data.BadImages(config.max_bad_images, say)
    for name, split in splits.items():
        augment = config.augment and name == "train"
        views = data.Views(split, key.preprocessing, augment, config.seed, key.views, bad, precision.device)
        work.run(views, shards[name][job.rank], forward)
    if work.done:
        say(f"embed: photographs_per_second={work.per_second:.5g}")
    if job.rank == 0:
        _describe(folder, key, classes, splits, shards, dimension, job, precision, backbone)
    return folder


class _Pass:
    """The shards of one host, one after the other."""

    def __init__(
        self, config: Config, key: Key, folder: Path, precision: Precision, stopped: Callable[[], bool], total: int
    ) -> None:
        self._config, self._key, self._folder, self._device = config, key, folder, precision.device.type
        self._stopped, self._left, self._total = stopped, total, total
        self._pictures = max(1, _PIXELS[self._device] // config.image_size**2)
        self.done = 0
        self._began = self._told = time.perf_counter()

    @property
    def per_second(self) -> float:
        """Photographs computed a second."""
        return self.done / (time.perf_counter() - self._began)

    def run(self, views: data.Views, shards: Sequence[Shard], forward: Forward) -> None:
        """Raises InputError: a photograph cannot be used, or the job was stopped."""
        kept = {shard: self._kept(shard) for shard in shards}
        size = max(1, self._pictures // self._key.views)
        todo = [
            (shard, range(start, min(start + size, shard.stop)))
            for shard in shards
            for start in range(shard.start + kept[shard], shard.stop, size)
        ]
        self._left -= sum(kept.values())
        computed = self._compute(views, [rows for _, rows in todo], forward)
        whole: Split | None = None
        for (shard, rows), (vectors, labels) in zip(todo, computed, strict=True):
            # Batches that wait for each other in a list would keep the memory around them from being used again.
            whole = whole or self._begin(shard, kept[shard], vectors)
            into = slice(rows.start - shard.start, rows.stop - shard.start)
            whole.vectors[into], whole.labels[into] = vectors, labels
            self.done += len(rows)
            self._left -= len(rows)
            if rows.stop == shard.stop:
                self._save(shard, whole)
                whole = None
            elif self._stopped():
                self._save(shard, Split(whole.vectors[: into.stop], whole.labels[: into.stop]), ".partial")
            if self._stopped() and self._left:
                raise InputError(
                    f"the job was stopped when {self._total - self._left} of {self._total} photographs were embedded; "
                    f"they are kept in /opt/ml/checkpoints: start it again with the same CheckpointConfig to go on"
                )
            self._tell(views.split, rows.stop)

    def _compute(self, views: data.Views, batches: Sequence[range], forward: Forward) -> Iterator[Batch]:
        if self._device == "cpu":
            return on_cores(views, batches, forward, self._config.workers)
        return on_gpu(views, batches, forward, choose_workers(self._config.workers))

    def _kept(self, shard: Shard) -> int:
        """How many photographs of a shard are there from an earlier run, complete or not."""
        for suffix in ("", ".partial"):
            try:
                return len(features.read_shard(self._folder / (shard.file + suffix), self._key.digest))
            except InputError:
                continue  # not there, or cut off in the middle of a copy: computed again
        return 0

    def _begin(self, shard: Shard, kept: int, like: torch.Tensor) -> Split:
        count = shard.stop - shard.start
        whole = Split(like.new_empty(count, *like.shape[1:]), torch.empty(count, dtype=torch.int64))
        if kept:
            partial = features.read_shard(self._folder / f"{shard.file}.partial", self._key.digest)
            whole.vectors[:kept], whole.labels[:kept] = partial.vectors, partial.labels
        return whole

    def _save(self, shard: Shard, split: Split, suffix: str = "") -> None:
        told = {"key": self._key.digest, "sha256": features.checksum(split)}
        with replacing(self._folder / (shard.file + suffix)) as file:
            save_file({"vectors": split.vectors, "labels": split.labels}, file, told)
        if not suffix:
            (self._folder / f"{shard.file}.partial").unlink(missing_ok=True)

    def _tell(self, split: data.Split, at: int) -> None:
        now = time.perf_counter()
        if now - self._told > _PROGRESS_S:
            self._told = now
            say(f"embed: {at}/{len(split)} {split.name}, {self.per_second:.0f} photographs/s, "
                f"about {self._left / self.per_second:.0f} s left")  # fmt: skip


def _describe(
    folder: Path, key: Key, classes: Sequence[str], splits: Mapping[str, data.Split],
    shards: Mapping[str, list[list[Shard]]], dimension: int, job: Job, precision: Precision, backbone: bytes,
) -> None:  # fmt: skip
    """The backbone and the description, which comes last: a folder that has one is complete."""
    with replacing(folder / features.BACKBONE) as file:
        file.write_bytes(backbone)
    description = {
        "version": features.VERSION,
        "key": key.to_dict(),
        "classes": list(classes),
        "splits": {
            name: {"photographs": len(split), "shards": [shard.file for of in shards[name] for shard in of]}
            for name, split in splits.items()
        },
        "dimension": dimension,
        "dtype": "float16",
        "provenance": {
            "job": job.name,
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "versions": {"python": platform.python_version()}
            | {name: version(name) for name in ("torch", "torchvision", "pillow")},
            "hardware": f"{precision}, {os.cpu_count()} CPUs, {job.hosts} hosts",
        },
    }
    with replacing(folder / features.DESCRIPTION) as file:
        file.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
