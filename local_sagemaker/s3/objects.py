"""Operations on objects: writing, reading in whole and in part, copying, deleting, what is known of them."""

from __future__ import annotations

import contextlib
import re
import shutil
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, unquote

from local_sagemaker.errors import ApiError
from local_sagemaker.s3 import buckets, checksums
from local_sagemaker.s3.service import S3, Asked, Content, Given, Handler
from local_sagemaker.s3.store import About, Stored, precondition_failed
from local_sagemaker.support import Support

# Headers that are kept with an object and come back with it.
KEPT = ("CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType", "Expires")
METADATA_LIMIT = 2048  # bytes of names and values of an object's own metadata
TAGS_LIMIT = 10
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_ENCRYPTED = {"ServerSideEncryption": "AES256"}  # what S3 says of every object that asks for nothing else


def put(s3: S3, asked: Asked) -> Given:
    request, received = asked.parameters, asked.received
    assert received
    about = {**described(request), "ETag": received.etag}
    if received.checksums:
        about |= {"Checksums": received.checksums, "ChecksumType": "FULL_OBJECT"}
    if_match, only_new = conditions(request)
    s3.store.put(request["Bucket"], request["Key"], received.path, about, if_match, only_new)
    more = {"ChecksumType": "FULL_OBJECT"} if received.checksums else {}
    return Given({"ETag": received.etag, **received.checksums, **more, **_ENCRYPTED})


def described(request: dict[str, Any]) -> About:
    """What a request says of the object that it makes. Raises ApiError."""
    metadata = request.get("Metadata", {})
    size = sum(len(key) + len(value) for key, value in metadata.items())
    if size > METADATA_LIMIT:
        raise ApiError(
            "MetadataTooLarge",
            "Your metadata headers exceed the maximum allowed metadata size",
            Size=size,
            MaxSizeAllowed=METADATA_LIMIT,
        )
    headers = {name: request[name] for name in KEPT if name in request}
    if "ContentEncoding" in headers:  # aws-chunked is of the request, not of the object
        kept = [item.strip() for item in headers["ContentEncoding"].split(",") if item.strip() != "aws-chunked"]
        headers["ContentEncoding"] = ",".join(kept) or None
    tags = [{"Key": k, "Value": v} for k, v in parse_qsl(request.get("Tagging", ""), keep_blank_values=True)]
    _check_tags(tags)
    return {"Headers": {k: v for k, v in headers.items() if v is not None}, "Metadata": metadata, "Tags": tags}


def conditions(request: dict[str, Any]) -> tuple[str | None, bool]:
    """If-Match and If-None-Match of a request that writes. Raises ApiError."""
    if request.get("IfNoneMatch", "*") != "*":
        raise ApiError("NotImplemented", "If-None-Match of a write can be * only.", 501)
    return request.get("IfMatch"), "IfNoneMatch" in request


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
        **_ENCRYPTED,
    }
    if "PartNumber" in request and "Parts" in about:
        members["PartsCount"] = len(about["Parts"])
    if whole and request.get("ChecksumMode") == "ENABLED" and "Checksums" in about:
        members |= {**about["Checksums"], "ChecksumType": about["ChecksumType"]}
    return members


def copy(s3: S3, asked: Asked) -> Given:
    request = asked.parameters
    source, stream = copy_source(s3, request)
    with stream:
        return _copied(s3, request, source, stream)


def _copied(s3: S3, request: dict[str, Any], source: Stored, stream: BinaryIO) -> Given:
    replaces = request.get("MetadataDirective", "COPY") == "REPLACE"
    if source.path == _path(s3, request["Bucket"], request["Key"]) and not replaces:
        raise ApiError(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without changing the "
            "object's metadata, storage class, website redirect location or encryption attributes.",
        )
    about = {key: value for key, value in source.about.items() if key not in ("Parts", "ETag")}
    given = described(request)
    if replaces:
        about |= {"Headers": given["Headers"], "Metadata": given["Metadata"]}
    if request.get("TaggingDirective", "COPY") == "REPLACE":
        about["Tags"] = given["Tags"]
    if_match, only_new = conditions(request)
    partial = s3.store.partial(request["Bucket"])
    with partial.open("wb") as writing:
        shutil.copyfileobj(stream, writing, 1 << 20)
    about["ETag"] = source.etag
    if "Parts" in source.about or source.etag.endswith('-1"'):
        with partial.open("rb") as reading:  # a copy in one piece has the ETag of one piece
            about["ETag"] = f'"{checksums.md5(reading)}"'
        about.pop("Checksums", None)
    stored = s3.store.put(request["Bucket"], request["Key"], partial, about, if_match, only_new)
    return Given({"CopyObjectResult": {"ETag": stored.etag, "LastModified": stored.modified}, **_ENCRYPTED})


