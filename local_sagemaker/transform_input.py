"""The input of a batch transform: its objects, and the records in them.

Source: https://docs.aws.amazon.com/sagemaker/latest/dg/batch-transform.html.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_sagemaker import manifest, storage
from local_sagemaker.errors import JobError

MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Source:
    """One input object: where it is, and its name below the output path, which ends with `.out` there."""

    uri: str
    name: str


def sources(data: dict[str, Any], scratch: Path, region: str) -> list[Source]:
    """The objects that a TransformDataSource names. Raises JobError where there are none."""
    uri = data["S3Uri"]
    if data["S3DataType"] == "ManifestFile":
        return _of_manifest(uri, scratch, region)
    return [Source(one, name) for one, name in storage.objects(uri, region)]


def _of_manifest(uri: str, scratch: Path, region: str) -> list[Source]:
    prefix, names = manifest.read(uri, scratch / "manifest", region, least=1)
    for name in names:
        if ".." in name.split("/"):
            raise JobError(f"ClientError: {name!r} of the manifest {uri} leaves the output path.")
    return [Source(storage.join(prefix, name), name) for name in names]


def fetch(source: Source, scratch: Path, region: str, is_gzip: bool) -> Path:
    """The bytes of an object in a file of this job's own, unpacked. Raises JobError."""
    path = scratch / "input"
    storage.download_file(source.uri, path, region)
    if not is_gzip:
        return path
    plain = scratch / "plain"
    try:
        with gzip.open(path, "rb") as reading, plain.open("wb") as writing:
            while block := reading.read(MEGABYTE):
                writing.write(block)
    except (OSError, EOFError) as error:
        raise JobError(f"ClientError: {source.uri} cannot be decompressed as gzip: {error}.") from error
    return plain


def check_size(path: Path, limit: int) -> None:
    """Raises JobError for an object that is sent whole and is longer than `limit` bytes; 0 is no limit."""
    if limit and path.stat().st_size > limit:
        raise _too_long("The object", path.stat().st_size, limit)


def batches(path: Path, is_single: bool, limit: int) -> Iterator[bytes]:
    """The lines of an object, one or as many as `limit` bytes hold, joined by newlines; 0 is no limit.

    Empty lines are no records. Raises JobError for a record that is longer than the limit.
    """
    batch: list[bytes] = []
    size = 0
    with path.open("rb") as stream:
        for line in stream:
            record = line.rstrip(b"\r\n")
            if not record:
                continue
            if limit and len(record) > limit:
                raise _too_long("A record", len(record), limit)
            if batch and (is_single or (limit and size + 1 + len(record) > limit)):
                yield b"\n".join(batch)
                batch, size = [], 0
            size += len(record) + (1 if batch else 0)
            batch.append(record)
    if batch:
        yield b"\n".join(batch)


def _too_long(what: str, size: int, limit: int) -> JobError:
    return JobError(
        f"ClientError: {what} has {size} bytes and MaxPayloadInMB is {limit // MEGABYTE}: raise it, or split the input "
        "into lines (SplitType Line)."
    )
