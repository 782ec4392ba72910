"""The worst mistakes as small pictures, as the network saw them."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any, Protocol

from PIL import Image

from classifier.errors import InputError
from classifier.evaluation import Mistake
from classifier.images import load
from classifier.preprocessing import Preprocessing

SIDE = 160
MOST_BYTES = 12_000


class Photograph(Protocol):
    """A file, or what a shard has of one."""

    @property
    def name(self) -> str: ...

    @property
    def parent(self) -> PurePath: ...

    def read_bytes(self) -> bytes: ...


def mistakes(
    found: Sequence[Mistake],
    classes: Sequence[str],
    photograph: Callable[[int], Photograph | None],
    preprocessing: Preprocessing,
) -> list[dict[str, Any]]:
    """For report.json: `picture` as a data URI and `photograph` as `class/file`, both None where there is none."""
    made = []
    for mistake in found:
        path = photograph(mistake.number)
        made.append({
            "picture": thumbnail(path, preprocessing) if path else None,
            "photograph": f"{path.parent.name}/{path.name}" if path else None,
            "label": classes[mistake.label],
            "called": classes[mistake.called],
            "probability": mistake.probability,
        })  # fmt: skip
    return made


def thumbnail(path: Photograph, preprocessing: Preprocessing) -> str | None:
    """The part of the photograph that the network sees, as a JPEG of at most MOST_BYTES in a data URI; None where the
    file is gone or damaged by now."""
    smaller = Preprocessing(round(SIDE * preprocessing.resize / preprocessing.crop), SIDE)
    try:
        image = Image.fromarray(load(path.read_bytes(), smaller))
    except (OSError, InputError):
        return None
    for quality in (80, 65, 50, 35, 20):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() <= MOST_BYTES:
            break
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
