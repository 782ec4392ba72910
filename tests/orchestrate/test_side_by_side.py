from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrate import side_by_side


def test_in_their_order_and_never_far_ahead() -> None:
    taken = 0

    def things() -> Iterator[int]:
        nonlocal taken
        for i in range(1000):
            taken += 1
            yield i

    found = side_by_side.each(lambda i: i * i, things(), threads=2)
    assert next(found) == 0
    assert 1 <= taken < 100
    assert list(found) == [i * i for i in range(1, 1000)]


def test_the_first_error_ends_it() -> None:
    begun = []

    def work(i: int) -> int:
        begun.append(i)
        if i == 3:
            raise ValueError("three")
        return i

    found = side_by_side.each(work, range(10_000), threads=2)
    with pytest.raises(ValueError, match="three"):
        list(found)
    assert len(begun) < 100
