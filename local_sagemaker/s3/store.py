"""Buckets and objects as files.

`ROOT/BUCKET/` holds an object as the file that its key names, so that a channel can be mounted and a person can look.
`ROOT/.meta/BUCKET/` holds the rest: `objects/` what is known of an object (one JSON file, named by the key's digest and
the object's modification time, so that it never speaks of another version than the one that is there), `odd/` the
objects whose keys cannot be paths there (`a//b`, or `a` beside `a/b`), `partial/` what is being written, `uploads/`
multipart uploads. A file that somebody puts into a bucket's directory is an object too.

An object appears by a rename of a file that is whole and on the disk: a reader, and the next server, sees the old one
or the new one.
"""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import json
import os
import shutil
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from local_sagemaker.errors import ApiError
from local_sagemaker.records import write_json
from local_sagemaker.s3 import keys, walk
from local_sagemaker.s3.odd import OddKeys

About = dict[str, Any]  # what is kept of an object beside its bytes, as JSON


@dataclass(frozen=True)
class Stored:
    """One object: where its bytes are (`size` of them), and what is known of it."""

    key: str
    path: Path
    size: int
    modified_ns: int
    etag: str  # with its quotes
    about: About

    @property
    def modified(self) -> float:
        """Seconds since 1970, whole ones, as HTTP's dates are."""
        return float(self.modified_ns // 1_000_000_000)


class Store:
    """Every bucket of this server. Every method may be called from any thread."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.RLock()
        self._odd = OddKeys(root)
        self._latest_ns = 0

    def recover(self) -> None:
        """Forgets what an earlier server was writing when it ended."""
        for partial in self._root.glob(".meta/*/partial"):
            shutil.rmtree(partial)

    # Buckets

    def buckets(self) -> list[tuple[str, dict[str, Any]]]:
        """The names in order, with `CreationTime` (seconds since 1970) and `Region`."""
        names = sorted(path.name for path in self._root.glob("[!.]*") if path.is_dir())
        return [(name, self.bucket(name)) for name in names]

    def has(self, bucket: str) -> bool:
        return not bucket.startswith(".") and "/" not in bucket and (self._root / bucket).is_dir() and bucket != ""

    def bucket(self, name: str) -> dict[str, Any]:
        """What is known of a bucket. Raises ApiError NoSuchBucket."""
        if not self.has(name):
            raise ApiError("NoSuchBucket", "The specified bucket does not exist", 404, BucketName=name)
        try:
            known: dict[str, Any] = json.loads((self.meta(name) / "bucket.json").read_text())
        except FileNotFoundError:  # a directory that somebody made
            known = {"CreationTime": (self._root / name).stat().st_mtime, "Region": "us-east-1"}
        return known

    def create_bucket(self, name: str, region: str) -> bool:
        """False when it is there already. Raises ApiError InvalidBucketName."""
        keys.check_bucket(name)
        with self._lock:
            if self.has(name):
                return False
            self.meta(name).mkdir(parents=True, exist_ok=True)
            write_json(self.meta(name) / "bucket.json", {"CreationTime": time.time(), "Region": region})
            (self._root / name).mkdir()
            return True

    def delete_bucket(self, name: str) -> None:
        """Raises ApiError NoSuchBucket or BucketNotEmpty."""
        with self._lock:
            self.bucket(name)
            try:  # what is no object, like a link, is not lost either
                for path in sorted((self._root / name).rglob("*"), reverse=True):
                    path.rmdir()
                (self._root / name).rmdir()
            except OSError:
                message = "The bucket you tried to delete is not empty"
                raise ApiError("BucketNotEmpty", message, 409, BucketName=name) from None
            shutil.rmtree(self.meta(name), ignore_errors=True)
            self._odd.forget(name)

    def meta(self, bucket: str) -> Path:
        return self._root / ".meta" / bucket

    # Objects

    @contextlib.contextmanager
    def partial(self, bucket: str) -> Iterator[Path]:
        """A place for bytes that will become an object of the bucket; what is still there in the end is removed."""
        path = self.meta(bucket) / "partial" / uuid4().hex
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def put(
        self, bucket: str, key: str, partial: Path, about: About, if_match: str | None = None, only_new: bool = False
    ) -> Stored:
        """Makes a complete file the object of this key; `about` gives at least its `ETag`.

        `if_match`: the ETag that the object must have now; `only_new`: there must be none. Raises ApiError.
        """
        keys.check_key(key)
        self.bucket(bucket)
        sync(partial)
        with self._lock:
            old = self.find(bucket, key)
            if only_new and old:
                raise precondition_failed("If-None-Match")
            if if_match is not None and old is None:
                raise no_such_key(key)
            if if_match is not None and old and old.etag.strip('"') != if_match.strip('"'):
                raise precondition_failed("If-Match")
            modified = self._now(partial)
            self._write_about(bucket, key, modified, about)
            path = self._place(bucket, key)
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.replace(path)
            sync(path.parent)
            if old and old.modified_ns != modified:
                self._about_path(bucket, key, old.modified_ns).unlink(missing_ok=True)
        return self.get(bucket, key)

    def put_file(self, bucket: str, key: str, source: Path) -> Stored:
        """Makes a copy of a file the object of this key."""
        digest = hashlib.md5(usedforsecurity=False)
        with self.partial(bucket) as partial:
            with source.open("rb") as reading, partial.open("wb") as writing:
                while block := reading.read(1 << 20):
                    digest.update(block)
                    writing.write(block)
            return self.put(bucket, key, partial, {"ETag": f'"{digest.hexdigest()}"'})

    def find(self, bucket: str, key: str) -> Stored | None:
        with self._lock:  # so that what is known is of the bytes that are there
            return self._find(bucket, key)

    def open(self, bucket: str, key: str) -> tuple[Stored, BinaryIO]:
        """An object and its bytes, which stay the same whatever becomes of it. Raises ApiError like `get`."""
        with self._lock:
            found = self.get(bucket, key)
            return found, found.path.open("rb")

    def _find(self, bucket: str, key: str) -> Stored | None:
        path = self._existing(bucket, key)
        if path is None:
            return None
        try:
            status = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        about = self._read_about(bucket, key, status.st_mtime_ns)
        # Somebody's own file has no ETag yet; in the form of a multipart upload's it does not claim to be its MD5.
        version = hashlib.md5(f"{status.st_mtime_ns} {status.st_size}".encode(), usedforsecurity=False).hexdigest()
        return Stored(key, path, status.st_size, status.st_mtime_ns, about.get("ETag", f'"{version}-1"'), about)

    def get(self, bucket: str, key: str) -> Stored:
        """Raises ApiError NoSuchBucket or NoSuchKey."""
        self.bucket(bucket)
        keys.check_key(key)
        found = self.find(bucket, key)
        if found is None:
            raise no_such_key(key)
        return found

    def amend(self, bucket: str, key: str, **members: Any) -> None:
        """Changes what is known of an object, and not the object."""
        with self._lock:
            found = self.get(bucket, key)
            self._write_about(bucket, key, found.modified_ns, {"ETag": found.etag, **found.about, **members})

    def delete(self, bucket: str, key: str) -> None:
        """Nothing happens where there is no such object, as in S3. Raises ApiError NoSuchBucket."""
        self.bucket(bucket)
        keys.check_key(key)
        with self._lock:
            found = self.find(bucket, key)
            if found is None:
                return
            found.path.unlink()
            self._about_path(bucket, key, found.modified_ns).unlink(missing_ok=True)
            if self._odd.has(bucket, key):
                self._odd.remove(bucket, key)
                return
            for parent in found.path.parents:  # S3 has no directories, so none stays
                if parent == self._root / bucket or any(parent.iterdir()):
                    break
                parent.rmdir()

    def keys(self, bucket: str, prefix: str = "", after: str = "", fold: bool = False) -> Iterator[str]:
        """The keys that begin with `prefix` and come after `after`, in order; `fold` as in `walk.keys`."""
        with self._lock:
            odd = sorted(key for key in self._odd.below(bucket, prefix) if key > after)
        return heapq.merge(walk.keys(self._root / bucket, prefix, after, fold), odd)

    def directory(self, bucket: str, prefix: str) -> Path | None:
        """The directory that holds exactly the objects below a prefix; None where there is none, or not all are in it.

        That is where `a/train` is a directory, no key such as `a/train2` begins the same, and none is odd.
        """
        path = keys.as_path(prefix.rstrip("/")) if prefix.strip("/") else Path()
        if path is None or not (self._root / bucket / path).is_dir() or (self._root / bucket / path).is_symlink():
            return None
        with self._lock:
            if self._odd.below(bucket, prefix):
                return None
        folder = f"{prefix.rstrip('/')}/" if prefix else ""
        inside = set(self.keys(bucket, prefix, fold=True))
        if prefix and not prefix.endswith("/") and inside != {folder}:
            return None
        return self._root / bucket / path if inside else None

    def _place(self, bucket: str, key: str) -> Path:
        """Where a new version of the object goes."""
        existing = self._existing(bucket, key)
        if existing and (existing.is_file() or self._odd.has(bucket, key)):
            return existing
        path = keys.as_path(key)
        if path is not None:
            target = self._root / bucket / path
            above = [self._root / bucket / parent for parent in path.parents][:-1]
            if not os.path.lexists(target) and all(p.is_dir() or not os.path.lexists(p) for p in above):
                return target
        return self._odd.add(bucket, key)

    def _existing(self, bucket: str, key: str) -> Path | None:
        """Where the object would be, if it is there; never outside of the bucket."""
        with self._lock:
            if self._odd.has(bucket, key):
                return self._odd.path(bucket, key)
        path = keys.as_path(key)
        if path is None:
            return None
        found = self._root / bucket / path
        # A container that writes into a mounted bucket may leave links.
        return found if found.parent.resolve().is_relative_to((self._root / bucket).resolve()) else None

    def _about_path(self, bucket: str, key: str, modified_ns: int) -> Path:
        name = keys.digest(key)
        return self.meta(bucket) / "objects" / name[:2] / f"{name}-{modified_ns}.json"

    def _read_about(self, bucket: str, key: str, modified_ns: int) -> About:
        try:
            about: About = json.loads(self._about_path(bucket, key, modified_ns).read_text())
        except FileNotFoundError:
            return {}
        return about

    def _write_about(self, bucket: str, key: str, modified_ns: int, about: About) -> None:
        path = self._about_path(bucket, key, modified_ns)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, about)

    def _now(self, partial: Path) -> int:
        """Gives a file a modification time that no other object of this server has."""
        self._latest_ns = max(time.time_ns(), self._latest_ns + 1)
        os.utime(partial, ns=(self._latest_ns, self._latest_ns))
        return partial.stat().st_mtime_ns


def no_such_key(key: str) -> ApiError:
    return ApiError("NoSuchKey", "The specified key does not exist.", 404, Key=key)


def precondition_failed(condition: str) -> ApiError:
    message = "At least one of the pre-conditions you specified did not hold"
    return ApiError("PreconditionFailed", message, 412, Condition=condition)


def sync(path: Path) -> None:
    """Returns when a file's bytes, or a directory's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
