"""Photographs made smaller once, before the many times that they are read."""

from __future__ import annotations

import io

from orchestrate.errors import InputError

SMALLEST, LARGEST = 32, 2048
_QUALITY = 92


def check(side: int | None) -> None:
    """Raises InputError: `--resize` is out of its range."""
    if side is not None and not SMALLEST <= side <= LARGEST:
        raise InputError(f"--resize {side} must be between {SMALLEST} and {LARGEST} pixels")


def shrink(data: bytes, side: int) -> bytes | None:
    """A JPEG whose shorter side has `side` pixels, upright; None for a photograph that is no larger."""
    from PIL import Image

    from classifier.decoding import decode

    pixels = decode(data, 2 * side)  # twice the size, so that the better filter below has something to do
    height, width = pixels.shape[:2]
    if min(height, width) <= side:
        return None
    scale = side / min(height, width)
    size = (max(side, round(width * scale)), max(side, round(height * scale)))
    stream = io.BytesIO()
    Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS).save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()
