"""The digests by which S3 proves that bytes arrived: MD5 and SHA, and the CRCs of the `x-amz-checksum-` headers.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html. CRC32C and
CRC64NVME are in no library that is at hand; in Python they take about 0.1 s a megabyte, and only clients that choose
them pay that.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable
from functools import cache
from typing import BinaryIO, Protocol

from local_sagemaker.errors import ApiError

# Both polynomials are in the reflected form. https://www.rfc-editor.org/rfc/rfc3720 and NVM Express 2.0, 5.2.1.3.5
_CRC32C, _CRC64NVME = 0x82F63B78, 0x9A6C9329AC4BC9B5


class Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


class _Crc:
    """A CRC by its polynomial, a byte at a time; begins and ends with all bits inverted."""

    def __init__(self, polynomial: int, size: int) -> None:
        self._table = _table(polynomial)
        self._size = size
        self._ones = (1 << (8 * size)) - 1
        self._value = self._ones

    def update(self, data: bytes, /) -> None:
        value, table = self._value, self._table
        for byte in data:
            value = table[(value ^ byte) & 0xFF] ^ (value >> 8)
        self._value = value

    def digest(self) -> bytes:
        return (self._value ^ self._ones).to_bytes(self._size, "big")


@cache
def _table(polynomial: int) -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (polynomial if value & 1 else 0)
        table.append(value)
    return table


ALGORITHMS: dict[str, Callable[[], Digest]] = {
    "CRC32": _Crc32,
    "CRC32C": lambda: _Crc(_CRC32C, 4),
    "CRC64NVME": lambda: _Crc(_CRC64NVME, 8),
    "SHA1": lambda: hashlib.sha1(usedforsecurity=False),
    "SHA256": hashlib.sha256,
    "SHA512": hashlib.sha512,
    "MD5": lambda: hashlib.md5(usedforsecurity=False),
}
LENGTHS = {"CRC32": 4, "CRC32C": 4, "CRC64NVME": 8, "SHA1": 20, "SHA256": 32, "SHA512": 64, "MD5": 16}
NOT_HERE = ("XXHASH64", "XXHASH3", "XXHASH128")  # no library that is at hand has them


def member(algorithm: str) -> str:
    """`CRC32` -> `ChecksumCRC32`, the name of the checksum in requests and answers."""
    return f"Checksum{algorithm}"


def header(algorithm: str) -> str:
    return f"x-amz-checksum-{algorithm.lower()}"


def encode(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def decode(text: str, length: int, what: str) -> bytes:
    """The bytes of a digest in a header. Raises ApiError for what is none."""
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if len(value) != length:
        if what == "Content-MD5":
            raise ApiError("InvalidDigest", "The Content-MD5 you specified was invalid.")
        raise ApiError("InvalidRequest", f"Value for {what} header is invalid.")
    return value


def md5(stream: BinaryIO) -> str:
    """The MD5 of what is in a stream, in hexadecimal."""
    digest = hashlib.md5(usedforsecurity=False)
    while block := stream.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
