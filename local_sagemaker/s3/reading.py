"""Operations that read objects, in whole and in part, and what is known of them."""

from __future__ import annotations

import contextlib
import re
from typing import Any, BinaryIO

from local_sagemaker.errors import ApiError
from local_sagemaker.s3 import buckets
from local_sagemaker.s3.service import S3, Asked, Content, Given, Handler
from local_sagemaker.s3.store import Stored, precondition_failed
from local_sagemaker.support import Support

# Headers that are kept with an object and come back with it.
KEPT = ("CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType", "Expires")
ENCRYPTED = {"ServerSideEncryption": "AES256"}  # what S3 says of every object that asks for nothing else
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def get(s3: S3, asked: Asked) -> Given:
    request = asked.parameters
    found, stream = s3.store.open(request["Bucket"], request["Key"])
    with contextlib.ExitStack() as stack:
        stack.enter_context(stream)
        given = _got(request, found, stream)
        if asked.operation == "HeadObject":
            return Given(given.members, given.status)
        stack.pop_all()  # whoever sends the bytes closes the stream
        return given


def _got(request: dict[str, Any], found: Stored, stream: BinaryIO) -> Given:
    check_conditions(request, found)
    start, length, is_part = _range(request, found)
    members = _members(request, found, whole=not is_part)
    members["ContentLength"] = length
    if is_part:
        members["ContentRange"] = f"bytes {start}-{start + length - 1}/{found.size}"
    for name in KEPT:
        if f"Response{name}" in request:
            members[name] = request[f"Response{name}"]
    stream.seek(start)
    return Given(members, 206 if is_part else 200, Content(stream, length))


def check_conditions(request: dict[str, Any], found: Stored, of: str = "") -> None:
    """The conditions of a request that reads, in the order of RFC 9110. Raises ApiError 412 or 304."""
    etag = found.etag.strip('"')
    if_match, if_none = (request.get(f"{of}{name}") for name in ("IfMatch", "IfNoneMatch"))
    if if_match is not None:
        if if_match != "*" and etag not in _etags(if_match):
            raise precondition_failed("If-Match")
    elif found.modified > request.get(f"{of}IfUnmodifiedSince", found.modified):
        raise precondition_failed("If-Unmodified-Since")
    if if_none is not None:
        unchanged = if_none == "*" or etag in _etags(if_none)
    else:
        unchanged = f"{of}IfModifiedSince" in request and found.modified <= request[f"{of}IfModifiedSince"]
    if unchanged and of:
        raise precondition_failed("If-None-Match")
    if unchanged:
        raise ApiError("NotModified", "Not Modified", 304)


def _etags(text: str) -> list[str]:
    return [item.strip().removeprefix("W/").strip('"') for item in text.split(",")]


def _range(request: dict[str, Any], found: Stored) -> tuple[int, int, bool]:
    """First byte, length, and whether that is a part. Raises ApiError InvalidRange, InvalidPartNumber."""
    if "PartNumber" in request:
        if "Range" in request:
            raise ApiError("InvalidRequest", "Cannot specify both Range header and partNumber query parameter.")
        sizes, number = found.about.get("Parts", [found.size]), request["PartNumber"]
        if not 1 <= number <= len(sizes):
            raise ApiError("InvalidPartNumber", "The requested partnumber is not satisfiable", 416)
        return sum(sizes[: number - 1]), sizes[number - 1], found.size > 0
    matched = _RANGE.fullmatch(request.get("Range", "").strip())
    if not matched or matched.group() == "bytes=-":
        return 0, found.size, False
    first, last = matched.groups()
    start = int(first) if first else max(0, found.size - int(last))
    end = min(int(last) if first and last else found.size - 1, found.size - 1)
    if first and last and int(last) < int(first):
        return 0, found.size, False  # no range at all, by RFC 9110
    if start > end:
        raise ApiError(
            "InvalidRange",
            "The requested range is not satisfiable",
            416,
            RangeRequested=request["Range"],
            ActualObjectSize=found.size,
        )
    return start, end - start + 1, True


def _members(request: dict[str, Any], found: Stored, whole: bool) -> dict[str, Any]:
    about = found.about
    members = {
        "ContentType": "binary/octet-stream",
        **about.get("Headers", {}),
        "Metadata": about.get("Metadata", {}),
        "ETag": found.etag,
        "LastModified": found.modified,
        "AcceptRanges": "bytes",
        "TagCount": len(about.get("Tags", [])) or None,
        **ENCRYPTED,
    }
    if "PartNumber" in request and "Parts" in about:
        members["PartsCount"] = len(about["Parts"])
    if whole and request.get("ChecksumMode") == "ENABLED" and "Checksums" in about:
        members |= {**about["Checksums"], "ChecksumType": about["ChecksumType"]}
    return members


def attributes(s3: S3, asked: Asked) -> Given:
    found = s3.store.get(asked.parameters["Bucket"], asked.parameters["Key"])
    known: dict[str, Any] = {"ETag": found.etag.strip('"'), "ObjectSize": found.size, "StorageClass": "STANDARD"}
    if "Checksums" in found.about:
        known["Checksum"] = {**found.about["Checksums"], "ChecksumType": found.about["ChecksumType"]}
    if "Parts" in found.about:
        known["ObjectParts"] = {"TotalPartsCount": len(found.about["Parts"])}
    members = {name: known[name] for name in asked.parameters["ObjectAttributes"] if name in known}
    return Given({**members, "LastModified": found.modified})


def acl(s3: S3, asked: Asked) -> Given:
    s3.store.get(asked.parameters["Bucket"], asked.parameters["Key"])
    return Given(buckets.FULL_CONTROL)


def get_tags(s3: S3, asked: Asked) -> Given:
    return Given({"TagSet": s3.store.get(asked.parameters["Bucket"], asked.parameters["Key"]).about.get("Tags", [])})


HANDLERS: dict[str, Handler] = {
    "GetObject": get,
    "HeadObject": get,
    "GetObjectAttributes": attributes,
    "GetObjectAcl": acl,
    "GetObjectTagging": get_tags,
}
_REFUSED = ("SSECustomerAlgorithm", "SSECustomerKey", "SSECustomerKeyMD5", "VersionId")
SUPPORT = {
    "GetObject": Support(("RequestPayer",), _REFUSED),
    "HeadObject": Support(("RequestPayer",), _REFUSED),
    "GetObjectAttributes": Support(("RequestPayer", "MaxParts", "PartNumberMarker"), _REFUSED),
    "GetObjectAcl": Support(("RequestPayer",), ("VersionId",)),
    "GetObjectTagging": Support(("RequestPayer",), ("VersionId",)),
}
