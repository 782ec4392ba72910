"""The body of a request on its way to a file: decoded, counted and digested as it comes, never whole in memory.

`aws-chunked` is described at https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html; the
signatures of its chunks are not checked, as no signature is.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from local_sagemaker.errors import ApiError
from local_sagemaker.s3 import checksums

OBJECT_LIMIT = 5 * 1024**3  # bytes of one PutObject or UploadPart
_LINE_LIMIT = 16 * 1024  # bytes of a chunk's head or a trailer
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Received:
    """A body of `size` bytes at `path`; its MD5 in hexadecimal; checksums in base64 by their member."""

    path: Path
    size: int
    md5: str
    checksums: dict[str, str] = field(default_factory=dict)

    @property
    def etag(self) -> str:
        return f'"{self.md5}"'


class Receiver:
    """Writes the payload of one body to a stream as its bytes come."""

    def __init__(self, headers: Mapping[str, str], stream: BinaryIO) -> None:
        self._headers = headers
        self._stream = stream
        self._size = 0
        sent = headers.get("x-amz-content-sha256", "")
        is_chunked = sent.startswith("STREAMING-") or "aws-chunked" in headers.get("content-encoding", "")
        self._chunks = Chunks() if is_chunked else None
        self._sha256 = hashlib.sha256() if _SHA256.fullmatch(sent) else None
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._digests = {name: checksums.ALGORITHMS[name]() for name in _promised(headers)}

    def feed(self, data: bytes) -> None:
        decoded = self._chunks.feed(data) if self._chunks else data
        self._size += len(decoded)
        if self._size > OBJECT_LIMIT:
            raise ApiError(
                "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size", MaxSizeAllowed=OBJECT_LIMIT
            )
        for digest in (self._md5, self._sha256, *self._digests.values()):
            if digest is not None:
                digest.update(decoded)
        self._stream.write(decoded)

    def finish(self, path: Path) -> Received:
        """What came; `path` is where the stream leads. Raises ApiError when it is not what the headers promise."""
        trailers = self._chunks.finish() if self._chunks else {}
        wanted = self._headers.get("x-amz-decoded-content-length") or self._headers.get("content-length")
        if self._chunks is None or "x-amz-decoded-content-length" in self._headers:
            self._check_size(wanted)
        if "content-md5" in self._headers:
            md5 = checksums.decode(self._headers["content-md5"], 16, "Content-MD5")
            if md5 != self._md5.digest():
                raise bad_digest("Content-MD5")
        if self._sha256 and self._sha256.hexdigest() != self._headers["x-amz-content-sha256"]:
            raise ApiError(
                "XAmzContentSHA256Mismatch",
                "The provided 'x-amz-content-sha256' header does not match what was computed.",
            )
        found = {}
        for name, digest in self._digests.items():
            header = checksums.header(name)
            sent = self._headers.get(header) or trailers.get(header)
            if sent is not None and checksums.decode(sent, checksums.LENGTHS[name], header) != digest.digest():
                raise bad_digest(name)
            found[checksums.member(name)] = checksums.encode(digest.digest())
        return Received(path, self._size, self._md5.hexdigest(), found)

    def _check_size(self, wanted: str | None) -> None:
        if wanted is not None and wanted != str(self._size):
            raise ApiError(
                "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header."
            )


def bad_digest(what: str) -> ApiError:
    return ApiError("BadDigest", f"The {what} you specified did not match the calculated checksum.")


def _promised(headers: Mapping[str, str]) -> list[str]:
    """The checksums that a request's headers give or announce. Raises ApiError for more than one."""
    announced = headers.get("x-amz-trailer", "").lower()
    names = [
        name
        for name in checksums.ALGORITHMS
        if checksums.header(name) in headers or announced == checksums.header(name)
    ]
    if len(names) > 1:
        raise ApiError(
            "InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
        )
    asked = headers.get("x-amz-sdk-checksum-algorithm", "").upper()
    return names or [name for name in (asked,) if name in checksums.ALGORITHMS]


class Chunks:
    """The decoder of `aws-chunked`: `SIZE[;chunk-signature=...] CRLF BYTES CRLF`, a last chunk of size 0, trailers."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._left = 0  # bytes of the present chunk that have not come
        self._state = "head"
        self._trailers: dict[str, str] = {}

    def feed(self, data: bytes) -> bytes:
        """The payload in these bytes. Raises ApiError for what is not this encoding."""
        self._buffer += data
        found = bytearray()
        while self._buffer and self._step(found):
            pass
        return bytes(found)

    def finish(self) -> dict[str, str]:
        """The trailers, names in small letters. Raises ApiError when the last chunk did not come."""
        if self._state != "trailers":
            raise ApiError("IncompleteBody", "The request body terminated unexpectedly")
        return self._trailers

    def _step(self, found: bytearray) -> bool:
        if self._state == "bytes":
            taken = self._buffer[: self._left]
            found += taken
            del self._buffer[: len(taken)]
            self._left -= len(taken)
            if not self._left:
                self._state = "end"
            return True
        line, separator, _ = self._buffer.partition(b"\r\n")
        if not separator:
            if len(self._buffer) > _LINE_LIMIT:
                raise _malformed()
            return False
        del self._buffer[: len(line) + 2]
        text = line.decode("latin-1")
        if self._state == "end":
            if text:
                raise _malformed()
            self._state = "head"
        elif self._state == "head":
            self._begin(text)
        elif text:
            name, _, value = text.partition(":")
            self._trailers[name.strip().lower()] = value.strip()
        return True

    def _begin(self, text: str) -> None:
        size = text.partition(";")[0].strip()
        if not re.fullmatch(r"[0-9a-fA-F]{1,16}", size):
            raise _malformed()
        self._left = int(size, 16)
        self._state = "bytes" if self._left else "trailers"


def _malformed() -> ApiError:
    return ApiError("InvalidRequest", "The body is not in the aws-chunked encoding that its headers announce.")
