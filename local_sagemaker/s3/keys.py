"""Names: which buckets may be made, and which keys can be a file of the same name below their bucket.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html and
https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath

from local_sagemaker.errors import ApiError

KEY_LIMIT = 1024  # bytes of UTF-8
_NAME_LIMIT = 255  # bytes of a file's name, on every file system of Linux
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
_RESERVED = ("xn--", "sthree-", "amzn-s3-demo-")


def check_bucket(name: str) -> None:
    """Raises ApiError for a name that S3 does not give."""
    if not _BUCKET.fullmatch(name) or ".." in name or _ADDRESS.fullmatch(name) or name.startswith(_RESERVED):
        raise ApiError("InvalidBucketName", "The specified bucket is not valid.", BucketName=name)


def check_key(key: str) -> None:
    """Raises ApiError for a key that S3 does not take."""
    size = len(key.encode("utf-8", "surrogateescape"))
    if size > KEY_LIMIT:
        raise ApiError("KeyTooLongError", "Your key is too long", Size=size, MaxSizeAllowed=KEY_LIMIT)
    try:
        key.encode()
    except UnicodeEncodeError:
        raise ApiError("InvalidArgument", "The key is not UTF-8.") from None


def as_path(key: str) -> PurePosixPath | None:
    """The path below the bucket that is the key; None for keys that no path is, like `a//b`, `../x` and `folder/`."""
    segments = key.split("/")
    if any(s in ("", ".", "..") or "\0" in s or len(s.encode()) > _NAME_LIMIT for s in segments):
        return None
    return PurePosixPath(*segments)


def digest(key: str) -> str:
    """The name under which what belongs to a key is kept."""
    return hashlib.sha256(key.encode()).hexdigest()
