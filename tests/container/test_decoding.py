"""Every format and mode a photograph can have, against what Pillow makes of it; and what is refused by name."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from classifier import decoding, sniffing
from classifier.decoding import BadImage, Pixels, UnsupportedFormat, decode

# A smooth picture with all colours, so that what is lost by compression is little.
_RNG = np.random.default_rng(4)
PICTURE = Image.fromarray(_RNG.integers(60, 200, (5, 7, 3), np.uint8)).resize((90, 60), Image.Resampling.BICUBIC)
TURNED = PICTURE.rotate(180)
HALF_CLEAR = PICTURE.copy()
HALF_CLEAR.putalpha(Image.linear_gradient("L").resize(PICTURE.size))


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def reference(data: bytes) -> Pixels:
    """By Pillow alone: the first frame, turned, on white."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return np.asarray(image.convert("RGB"))


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize(
    "data",
    [
        *(encoded(PICTURE.convert(mode), "JPEG", quality=95) for mode in ("RGB", "L", "CMYK")),
        encoded(PICTURE, "JPEG", progressive=True, quality=95),
        *(encoded(PICTURE, "JPEG", quality=95, exif=turned(orientation)) for orientation in range(1, 9)),
        *(encoded(PICTURE.convert(mode), "PNG") for mode in ("RGB", "L", "1", "P", "LA", "RGBA")),
        encoded(HALF_CLEAR, "PNG"),
        encoded(HALF_CLEAR.convert("LA"), "PNG"),
        encoded(PICTURE.convert("P"), "PNG", transparency=3),
        encoded(PICTURE, "PNG", exif=turned(6)),
        *(encoded(PICTURE, kind, save_all=True, append_images=[TURNED]) for kind in ("GIF", "PNG", "WEBP")),
        encoded(HALF_CLEAR, "WEBP", lossless=True),
        encoded(PICTURE, "WEBP", exif=turned(8)),
        encoded(PICTURE, "AVIF"),
        encoded(HALF_CLEAR, "AVIF"),
        encoded(PICTURE, "AVIF", exif=turned(6)),
        encoded(PICTURE, "BMP"),
        encoded(PICTURE.convert("P"), "BMP"),
    ],
)  # fmt: skip
def test_is_what_pillow_shows(data: bytes) -> None:
    ours, theirs = decode(data, 1000).astype(int), reference(data).astype(int)
    assert ours.shape == theirs.shape
    # The two decoders of JPEG differ in how they widen colours; all else is the same to the bit.
    assert np.abs(ours - theirs).mean() < (3 if data[:2] == b"\xff\xd8" else 1e-9)


def test_cmyk_is_not_inverted() -> None:
    """Adobe's programs write inks inverted, and Pillow as they do."""
    inks = Image.new("CMYK", (40, 40), (0, 255, 255, 0))
    assert decode(encoded(inks, "JPEG"), 40)[20, 20].tolist() == pytest.approx([255, 0, 0], abs=3)


@pytest.mark.parametrize("height", [40, 600])  # less, and more, than one strip of the conversion
def test_sixteen_bits(height: int) -> None:
    samples = np.linspace(0, 65535, height * 50).reshape(height, 50).round().astype(np.uint16)
    grey = decode(encoded(Image.fromarray(samples), "PNG"), 10)
    assert np.array_equal(grey[..., 0], (samples / 257).round().astype(np.uint8))
    assert np.array_equal(grey[..., 0], grey[..., 2])
    clear = decode(encoded(Image.fromarray(samples), "PNG", transparency=0), 10)
    assert clear[0, 0].tolist() == [255, 255, 255] and np.array_equal(clear[1:], grey[1:])


