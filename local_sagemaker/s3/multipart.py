"""The operations of multipart uploads."""

from __future__ import annotations

from typing import Any

from local_sagemaker.errors import ApiError
from local_sagemaker.s3 import objects
from local_sagemaker.s3.body import Received
from local_sagemaker.s3.checksums import ALGORITHMS, md5, member
from local_sagemaker.s3.keys import check_key
from local_sagemaker.s3.service import OWNER, S3, Asked, Given, Handler
from local_sagemaker.support import Support

PART_NUMBERS = 10_000
LIMIT = 1000  # parts or uploads of one page


def create(s3: S3, asked: Asked) -> Given:
    request = asked.parameters
    s3.store.bucket(request["Bucket"])
    check_key(request["Key"])
    algorithm, kind = request.get("ChecksumAlgorithm"), request.get("ChecksumType")
    if kind == "FULL_OBJECT" and algorithm in ("SHA1", "SHA256"):
        raise ApiError(
            "InvalidRequest", f"The FULL_OBJECT checksum type cannot be used with the {algorithm} algorithm."
        )
    name = s3.uploads.create(request["Bucket"], request["Key"], objects.described(request), algorithm, kind)
    upload = s3.uploads.get(request["Bucket"], request["Key"], name)
    more = {key: upload.get(key) for key in ("ChecksumAlgorithm", "ChecksumType")}
    return Given({"Bucket": request["Bucket"], "Key": request["Key"], "UploadId": name, **more})


def part(s3: S3, asked: Asked) -> Given:
    request, received = asked.parameters, asked.received
    assert received
    _check_number(request["PartNumber"])
    s3.uploads.add(request["Bucket"], request["Key"], request["UploadId"], request["PartNumber"], received)
    return Given({"ETag": received.etag, **received.checksums})


def part_copy(s3: S3, asked: Asked) -> Given:
    request = asked.parameters
    _check_number(request["PartNumber"])
    source, stream = objects.copy_source(s3, request)
    with stream, s3.store.partial(request["Bucket"]) as partial:
        start, left = _source_range(request, source.size)
        stream.seek(start)
        with partial.open("wb") as writing:
            while left and (block := stream.read(min(left, 1 << 20))):
                writing.write(block)
                left -= len(block)
        with partial.open("rb") as reading:
            received = Received(partial, partial.stat().st_size, md5(reading))
        s3.uploads.add(request["Bucket"], request["Key"], request["UploadId"], request["PartNumber"], received)
    return Given({"CopyPartResult": {"ETag": received.etag, "LastModified": source.modified}})


def _source_range(request: dict[str, Any], size: int) -> tuple[int, int]:
    """The first byte and the number of bytes that a part is copied from. Raises ApiError."""
    if "CopySourceRange" not in request:
        return 0, size
    first, _, last = request["CopySourceRange"].removeprefix("bytes=").partition("-")
    if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last) < size):
        raise ApiError("InvalidArgument", f"Range specified is not valid for source object of size: {size}")
    return int(first), int(last) - int(first) + 1


def _check_number(number: int) -> None:
    if not 1 <= number <= PART_NUMBERS:
        raise ApiError(
            "InvalidArgument",
            f"Part number must be an integer between 1 and {PART_NUMBERS}, inclusive",
            ArgumentName="partNumber",
            ArgumentValue=number,
        )


def complete(s3: S3, asked: Asked) -> Given:
    request = asked.parameters
    bucket, key = request["Bucket"], request["Key"]
    listed = request.get("MultipartUpload", {}).get("Parts", [])
    stored = s3.uploads.complete(bucket, key, request["UploadId"], listed, *objects.conditions(request))
    return Given(
        {
            "Location": f"/{bucket}/{key}",
            "Bucket": bucket,
            "Key": key,
            "ETag": stored.etag,
            **stored.about.get("Checksums", {}),
            "ChecksumType": stored.about.get("ChecksumType"),
        }
    )