def copy_source(s3: S3, request: dict[str, Any]) -> tuple[Stored, BinaryIO]:
    """The object that a copy begins with, and its bytes. Raises ApiError."""
    path, _, query = request["CopySource"].removeprefix("/").partition("?")
    if query and query != "versionId=null":
        raise ApiError("NotImplemented", "local SageMaker keeps no versions of objects.", 501)
    bucket, _, key = unquote(path).partition("/")
    if not bucket or not key:
        raise ApiError("InvalidArgument", "Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
    found, stream = s3.store.open(bucket, key)
    try:
        check_conditions(request, found, of="CopySource")
    except ApiError:
        stream.close()
        raise
    return found, stream


def _path(s3: S3, bucket: str, key: str) -> Any:
    found = s3.store.find(bucket, key)
    return found.path if found else None


def delete(s3: S3, asked: Asked) -> Given:
    s3.store.delete(asked.parameters["Bucket"], asked.parameters["Key"])
    return Given(status=204)


def delete_many(s3: S3, asked: Asked) -> Given:
    request = asked.parameters
    s3.store.bucket(request["Bucket"])
    wanted = request["Delete"].get("Objects", [])
    if not 1 <= len(wanted) <= 1000 or any(not item.get("Key") for item in wanted):
        raise ApiError(
            "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema."
        )
    deleted, failed = [], []
    for item in wanted:
        try:
            s3.store.delete(request["Bucket"], item["Key"])
            deleted.append({"Key": item["Key"]})
        except ApiError as error:
            failed.append({"Key": item["Key"], "Code": error.code, "Message": error.message})
    return Given({"Deleted": [] if request["Delete"].get("Quiet") else deleted, "Errors": failed})


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


def put_tags(s3: S3, asked: Asked) -> Given:
    tags = asked.parameters["Tagging"].get("TagSet", [])
    _check_tags(tags)
    s3.store.amend(asked.parameters["Bucket"], asked.parameters["Key"], Tags=tags)
    return Given()


def delete_tags(s3: S3, asked: Asked) -> Given:
    s3.store.amend(asked.parameters["Bucket"], asked.parameters["Key"], Tags=[])
    return Given(status=204)


def _check_tags(tags: list[dict[str, str]]) -> None:
    if len(tags) > TAGS_LIMIT:
        raise ApiError("BadRequest", "Object tags cannot be greater than 10")
    names = [tag.get("Key", "") for tag in tags]
    if len(names) != len(set(names)):
        raise ApiError("InvalidTag", "Cannot provide multiple Tags with the same key")
    if any(not 1 <= len(tag.get("Key", "")) <= 128 or len(tag.get("Value", "")) > 256 for tag in tags):
        raise ApiError("InvalidTag", "The TagKey or TagValue you have provided is invalid")


HANDLERS: dict[str, Handler] = {
    "PutObject": put,
    "GetObject": get,
    "HeadObject": get,
    "CopyObject": copy,
    "DeleteObject": delete,
    "DeleteObjects": delete_many,
    "GetObjectAttributes": attributes,
    "GetObjectAcl": acl,
    "GetObjectTagging": get_tags,
    "PutObjectTagging": put_tags,
    "DeleteObjectTagging": delete_tags,
}
_UNUSED = (
    "ACL",
    "GrantFullControl",
    "GrantRead",
    "GrantReadACP",
    "GrantWriteACP",
    "ServerSideEncryption",
    "SSEKMSKeyId",
    "SSEKMSEncryptionContext",
    "BucketKeyEnabled",
    "StorageClass",
    "RequestPayer",
)
_LOCKS = ("ObjectLockMode", "ObjectLockRetainUntilDate", "ObjectLockLegalHoldStatus")
_CUSTOMER_KEY = ("SSECustomerAlgorithm", "SSECustomerKey", "SSECustomerKeyMD5")
WRITING = Support(
    without_effect=_UNUSED,
    refused=(*_LOCKS, *_CUSTOMER_KEY, "WebsiteRedirectLocation"),
)
_DELETING = ("IfMatch", "IfMatchLastModifiedTime", "IfMatchSize")
SUPPORT = {
    "PutObject": Support(WRITING.without_effect, (*WRITING.refused, "WriteOffsetBytes")),
    "GetObject": Support(("RequestPayer",), (*_CUSTOMER_KEY, "VersionId")),
    "HeadObject": Support(("RequestPayer",), (*_CUSTOMER_KEY, "VersionId")),
    "CopyObject": Support(
        (*WRITING.without_effect, "ChecksumAlgorithm"),
        (*WRITING.refused, "CopySourceSSECustomerAlgorithm", "CopySourceSSECustomerKey", "CopySourceSSECustomerKeyMD5"),
    ),
    "DeleteObject": Support(
        ("RequestPayer", "MFA", "BypassGovernanceRetention"),
        ("VersionId", *_DELETING),
    ),
    "DeleteObjects": Support(
        ("RequestPayer", "MFA", "BypassGovernanceRetention"),
        ("Delete.Objects.VersionId", "Delete.Objects.ETag", "Delete.Objects.LastModifiedTime", "Delete.Objects.Size"),
    ),
    "GetObjectAttributes": Support(
        ("RequestPayer", "MaxParts", "PartNumberMarker"),
        (*_CUSTOMER_KEY, "VersionId"),
    ),
    "GetObjectAcl": Support(("RequestPayer",), ("VersionId",)),
    "GetObjectTagging": Support(("RequestPayer",), ("VersionId",)),
    "PutObjectTagging": Support(("RequestPayer",), ("VersionId",)),
    "DeleteObjectTagging": Support((), ("VersionId",)),
}