def test_transparency_of_a_tall_picture() -> None:
    tall = HALF_CLEAR.resize((30, 700))
    assert np.array_equal(decode(encoded(tall, "PNG"), 1000), reference(encoded(tall, "PNG")))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(50), "a HEIC (HEIF) image"),
        (b"\0\0\0\x14ftypisom\0\0\2\0mp42" + bytes(50), "a video"),
        (encoded(PICTURE, "TIFF"), "a TIFF or camera raw file"),
        (encoded(PICTURE, "JPEG2000"), "a JPEG 2000 image"),
        (encoded(PICTURE, "ICO"), "an icon"),
        (encoded(PICTURE, "PDF"), "a PDF document"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
        (b"  <HTML><body>", "an HTML page"),
    ],
)
def test_what_is_not_decoded_is_named(data: bytes, words: str) -> None:
    with pytest.raises(UnsupportedFormat, match=f"the bytes are {words.split(' (')[0]}"):
        decode(data, 40)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "a HEIC (HEIF) image"),
        # The brand that tells is the last of many; what stands after the box is none.
        (b"\0\0\0\x20ftypisom\0\0\0\0isomisomisomheic", "a HEIC (HEIF) image"),
        (b"\0\0\0\x14ftypisom\0\0\0\0isomheic", "a video (MP4 or QuickTime)"),
        (b"\0\0\0\x14ftypqt  heicqt  ", "a video (MP4 or QuickTime)"),  # there stands the version
        (b"\x7f\0\0\0ftypisom" + b"isom" * 100 + b"heic", "a video (MP4 or QuickTime)"),
        (b"\0\0\0\x10ftypheic\0\0\0\0", "a HEIC (HEIF) image"),
        (b"\0\0\0\x18ftypisom\0\0\0\0xheicxxx", "a video (MP4 or QuickTime)"),
        (b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", None),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avis", None),
        (b"<!DOCTYPE HTML><p>", "an HTML page"),
        (b"\xef\xbb\xbf\r\n\t <head>", "an HTML page"),
        (b"<body>", "an HTML page"),
        (b"<svg/>", "an SVG drawing"),
        (b"<!doctype svg><svg>", "an SVG drawing"),
        (b"<?xml?><kml/>", None),
        (b"photographs of <svg", None),
        (b"  8BPS", None),
        (b"X<html>", None),
        (b"\x1f\x8b\x08", "a gzip archive"),
        (b"", None),
    ],
)
def test_a_kind_is_told_by_how_it_begins(data: bytes, name: str | None) -> None:
    assert sniffing.foreign(data) == name


def test_a_run_length_encoded_bmp_is_not_decoded() -> None:
    plain = encoded(PICTURE.convert("L"), "BMP")
    with pytest.raises(UnsupportedFormat, match="run-length"):
        decode(plain[:30] + b"\1" + plain[31:], 40)


def test_scans_are_counted_where_they_are() -> None:
    data = encoded(PICTURE, "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    scans = data.count(b"\xff\xda")
    assert sniffing.jpeg_scans(data) == scans
    with pytest.raises(BadImage, match="more than 64 scans"):
        decode(data[:-2] + last * 80 + b"\xff\xd9", 40)
    # The same bytes in a comment, or after the image, are none.
    comment = b"\xff\xfe" + (2 + 200).to_bytes(2, "big") + b"\xff\xda" * 100
    harmless = data[:2] + comment + data[2:] + b"\xff\xda" * 100
    assert sniffing.jpeg_scans(harmless) == scans
    assert np.array_equal(decode(harmless, 1000), decode(data, 1000))
    # A marker without a length (TEM), filling before one, and a length that names more than there is.
    assert sniffing.jpeg_scans(b"\xff\xd8\xff\x01\xff\xda\0\x02\xff\xff\xda\0\x02\0\xff\0\xff\xd0") == 2
    assert sniffing.jpeg_scans(b"\xff\xd8\xff\xfe\x01\0\xff\xda" + bytes(100)) == 0
    assert sniffing.jpeg_scans(b"\xff\xd8\xff\xfe\x01\0" + b"\xff\xda" * 127 + b"\xff\xda\0\x02") == 1


def test_pixels_are_counted_from_the_header() -> None:
    assert decoding.pixels(encoded(PICTURE, "PNG")[:-40]) == 90 * 60
    with pytest.raises(BadImage):
        decoding.pixels(b"woof")
