"""What a confusion matrix says of each class, and which classes were taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def per_class(classes: Sequence[str], matrix: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """Of each class: its photographs, precision, recall and F1, of 1, None where nothing can be said; and what it was
    taken for most often."""
    called = [sum(column) for column in zip(*matrix, strict=True)]
    rows = []
    for i, row in enumerate(matrix):
        right, photographs = row[i], sum(row)
        wrong, most = max(((n, j) for j, n in enumerate(row) if j != i), default=(0, 0), key=lambda pair: pair[0])
        rows.append({
            "class": classes[i],
            "photographs": photographs,
            "precision": right / called[i] if called[i] else None,
            "recall": right / photographs if photographs else None,
            "f1": 2 * right / (called[i] + photographs) if called[i] + photographs else None,
            "called_instead": classes[most] if wrong else None,
            "called_instead_photographs": wrong,
        })  # fmt: skip
    return rows


def pairs(classes: Sequence[str], matrix: Sequence[Sequence[int]], most: int) -> list[dict[str, Any]]:
    """The `most` pairs of a class and what it was taken for, the most frequent first; `share`: of the class."""
    found: list[dict[str, Any]] = [
        {"class": classes[i], "called": classes[j], "photographs": n, "share": n / sum(row)}
        for i, row in enumerate(matrix) for j, n in enumerate(row) if n and i != j
    ]  # fmt: skip
    return sorted(found, key=lambda pair: (-pair["photographs"], -pair["share"]))[:most]
