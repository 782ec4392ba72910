"""Log streams: what jobs and endpoints print, line by line with the time it came, readable while it grows.

A stream is the file `ROOT/GROUP/STREAM.log` (names percent-encoded). Each line is `MILLISECONDS TAB MESSAGE`. Positions
in a stream are byte offsets of lines: they never move, so they serve as the tokens of CloudWatch's GetLogEvents. Lines
are in the order of their times, so a time is found by bisection.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

EVENT_LIMIT = 256 * 1024  # bytes of one event, CloudWatch's own limit
LAST_LINES = 5  # lines that a failure reason quotes
PAGE_BYTES = 1024 * 1024  # bytes of one page of GetLogEvents
STREAM_LIMIT = 1024**3  # bytes of one stream: a container that floods its log does not fill this machine's disk
CLOCKS_MS = 1000  # a file's time comes from a coarser clock than an event's
_BLOCK = 64 * 1024

OnLine = Callable[[float, str], None]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Event:
    """One line: milliseconds since 1970, the text, and where in the stream it begins and ends (bytes)."""

    timestamp: int
    message: str
    start: int
    end: int


class LogWriter:
    """Takes bytes as a process prints them and appends whole lines. For one thread.

    It never raises for a full disk: the process would wait for ever for somebody to read its pipe. Lines that could not
    be kept are counted, and the stream says so as soon as it can; metrics are read from every line all the same.
    """

    def __init__(self, path: Path, on_line: OnLine | None = None, limit: int = STREAM_LIMIT) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self._size = _whole_lines(self._file)
        os.ftruncate(self._file, self._size)  # half a line, of a server that was killed while it wrote it
        self._limit = limit
        self._lost = 0
        self._on_line = on_line
        self._rest = b""
        self.last: list[str] = []  # the last lines of this writer, for failure reasons; safe to read from other threads

    def write(self, chunk: bytes) -> None:
        *lines, rest = (self._rest + chunk).split(b"\n")
        while len(rest) >= EVENT_LIMIT:
            lines.append(rest[:EVENT_LIMIT])
            rest = rest[EVENT_LIMIT:]
        self._rest = rest
        if lines:
            self._append(lines)

    def close(self) -> None:
        """Keeps a last line that has no newline."""
        if self._rest:
            self._append([self._rest])
        self._rest = b""
        os.close(self._file)

    def _append(self, lines: list[bytes]) -> None:
        now = time.time()
        texts = [
            line[start : start + EVENT_LIMIT].decode("utf-8", "replace").rstrip("\r")
            for line in lines
            for start in range(0, max(1, len(line)), EVENT_LIMIT)
        ]
        self._keep(int(now * 1000), texts)
        self.last = [*self.last, *texts[-LAST_LINES:]][-LAST_LINES:]
        if self._on_line:
            for text in texts:
                self._on_line(now, text)

    def _keep(self, stamp: int, texts: list[str]) -> None:
        if self._size >= self._limit:
            return
        said = [f"[local SageMaker: {self._lost} lines are missing here, the disk was full]"] if self._lost else []
        data = "".join(f"{stamp}\t{text}\n" for text in [*said, *texts]).encode()
        if self._size + len(data) >= self._limit:
            data += f"{stamp}\t[local SageMaker: this log has {self._limit} bytes; what follows is not kept]\n".encode()
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(self._file, data[written:], self._size + written)
        except OSError as error:
            if not self._lost:
                log.warning("a log cannot be written: %s", error)
            os.ftruncate(self._file, self._size)
            self._lost += len(texts)
        else:
            self._size += len(data)
            self._lost = 0


class LogStore:
    """Every group and stream of this server."""

    def __init__(self, root: Path, limit: int = STREAM_LIMIT) -> None:
        self._root = root
        self._limit = limit
        self.version = 0  # grows when a stream is begun

    def writer(self, group: str, stream: str, on_line: OnLine | None = None) -> LogWriter:
        writer = LogWriter(self._path(group, stream), on_line, self._limit)
        self.version += 1
        return writer

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

    def written(self, group: str, stream: str) -> int:
        """When something was written last, in milliseconds since 1970; no event is later by more than CLOCKS_MS."""
        return self._path(group, stream).stat().st_mtime_ns // 1_000_000

    def first(self, group: str, stream: str) -> Event | None:
        return next(self.forward(group, stream), None)

    def last(self, group: str, stream: str) -> Event | None:
        events = self.backward(group, stream, self.size(group, stream), _BLOCK)
        return events[-1] if events else None

    def forward(self, group: str, stream: str, offset: int = 0) -> Iterator[Event]:
        """The events from a position to the end of what is there now.

        The file is open only while a block is read, so that any number of streams can be read side by side.
        """
        path, rest, at = self._path(group, stream), b"", offset
        while block := _read(path, at, _BLOCK):
            at += len(block)
            if b"\n" not in block:
                rest += block
                continue
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                yield _event(line, offset)
                offset += len(line) + 1

    def backward(self, group: str, stream: str, offset: int, size: int = PAGE_BYTES) -> list[Event]:
        """The events of about `size` bytes (one at least) that end at or before a position, oldest first."""
        path = self._path(group, stream)
        while True:
            begin = max(0, offset - size)
            if begin:  # the window opens inside a line
                begin = _next_line(path, begin, offset)
            found = []
            for event in self.forward(group, stream, begin):
                if event.end > offset:
                    break
                found.append(event)
            if found or offset <= size:
                return found
            size *= 4

    def position(self, group: str, stream: str, timestamp: int) -> int:
        """Where the first event at or after a time begins; the end of the stream where there is none."""
        path = self._path(group, stream)
        low, high = 0, path.stat().st_size  # the line that is looked for begins at `low` or later, at `high` at latest
        while high - low > _BLOCK:
            middle = _next_line(path, (low + high) // 2, high)
            event = next(self.forward(group, stream, middle), None) if middle < high else None
            if event is None:  # one long line reaches from the middle to the end
                break
            if event.timestamp < timestamp:
                low = event.end
            else:
                high = middle
        for event in self.forward(group, stream, low):
            if event.timestamp >= timestamp:
                return event.start
            low = event.end
        return low

    def remove(self, group: str, prefix: str) -> None:
        """Removes the streams whose names begin so, and the group when that leaves it empty."""
        directory = self._root / quote(group, safe="")
        for stream in self.streams(group) or []:
            if stream.startswith(prefix):
                self._path(group, stream).unlink(missing_ok=True)
        if directory.is_dir() and not any(directory.iterdir()):
            directory.rmdir()

    def stored(self, group: str, prefix: str) -> int:
        """The bytes of the streams whose names begin so."""
        return sum(self.size(group, stream) for stream in self.streams(group) or [] if stream.startswith(prefix))

    def _path(self, group: str, stream: str) -> Path:
        return self._root / quote(group, safe="") / f"{quote(stream, safe='')}.log"


def _read(path: Path, offset: int, size: int) -> bytes:
    with path.open("rb", buffering=0) as file:
        file.seek(offset)
        return file.read(size)


def _next_line(path: Path, offset: int, end: int) -> int:
    """Where the first line after a position begins; `end` where none does before it."""
    while offset < end:
        block = _read(path, offset, min(_BLOCK, end - offset))
        found = block.find(b"\n")
        if found >= 0:
            return offset + found + 1
        if not block:  # cut in the meantime, by the server that takes the stream up again
            return end
        offset += len(block)
    return end


def _whole_lines(file: int) -> int:
    """The bytes up to the end of the last whole line."""
    size = os.fstat(file).st_size
    while size:
        begin = max(0, size - _BLOCK)
        found = os.pread(file, size - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        size = begin
    return 0


def _event(line: bytes, offset: int) -> Event:
    stamp, _, message = line.decode().partition("\t")
    return Event(int(stamp), message, offset, offset + len(line) + 1)
