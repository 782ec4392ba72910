"""Bytes -> upright RGB pixels, at the size that is needed: the one decoder of training, serving and `prepare`.

Imports no torch, so that data sets can be checked and made where there is none.
"""

from __future__ import annotations

import io
import math

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError, WebPImagePlugin

from classifier.errors import InputError

# Decoders that strangers' bytes may reach; Pillow's other plug-ins stay out of it. WebP's registers itself on import.
FORMATS = ("JPEG", "PNG", WebPImagePlugin.WebPImageFile.format, "GIF", "BMP")
# Below the 89 megapixels at which Pillow itself begins to warn; a decoded photograph of this size takes 240 MB.
MAX_PIXELS = 80_000_000
# Eighths of its size at which a JPEG is decoded. libjpeg-turbo does five, six and seven more slowly than eight.
_EIGHTHS = (1, 2, 3, 4)

Pixels = npt.NDArray[np.uint8]


class BadImage(InputError):
    """Bytes that are no readable image, or more of one than we decode."""


def decode(data: bytes, shorter_side: int) -> Pixels:
    """uint8 [h, w, 3], RGB, turned as its EXIF orientation says; what is transparent is white.

    The shorter side has at least `shorter_side` pixels, or all that there are: a JPEG is decoded at a fraction of its
    size where that is enough, for a fraction of the cost.

    Raises:
        BadImage: not an image of `FORMATS`, truncated, or larger than `MAX_PIXELS`.
    """
    try:
        if data[:3] == b"\xff\xd8\xff":
            try:
                return _jpeg(data, shorter_side)
            except ValueError:
                pass  # colours that it does not convert, or damage, some of which is harmless: Pillow knows
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
        _check_size(*image.size)
        scale = shorter_side / min(image.size)
        if scale < 1:
            image.draft("RGB", (math.ceil(image.width * scale), math.ceil(image.height * scale)))
        return np.asarray(_rgb(ImageOps.exif_transpose(image)))
    except BadImage:
        raise
    except UnidentifiedImageError:
        raise BadImage(f"the bytes are no image that can be read (accepted: {', '.join(FORMATS)})") from None
    except Exception as error:  # Pillow's decoders raise whatever they ran into: OSError, ValueError, struct.error, ...
        raise BadImage(f"the image is damaged: {error}") from None


def _jpeg(data: bytes, shorter_side: int) -> Pixels:
    """Raises ValueError where anything is out of the ordinary."""
    height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    _check_size(width, height)
    if colours not in ("YCbCr", "RGB", "Gray"):
        raise ValueError(colours)
    eighths = next((n for n in _EIGHTHS if min(height, width) * n >= shorter_side * 8), 8)
    # The decoder takes the smallest size that is not below this one, and rounds sizes up as well.
    pixels: Pixels = simplejpeg.decode_jpeg(data, min_height=-(-height * eighths // 8), fastupsample=True)
    # Pillow reads the orientation, at a tenth of the cost of a small photograph: only where there can be one.
    if b"Exif\0" in data or b"Orientation" in data:
        turned = Image.fromarray(pixels)
        turned.info.update(Image.open(io.BytesIO(data), formats=("JPEG",)).info)
        pixels = np.asarray(ImageOps.exif_transpose(turned))
    return pixels


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise BadImage(f"the image has {width} x {height} pixels; at most {MAX_PIXELS:,} are decoded")


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16-bit samples: Pillow's own conversion clips them at 255 instead of scaling.
        image = Image.fromarray((np.asarray(image, dtype=np.float32) / 257).round().astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")
