"""Bytes -> pixels: the one preprocessing of training, evaluation and serving.

`load`, and its randomly cropping twin for training, are the only places where a network's input is made of a
photograph; their settings are a `Preprocessing`, which travels in the model artifact.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import interpolate

from classifier.decoding import MAX_PIXELS as MAX_PIXELS
from classifier.decoding import BadImage as BadImage
from classifier.decoding import Pixels as Pixels
from classifier.decoding import decode
from classifier.preprocessing import Preprocessing as Preprocessing

# left, top, width, height; in pixels
Box = tuple[int, int, int, int]
_CPU = torch.device("cpu")


def load(data: bytes, preprocessing: Preprocessing) -> Pixels:
    """Decodes, centre-crops and scales one image; uint8 [crop, crop, 3], RGB.

    Raises:
        BadImage: not an image of `decoding.FORMATS`, truncated, or larger than `MAX_PIXELS`.
    """
    return central(decode(data, shorter_side=preprocessing.resize), preprocessing)


def central(pixels: Pixels, preprocessing: Preprocessing) -> Pixels:
    """What the network sees of uint8 [h, w, 3]; uint8 [crop, crop, 3]."""
    height, width, _ = pixels.shape
    box = central_box(height, width, preprocessing)
    scaled: Pixels = _scaled(pixels, box, preprocessing.crop, _CPU).numpy()
    return scaled


def central_box(height: int, width: int, preprocessing: Preprocessing) -> Box:
    """The centred square of a photograph that is scaled to the network's input."""
    side = max(1, round(min(width, height) * preprocessing.crop / preprocessing.resize))
    return (width - side) // 2, (height - side) // 2, side, side


def load_views(
    data: bytes, preprocessing: Preprocessing, rngs: Sequence[random.Random], device: torch.device = _CPU
) -> torch.Tensor:
    """As `load`, but for each of `rngs` a random part of the image (35 to 100 % of its area), mirrored half the time.

    The image is decoded once, its parts are scaled and mirrored on `device`; uint8 [len(rngs), crop, crop, 3] there.
    The scheme is that of Szegedy et al., "Going deeper with convolutions" (2014), with a milder lower bound, as most of
    a pet's photograph is the pet.
    """
    pixels = decode(data, shorter_side=math.ceil(preprocessing.resize * 1.5))
    height, width = pixels.shape[:2]
    views = []
    for rng in rngs:
        view = _scaled(pixels, _random_box(width, height, rng), preprocessing.crop, device)
        views.append(view.flip(1) if rng.random() < 0.5 else view)
    return torch.stack(views) if len(views) > 1 else views[0][None]


def normalize(batch: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """uint8 [n, h, w, 3] -> float32 [n, 3, h, w] in channels-last memory, zero mean and unit variance by channel."""
    # Rows of w * 3 values are long enough for the processor's vector units; pixels of 3 are not.
    rows = batch.flatten(2)
    made = torch.empty(rows.shape, device=batch.device)
    mean, std = _rows(preprocessing, batch.shape[2], batch.device)
    # One picture stays in the processor's cache for all three passes, a batch does not. A GPU takes all in one go.
    at_once = 1 if batch.device.type == "cpu" else len(batch)
    for part, pixels in zip(torch.split(made, at_once), torch.split(rows, at_once), strict=True):
        part.copy_(pixels).sub_(mean).div_(std)
    # A permuted view of NHWC memory is what torch calls channels_last: nothing is copied for the layout.
    return made.view(batch.shape).permute(0, 3, 1, 2)


@functools.lru_cache(maxsize=16)
def _rows(preprocessing: Preprocessing, width: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation on a scale to 255, float32 [width * 3].

    They are kept: a host that copies values to a GPU waits until that is done with all its work.
    """
    with torch.inference_mode(False):  # what is made within it can be used nowhere else
        mean, std = (torch.tensor(values) * 255 for values in (preprocessing.mean, preprocessing.std))
        return mean.repeat(width).to(device), std.repeat(width).to(device)


def _scaled(pixels: Pixels, box: Box, side: int, device: torch.device) -> torch.Tensor:
    """The part `box` as uint8 [side, side, 3] on `device`."""
    left, top, width, height = box
    part = torch.from_numpy(np.ascontiguousarray(pixels[top : top + height, left : left + width]))
    if device.type != "cpu":
        part = part.pin_memory().to(device, non_blocking=True).float()
    return _bilinear(part, side)


def _bilinear(part: torch.Tensor, side: int) -> torch.Tensor:
    """[h, w, 3] -> uint8 [side, side, 3]; over all pixels where it gets smaller.

    torch's kernel for uint8 is one of the CPU. A GPU computes in float32 and rounds: a value differs by 1 at most.
    """
    # Of shape [1, 3, h, w] in channels-last memory, which the kernel neither unpacks nor packs.
    picture = part.view(1, *part.shape).permute(0, 3, 1, 2)
    scaled = interpolate(picture, (side, side), mode="bilinear", antialias=True)[0].permute(1, 2, 0)
    return scaled if scaled.dtype == torch.uint8 else scaled.round_().to(torch.uint8)


def _random_box(width: int, height: int, rng: random.Random) -> Box:
    for _ in range(10):
        area = width * height * rng.uniform(0.35, 1.0)
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if w <= width and h <= height:
            return rng.randint(0, width - w), rng.randint(0, height - h), w, h
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side, side
