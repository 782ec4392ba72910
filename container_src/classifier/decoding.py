"""Bytes -> upright RGB pixels, at the size that is needed: the one decoder of training, serving and `prepare`.

Imports no torch, so that data sets can be checked and made where there is none.
"""

from __future__ import annotations

import io
import math

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import AvifImagePlugin, Image, ImageOps, UnidentifiedImageError, WebPImagePlugin

from classifier import sniffing
from classifier.errors import InputError

# Decoders that strangers' bytes may reach; Pillow's other plug-ins stay out of it. Those of WebP and AVIF register
# themselves on import.
FORMATS = (
    "JPEG",
    "PNG",
    WebPImagePlugin.WebPImageFile.format,
    AvifImagePlugin.AvifImageFile.format,
    "GIF",
    "BMP",
)
# Below the 89 megapixels at which Pillow itself begins to warn; a decoded photograph of this size takes 240 MB.
MAX_PIXELS = 80_000_000
# Each scan of a JPEG goes over all of its pixels, and takes as little as a hundred bytes: 6 MB of them take an hour.
# Cameras and optimizers write about ten.
MAX_SCANS = 64
# Rows that are converted at a time, where the conversion needs several times the memory of the picture.
_STRIP = 256
# Eighths of its size at which a JPEG is decoded. libjpeg-turbo does five, six and seven more slowly than eight.
_EIGHTHS = (1, 2, 3, 4)

Pixels = npt.NDArray[np.uint8]


class BadImage(InputError):
    """Bytes that are no readable image, or more of one than we decode."""


class UnsupportedFormat(BadImage):
    """A kind of file that has a name, and that is not decoded here."""


def decode(data: bytes, shorter_side: int) -> Pixels:
    """uint8 [h, w, 3], RGB, turned as its EXIF orientation says; what is transparent is white.

    The shorter side has at least `shorter_side` pixels, or all that there are: a JPEG is decoded at a fraction of its
    size where that is enough, for a fraction of the cost.

    Raises:
        UnsupportedFormat: another known kind of file.
        BadImage: not an image of `FORMATS`, truncated, or larger than `MAX_PIXELS`.
    """
    try:
        if data[:3] == b"\xff\xd8\xff":
            try:
                return _jpeg(data, shorter_side)
            except ValueError:
                pass  # colours that it does not convert, or damage, some of which is harmless: Pillow knows
        image = _open(data)
        scale = shorter_side / min(image.size)
        if scale < 1:
            image.draft("RGB", (math.ceil(image.width * scale), math.ceil(image.height * scale)))
        return np.asarray(_rgb(ImageOps.exif_transpose(image)))
    except BadImage:
        raise
    except Exception as error:  # Pillow's decoders raise whatever they ran into: OSError, ValueError, struct.error, ...
        raise BadImage(f"the image is damaged: {_reason(error)}") from None


def pixels(data: bytes) -> int:
    """How many pixels the header of an image promises, before they are decoded.

    Raises:
        BadImage: as `decode`.
    """
    try:
        width, height = _open(data).size
    except BadImage:
        raise
    except Exception as error:
        raise BadImage(f"the image is damaged: {_reason(error)}") from None
    return width * height


def _open(data: bytes) -> Image.Image:
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        accepted = f"accepted: {', '.join(FORMATS)}"
        if kind := sniffing.foreign(data):
            raise UnsupportedFormat(f"the bytes are {kind}, which is not decoded here ({accepted})") from None
        raise BadImage(f"the bytes are no image that can be read ({accepted})") from None
    except Image.DecompressionBombError:
        raise BadImage(f"the image has more than the {MAX_PIXELS:,} pixels that are decoded") from None
    _check_size(*image.size)
    if image.format == "BMP" and image.info.get("compression") in (1, 2):
        # Pillow's decoder of these is a loop in Python, which takes ten seconds for the largest.
        raise UnsupportedFormat("the bytes are a run-length encoded BMP, which is not decoded here; send a PNG")
    if image.format in ("JPEG", "MPO"):
        _check_scans(data)
    return image


def _reason(error: Exception) -> str:
    """What a decoder said, on one line."""
    return " ".join(str(error).split())[:120] or type(error).__name__


def _jpeg(data: bytes, shorter_side: int) -> Pixels:
    """Raises ValueError where anything is out of the ordinary."""
    height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    _check_size(width, height)
    _check_scans(data)
    if colours not in ("YCbCr", "RGB", "Gray"):
        raise ValueError(colours)
    eighths = next((n for n in _EIGHTHS if min(height, width) * n >= shorter_side * 8), 8)
    # The decoder takes the smallest size that is not below this one, and rounds sizes up as well.
    decoded: Pixels = simplejpeg.decode_jpeg(data, min_height=-(-height * eighths // 8), fastupsample=True)
    # Pillow reads the orientation, at a tenth of the cost of a small photograph: only where there can be one.
    header = _header_end(data)
    if data.find(b"Exif\0", 0, header) >= 0 or data.find(b"Orientation", 0, header) >= 0:
        turned = Image.fromarray(decoded)
        turned.info.update(Image.open(io.BytesIO(data), formats=("JPEG",)).info)
        decoded = np.asarray(ImageOps.exif_transpose(turned))
    return decoded


def _header_end(jpeg: bytes) -> int:
    """Where the markers end and the picture begins, in which no metadata are; all of it where that is not plain.

    ISO/IEC 10918-1, annex B: a segment is 0xFF, its marker, and two bytes of its length, which counts themselves.
    """
    at = 2
    while jpeg[at : at + 1] == b"\xff":
        if jpeg[at + 1 : at + 2] == b"\xda":  # start of scan
            return at
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return len(jpeg)


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise BadImage(f"the image has {width} x {height} pixels; at most {MAX_PIXELS:,} are decoded")


def _check_scans(data: bytes) -> None:
    # Counted exactly only where there may be too many: the two bytes also occur in thumbnails and appended videos.
    if data.count(b"\xff\xda") > MAX_SCANS and sniffing.jpeg_scans(data) > MAX_SCANS:
        raise BadImage(f"the JPEG has more than {MAX_SCANS} scans; save it anew, with fewer")


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _eight_bits(image)
    if "A" not in image.getbands() and "transparency" not in image.info:
        return image.convert("RGB")
    opaque = Image.new("RGB", image.size)
    for top in range(0, image.height, _STRIP):
        strip = image.crop((0, top, image.width, min(top + _STRIP, image.height))).convert("RGBA")
        opaque.paste(Image.alpha_composite(Image.new("RGBA", strip.size, "white"), strip), (0, top))
    return opaque


def _eight_bits(image: Image.Image) -> Image.Image:
    """Of samples of 16 bits, which Pillow's own conversion clips at 255 instead of scaling."""
    samples = np.asarray(image)
    grey = np.empty(samples.shape, np.uint8)
    for top in range(0, len(samples), _STRIP):
        strip = samples[top : top + _STRIP].astype(np.uint32)
        grey[top : top + _STRIP] = (strip + 128) // 257
        if (clear := image.info.get("transparency")) is not None:
            grey[top : top + _STRIP][strip == clear] = 255
    return Image.fromarray(grey).convert("RGB")
