"""Which type a request is, and in which one it wants its answer (RFC 9110, sections 8.3 and 12.5.1)."""

from __future__ import annotations

from collections.abc import Sequence

from sagemaker_inference.content_types import CSV, JSON, NPY

JSON_LINES = "application/jsonlines"
PNG = "image/png"
# What an answer of labels or numbers can be, the preferred first; a picture is asked for by an option.
ANSWERS = (JSON, CSV, JSON_LINES, NPY)


def media_type(value: str) -> str:
    """`Image/JPEG; q=1` -> `image/jpeg`."""
    return value.partition(";")[0].strip().lower()


def choose(accept: str, offered: Sequence[str]) -> str | None:
    """The one of `offered` that `accept` prefers: by its q, then by how exactly it is named, then by who comes first.

    None where it wants none of them.
    """
    ranges = [(media_type(part), _quality(part)) for part in accept.split(",")]
    weights = {}
    for offer in offered:
        matching = [(_exactness(wanted, offer), -place, quality) for place, (wanted, quality) in enumerate(ranges)]
        exactness, place, quality = max(matching)
        if exactness and quality:
            weights[offer] = (quality, exactness, place)
    return max(weights, key=weights.__getitem__, default=None)


def _exactness(wanted: str, offer: str) -> int:
    """0 where `wanted` does not mean `offer`, else the more the closer."""
    if wanted == offer:
        return 3
    if wanted == offer.partition("/")[0] + "/*":
        return 2
    return int(wanted == "*/*")


def _quality(part: str) -> float:
    """The weight of one range; one that is no number counts as absent, as the field only expresses a preference."""
    for parameter in part.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 1.0
    return 1.0
