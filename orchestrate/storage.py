"""Files by URI: `s3://bucket/key` or `file:///directory`, the same calls for both."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from orchestrate import side_by_side
from orchestrate.errors import InputError

_UPLOAD_THREADS = 16  # photographs are small: the wait is latency, not bandwidth


def is_uri(text: str) -> bool:
    """True for `scheme://...`, False for a path."""
    return "://" in text


def join(uri: str, *parts: str) -> str:
    """`join("s3://b/k/", "a")` -> `s3://b/k/a`."""
    return "/".join([uri.rstrip("/"), *parts])


def child(uri: str, relative: str) -> str:
    """The URI of a file that `Storage.list` told under `uri`; its name may hold anything that a file name may."""
    return join(uri, quote(relative) if _is_file(uri) else relative)


def check_uri(uri: str) -> str:
    """The URI without a slash at its end.

    Raises:
        InputError: neither `s3://bucket...` nor `file:///absolute/path`.
    """
    if not (re.match(r"s3://[^/]", uri) or re.match(r"file:///[^/]", uri)):
        raise InputError(f"{uri!r} is no location that can be used: give s3://BUCKET/PREFIX or file:///DIRECTORY")
    return uri.rstrip("/")


def local_path(uri: str) -> Path:
    """The path of a `file://` URI."""
    return Path(unquote(uri.removeprefix("file://")))


class Storage:
    """`s3`: makes the S3 client when the first `s3://` URI comes along."""

    def __init__(self, s3: Callable[[], Any]) -> None:
        self._make_s3 = s3
        self._client: Any = None

    def publish(self, folder: Path, uri: str, send: bool = True) -> str:
        """Makes `folder` readable for a job and returns where: as it lies for `file://`, else uploaded to `uri`.

        Objects that are there with the same size are not sent again. `send=False` only tells where.
        """
        if _is_file(uri):
            return folder.resolve().as_uri()
        if not send:
            return uri
        self._require_bucket(uri)
        there = dict(self.list(uri))
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        new = [p for p in files if there.get(p.relative_to(folder).as_posix()) != p.stat().st_size]
        sent = side_by_side.each(
            lambda p: self.upload(p, child(uri, p.relative_to(folder).as_posix())), new, _UPLOAD_THREADS
        )
        for _ in sent:
            pass
        return uri

    def upload(self, path: Path, uri: str) -> None:
        """One file to the URI of a file."""
        if _is_file(uri):
            target = local_path(uri)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        else:
            self._s3.upload_file(str(path), *_bucket_and_key(uri))

    def write(self, data: bytes, uri: str) -> None:
        """Bytes to the URI of a file."""
        if _is_file(uri):
            target = local_path(uri)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        else:
            bucket, key = _bucket_and_key(uri)
            self._s3.put_object(Bucket=bucket, Key=key, Body=data)

    def read(self, uri: str) -> bytes:
        """The bytes of the file at exactly this URI, which is there."""
        if _is_file(uri):
            return local_path(uri).read_bytes()
        bucket, key = _bucket_and_key(uri)
        data: bytes = self._s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return data

    def download(self, uri: str, path: Path) -> None:
        """One file. Raises InputError where there is none."""
        if self.size(uri) is None:
            raise InputError(f"there is no file at {uri}")
        path.parent.mkdir(parents=True, exist_ok=True)
        if _is_file(uri):
            if local_path(uri) != path:
                shutil.copyfile(local_path(uri), path)
        else:
            self._s3.download_file(*_bucket_and_key(uri), str(path))

    def size(self, uri: str) -> int | None:
        """Bytes of the file at exactly this URI; None where there is none."""
        if _is_file(uri):
            path = local_path(uri)
            return path.stat().st_size if path.is_file() else None
        bucket, key = _bucket_and_key(uri)
        answer = self._s3.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
        return next((o["Size"] for o in answer.get("Contents", []) if o["Key"] == key), None)

    def has_any(self, uri: str) -> bool:
        """True where at least one file lies under the folder `uri`."""
        return next(self.list(uri), None) is not None

    def list(self, uri: str) -> Iterator[tuple[str, int]]:
        """(path relative to the folder `uri`, bytes) of each file under it."""
        if _is_file(uri):
            root = local_path(uri)
            for path in root.rglob("*"):
                if path.is_file():
                    yield path.relative_to(root).as_posix(), path.stat().st_size
            return
        bucket, key = _bucket_and_key(join(uri, ""))
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key):
            for item in page.get("Contents", []):
                yield item["Key"][len(key) :], item["Size"]

    def delete(self, uri: str) -> None:
        """The folder `uri` with all that is in it. In a bucket that keeps versions they stay for as long as it says."""
        if _is_file(uri):
            shutil.rmtree(local_path(uri))
            return
        bucket, key = _bucket_and_key(join(uri, ""))
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key):
            if found := [{"Key": item["Key"]} for item in page.get("Contents", [])]:
                self._s3.delete_objects(Bucket=bucket, Delete={"Objects": found, "Quiet": True})

    @property
    def _s3(self) -> Any:
        if self._client is None:
            self._client = self._make_s3()
        return self._client

    def _require_bucket(self, uri: str) -> None:
        from botocore.exceptions import ClientError

        bucket, _ = _bucket_and_key(uri)
        try:
            self._s3.head_bucket(Bucket=bucket)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise
            raise InputError(
                f"the bucket {bucket} does not exist: create it with `aws s3 mb s3://{bucket}`, "
                f"or name another with --output s3://BUCKET/PREFIX"
            ) from None


def _is_file(uri: str) -> bool:
    return check_uri(uri).startswith("file:")


def _bucket_and_key(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key
