"""AWS's event stream encoding, `application/vnd.amazon.eventstream`: one message at a time.

Source: https://smithy.io/2.0/aws/amazon-eventstream.html. A message is its length and its headers' length (4 bytes
each, big-endian), the CRC of these, headers, payload, the CRC of all before.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from zlib import crc32

CONTENT_TYPE = "application/vnd.amazon.eventstream"
_STRING = 7  # the type of a header's value; no other is needed


def event(kind: str, payload: bytes) -> bytes:
    """An event of a stream, such as PayloadPart."""
    headers = {":message-type": "event", ":event-type": kind, ":content-type": "application/octet-stream"}
    return message(headers, payload)


def exception(kind: str, members: Mapping[str, str]) -> bytes:
    """An exception of the operation's model, such as ModelStreamError: the last message of a stream."""
    headers = {":message-type": "exception", ":exception-type": kind, ":content-type": "application/json"}
    return message(headers, json.dumps(members).encode())


def message(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One message with headers of strings."""
    head = b"".join(
        struct.pack(f"!B{len(name)}sBH", len(name), name.encode(), _STRING, len(value)) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack("!II", 16 + len(head) + len(payload), len(head))
    whole = prelude + struct.pack("!I", crc32(prelude)) + head + payload
    return whole + struct.pack("!I", crc32(whole))
