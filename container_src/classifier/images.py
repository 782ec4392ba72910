"""Bytes -> pixels: the one preprocessing of training, evaluation and serving.

`load` (and its randomly cropped twin for training) is the only place where an image is decoded; its settings are a
`Preprocessing`, which travels in the model artifact. Imports no torch, so that data sets can be checked without it.
"""

from __future__ import annotations

import io
import math
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError, WebPImagePlugin

from classifier.errors import InputError

if TYPE_CHECKING:
    import torch

# Decoders that strangers' bytes may reach; Pillow's other plug-ins stay out of it. WebP's registers itself on import.
FORMATS = ("JPEG", "PNG", WebPImagePlugin.WebPImageFile.format, "GIF", "BMP")
EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")
# Below the 89 megapixels at which Pillow itself begins to warn; a decoded photograph of this size takes 240 MB.
MAX_PIXELS = 80_000_000

Pixels = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]


class BadImage(InputError):
    """Bytes that are no readable image, or more of one than we decode."""


@dataclass(frozen=True)
class Preprocessing:
    """`resize`: what the shorter side is scaled to; `crop`: side of the centred square kept of that; in pixels.

    `mean` and `std` are of red, green, blue on a scale of 0 to 1. The defaults are ImageNet's, with which torchvision's
    pretrained weights were trained.
    """

    resize: int
    crop: int
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    @classmethod
    def for_size(cls, image_size: int) -> Preprocessing:
        """The customary margin: 256 for a crop of 224."""
        return cls(resize=round(image_size * 8 / 7), crop=image_size)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """The inverse of `to_dict`. Raises KeyError, TypeError or ValueError where a value is missing or no number."""
        return cls(
            int(values["resize"]),
            int(values["crop"]),
            tuple(float(v) for v in values["mean"]),
            tuple(float(v) for v in values["std"]),
        )

    def to_dict(self) -> dict[str, Any]:
        """A form for JSON."""
        return asdict(self)


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


def load_augmented(data: bytes, preprocessing: Preprocessing, rng: random.Random) -> Pixels:
    """As `load`, but of a random part of the image (35 to 100 % of its area), mirrored half of the time.

    The scheme is that of Szegedy et al., "Going deeper with convolutions" (2014), with a milder lower bound, as most of
    a pet's photograph is the pet.
    """
    image = _open(data, shorter_side=math.ceil(preprocessing.resize * 1.5))
    pixels = _pixels(image, _random_box(*image.size, rng), preprocessing.crop)
    return np.ascontiguousarray(pixels[:, ::-1]) if rng.random() < 0.5 else pixels


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
