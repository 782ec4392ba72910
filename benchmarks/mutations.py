"""Requests that strangers send: photographs and bodies, damaged in every way that we could think of, from a seed."""

from __future__ import annotations

import base64
import gzip
import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

JPEG = {"Content-Type": "image/jpeg"}
JSON = {"Content-Type": "application/json"}
NPY = {"Content-Type": "application/x-npy"}
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
# What no answer may hold: line breaks, tracebacks, objects' addresses, paths of ours, names of Python's and Java's.
_INSIDES = ("\n", "Traceback", " at 0x", "/tmp", "/usr", "/opt", "/home", ".py", "site-packages", "java.", "Exception")
_HTML = b"<!DOCTYPE html><html><head><title>404</title></head><body>not found</body></html>"


@dataclass(frozen=True)
class Case:
    """One request to /invocations, and the kind of damage that it stands for."""

    kind: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: JPEG)


def complaint(status: int, body: bytes) -> str | None:
    """What is wrong with how a request was answered; None for a prediction, and for a refusal of one clean sentence.

    A refusal of the model server itself is a JSON of its own, and must no more than ours tell of its insides.
    """
    if status == 200:
        return None if body else "an empty prediction"
    if not 400 <= status < 500:
        return f"status {status}"
    try:
        answer = json.loads(body)
    except ValueError:
        return "no JSON"
    sentence = answer.get("error" if len(answer) == 1 else "message")
    if not isinstance(sentence, str) or not 3 < len(sentence) < 500:
        return "no sentence"
    return next((f"says {word!r}" for word in _INSIDES if word in sentence), None)


def text(data: bytes) -> str:
    """`data` in base64."""
    return base64.b64encode(data).decode()


def samples() -> list[bytes]:
    """Small photographs in every format and mode that is decoded."""
    rng = np.random.default_rng(5)
    noise = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).resize((96, 72))
    turned = Image.Exif()
    turned[0x0112] = 6
    deep = Image.fromarray(rng.integers(0, 65536, (40, 60), np.uint16))
    frames = [noise.rotate(angle) for angle in (0, 90)]
    kinds: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (noise, "JPEG", {}),
        (noise, "JPEG", {"progressive": True, "exif": turned}),
        (noise.convert("L"), "JPEG", {}),
        (noise.convert("CMYK"), "JPEG", {}),
        *((noise.convert(mode), "PNG", {}) for mode in ("RGB", "RGBA", "P", "LA", "1")),
        (deep, "PNG", {}),
        (frames[0], "GIF", {"save_all": True, "append_images": frames[1:]}),
        (frames[0], "WEBP", {"save_all": True, "append_images": frames[1:]}),
        (noise, "WEBP", {"lossless": True}),
        (noise, "AVIF", {}),
        (noise, "BMP", {}),
    ]
    made = []
    for image, format, options in kinds:
        stream = io.BytesIO()
        image.save(stream, format, **options)
        made.append(stream.getvalue())
    return made


def cases(seed: int) -> Iterator[Case]:
    """Without end; every kind comes about as often as the others."""
    rng = random.Random(seed)
    pictures = samples()
    bombs = decompression_bombs()
    kinds: list[Callable[[], Case]] = [
        lambda: Case("truncated", _truncated(rng, rng.choice(pictures))),
        lambda: Case("bits flipped", _flipped(rng, rng.choice(pictures))),
        lambda: Case("bytes moved", _moved(rng, rng.choice(pictures), rng.choice(pictures))),
        lambda: Case("header overwritten", _overwritten(rng, rng.choice(pictures))),
        lambda: Case("decompression bomb", rng.choice(bombs)),
        lambda: Case("no photograph", _foreign(rng), rng.choice([JPEG, {"Content-Type": "application/octet-stream"}])),
        lambda: Case("wrong content type", rng.choice(pictures), {"Content-Type": _content_type(rng)}),
        lambda: Case("broken JSON", _json(rng, rng.choice(pictures)), JSON),
        lambda: Case("broken base64", _base64(rng, rng.choice(pictures)), JSON),
        lambda: Case("broken npy", _npy(rng), NPY),
        lambda: Case("one bad of several", _several(rng, pictures), JSON),
        lambda: Case("odd options", rng.choice(pictures), {**JPEG, ATTRIBUTES: _attributes(rng)}),
        lambda: Case("odd Accept", rng.choice(pictures), {**JPEG, "Accept": _accept(rng)}),
    ]
    while True:
        yield rng.choice(kinds)()


