"""Where `s3://BUCKET` leads for the jobs of this server: to its own files, or over the network with boto3.

A bucket of the server's own is read and written without HTTP. Other buckets, and all of them where the server's
environment names an S3 (AWS_ENDPOINT_URL_S3), are asked with the credentials and the endpoint of that environment.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from local_sagemaker.s3.store import Store

_own: list[Store] = []


def serve_from(store: Store) -> None:
    """Tells this process which buckets are its own."""
    _own[:] = [store]


class Bucket(Protocol):
    """What jobs need of a bucket; each method raises what its kind of bucket raises."""

    def keys(self, prefix: str) -> Iterator[str]:
        """The keys that begin with a prefix, in order."""

    def fetch(self, key: str, target: Path) -> None:
        """Copies an object to a file."""

    def send(self, source: Path, key: str) -> None:
        """Makes a copy of a file an object."""


@dataclass(frozen=True)
class OwnBucket:
    store: Store
    name: str

    def keys(self, prefix: str) -> Iterator[str]:
        return self.store.keys(self.name, prefix)

    def fetch(self, key: str, target: Path) -> None:
        shutil.copyfile(self.store.get(self.name, key).path, target)

    def send(self, source: Path, key: str) -> None:
        self.store.put_file(self.name, key, source)


@dataclass(frozen=True)
class RemoteBucket:
    client: Any
    name: str

    def keys(self, prefix: str) -> Iterator[str]:
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix):
            for item in page.get("Contents", []):
                yield item["Key"]

    def fetch(self, key: str, target: Path) -> None:
        self.client.download_file(self.name, key, str(target))

    def send(self, source: Path, key: str) -> None:
        self.client.upload_file(str(source), self.name, key)


def bucket(name: str, region: str) -> Bucket:
    store = _own_store(name)
    if store:
        return OwnBucket(store, name)
    import boto3

    return RemoteBucket(boto3.client("s3", region_name=region), name)


def directory(name: str, prefix: str) -> Path | None:
    """The directory that holds exactly what is below a prefix; None where that must be copied."""
    store = _own_store(name)
    return store.directory(name, prefix) if store else None


def _own_store(bucket: str) -> Store | None:
    if not _own or "AWS_ENDPOINT_URL_S3" in os.environ:
        return None
    return _own[0] if _own[0].has(bucket) else None
