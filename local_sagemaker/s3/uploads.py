"""Multipart uploads: each a directory `uploads/ID/` with what it is to become and its parts, until it is complete.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from local_sagemaker.errors import ApiError
from local_sagemaker.records import write_json
from local_sagemaker.s3 import checksums
from local_sagemaker.s3.body import Received, bad_digest
from local_sagemaker.s3.store import About, Store, Stored, sync

SMALLEST_PART = 5 * 1024**2  # bytes of every part but the last
_ID = re.compile(r"[0-9a-f]{32}")


class Uploads:
    """The multipart uploads of every bucket."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(self, bucket: str, key: str, about: About, algorithm: str | None, kind: str | None) -> str:
        """Begins one and gives its ID; `algorithm` and `kind` (COMPOSITE or FULL_OBJECT) are of its checksum."""
        name = uuid4().hex
        directory = self._store.meta(bucket) / "uploads" / name
        directory.mkdir(parents=True)
        kind = kind or ("FULL_OBJECT" if algorithm == "CRC64NVME" else "COMPOSITE")
        upload = {"UploadId": name, "Key": key, "Initiated": time.time(), "_About": about}
        if algorithm:
            upload |= {"ChecksumAlgorithm": algorithm, "ChecksumType": kind}
        write_json(directory / "upload.json", upload)
        return name

    def of(self, bucket: str) -> list[dict[str, Any]]:
        """The uploads of a bucket that are not complete, by key and time."""
        found = [json.loads(p.read_text()) for p in (self._store.meta(bucket) / "uploads").glob("*/upload.json")]
        return sorted(found, key=lambda upload: (upload["Key"], upload["Initiated"]))

    def get(self, bucket: str, key: str, name: str) -> dict[str, Any]:
        """Raises ApiError NoSuchUpload."""
        path = self._directory(bucket, name) / "upload.json"
        upload: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
        if upload.get("Key") != key:
            raise _no_such_upload(name)
        return upload

    def add(self, bucket: str, key: str, name: str, number: int, received: Received) -> None:
        """Takes a part; one that comes again takes the place of the first."""
        self.get(bucket, key, name)
        directory = self._directory(bucket, name)
        place = f"{number:05}-{uuid4().hex}"
        sync(received.path)
        received.path.replace(directory / place)
        part = {
            "PartNumber": number,
            "ETag": received.etag,
            "Size": received.size,
            "LastModified": time.time(),
            "_Place": place,
            **received.checksums,
        }
        write_json(directory / f"{number:05}.json", part)

    def parts(self, bucket: str, name: str) -> list[dict[str, Any]]:
        """The parts that came, by number."""
        return [json.loads(path.read_text()) for path in sorted(self._directory(bucket, name).glob("[0-9]*.json"))]

    def complete(
        self, bucket: str, key: str, name: str, listed: list[dict[str, Any]], if_match: str | None, only_new: bool
    ) -> Stored:
        """Makes the listed parts one object. Raises ApiError InvalidPart, InvalidPartOrder, EntityTooSmall."""
        upload = self.get(bucket, key, name)
        directory = self._directory(bucket, name)
        chosen = self._chosen(self.parts(bucket, name), listed)
        digest = None
        if upload.get("ChecksumType") == "FULL_OBJECT":
            digest = checksums.ALGORITHMS[upload["ChecksumAlgorithm"]]()
        md5s = b"".join(bytes.fromhex(part["ETag"].strip('"')) for part in chosen)
        etag = f'"{hashlib.md5(md5s, usedforsecurity=False).hexdigest()}-{len(chosen)}"'
        about = {**upload["_About"], "ETag": etag, "Parts": [part["Size"] for part in chosen]}
        with self._store.partial(bucket) as partial:
            with partial.open("wb") as writing:
                for part in chosen:
                    with (directory / part["_Place"]).open("rb") as reading:
                        while block := reading.read(1 << 20):
                            writing.write(block)
                            if digest:
                                digest.update(block)
            about.update(_checksum(upload, chosen, digest))
            stored = self._store.put(bucket, key, partial, about, if_match, only_new)
        shutil.rmtree(directory)
        return stored

    def abort(self, bucket: str, key: str, name: str) -> None:
        self.get(bucket, key, name)
        shutil.rmtree(self._directory(bucket, name))

    @staticmethod
    def _chosen(parts: list[dict[str, Any]], listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
        numbers = [part.get("PartNumber", 0) for part in listed]
        if not listed:
            raise ApiError("MalformedXML", "The XML you provided was not well-formed or did not validate.")
        if numbers != sorted(set(numbers)):
            raise ApiError(
                "InvalidPartOrder",
                "The list of parts was not in ascending order. "
                "The parts list must be specified in order by part number.",
            )
        there = {part["PartNumber"]: part for part in parts}
        for wanted in listed:
            part = there.get(wanted["PartNumber"])
            if part is None or wanted.get("ETag", "").strip('"') != part["ETag"].strip('"'):
                raise ApiError(
                    "InvalidPart",
                    "One or more of the specified parts could not be found. The part may not have been uploaded, "
                    "or the specified entity tag may not match the part's entity tag.",
                    PartNumber=wanted["PartNumber"],
                )
            for member in map(checksums.member, checksums.ALGORITHMS):
                if member in wanted and wanted[member] != part.get(member, wanted[member]):
                    raise bad_digest(member)
        chosen = [there[number] for number in numbers]
        for part in chosen[:-1]:
            if part["Size"] < SMALLEST_PART:
                raise ApiError(
                    "EntityTooSmall",
                    "Your proposed upload is smaller than the minimum allowed size",
                    ProposedSize=part["Size"],
                    MinSizeAllowed=SMALLEST_PART,
                    PartNumber=part["PartNumber"],
                )
        return chosen

    def _directory(self, bucket: str, name: str) -> Path:
        if not _ID.fullmatch(name):
            raise _no_such_upload(name)
        return self._store.meta(bucket) / "uploads" / name


def _checksum(upload: dict[str, Any], parts: list[dict[str, Any]], digest: checksums.Digest | None) -> About:
    """The checksum of the whole: over its bytes, or over the parts' checksums with their number behind."""
    if "ChecksumAlgorithm" not in upload:
        return {}
    algorithm = upload["ChecksumAlgorithm"]
    member = checksums.member(algorithm)
    if digest is not None:
        return {"Checksums": {member: checksums.encode(digest.digest())}, "ChecksumType": "FULL_OBJECT"}
    if not all(member in part for part in parts):
        return {}
    whole = checksums.ALGORITHMS[algorithm]()
    whole.update(b"".join(base64.b64decode(part[member]) for part in parts))
    return {"Checksums": {member: f"{checksums.encode(whole.digest())}-{len(parts)}"}, "ChecksumType": "COMPOSITE"}


def _no_such_upload(name: str) -> ApiError:
    return ApiError(
        "NoSuchUpload",
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or "
        "completed.",
        404,
        UploadId=name,
    )
