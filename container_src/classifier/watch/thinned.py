"""A series that stays bounded in a run of days."""

from __future__ import annotations

from typing import Generic, TypeVar

Entry = TypeVar("Entry")


class Thinned(Generic[Entry]):
    """Keeps every entry until there are `limit`, then every second one, then every fourth, and so on.

    One thread appends; others may read, as each change of the list is one assignment or one append.
    """

    def __init__(self, limit: int = 20_000) -> None:
        self.every = 1
        """each entry kept stands for this many"""
        self._limit, self._seen = limit, 0
        self._entries: list[Entry] = []

    def append(self, entry: Entry) -> None:
        if self._seen % self.every == 0:
            if len(self._entries) >= self._limit:
                self._entries, self.every = self._entries[::2], self.every * 2
            if self._seen % self.every == 0:
                self._entries.append(entry)
        self._seen += 1

    def kept(self) -> list[Entry]:
        """A copy, in order."""
        return list(self._entries)