def decompression_bombs() -> list[bytes]:
    """Few bytes that promise, or hold, very many."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    def png(side: int, *chunks: bytes) -> bytes:
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")

    def saved(image: Image.Image, format: str, **options: object) -> bytes:
        stream = io.BytesIO()
        image.save(stream, format, **options)
        return stream.getvalue()

    zeros = zlib.compress(bytes(50_000_000), 9)
    small = saved(Image.new("RGB", (64, 64)), "JPEG", progressive=True)
    frame = small.index(b"\xff\xc2") + 5
    huge_jpeg = small[:frame] + b"\xff\xff\xff\xff" + small[frame + 4 :]
    last = small.rindex(b"\xff\xda")
    scans = small[:-2] + small[last:-2] * 2000 + b"\xff\xd9"
    bmp = saved(Image.new("L", (64, 64)), "BMP")
    return [
        png(100_000, chunk(b"IDAT", zeros)),
        png(64, *[chunk(b"zTXt", b"comment\0\0" + zeros)] * 20),
        png(64, chunk(b"iCCP", b"profile\0\0" + zeros), chunk(b"IDAT", zeros)),
        png(64, *[chunk(b"tEXt", b"a\0b")] * 30_000),
        saved(Image.new("1", (12_000, 12_000)), "PNG"),
        b"GIF89a\xff\xff\xff\xff\x80\0\0" + b"\0\0\0\xff\xff\xff" + b",\0\0\0\0\xff\xff\xff\xff\0\2\2\x4c\1\0;",
        b"RIFF\x30\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0" + b"\xfe\xff\0\xfe\xff\0" + b"ANIM\6\0\0\0\0\0\0\0\0\0",
        b"RIFF\x1a\0\0\0WEBPVP8L\x0e\0\0\0\x2f\xff\xff\xff\x0f" + bytes(9),
        huge_jpeg,
        scans,
        bmp[:18] + struct.pack("<ii", 100_000, 100_000) + bmp[26:],
        bmp[:18] + struct.pack("<iiHHI", 79_000_000, 1, 1, 8, 1) + bmp[34:],
        b"\x93NUMPY\1\0v\0" + b"{'descr': '|u1', 'fortran_order': False, 'shape': (100000, 100000, 3), }".ljust(118),
        b"\x93NUMPY\2\0\xff\xff\xff\x7f{",
    ]


def _truncated(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def _flipped(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 2, 8, 64])):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _moved(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """A part left out, repeated, or replaced by one of another file."""
    at, length, to = rng.randrange(len(data)), rng.randrange(1, 400), rng.randrange(len(other))
    parts = [b"", data[at : at + length] * rng.choice([2, 50]), other[to : to + length], bytes(length)]
    return data[:at] + rng.choice(parts) + data[at + length :]


def _overwritten(rng: random.Random, data: bytes) -> bytes:
    """Extreme numbers near the beginning, where sizes and counts are."""
    at = rng.randrange(4, min(200, len(data)))
    number = rng.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4), b"\xff\xff", b"\x80"])
    return data[:at] + number + data[at + len(number) :]


def _foreign(rng: random.Random) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("photograph.jpg", bytes(1_000_000))
    return rng.choice(
        [
            b"", b"\0", b" ", b"woof", _HTML, archive.getvalue(), gzip.compress(_HTML), b"%PDF-1.7\n%\xe2\xe3",
            b"\x7fELF",
            b"II*\0\x08\0\0\0\xff\xff", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
            b"\0\0\0\x1cftypavif\0\0\0\0mif1avifmiaf",
            b"\0\0\0\x14ftypisom\0\0\2\0isom", b"\xff\xd8\xff", b"\xff\xd8\xff\xd9", b"\x89PNG\r\n\x1a\n", b"GIF89a",
            b"BM",
            b"RIFF\xff\xff\xff\xffWEBPVP8 ", b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>",
            rng.randbytes(rng.choice([10, 1000, 50_000])), b"a=1&b=2", b"--x\r\n\r\n--x--", b"\xff" * 5000, b"{}",
        ]
    )  # fmt: skip


def _content_type(rng: random.Random) -> str:
    return rng.choice(
        ["text/csv", "text/plain", "text/html; charset=utf-8", "image/", "image", "/", ";", "application/json", "*/*",
         "application/x-npy", "application/x-image; q=" + "9" * 500, "image/jpeg, image/png", "application/pdf",
         "multipart/form-data", "multipart/form-data; boundary=x", "application/" + "x" * 3000, "%s%n", "'; DROP TABLE",
         "application/octet-stream", "image/heic", "video/mp4"]
    )  # fmt: skip


def _json(rng: random.Random, data: bytes) -> bytes:
    coded = text(data)
    good = json.dumps({"image": coded, "top_k": 2}).encode()
    depth = rng.choice([10, 1000, 200_000])
    odd: list[object] = [
        None, 3, "text", [], {}, [coded], {"image": None}, {"image": []}, {"image": {"b64": 1}}, {"images": coded},
        {"images": []}, {"images": [coded] * 70}, {"images": [[coded]]}, {"instances": [{"b65": coded}]},
        {"instances": {"b64": coded}}, {"image": coded, "images": [coded]}, {"image": coded, "top_k": {}},
        {"data": coded},
        {"image": coded, "top_k": -1}, {"image": coded, "threshold": float("nan")},
        {"image": coded, "explain": ["top"]},
        {"image": coded, "top_k": 10**400}, {"image": coded, "\ud800": 1}, {"inputs": [[0.1] * 100] * 100},
    ]  # fmt: skip
    ways: list[Callable[[], bytes]] = [
        lambda: _truncated(rng, good),
        lambda: _flipped(rng, good),
        lambda: _flipped(rng, good[:60]),
        lambda: json.dumps(rng.choice(odd)).encode(),
        lambda: json.dumps(rng.choice(odd)).encode(rng.choice(["utf-16", "utf-32", "utf-7", "cp037"])),
        lambda: b"[" * depth + b"]" * rng.choice([0, depth]),
        lambda: b'{"image":' * depth,
        lambda: b'{"top_k": ' + b"9" * depth + b"}",
        lambda: b'{"image": "\xff\xfe"}',
        lambda: _HTML,
        lambda: data,
    ]
    return rng.choice(ways)()


def _base64(rng: random.Random, data: bytes) -> bytes:
    coded = text(data)
    at = rng.randrange(len(coded))
    broken = rng.choice(
        [coded[:at] + rng.choice("%*\0é\ud800=") + coded[at:], coded[:-1], "=" * 9, coded + coded,
         "data:image/jpeg;base64,",
         text(_flipped(rng, data)), base64.b32encode(data).decode(), data.hex(), coded[:at] + "\n"]
    )  # fmt: skip
    return json.dumps(rng.choice([{"image": broken}, {"instances": [{"b64": broken}]}])).encode()


def _npy(rng: random.Random) -> bytes:
    stream = io.BytesIO()
    shape = rng.choice([(8, 8, 3), (2, 8, 8, 3), (8, 8), (8, 8, 4), (0, 8, 3), (70, 2, 2, 3), (1, 1, 1, 1, 3)])
    np.save(stream, np.zeros(shape, rng.choice(["uint8", "float32", "int64", "S3", "bool"])))
    data = stream.getvalue()
    return rng.choice(
        [
            data,
            _truncated(rng, data),
            _flipped(rng, data[:128]) + data[128:],
            data.replace(b"(8, 8, 3)", b"(9**9**9,"),
            data.replace(b"'|u1'", b"'|O'"),
            data[:10] + b"-" * 118,
            data[:10] + b"(" * 118,
            b"\x93NUMPY\1\0\xff\xff" + b"[" * 65_535,
        ]
    )


def _several(rng: random.Random, pictures: list[bytes]) -> bytes:
    chosen = [rng.choice(pictures) for _ in range(rng.randrange(2, 6))]
    at = rng.randrange(len(chosen))
    chosen[at] = rng.choice([_truncated, _flipped])(rng, chosen[at])
    return json.dumps({"images": [text(data) for data in chosen]}).encode()


def _attributes(rng: random.Random) -> str:
    return rng.choice(
        ["top_k=", "top_k=-1", "top_k=1e9", "top_k=999999999999999999999", "top_k=None", "threshold=nan",
         "threshold=-0",
         "threshold=1e-999", "features=maybe", "probabilities=none", "probabilities=all;top_k=1", "explain=",
         "explain=x" * 99,
         "explain=%zz%00%ff", "explain=top,features=true", "=,=;;=", "top_k", "a" * 2000, "top_k=1" * 200, "%00=%00",
         "../../etc/passwd", "${jndi:ldap://127.0.0.1/a}", "explain=top"]
    )  # fmt: skip


def _accept(rng: random.Random) -> str:
    return rng.choice(
        ["text/html", "image/*", "image/png", ",", ";", ";q=", "*/*;q=0", "application/json;q=-1", "a" * 3000,
         "*/*" + ",*/*" * 500,
         "application/json;q=1e999", "text/csv;q=nan", "text/csv;;;", "q=1", "application/json;q=0, text/csv;q=0",
         "*/json"]
    )  # fmt: skip
