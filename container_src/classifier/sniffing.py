"""What bytes are, told by how they begin: for naming what is not decoded, and for what decoders do not check."""

from __future__ import annotations

import re

_BEGINNINGS = (
    (b"II*\0", "a TIFF or camera raw file"),
    (b"MM\0*", "a TIFF or camera raw file"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL image"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (b"\0\0\1\0", "an icon"),
    (b"8BPS", "a Photoshop file"),
    (b"%PDF", "a PDF document"),
    (b"PK\3\4", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
)
# Brands of ISO/IEC 23008-12 for images coded as HEVC, and for what may be coded in any way.
_HEIF = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_AVIF = {b"avif", b"avis"}
# A marker: 0xFF and a byte that is neither a stuffed zero, nor filling, nor a restart. A length follows it, but for
# SOI, EOI and TEM.
_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
_SCAN, _END, _BARE = b"\xda", b"\xd9", (b"\xd8", b"\x01")


def foreign(data: bytes) -> str | None:
    """The name of a kind of file that is not decoded here, with its article; None for what has none."""
    if data[4:8] == b"ftyp":
        size = min(int.from_bytes(data[:4], "big"), 256)
        brands = {data[at : at + 4] for at in (8, *range(16, size, 4))}
        if brands & _AVIF:
            return None  # decoded, so this one is damaged
        return "a HEIC (HEIF) image" if brands & _HEIF else "a video (MP4 or QuickTime)"
    text = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "an HTML page"
    if text.startswith((b"<svg", b"<?xml", b"<!doctype svg")) and b"<svg" in text:
        return "an SVG drawing"
    return next((name for beginning, name in _BEGINNINGS if data.startswith(beginning)), None)


def jpeg_scans(data: bytes) -> int:
    """How many scans a JPEG has, from its segments (ITU-T T.81, annex B) up to the end of the first image."""
    at, scans = 0, 0
    while (found := _MARKER.search(data, at)) and found[1] != _END:
        scans += found[1] == _SCAN
        at = found.end()
        if found[1] not in _BARE:
            at += int.from_bytes(data[at : at + 2], "big")
    return scans
