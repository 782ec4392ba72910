"""ListObjects in its two versions: pages of keys and of common prefixes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from local_sagemaker.errors import ApiError
from local_sagemaker.s3.service import OWNER, S3, Asked, Given, Handler
from local_sagemaker.s3.store import Stored
from local_sagemaker.support import Support

LIMIT = 1000  # keys and common prefixes of one page


@dataclass
class Page:
    """Objects and common prefixes in one order, and the last of both where there are more."""

    objects: list[Stored] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    next: str | None = None


def page(s3: S3, request: dict[str, Any], after: str) -> Page:
    """What a request lists after a key or a common prefix. Raises ApiError NoSuchBucket."""
    bucket, prefix, delimiter = request["Bucket"], request.get("Prefix", ""), request.get("Delimiter", "")
    s3.store.bucket(bucket)
    limit = min(request.get("MaxKeys", LIMIT), LIMIT)
    if limit < 0:
        raise ApiError("InvalidArgument", "Argument maxKeys must be an integer between 0 and 2147483647")
    found, last = Page(), ""
    for key in s3.store.keys(bucket, prefix, after, fold=delimiter == "/") if limit else ():
        head, cut, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
        common = prefix + head + cut if cut else None
        if common and (common <= after or common == last):
            continue
        stored = None if common else s3.store.find(bucket, key)
        if not common and not stored:  # deleted since the directory was read
            continue
        if len(found.objects) + len(found.prefixes) == limit:
            found.next = last
            break
        if common:
            found.prefixes.append(common)
        elif stored:
            found.objects.append(stored)
        last = common or key
    return found


def version_1(s3: S3, asked: Asked) -> Given:
    request = asked.parameters
    after, encode = request.get("Marker", ""), _encoder(request)
    found = page(s3, request, after)
    members = _members(request, found, encode, with_owner=True)
    if found.next and "Delimiter" in request:  # without one, S3 leaves it to the client to take the last key
        members["NextMarker"] = encode(found.next)
    return Given({**members, "Marker": encode(after)})


def version_2(s3: S3, asked: Asked) -> Given:
    request = asked.parameters
    encode = _encoder(request)
    after = request.get("StartAfter", "")
    if "ContinuationToken" in request:
        after = _decode(request["ContinuationToken"])
    found = page(s3, request, after)
    members = _members(request, found, encode, with_owner=bool(request.get("FetchOwner")))
    members["KeyCount"] = len(found.objects) + len(found.prefixes)
    if found.next:
        members["NextContinuationToken"] = base64.urlsafe_b64encode(found.next.encode()).decode()
    if "StartAfter" in request:
        members["StartAfter"] = encode(request["StartAfter"])
    return Given({**members, "ContinuationToken": request.get("ContinuationToken")})


def _members(request: dict[str, Any], found: Page, encode: Callable[[str], str], with_owner: bool) -> dict[str, Any]:
    return {
        "Name": request["Bucket"],
        "Prefix": encode(request.get("Prefix", "")),
        "Delimiter": encode(request["Delimiter"]) if request.get("Delimiter") else None,
        "MaxKeys": min(request.get("MaxKeys", LIMIT), LIMIT),
        "EncodingType": request.get("EncodingType"),
        "IsTruncated": found.next is not None,
        "Contents": [_object(stored, encode, with_owner) for stored in found.objects],
        "CommonPrefixes": [{"Prefix": encode(prefix)} for prefix in found.prefixes],
    }


def _object(stored: Stored, encode: Callable[[str], str], with_owner: bool) -> dict[str, Any]:
    checksums = stored.about.get("Checksums", {})
    return {
        "Key": encode(stored.key),
        "LastModified": stored.modified,
        "ETag": stored.etag,
        "Size": stored.size,
        "StorageClass": "STANDARD",
        **({"Owner": OWNER} if with_owner else {}),
        **({"ChecksumType": stored.about["ChecksumType"]} if checksums else {}),
        "ChecksumAlgorithm": [name.removeprefix("Checksum") for name in checksums],
    }


def _encoder(request: dict[str, Any]) -> Callable[[str], str]:
    """How the names of an answer are written: as they are, or percent-encoded for what XML cannot hold."""
    return quote if request.get("EncodingType") == "url" else str


def _decode(token: str) -> str:
    try:
        return base64.b64decode(token, b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise ApiError(
            "InvalidArgument", "The continuation token provided is incorrect", ArgumentName="continuation-token"
        ) from None


HANDLERS: dict[str, Handler] = {"ListObjects": version_1, "ListObjectsV2": version_2}
SUPPORT = {
    "ListObjects": Support(without_effect=("RequestPayer", "OptionalObjectAttributes")),
    "ListObjectsV2": Support(without_effect=("RequestPayer", "OptionalObjectAttributes")),
}
