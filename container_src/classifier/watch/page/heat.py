"""Numbers in rows and columns as pictures that need no script."""

from __future__ import annotations

import base64
import io
import itertools
import math
from collections.abc import Sequence

from PIL import Image

MISSING = 255
_LEVELS = 254
Grid = list[list[float | None]]


def colours() -> list[tuple[int, int, int]]:
    """Of each level from 0 to 254: cividis, as bright as the number is high, for every reader.

    The colours are Nuñez, Anderton and Renslow's ("Optimizing colormaps with consideration for color vision
    deficiency", PLOS ONE 2018), the polynomials those of d3-scale-chromatic.
    """
    made = []
    for level in range(_LEVELS + 1):
        t = level / _LEVELS
        red = -4.54 - t * (35.34 - t * (2381.73 - t * (6402.7 - t * (7024.72 - t * 2710.57))))
        green = 32.49 + t * (170.73 + t * (52.82 - t * (131.46 - t * (176.58 - t * 67.37))))
        blue = 81.24 + t * (442.36 - t * (2482.43 - t * (6167.24 - t * (6614.94 - t * 2475.67))))
        red, green, blue = (min(255.0, max(0.0, part)) for part in (red, green, blue))
        made.append((round(red), round(green), round(blue)))
    return made


def columns(rows: Sequence[Sequence[float | None]], at: Sequence[float], total: float, count: int) -> Grid:
    """The mean of what falls into each of `count` equal parts of `total` seconds; where samples are rarer than parts,
    a part takes the one before it."""
    places = [min(count - 1, max(0, int(t / total * count))) for t in at]
    longest = 2 * max((b - a for a, b in itertools.pairwise(at)), default=0.0) / total * count
    made: Grid = []
    for row in rows:
        sums, counts = [0.0] * count, [0] * count
        for place, value in zip(places, row, strict=True):
            if value is not None:
                sums[place] += value
                counts[place] += 1
        means: list[float | None] = []
        since = math.inf
        for total_here, n in zip(sums, counts, strict=True):
            since = 0 if n else since + 1
            means.append(total_here / n if n else means[-1] if since <= longest else None)
        made.append(means)
    return made


def levels(grid: Grid, low: float = 0.0, high: float = 100.0) -> bytes:
    """A byte for each number, 0 to 254; MISSING where there is none."""
    scale = _LEVELS / (high - low)
    return bytes(
        MISSING if value is None else min(_LEVELS, max(0, round((value - low) * scale)))
        for row in grid for value in row
    )  # fmt: skip


def picture(content: bytes, width: int) -> str:
    """The levels as a PNG in a data URI, a pixel each."""
    image = Image.frombytes("P", (width, len(content) // width), content)
    image.putpalette([part for colour in [*colours(), (128, 128, 128)] for part in colour])
    return _uri(image, transparency=MISSING)


def shares(matrix: Sequence[Sequence[int]]) -> str:
    """A confusion matrix as a PNG in a data URI: each row's shares, right ones blue, wrong ones orange, none clear."""
    image = Image.new("RGBA", (len(matrix), len(matrix)))
    for i, row in enumerate(matrix):
        whole = sum(row) or 1
        for j, n in enumerate(row):
            if n:
                # The root, so that one mistake in twenty is seen.
                image.putpixel(
                    (j, i), ((31, 111, 235) if i == j else (217, 72, 15)) + (round(255 * (n / whole) ** 0.5),)
                )
    return _uri(image)


def _uri(image: Image.Image, **options: int) -> str:
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True, **options)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
