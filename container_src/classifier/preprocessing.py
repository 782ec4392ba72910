"""The settings of the one preprocessing. Pure Python: they travel in artifacts that are read where no image is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

# How pixels are made of a file (`decoding` and `images`); another name whenever they become others.
METHOD = "libjpeg-turbo in eighths, whole boxes, bilinear"


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
    method: str = METHOD

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
            str(values.get("method", "not told")),
        )

    def to_dict(self) -> dict[str, Any]:
        """A form for JSON."""
        return asdict(self)
