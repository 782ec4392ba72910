"""A generated data set: JPEG photographs of textured shapes among clutter, the same for the same settings.

A class is a texture on a shape, in colours about one hue. Size, aspect, place, turn, shades, light, blur, noise, the
things around and before the object and the JPEG quality vary from photograph to photograph, so that a network has to
find the object, and some photographs leave too little of it to be told.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrate.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image

    Floats = npt.NDArray[np.floating]

CLASSES = (
    "striped_disc", "dotted_square", "checked_triangle", "ringed_star", "striped_cross", "dotted_hexagon",
    "checked_disc", "ringed_square", "striped_triangle", "dotted_star", "checked_cross", "ringed_hexagon",
)  # fmt: skip
_CORNERS = {"square": 4, "triangle": 3, "hexagon": 6}
# Of the hue circle: with six classes neighbours are 0.17 apart, so that colour helps and does not decide.
_HUE_SPREAD = 0.045


@dataclass(frozen=True)
class Settings:
    """`per_class`: photographs of each class, all splits together; `size`: about the shorter side, in pixels."""

    classes: int = 6
    per_class: int = 80
    size: int = 128
    seed: int = 0

    def __str__(self) -> str:
        return f"synthetic-c{self.classes}-n{self.per_class}-s{self.size}-r{self.seed}"


def check(settings: Settings) -> Settings:
    """Raises InputError for a number out of its range."""
    for name, low, high in (("classes", 2, len(CLASSES)), ("per_class", 3, 100_000), ("size", 32, 1024)):
        if not low <= getattr(settings, name) <= high:
            raise InputError(f"--{name.replace('_', '-')} {getattr(settings, name)} must be between {low} and {high}")
    return settings


def generate(settings: Settings, target: Path) -> None:
    """Writes `target/<class>/<class>_NNNN.jpg`."""
    import numpy as np

    for number, label in enumerate(CLASSES[: settings.classes]):
        folder = target / label
        folder.mkdir(parents=True)
        for i in range(settings.per_class):
            rng = np.random.default_rng([settings.seed, number, i])
            image = _photograph(rng, label, settings.classes, settings.size)
            image.save(folder / f"{label}_{i:04d}.jpg", quality=int(rng.integers(40, 96)))


def _photograph(rng: np.random.Generator, label: str, classes: int, size: int) -> Image.Image:
    import numpy as np
    from PIL import Image, ImageFilter

    texture, shape = label.split("_")
    short = size * rng.uniform(0.8, 1.6)
    aspect = rng.uniform(0.65, 1.55)
    width, height = round(short * max(1.0, aspect)), round(short * max(1.0, 1 / aspect))
    hue = CLASSES.index(label) / classes + rng.normal(0, _HUE_SPREAD)
    canvas = _blobs(rng, width, height)
    for _ in range(rng.integers(3, 8)):
        other = rng.choice(["disc", "square", "triangle", "star", "cross", "hexagon"])
        mask, *_ = _mask(rng, str(other), width, height, rng.uniform(0.05, 0.16))
        canvas = _paint(canvas, mask, np.broadcast_to(_colour(rng), canvas.shape))
    mask, u, v = _mask(rng, shape, width, height, rng.uniform(0.26, 0.44))
    pattern = _pattern(rng, texture, u, v)[..., None]
    dark = _hsv(hue + rng.normal(0, 0.03), rng.uniform(0.4, 1.0), rng.uniform(0.1, 0.4))
    light = _hsv(hue + rng.normal(0, 0.03), rng.uniform(0.35, 0.9), rng.uniform(0.65, 1.0))
    canvas = _paint(canvas, mask, pattern * light + (1 - pattern) * dark)
    if rng.random() < 0.35:  # something in front of it
        mask, *_ = _mask(rng, "square", width, height, rng.uniform(0.1, 0.22))
        canvas = _paint(canvas, mask, np.broadcast_to(_colour(rng), canvas.shape))
    canvas = np.clip(canvas * rng.uniform(0.45, 1.25) * rng.uniform(0.85, 1.15, 3), 0, 1) ** rng.uniform(0.7, 1.4)
    canvas = canvas + rng.normal(0, rng.uniform(0.0, 0.07), canvas.shape)
    image = Image.fromarray((np.clip(canvas, 0, 1) * 255).astype(np.uint8))
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.012) * short))


def _blobs(rng: np.random.Generator, width: int, height: int) -> Floats:
    """Soft, rather grey colours: a background."""
    import numpy as np
    from PIL import Image

    cells = (int(rng.integers(2, 7)), int(rng.integers(2, 7)))
    coarse = (0.6 * rng.uniform(0.1, 0.9, (*cells, 1)) + 0.4 * rng.uniform(0.1, 0.9, (*cells, 3))) * 255
    image = Image.fromarray(coarse.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.float32) / 255


def _mask(rng: np.random.Generator, shape: str, width: int, height: int, share: float) -> tuple[Floats, Floats, Floats]:
    """A shape of radius `share` of the shorter side, somewhere, turned: its mask, and coordinates of its own."""
    import numpy as np

    radius = share * min(width, height)
    x0, y0 = rng.uniform(0.3, 0.7) * width, rng.uniform(0.3, 0.7) * height
    turn = rng.uniform(-0.6, 0.6)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    u = ((x - x0) * np.cos(turn) + (y - y0) * np.sin(turn)) / radius
    v = (-(x - x0) * np.sin(turn) + (y - y0) * np.cos(turn)) / radius
    distance, angle = np.hypot(u, v), np.arctan2(v, u)
    if shape == "disc":
        edge = distance
    elif shape == "star":
        edge = distance / (0.72 + 0.28 * np.cos(5 * angle))
    elif shape == "cross":
        a, b = np.abs(u), np.abs(v)
        edge = np.minimum(np.maximum(a, 2.6 * b), np.maximum(2.6 * a, b))
    else:
        wedge = 2 * np.pi / _CORNERS[shape]
        edge = distance * np.cos((angle % wedge) - wedge / 2) / np.cos(wedge / 2)
    # One pixel of soft edge.
    return np.clip((1 - edge) * radius + 0.5, 0, 1).astype(np.float32), u, v


def _pattern(rng: np.random.Generator, texture: str, u: Floats, v: Floats) -> Floats:
    """0 to 1, in the object's own coordinates."""
    import numpy as np

    waves = rng.uniform(2.2, 3.4) * np.pi
    a, b = np.sin(waves * u + rng.uniform(0, 6.3)), np.sin(waves * v + rng.uniform(0, 6.3))
    field = {"striped": a, "dotted": a + b - 0.9, "checked": a * b, "ringed": np.sin(waves * np.hypot(u, v))}[texture]
    stripes: Floats = np.clip(field * 4 + 0.5, 0, 1)
    return stripes


def _paint(canvas: Floats, mask: Floats, colours: Floats) -> Floats:
    return canvas * (1 - mask[..., None]) + colours * mask[..., None]


def _colour(rng: np.random.Generator) -> Floats:
    return _hsv(rng.uniform(0, 1), rng.uniform(0.1, 0.8), rng.uniform(0.2, 0.9))


def _hsv(hue: float, saturation: float, value: float) -> Floats:
    """Hue in turns."""
    import numpy as np

    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value))
