"""Operations that write objects: put, copy, delete, tag."""

from __future__ import annotations

import shutil
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, unquote

from local_sagemaker.errors import ApiError
from local_sagemaker.s3 import checksums, reading
from local_sagemaker.s3.reading import ENCRYPTED, KEPT
from local_sagemaker.s3.service import S3, Asked, Given, Handler
from local_sagemaker.s3.store import About, Stored
from local_sagemaker.support import Support

METADATA_LIMIT = 2048  # bytes of names and values of an object's own metadata
TAGS_LIMIT = 10


def put(s3: S3, asked: Asked) -> Given:
    request, received = asked.parameters, asked.received
    assert received
    about = {**described(request), "ETag": received.etag}
    if received.checksums:
        about |= {"Checksums": received.checksums, "ChecksumType": "FULL_OBJECT"}
    if_match, only_new = conditions(request)
    s3.store.put(request["Bucket"], request["Key"], received.path, about, if_match, only_new)
    more = {"ChecksumType": "FULL_OBJECT"} if received.checksums else {}
    return Given({"ETag": received.etag, **received.checksums, **more, **ENCRYPTED})


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
    with s3.store.partial(request["Bucket"]) as partial:
        with partial.open("wb") as writing:
            shutil.copyfileobj(stream, writing, 1 << 20)
        about["ETag"] = source.etag
        if "Parts" in source.about or source.etag.endswith('-1"'):
            with partial.open("rb") as copied:  # a copy in one piece has the ETag of one piece
                about["ETag"] = f'"{checksums.md5(copied)}"'
            about.pop("Checksums", None)
        stored = s3.store.put(request["Bucket"], request["Key"], partial, about, if_match, only_new)
    return Given({"CopyObjectResult": {"ETag": stored.etag, "LastModified": stored.modified}, **ENCRYPTED})


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
        reading.check_conditions(request, found, of="CopySource")
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
    "CopyObject": copy,
    "DeleteObject": delete,
    "DeleteObjects": delete_many,
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
_LOCKS = (
    "ObjectLockMode",
    "ObjectLockRetainUntilDate",
    "ObjectLockLegalHoldStatus",
    "ObjectLockEventHold",
    "ObjectLockEventHoldDurationDays",
    "ObjectLockEventHoldDurationYears",
)
_CUSTOMER_KEY = ("SSECustomerAlgorithm", "SSECustomerKey", "SSECustomerKeyMD5")
WRITING = Support(
    without_effect=_UNUSED,
    refused=(
        *_LOCKS,
        *_CUSTOMER_KEY,
        "WebsiteRedirectLocation",
        *(f"ChecksumAlgorithm={name}" for name in checksums.NOT_HERE),
    ),
)
UNKNOWN_SUMS = tuple(map(checksums.member, checksums.NOT_HERE))
_DELETING = ("IfMatch", "IfMatchLastModifiedTime", "IfMatchSize")
SUPPORT = {
    "PutObject": Support(WRITING.without_effect, (*WRITING.refused, *UNKNOWN_SUMS, "WriteOffsetBytes")),
    "CopyObject": Support(
        (*WRITING.without_effect, "ChecksumAlgorithm", "AnnotationDirective"),
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
    "PutObjectTagging": Support(("RequestPayer",), ("VersionId",)),
    "DeleteObjectTagging": Support((), ("VersionId",)),
}