def abort(s3: S3, asked: Asked) -> Given:
    s3.uploads.abort(asked.parameters["Bucket"], asked.parameters["Key"], asked.parameters["UploadId"])
    return Given(status=204)


def list_parts(s3: S3, asked: Asked) -> Given:
    request = asked.parameters
    upload = s3.uploads.get(request["Bucket"], request["Key"], request["UploadId"])
    after, limit = request.get("PartNumberMarker", 0), min(request.get("MaxParts", LIMIT), LIMIT)
    parts = [p for p in s3.uploads.parts(request["Bucket"], request["UploadId"]) if p["PartNumber"] > after]
    more = {"NextPartNumberMarker": parts[limit - 1]["PartNumber"]} if limit and len(parts) > limit else {}
    return Given(
        {
            **{name: request[name] for name in ("Bucket", "Key", "UploadId")},
            "PartNumberMarker": after,
            "MaxParts": limit,
            "IsTruncated": len(parts) > limit,
            "Parts": parts[:limit],
            "Owner": OWNER,
            "Initiator": OWNER,
            "StorageClass": "STANDARD",
            "ChecksumAlgorithm": upload.get("ChecksumAlgorithm"),
            "ChecksumType": upload.get("ChecksumType"),
            **more,
        }
    )


def list_uploads(s3: S3, asked: Asked) -> Given:
    request = asked.parameters
    s3.store.bucket(request["Bucket"])
    after, limit = (request.get("KeyMarker", ""), request.get("UploadIdMarker")), request.get("MaxUploads", LIMIT)
    found = [
        upload for upload in s3.uploads.of(request["Bucket"]) if upload["Key"].startswith(request.get("Prefix", ""))
    ]
    names = [upload["UploadId"] for upload in found]
    if after[1] in names:
        found = found[names.index(after[1]) + 1 :]
    else:
        found = [upload for upload in found if upload["Key"] > after[0]]
    chosen, last = found[: min(limit, LIMIT)], {}
    if len(found) > len(chosen) and chosen:
        last = {"NextKeyMarker": chosen[-1]["Key"], "NextUploadIdMarker": chosen[-1]["UploadId"]}
    return Given(
        {
            "Bucket": request["Bucket"],
            "Prefix": request.get("Prefix"),
            "KeyMarker": after[0],
            "UploadIdMarker": after[1],
            "MaxUploads": limit,
            "IsTruncated": bool(last),
            "Uploads": [
                {**upload, "StorageClass": "STANDARD", "Owner": OWNER, "Initiator": OWNER} for upload in chosen
            ],
            **last,
        }
    )


HANDLERS: dict[str, Handler] = {
    "CreateMultipartUpload": create,
    "UploadPart": part,
    "UploadPartCopy": part_copy,
    "CompleteMultipartUpload": complete,
    "AbortMultipartUpload": abort,
    "ListParts": list_parts,
    "ListMultipartUploads": list_uploads,
}
_CUSTOMER_KEY = ("SSECustomerAlgorithm", "SSECustomerKey", "SSECustomerKeyMD5")
_OF_THE_SOURCE = tuple(f"CopySource{name}" for name in _CUSTOMER_KEY)
_SUMS = tuple(map(member, ALGORITHMS))
SUPPORT = {
    "CreateMultipartUpload": objects.WRITING,
    "UploadPart": Support(("RequestPayer",), (*_CUSTOMER_KEY, *objects.UNKNOWN_SUMS)),
    "UploadPartCopy": Support(("RequestPayer",), (*_CUSTOMER_KEY, *_OF_THE_SOURCE)),
    "CompleteMultipartUpload": Support(
        ("RequestPayer", "ChecksumType", "MpuObjectSize", *_SUMS, *objects.UNKNOWN_SUMS), _CUSTOMER_KEY
    ),
    "AbortMultipartUpload": Support(("RequestPayer",), ("IfMatchInitiatedTime",)),
    "ListParts": Support(("RequestPayer",), _CUSTOMER_KEY),
    "ListMultipartUploads": Support(("RequestPayer", "EncodingType"), ("Delimiter",)),
}
