"""Where data comes from and goes to: `file:///DIR` on this machine, `s3://BUCKET/KEY` as `s3.access` leads there."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from local_sagemaker.errors import ApiError, JobError
from local_sagemaker.s3 import access


def join(uri: str, *parts: str) -> str:
    """`join("s3://b/p/", "a", "b")` -> `s3://b/p/a/b`; the names are quoted where the location is a URL."""
    return "/".join(
        [uri.rstrip("/"), *map(quote, parts)] if urlsplit(uri).scheme == "file" else [uri.rstrip("/"), *parts]
    )


def local_path(uri: str) -> Path | None:
    """The path that a `file://` location names; None for a location in S3."""
    parts = urlsplit(uri)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def mountable(uri: str) -> Path | None:
    """What a container can be given without a copy: a `file://` path, or the directory of a prefix in a bucket of this
    server's own; None for what has to be downloaded."""
    if urlsplit(uri).scheme == "s3":
        return access.directory(*_bucket_and_key(uri))
    return local_path(uri)


def download(uri: str, target: Path, region: str, shard: tuple[int, int] = (0, 1)) -> None:
    """Copies every S3 object below a prefix into a directory, or the one object that the location names.

    Of the keys in their order, shard (i, n) is the i-th and every n-th after it. Raises JobError where there is nothing
    or S3 refuses.
    """
    name, prefix = _bucket_and_key(uri)
    with _s3_errors(f"Data download failed: {uri}"):
        bucket = access.bucket(name, region)
        keys = _files(bucket, prefix)
        if not keys:
            raise JobError(f"ClientError: Data download failed: there is no object below {uri}.")
        place, count = shard
        for key in keys[place::count]:
            # As on SageMaker the folder of the prefix itself is not repeated below the channel.
            inner = (
                key[len(prefix) :].lstrip("/") if key != prefix and _is_folder(prefix, key) else key.rpartition("/")[2]
            )
            path = target / inner
            if not path.resolve().is_relative_to(target.resolve()):
                raise JobError(
                    f"ClientError: Data download failed: the key {key!r} of {uri} leaves the channel's directory."
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            bucket.fetch(key, path)


def objects(uri: str, region: str) -> list[tuple[str, str]]:
    """The location and the name of every object below a prefix, or of the one object; the names are relative to the
    prefix's folder. Raises JobError where there is nothing."""
    directory = local_path(uri)
    if directory is not None:
        paths = [directory] if directory.is_file() else sorted(p for p in directory.rglob("*") if p.is_file())
        found = [(p.as_uri(), p.name if p == directory else p.relative_to(directory).as_posix()) for p in paths]
    else:
        name, prefix = _bucket_and_key(uri)
        folder = f"{prefix}/" if prefix and not prefix.endswith("/") else prefix
        with _s3_errors(f"Data download failed: {uri}"):
            keys = _files(access.bucket(name, region), prefix)
        found = [
            (f"s3://{name}/{k}", k.removeprefix(folder) if k.startswith(folder) else k.rpartition("/")[2]) for k in keys
        ]
    if not found:
        raise JobError(f"ClientError: Data download failed: there is no object below {uri}.")
    return found


def download_file(uri: str, target: Path, region: str) -> None:
    """Copies one file, from S3 or from this machine."""
    source = local_path(uri)
    if source is not None:
        if not source.is_file():
            raise JobError(f"ClientError: {uri} does not exist.")
        shutil.copyfile(source, target)
        return
    name, key = _bucket_and_key(uri)
    with _s3_errors(f"Data download failed: {uri}"):
        access.bucket(name, region).fetch(key, target)


def upload_file(source: Path, uri: str, region: str) -> None:
    """Copies one file to its place; a reader sees the old file or the whole new one. Raises JobError."""
    target = local_path(uri)
    if target is not None:
        with _written(uri):
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".{target.name}.partial")
            try:
                shutil.copyfile(source, partial)
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)
        return
    name, key = _bucket_and_key(uri)
    with _s3_errors(f"Artifact upload failed: {uri}"):
        access.bucket(name, region).send(source, key)


def upload_directory(source: Path, uri: str, region: str) -> None:
    """Copies the regular files below a directory: a link that a container made means nothing here. Raises JobError."""
    for path in sorted(source.rglob("*")):
        if path.is_file() and not path.is_symlink():
            upload_file(path, join(uri, path.relative_to(source).as_posix()), region)


def has_objects(uri: str, region: str) -> bool:
    """Whether there is anything below an S3 prefix."""
    name, prefix = _bucket_and_key(uri)
    with _s3_errors(f"Data download failed: {uri}"):
        return any(not key.endswith("/") for key in access.bucket(name, region).keys(prefix))


def _bucket_and_key(uri: str) -> tuple[str, str]:
    scheme, _, rest = uri.partition("://")
    if scheme != "s3":
        raise JobError(f"ClientError: local SageMaker reads s3:// and file:// locations only, not {uri}.")
    name, _, key = rest.partition("/")
    return name, key


def _files(bucket: access.Bucket, prefix: str) -> list[str]:
    """The keys below a prefix without those of folders."""
    return sorted(key for key in bucket.keys(prefix) if not key.endswith("/"))


def _is_folder(prefix: str, key: str) -> bool:
    return not prefix or prefix.endswith("/") or key[len(prefix) :].startswith("/")


@contextlib.contextmanager
def _written(uri: str) -> Iterator[None]:
    """Turns what this machine's files refuse into a sentence for the job's failure reason."""
    try:
        yield
    except OSError as error:
        raise JobError(
            f"ClientError: Artifact upload failed: {uri} cannot be written: {error.strerror}; "
            "name an output path that this user can write to, on a disk with space."
        ) from error


class _s3_errors:
    """Turns what S3 raises into a sentence for the job's failure reason."""

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        if isinstance(error, ApiError):
            raise JobError(f"ClientError: {self._doing}: {error.code}: {error.message}") from error
        if isinstance(error, Boto3Error | BotoCoreError | ClientError | OSError):
            raise JobError(f"ClientError: {self._doing}: {error}") from error
