"""S3 as boto3, presigned URLs and requests made by hand see it."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import socket
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import urllib3
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from local_sagemaker.s3.operations import SUPPORT

from .conftest import Local, channel, training_request, unique, wait_for
from .test_support import shape_at

SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=any/20260101/eu-west-1/s3/aws4_request, SignedHeaders=host"}
MEGABYTE = 1024 * 1024
ODD_KEYS = [
    "a",
    "a/b",
    "a/b/c",
    "a//b",
    "/a",
    "../../evil",
    "a/./b",
    "a/../b",
    "folder/",
    "x" * 1024,
    "y/" + "z" * 300,
    "ünï/🐕 +&%2F<'\".jpg",
    "record.json",
    ".meta/dogs/bucket.json",
    "tab\there",
]


@pytest.fixture(scope="module")
def s3(local: Local) -> Any:
    return local.client("s3")


@pytest.fixture
def bucket(s3: Any) -> Iterator[str]:
    yield (name := make_bucket(s3))
    for item in s3.list_objects_v2(Bucket=name).get("Contents", []):
        s3.delete_object(Bucket=name, Key=item["Key"])
    s3.delete_bucket(Bucket=name)


def make_bucket(s3: Any) -> str:
    name = unique("dogs")
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return name


def keys(s3: Any, bucket: str, **more: Any) -> list[str]:
    return [item["Key"] for item in s3.list_objects_v2(Bucket=bucket, **more).get("Contents", [])]


def send(local: Local, method: str, path: str, body: bytes = b"", **headers: str) -> urllib3.BaseHTTPResponse:
    """A request by hand, signed for S3 as far as anybody looks; `x_amz_date` stands for `x-amz-date`."""
    given = {**SIGNED, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return urllib3.request(method, local.url + path, body=body, headers=given, retries=False)


def code(answer: urllib3.BaseHTTPResponse) -> str:
    return answer.data.decode().partition("<Code>")[2].partition("<")[0]


def test_buckets_are_made_found_and_deleted(s3: Any) -> None:
    name = make_bucket(s3)
    assert name in [item["Name"] for item in s3.list_buckets()["Buckets"]]
    assert s3.get_bucket_location(Bucket=name)["LocationConstraint"] == "eu-west-1"
    assert s3.head_bucket(Bucket=name, ExpectedBucketOwner="000000000000")["BucketRegion"] == "eu-west-1"
    with pytest.raises(ClientError, match=r"\(403\)"):
        s3.head_bucket(Bucket=name, ExpectedBucketOwner="111111111111")
    with pytest.raises(ClientError, match=r"\(BucketAlreadyOwnedByYou\)"):
        s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_object(Bucket=name, Key="deep/er", Body=b"")
    with pytest.raises(ClientError, match=r"\(BucketNotEmpty\)"):
        s3.delete_bucket(Bucket=name)
    s3.delete_object(Bucket=name, Key="deep/er")
    s3.delete_bucket(Bucket=name)
    with pytest.raises(ClientError, match=r"\(404\).*Not Found"):
        s3.head_bucket(Bucket=name)


def test_a_plain_bucket_answers_about_its_settings(s3: Any, bucket: str) -> None:
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    assert s3.get_bucket_acl(Bucket=bucket)["Grants"][0]["Permission"] == "FULL_CONTROL"
    assert s3.get_bucket_acl(Bucket=bucket)["Grants"][0]["Grantee"]["Type"] == "CanonicalUser"
    rule = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    assert s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]["BlockPublicAcls"] is True
    with pytest.raises(ClientError, match=r"\(NoSuchBucketPolicy\)"):
        s3.get_bucket_policy(Bucket=bucket)
    with pytest.raises(ClientError, match=r"\(NotImplemented\).*does not do s3:PutBucketPolicy"):
        s3.put_bucket_policy(Bucket=bucket, Policy="{}")


def test_an_object_comes_back_as_it_went(s3: Any, bucket: str) -> None:
    body = random.Random(0).randbytes(3 * MEGABYTE + 7)
    given = {"ContentType": "image/jpeg", "CacheControl": "no-store", "Metadata": {"breed": "Akita"}}
    put = s3.put_object(Bucket=bucket, Key="a/b.jpg", Body=body, Tagging="x=1&y=2", **given)
    assert put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    assert put["ChecksumCRC32"] == base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
    got = s3.get_object(Bucket=bucket, Key="a/b.jpg")
    assert got["Body"].read() == body
    head = s3.head_object(Bucket=bucket, Key="a/b.jpg", ChecksumMode="ENABLED")
    for answer in (got, head):
        assert {name: answer[name] for name in given} == given
        assert (answer["ETag"], answer["ContentLength"], answer["TagCount"]) == (put["ETag"], len(body), 2)
        assert answer["ChecksumCRC32"] == put["ChecksumCRC32"]
    assert s3.get_object_tagging(Bucket=bucket, Key="a/b.jpg")["TagSet"][1] == {"Key": "y", "Value": "2"}
    s3.put_object_tagging(Bucket=bucket, Key="a/b.jpg", Tagging={"TagSet": [{"Key": "z", "Value": ""}]})
    assert s3.get_object_tagging(Bucket=bucket, Key="a/b.jpg")["TagSet"] == [{"Key": "z", "Value": ""}]
    assert s3.head_object(Bucket=bucket, Key="a/b.jpg")["Metadata"] == {"breed": "Akita"}
    attributes = s3.get_object_attributes(Bucket=bucket, Key="a/b.jpg", ObjectAttributes=["ObjectSize", "Checksum"])
    assert attributes["ObjectSize"] == len(body)
    assert attributes["Checksum"]["ChecksumCRC32"] == put["ChecksumCRC32"]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("bytes=0-0", b"0"),
        ("bytes=3-5", b"345"),
        ("bytes=8-99", b"89"),
        ("bytes=7-", b"789"),
        ("bytes=-2", b"89"),
        ("bytes=-99", b"0123456789"),
        ("bytes=5-3", b"0123456789"),
        ("lines=1-2", b"0123456789"),
    ],
)
def test_a_range(s3: Any, bucket: str, asked: str, expected: bytes) -> None:
    s3.put_object(Bucket=bucket, Key="digits", Body=b"0123456789")
    got = s3.get_object(Bucket=bucket, Key="digits", Range=asked)
    assert got["Body"].read() == expected
    assert (got["ResponseMetadata"]["HTTPStatusCode"] == 206) == ("ContentRange" in got)


def test_conditions(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="a", Body=b"1")["ETag"]
    modified = s3.head_object(Bucket=bucket, Key="a")["LastModified"]
    for condition in ({"IfMatch": etag}, {"IfNoneMatch": '"x"'}, {"IfUnmodifiedSince": modified}):
        assert s3.get_object(Bucket=bucket, Key="a", **condition)["Body"].read() == b"1"
    for condition, status in (
        ({"IfMatch": '"x"'}, "PreconditionFailed"),
        ({"IfNoneMatch": etag}, "304"),
        ({"IfModifiedSince": modified}, "304"),
    ):
        with pytest.raises(ClientError, match=status):
            s3.get_object(Bucket=bucket, Key="a", **condition)
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.put_object(Bucket=bucket, Key="a", Body=b"2", IfNoneMatch="*")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.put_object(Bucket=bucket, Key="a", Body=b"2", IfMatch='"x"')
    s3.put_object(Bucket=bucket, Key="a", Body=b"2", IfMatch=etag)
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"2"


@pytest.mark.parametrize("ordered", [ODD_KEYS, ODD_KEYS[::-1]], ids=["forth", "back"])
def test_any_key_is_an_object_and_none_leaves_its_bucket(local: Local, s3: Any, ordered: list[str]) -> None:
    bucket = make_bucket(s3)
    for key in ordered:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode(), Metadata={"n": str(len(key))})
    assert keys(s3, bucket) == sorted(ODD_KEYS)
    for key in ordered:
        got = s3.get_object(Bucket=bucket, Key=key)
        assert (got["Body"].read(), got["Metadata"]) == (key.encode(), {"n": str(len(key))})
    assert sorted(path.name for path in (local.state / "s3").iterdir() if path.name == "evil") == []
    for key in ordered[:5]:
        s3.put_object(Bucket=bucket, Key=key, Body=b"again")
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == b"again"
    deleted = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in [*ODD_KEYS, "no"]]})
    assert len(deleted["Deleted"]) == len(ODD_KEYS) + 1
    assert keys(s3, bucket) == []
    s3.delete_bucket(Bucket=bucket)
    assert not (local.state / "s3" / bucket).exists()


def listed(names: list[str], prefix: str, delimiter: str) -> tuple[list[str], list[str]]:
    """What S3 lists: its documentation in four lines."""
    found = [name for name in sorted(names) if name.startswith(prefix)]
    cut = {name: prefix + name[len(prefix) :].split(delimiter)[0] + delimiter for name in found} if delimiter else {}
    folded = [name for name in found if delimiter and delimiter in name[len(prefix) :]]
    return [name for name in found if name not in folded], sorted({cut[name] for name in folded})


def test_listings(s3: Any) -> None:
    bucket = make_bucket(s3)
    names = ["a", "a.txt", "a/1", "a/2/x", "a/2/y", "a//z", "a0", "b/", "b/c", "d/e/f", "ü", "z-1", "z-2"]
    for name in names:
        s3.put_object(Bucket=bucket, Key=name, Body=b"1")
    for prefix in ("", "a", "a/", "a/2", "d/e/", "no", "z-", "../"):
        for delimiter in ("", "/", "-"):
            expected = listed(names, prefix, delimiter)
            for operation in ("list_objects_v2", "list_objects"):
                for size in (1, 2, 3, 1000):
                    objects, prefixes = [], []
                    for page in s3.get_paginator(operation).paginate(
                        Bucket=bucket, Prefix=prefix, Delimiter=delimiter, PaginationConfig={"PageSize": size}
                    ):
                        objects += [item["Key"] for item in page.get("Contents", [])]
                        prefixes += [item["Prefix"] for item in page.get("CommonPrefixes", [])]
                        assert len(page.get("Contents", [])) + len(page.get("CommonPrefixes", [])) <= size
                    assert (objects, prefixes) == expected, (operation, prefix, delimiter, size)
    assert keys(s3, bucket, StartAfter="a/2/y", MaxKeys=3) == ["a0", "b/", "b/c"]
    (first,) = s3.list_objects_v2(Bucket=bucket, MaxKeys=1, FetchOwner=True)["Contents"]
    assert (first["Size"], first["Owner"]["ID"]) == (1, "000000000000")
    assert first["ETag"] == f'"{hashlib.md5(b"1").hexdigest()}"'


def test_a_file_that_somebody_puts_there_is_an_object(local: Local, s3: Any) -> None:
    bucket = make_bucket(s3)
    place = local.state / "s3" / bucket / "train" / "akita"
    place.mkdir(parents=True)
    (place / "1.jpg").write_bytes(b"photograph")
    (place / "link.jpg").symlink_to("/etc/passwd")
    (place.parent / "up").symlink_to("/etc")
    assert keys(s3, bucket) == ["train/akita/1.jpg"]
    assert s3.get_object(Bucket=bucket, Key="train/akita/1.jpg")["Body"].read() == b"photograph"
    for key in ("train/akita/link.jpg", "train/up/passwd"):
        with pytest.raises(ClientError, match="NoSuchKey"):
            s3.get_object(Bucket=bucket, Key=key)


def test_copies(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="from ü", Body=b"x", Metadata={"a": "1"}, ContentType="text/plain")
    source = {"Bucket": bucket, "Key": "from ü"}
    s3.copy_object(Bucket=bucket, Key="to", CopySource=source)
    got = s3.get_object(Bucket=bucket, Key="to")
    assert (got["Body"].read(), got["Metadata"], got["ContentType"]) == (b"x", {"a": "1"}, "text/plain")
    s3.copy_object(Bucket=bucket, Key="to", CopySource=source, MetadataDirective="REPLACE", Metadata={"b": "2"})
    assert s3.head_object(Bucket=bucket, Key="to")["Metadata"] == {"b": "2"}
    with pytest.raises(ClientError, match=r"\(InvalidRequest\).*to itself"):
        s3.copy_object(Bucket=bucket, Key="to", CopySource={"Bucket": bucket, "Key": "to"})
    with pytest.raises(ClientError, match="NoSuchKey"):
        s3.copy_object(Bucket=bucket, Key="to", CopySource={"Bucket": bucket, "Key": "no"})


def test_a_large_file_goes_in_parts(s3: Any, bucket: str, tmp_path: Path) -> None:
    body = random.Random(1).randbytes(17 * MEGABYTE)
    (tmp_path / "large").write_bytes(body)
    config = TransferConfig(multipart_threshold=5 * MEGABYTE, multipart_chunksize=5 * MEGABYTE)
    s3.upload_file(str(tmp_path / "large"), bucket, "large", Config=config, ExtraArgs={"Metadata": {"a": "1"}})
    head = s3.head_object(Bucket=bucket, Key="large")
    parts = b"".join(hashlib.md5(body[at : at + 5 * MEGABYTE]).digest() for at in range(0, len(body), 5 * MEGABYTE))
    assert head["ETag"] == f'"{hashlib.md5(parts).hexdigest()}-4"'
    assert head["Metadata"] == {"a": "1"}
    s3.download_file(bucket, "large", str(tmp_path / "back"), Config=config)
    assert (tmp_path / "back").read_bytes() == body
    last = s3.get_object(Bucket=bucket, Key="large", PartNumber=4)
    assert (last["Body"].read(), last["PartsCount"]) == (body[15 * MEGABYTE :], 4)
    s3.copy({"Bucket": bucket, "Key": "large"}, bucket, "copy", Config=config)
    assert s3.get_object(Bucket=bucket, Key="copy")["Body"].read() == body


def test_a_multipart_upload_step_by_step(s3: Any, bucket: str) -> None:
    upload = {"Bucket": bucket, "Key": "a"}
    upload["UploadId"] = s3.create_multipart_upload(**upload, ChecksumAlgorithm="SHA256")["UploadId"]
    tags = [
        s3.upload_part(**upload, PartNumber=number, Body=body, ChecksumAlgorithm="SHA256")
        for number, body in ((1, b"1" * 5 * MEGABYTE), (2, b"small"), (3, b"end"))
    ]
    assert [part["Size"] for part in s3.list_parts(**upload)["Parts"]] == [5 * MEGABYTE, 5, 3]
    assert [item["Key"] for item in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == ["a"]
    assert keys(s3, bucket) == []

    def complete(*numbers: int, etag: str | None = None) -> Any:
        parts = [{"PartNumber": number, "ETag": etag or tags[number - 1]["ETag"]} for number in numbers]
        return s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})

    for numbers, etag, refusal in (
        ((1, 2, 3), None, "EntityTooSmall"),
        ((2, 1), None, "InvalidPartOrder"),
        ((1, 2), '"no"', "InvalidPart"),
    ):
        with pytest.raises(ClientError, match=rf"\({refusal}\)"):
            complete(*numbers, etag=etag)
    done = complete(1, 3)
    digests = b"".join(hashlib.sha256(body).digest() for body in (b"1" * 5 * MEGABYTE, b"end"))
    assert done["ChecksumSHA256"] == f"{base64.b64encode(hashlib.sha256(digests).digest()).decode()}-2"
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"1" * 5 * MEGABYTE + b"end"
    with pytest.raises(ClientError, match=r"\(NoSuchUpload\)"):
        complete(1)
    for operation in (s3.abort_multipart_upload, s3.list_parts):
        with pytest.raises(ClientError, match=r"\(NoSuchUpload\)"):
            operation(**upload)
    upload["UploadId"] = s3.create_multipart_upload(Bucket=bucket, Key="a")["UploadId"]
    s3.abort_multipart_upload(**upload)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def chunked(body: bytes, *sizes: int, signature: str = "") -> bytes:
    chunks, at = [], 0
    for size in (*sizes, len(body)):
        chunk, at = body[at : at + size], at + size
        if chunk:
            chunks.append(f"{len(chunk):x}{signature}\r\n".encode() + chunk + b"\r\n")
    return b"".join(chunks) + f"0{signature}\r\n".encode()


CRC32 = base64.b64encode(zlib.crc32(b"hello, dogs").to_bytes(4, "big")).decode()


@pytest.mark.parametrize(
    ("body", "headers", "refusal"),
    [
        (b"hello, dogs", {"Content_MD5": base64.b64encode(hashlib.md5(b"hello, dogs").digest()).decode()}, ""),
        (b"hello, dogs", {"Content_MD5": base64.b64encode(hashlib.md5(b"other").digest()).decode()}, "BadDigest"),
        (b"hello, dogs", {"Content_MD5": "nonsense"}, "InvalidDigest"),
        (b"hello, dogs", {"x_amz_content_sha256": hashlib.sha256(b"hello, dogs").hexdigest()}, ""),
        (b"hello, dogs", {"x_amz_content_sha256": "0" * 64}, "XAmzContentSHA256Mismatch"),
        (b"hello, dogs", {"x_amz_checksum_crc32": CRC32}, ""),
        (b"hello, dogs", {"x_amz_checksum_crc32": "AAAAAA=="}, "BadDigest"),
        (b"hello, dogs", {"x_amz_checksum_crc32": "AAAA"}, "InvalidRequest"),
        (b"123456789", {"x_amz_checksum_crc32c": "4waSgw=="}, ""),
        (b"123456789", {"x_amz_checksum_crc64nvme": "rosUhgp5mIg="}, ""),
        (b"123456780", {"x_amz_checksum_crc64nvme": "rosUhgp5mIg="}, "BadDigest"),
        (b"hello, dogs", {"x_amz_checksum_crc32": CRC32, "x_amz_checksum_crc32c": "4waSgw=="}, "InvalidRequest"),
    ],
)
def test_a_body_is_what_its_headers_promise(
    local: Local, s3: Any, bucket: str, body: bytes, headers: dict[str, str], refusal: str
) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"old")
    answer = send(local, "PUT", f"/{bucket}/a", body, **headers)
    assert (answer.status, code(answer)) == ((400, refusal) if refusal else (200, ""))
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == (b"old" if refusal else body)


@pytest.mark.parametrize(
    ("encoded", "refusal"),
    [
        (chunked(b"hello, dogs", 3, 1) + f"x-amz-checksum-crc32:{CRC32}\r\n\r\n".encode(), ""),
        (chunked(b"hello, dogs", 5, signature=";chunk-signature=" + "0" * 64) + b"\r\n", ""),
        (chunked(b"hello, dogs", 3) + b"x-amz-checksum-crc32:AAAAAA==\r\n\r\n", "BadDigest"),
        (b"b\r\nhello, dogs\r\n", "IncompleteBody"),
        (b"a\r\nhello, dogs\r\n0\r\n\r\n", "InvalidRequest"),
        (b"zz\r\nhello, dogs\r\n0\r\n\r\n", "InvalidRequest"),
        (chunked(b"hello, cats!") + b"\r\n", "IncompleteBody"),
    ],
)
def test_a_body_in_chunks(local: Local, s3: Any, bucket: str, encoded: bytes, refusal: str) -> None:
    answer = send(
        local,
        "PUT",
        f"/{bucket}/a",
        encoded,
        Content_Encoding="aws-chunked",
        x_amz_content_sha256="STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        x_amz_decoded_content_length="11",
        x_amz_trailer="x-amz-checksum-crc32",
    )
    assert (answer.status, code(answer)) == ((400, refusal) if refusal else (200, "")), answer.data
    if refusal:
        assert keys(s3, bucket) == []
    else:
        got = s3.get_object(Bucket=bucket, Key="a")
        assert (got["Body"].read(), got.get("ContentEncoding")) == (b"hello, dogs", None)


@pytest.mark.parametrize(
    ("operation", "parameters", "refusal"),
    [
        ("create_bucket", {"Bucket": "No-Capitals"}, "InvalidBucketName"),
        ("create_bucket", {"Bucket": "192.168.0.1"}, "InvalidBucketName"),
        ("create_bucket", {"Bucket": ".."}, "InvalidBucketName"),
        ("list_objects_v2", {"Bucket": "none-of-that-name"}, "NoSuchBucket"),
        ("put_object", {"Bucket": "none-of-that-name", "Key": "a", "Body": b"x"}, "NoSuchBucket"),
        ("put_object", {"Bucket": ".meta", "Key": "a", "Body": b"x"}, "NoSuchBucket"),
        ("get_object", {"Key": "none"}, "NoSuchKey"),
        ("get_object", {"Key": "a", "Range": "bytes=9-"}, "InvalidRange"),
        ("get_object", {"Key": "a", "VersionId": "v"}, "NotImplemented"),
        ("put_object", {"Key": "x" * 1025, "Body": b"x"}, "KeyTooLongError"),
        ("put_object", {"Key": "a", "Body": b"x", "Metadata": {"a": "x" * 2048}}, "MetadataTooLarge"),
        ("put_object", {"Key": "a", "Body": b"x", "SSECustomerAlgorithm": "AES256"}, "NotImplemented"),
        ("put_object", {"Key": "a", "Body": b"x", "ChecksumXXHASH64": "AAAAAAAAAAA="}, "NotImplemented"),
        ("create_multipart_upload", {"Key": "b", "ChecksumAlgorithm": "XXHASH3"}, "NotImplemented"),
        ("put_object_tagging", {"Key": "a", "Tagging": {"TagSet": [{"Key": "k", "Value": "v"}] * 2}}, "InvalidTag"),
        ("list_objects_v2", {"ContinuationToken": "?"}, "InvalidArgument"),
        ("list_objects_v2", {"MaxKeys": "many"}, "InvalidArgument"),
        ("upload_part", {"Key": "a", "PartNumber": 0, "UploadId": "x", "Body": b"x"}, "InvalidArgument"),
        ("upload_part", {"Key": "a", "PartNumber": 1, "UploadId": "../..", "Body": b"x"}, "NoSuchUpload"),
        ("delete_objects", {"Delete": {"Objects": []}}, "MalformedXML"),
    ],
)
def test_what_is_refused(s3: Any, bucket: str, operation: str, parameters: dict[str, Any], refusal: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"1")
    with pytest.raises(ClientError, match=rf"\({refusal}\)"):
        getattr(s3, operation)(**{"Bucket": bucket, **parameters})
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"1"


def test_requests_by_hand(local: Local, bucket: str) -> None:
    assert code(send(local, "POST", f"/{bucket}?delete", b"<no")) == "MalformedXML"
    assert code(send(local, "PATCH", f"/{bucket}/a")) == "MethodNotAllowed"
    assert code(send(local, "PUT", f"/{bucket}/%FF", b"x")) == "InvalidArgument"
    assert code(send(local, "PUT", f"/{bucket}/%00", b"x")) == ""  # a key like any other, which no file can be named
    assert send(local, "DELETE", f"/{bucket}/%00").status == 204
    assert "does not do GET" in urllib3.request("GET", f"{local.url}/{bucket}/a").data.decode()  # nobody signed it
    evil = urllib3.request("GET", f"{local.url}/", headers={**SIGNED, "Host": "evil.example"})
    assert evil.status == 403


def test_presigned_urls(s3: Any, bucket: str) -> None:
    for key in ("plain", "with space/ü"):
        where = {"Bucket": bucket, "Key": key}
        put = urllib3.request("PUT", s3.generate_presigned_url("put_object", where), body=b"woof")
        assert put.status == 200
        asked = {**where, "ResponseContentType": "text/html"}
        got = urllib3.request("GET", s3.generate_presigned_url("get_object", asked))
        assert (got.data, got.headers["Content-Type"]) == (b"woof", "text/html")


def test_a_body_is_never_whole_in_memory(local: Local, s3: Any, bucket: str, tmp_path: Path) -> None:
    size = 192 * MEGABYTE
    with (tmp_path / "large").open("wb") as stream:
        stream.truncate(size)
    server = psutil.Process(json.loads((local.state / "server.json").read_text())["pid"])
    before = server.memory_info().rss
    with (tmp_path / "large").open("rb") as stream:
        s3.put_object(Bucket=bucket, Key="large", Body=stream)
    got = s3.get_object(Bucket=bucket, Key="large")["Body"]
    assert sum(len(chunk) for chunk in got.iter_chunks(MEGABYTE)) == size
    assert server.memory_info().rss - before < size / 2


def test_a_client_that_hangs_up_leaves_nothing(local: Local, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"old")
    partial = local.state / "s3" / ".meta" / bucket / "partial"
    with _half(local, bucket):
        wait_for(lambda: list(partial.iterdir()), bool)
    wait_for(lambda: list(partial.iterdir()), lambda left: not left)
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"old"


def _half(local: Local, bucket: str) -> socket.socket:
    """A connection over which half of an object was sent."""
    address = urlsplit(local.url)
    connection = socket.create_connection(("127.0.0.1", address.port or 0))
    head = f"PUT /{bucket}/a HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: 100\r\n"
    connection.sendall(f"{head}Authorization: {SIGNED['Authorization']}\r\n\r\nhalf".encode())
    return connection


def test_nothing_is_lost_when_the_server_is_killed(start: Callable[..., Local]) -> None:
    server = start()
    s3 = server.client("s3")
    bucket = make_bucket(s3)
    for key in ODD_KEYS:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode(), Metadata={"n": "1"})
    upload = s3.create_multipart_upload(Bucket=bucket, Key="parts")["UploadId"]
    part = {"Bucket": bucket, "Key": "parts", "UploadId": upload, "PartNumber": 1}
    etag = s3.upload_part(**part, Body=b"part")["ETag"]
    partial = server.state / "s3" / ".meta" / bucket / "partial"
    with _half(server, bucket):
        wait_for(lambda: list(partial.iterdir()), bool)
        server.kill()
    server.up()
    s3 = server.client("s3")
    assert keys(s3, bucket) == sorted(ODD_KEYS)
    for key in ODD_KEYS:
        got = s3.get_object(Bucket=bucket, Key=key)
        assert (got["Body"].read(), got["Metadata"]) == (key.encode(), {"n": "1"})
    assert not partial.exists()
    done = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    s3.complete_multipart_upload(Bucket=bucket, Key="parts", UploadId=upload, MultipartUpload=done)
    assert s3.get_object(Bucket=bucket, Key="parts")["Body"].read() == b"part"


def test_a_job_reads_and_writes_a_bucket(local: Local, s3: Any) -> None:
    bucket = make_bucket(s3)
    for key in ("set/train/a/1", "set/train/b/2", "set/trainer", "set/train2/3", "odd/x", "odd//y"):
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    program = """
import os, pathlib
data = pathlib.Path("input/data")
print("linked", os.path.islink(data / "whole"), os.path.islink(data / "prefix"), os.path.islink(data / "odd"))
for name in ("whole", "prefix", "odd"):
    print(name, sorted(str(p.relative_to(data / name)) for p in (data / name).glob("**/*") if p.is_file()))
