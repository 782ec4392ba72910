"""Log streams: what jobs and endpoints print, line by line with the time it came, readable while it grows.

A stream is the file `ROOT/GROUP/STREAM.log` (names percent-encoded). Each line is `MILLISECONDS TAB MESSAGE`. Positions
in a stream are byte offsets of lines: they never move, so they serve as the tokens of CloudWatch's GetLogEvents.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

EVENT_LIMIT = 256 * 1024  # bytes of one event, CloudWatch's own limit
LAST_LINES = 5  # lines that a failure reason quotes
PAGE_BYTES = 1024 * 1024  # bytes of one page of GetLogEvents

OnLine = Callable[[float, str], None]


@dataclass(frozen=True)
class Event:
    """One line: milliseconds since 1970, the text, and where in the stream it begins and ends (bytes)."""

    timestamp: int
    message: str
    start: int
    end: int


class LogWriter:
    """Takes bytes as a process prints them and appends whole lines. For one thread."""

    def __init__(self, path: Path, on_line: OnLine | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = path.open("ab")
        self._on_line = on_line
        self._rest = b""
        self.last: list[str] = []  # the last lines of this writer, for failure reasons; safe to read from other threads

    def write(self, chunk: bytes) -> None:
        *lines, rest = (self._rest + chunk).split(b"\n")
        while len(rest) >= EVENT_LIMIT:
            lines.append(rest[:EVENT_LIMIT])
            rest = rest[EVENT_LIMIT:]
        self._rest = rest
        self._append(lines)

    def close(self) -> None:
        """Keeps a last line that has no newline."""
        self._append([self._rest] if self._rest else [])
        self._rest = b""
        self._stream.close()

    def _append(self, lines: list[bytes]) -> None:
        now = time.time()
        texts = [
            line[start : start + EVENT_LIMIT].decode("utf-8", "replace").rstrip("\r")
            for line in lines
            for start in range(0, max(1, len(line)), EVENT_LIMIT)
        ]
        self._stream.write(b"".join(f"{int(now * 1000)}\t{text}\n".encode() for text in texts))
        self._stream.flush()
        self.last = [*self.last, *texts][-LAST_LINES:]
        if self._on_line:
            for text in texts:
                self._on_line(now, text)


class LogStore:
    """Every group and stream of this server."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def writer(self, group: str, stream: str, on_line: OnLine | None = None) -> LogWriter:
        return LogWriter(self._path(group, stream), on_line)

    def groups(self) -> list[str]:
        return sorted(unquote(path.name) for path in self._root.glob("*"))

    def streams(self, group: str) -> list[str] | None:
        """The names of a group's streams; None where there is no such group."""
        directory = self._root / quote(group, safe="")
        if not directory.is_dir():
            return None
        return sorted(unquote(path.stem) for path in directory.glob("*.log"))

    def exists(self, group: str, stream: str) -> bool:
        return self._path(group, stream).is_file()

    def size(self, group: str, stream: str) -> int:
        return self._path(group, stream).stat().st_size

    def forward(self, group: str, stream: str, offset: int = 0) -> Iterator[Event]:
        """The events from a position to the end of what is there now."""
        with self._path(group, stream).open("rb") as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                yield _event(line, offset)
                offset += len(line)

    def backward(self, group: str, stream: str, offset: int) -> list[Event]:
        """The events of up to one page that end at or before a position, oldest first."""
        begin = max(0, offset - PAGE_BYTES - EVENT_LIMIT)
        if begin:  # the window opens inside a line
            with self._path(group, stream).open("rb") as file:
                file.seek(begin)
                begin += len(file.readline())
        found = []
        for event in self.forward(group, stream, begin):
            if event.end > offset:
                break
            found.append(event)
        return found

    def _path(self, group: str, stream: str) -> Path:
        return self._root / quote(group, safe="") / f"{quote(stream, safe='')}.log"


def _event(line: bytes, offset: int) -> Event:
    stamp, _, message = line[:-1].decode().partition("\t")
    return Event(int(stamp), message, offset, offset + len(line))
