"""Bytes -> pixels: the one preprocessing of training, evaluation and serving.

`load` (and its randomly cropping twin for training) is the only place where an image is decoded; its settings are a
`Preprocessing`, which travels in the model artifact. Imports no torch, so that data sets can be checked without it.
"""

from __future__ import annotations

import io
import math
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError, WebPImagePlugin

from classifier.errors import InputError
from classifier.fingerprint import EXTENSIONS as EXTENSIONS
from classifier.preprocessing import Preprocessing as Preprocessing

if TYPE_CHECKING:
    import torch

# Decoders that strangers' bytes may reach; Pillow's other plug-ins stay out of it. WebP's registers itself on import.
FORMATS = ("JPEG", "PNG", WebPImagePlugin.WebPImageFile.format, "GIF", "BMP")
# Below the 89 megapixels at which Pillow itself begins to warn; a decoded photograph of this size takes 240 MB.
MAX_PIXELS = 80_000_000

Pixels = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]


class BadImage(InputError):
    """Bytes that are no readable image, or more of one than we decode."""


def load(data: bytes, preprocessing: Preprocessing) -> Pixels:
    """Decodes, scales and centre-crops one image; uint8 [crop, crop, 3], RGB.

    Raises:
        BadImage: not an image of `FORMATS`, truncated, or larger than `MAX_PIXELS`.
    """
    crop, resize = preprocessing.crop, preprocessing.resize

    def centred(width: int, height: int) -> Box:
        side = min(width, height) * crop / resize
        left, top = (width - side) / 2, (height - side) / 2
        return left, top, left + side, top + side

    image = _open(data, shorter_side=resize)
    return _pixels(image, centred(*image.size), crop)


def load_views(data: bytes, preprocessing: Preprocessing, rngs: Sequence[random.Random]) -> Pixels:
    """As `load`, but for each of `rngs` a random part of the image (35 to 100 % of its area), mirrored half the time.

    The image is decoded once; uint8 [len(rngs), crop, crop, 3]. The scheme is that of Szegedy et al., "Going deeper
    with convolutions" (2014), with a milder lower bound, as most of a pet's photograph is the pet.
    """
    image = _open(data, shorter_side=math.ceil(preprocessing.resize * 1.5))
    views = np.empty((len(rngs), preprocessing.crop, preprocessing.crop, 3), np.uint8)
    for view, rng in zip(views, rngs, strict=True):
        pixels = _pixels(image, _random_box(*image.size, rng), preprocessing.crop)
        view[:] = pixels[:, ::-1] if rng.random() < 0.5 else pixels
    return views


def normalize(batch: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """uint8 [n, h, w, 3] -> float32 [n, 3, h, w] in channels-last memory, zero mean and unit variance by channel."""
    pixels = batch.float()
    mean, std = pixels.new_tensor(preprocessing.mean) * 255, pixels.new_tensor(preprocessing.std) * 255
    # A permuted view of NHWC memory is what torch calls channels_last: nothing is copied for the layout.
    return ((pixels - mean) / std).permute(0, 3, 1, 2)


def _open(data: bytes, shorter_side: int) -> Image.Image:
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise BadImage(f"the image has {width} x {height} pixels; at most {MAX_PIXELS:,} are decoded")
        # JPEG can be decoded at 1/2, 1/4 or 1/8 of its size for a fraction of the cost; other formats ignore this.
        scale = shorter_side / min(width, height)
        if scale < 1:
            image.draft("RGB", (math.ceil(width * scale), math.ceil(height * scale)))
        return _rgb(ImageOps.exif_transpose(image))
    except BadImage:
        raise
    except UnidentifiedImageError:
        raise BadImage(f"the bytes are no image that can be read (accepted: {', '.join(FORMATS)})") from None
    except Exception as error:  # Pillow's decoders raise whatever they ran into: OSError, ValueError, struct.error, ...
        raise BadImage(f"the image is damaged: {error}") from None


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16-bit samples: Pillow's own conversion clips them at 255 instead of scaling.
        image = Image.fromarray((np.asarray(image, dtype=np.float32) / 257).round().astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _pixels(image: Image.Image, box: Box, side: int) -> Pixels:
    return np.array(image.resize((side, side), Image.Resampling.BILINEAR, box=box))


def _random_box(width: int, height: int, rng: random.Random) -> Box:
    for _ in range(10):
        area = width * height * rng.uniform(0.35, 1.0)
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if w <= width and h <= height:
            left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
            return left, top, left + w, top + h
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side
