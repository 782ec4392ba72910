"""The channels of a training job: brought to each host before it starts.

A directory of this machine is mounted as it is, in File and in FastFile mode; what lies in S3 is copied in both, and so
is what each host gets only a part of (ShardedByS3Key) or what a manifest names.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from local_sagemaker import contract, manifest, storage
from local_sagemaker.errors import JobError
from local_sagemaker.records import Record
from local_sagemaker.runners import Mount

Shard = tuple[int, int]  # this host's place among those that share the channel, and their number


def bring(base: Path, job: Record, region: str, number: int) -> tuple[Mount, ...]:
    """Brings every channel of one host, counted from 0; gives what is to be mounted. Raises JobError."""
    mounts = []
    for channel in job.get("InputDataConfig", []):
        name, source = channel["ChannelName"], channel["DataSource"]["S3DataSource"]
        takers = _takers(job, source)
        if number not in takers:
            continue
        shard = (0, 1)
        if source.get("S3DataDistributionType") == "ShardedByS3Key":
            shard = (takers.index(number), len(takers))
        target = f"input/data/{name}"
        if source["S3DataType"] == "ManifestFile":
            _bring_manifest(source["S3Uri"], base / target, region, shard)
        else:
            mounts += _bring_prefix(name, source["S3Uri"], base, target, region, shard)
    return tuple(mounts)


def _takers(job: Record, source: dict[str, Any]) -> list[int]:
    """The hosts that get a channel: all of them unless it names instance groups."""
    named = source.get("InstanceGroupNames")
    return [
        number
        for number in range(contract.host_count(job))
        if not named or contract.group_of(job, number).name in named
    ]


def _bring_prefix(name: str, uri: str, base: Path, target: str, region: str, shard: Shard) -> list[Mount]:
    source = storage.mountable(uri)
    if source is None:
        (base / target).mkdir(parents=True)
        storage.download(uri, base / target, region, shard)
    elif source.is_file():
        return [Mount(source, f"{target}/{source.name}")]
    elif not source.is_dir():
        raise JobError(f"ClientError: Data download failed: {uri} of channel '{name}' does not exist.")
    elif shard[1] == 1:
        return [Mount(source, target)]
    else:
        (base / target).mkdir(parents=True)
        place, count = shard
        for path in sorted(path for path in source.rglob("*") if path.is_file())[place::count]:
            copy = base / target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    return []


def _bring_manifest(uri: str, target: Path, region: str, shard: Shard) -> None:
    """Copies what a manifest names."""
    target.mkdir(parents=True)
    listing = target / ".manifest"
    prefix, names = manifest.read(uri, listing, region, "Data download failed: ")
    listing.unlink()
    place, count = shard
    for name in names[place::count]:
        path = target / name
        if not path.resolve().is_relative_to(target.resolve()):
            raise JobError(f"ClientError: Data download failed: {name!r} of {uri} leaves the channel's directory.")
        path.parent.mkdir(parents=True, exist_ok=True)
        storage.download_file(storage.join(prefix, name), path, region)