open("model/weights", "w").write((data / "whole/a/1").read_text())
"""
    request = training_request(program, Path("/nowhere"))
    request["OutputDataConfig"] = {"S3OutputPath": f"s3://{bucket}/out"}
    request["InputDataConfig"] = [
        channel("whole", f"s3://{bucket}/set/train/"),
        channel("prefix", f"s3://{bucket}/set/train"),
        channel("odd", f"s3://{bucket}/odd/"),
    ]
    name = request["TrainingJobName"]
    local.sagemaker.create_training_job(**request)
    job = local.finished(name)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    said = local.lines(name)
    assert "linked True False False" in said  # a directory that holds all of a prefix is not copied
    assert "whole ['a/1', 'b/2']" in said
    assert "prefix ['3', 'a/1', 'b/2', 'trainer']" in said
    assert "odd ['x', 'y']" in said
    assert keys(s3, bucket, Prefix="out/") == [f"out/{name}/output/model.tar.gz"]
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == f"s3://{bucket}/out/{name}/output/model.tar.gz"


@pytest.mark.parametrize(
    ("operation", "path"),
    [(name, path) for name, support in SUPPORT.items() for path in (*support.without_effect, *support.refused)],
)
def test_what_is_declared_is_a_member(operation: str, path: str) -> None:
    members, _, value = path.partition("=")
    shape = shape_at("s3", operation, members)
    assert not value or value in shape.enum
