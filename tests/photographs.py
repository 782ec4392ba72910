"""Small generated photographs for tests: classes differ in hue, every picture in size, brightness and noise."""

from __future__ import annotations

import colorsys
import io
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("amber", "blue", "green")


def jpeg(hue: float, rng: np.random.Generator, size: tuple[int, int] | None = None, format: str = "JPEG") -> bytes:
    """One picture: noise around a colour of `hue` (0 to 1)."""
    width, height = size or (int(rng.integers(60, 120)), int(rng.integers(60, 120)))
    colour = np.array(colorsys.hsv_to_rgb(hue, 0.7, rng.uniform(0.5, 0.9))) * 255
    pixels = colour + rng.normal(0, 40, (height, width, 3))
    stream = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(stream, format)
    return stream.getvalue()


def data_set(root: Path, per_class: dict[str, int], classes: tuple[str, ...] = CLASSES) -> Path:
    """Writes `root/<split>/<class>/<n>.jpg`; `per_class`: split -> pictures a class."""
    rng = np.random.default_rng(0)
    for split, count in per_class.items():
        for index, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                (folder / f"{i}.jpg").write_bytes(jpeg(index / len(classes), rng))
    return root
