"""The state: one JSON file a resource, written atomically, so that whatever is on disk is whole.

Layout: `STATE/KIND/NAME/record.json` (names percent-encoded); what else belongs to a resource (metrics, its private
/opt/ml) lies beside it. A record is the answer of its Describe operation (times as seconds since 1970) plus `Tags` and
members that begin with an underscore.

A resource appears and disappears by the renaming of its directory, so there is never a directory without a record nor
half of one. What a killed server was about to add or to remove has a name that begins with a dot; `tidy` removes it.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, unquote
from uuid import uuid4

Record = dict[str, Any]
T = TypeVar("T")

FILE = "record.json"
FULL_DISK_S = 5.0  # between two attempts to write what must not be lost
# Directories of the state whose content is not ours: a bucket may well hold an object `record.json`.
_FOREIGN = ("logs", "s3")
log = logging.getLogger(__name__)


def write_json(path: Path, value: Any) -> None:
    """Writes a file that after a crash is either the old one or the new one; on a full disk it stays the old one."""
    temporary = path.with_name(f".{path.name}.{threading.get_ident()}")
    try:
        with temporary.open("w") as stream:
            json.dump(value, stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def insist(what: str, change: Callable[[], T]) -> T:
    """Makes a change that must not be lost (a job's end), however long the disk has no space for it."""
    while True:
        try:
            return change()
        except OSError as error:
            log.warning("%s cannot be written: %s", what, error)
            time.sleep(FULL_DISK_S)


class Records:
    """All records, in memory and on disk. Every method may be called from any thread."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._lock = threading.RLock()
        self._records: dict[str, dict[str, Record]] = {}
        self._broken: list[Path] = []
        self.version = 0  # grows with every change, so that who shows records knows when to look again
        for path in sorted(state.glob(f"*/[!.]*/{FILE}")):
            if path.parent.parent.name not in _FOREIGN:
                self._load(path)

    def _load(self, path: Path) -> None:
        try:
            record = json.loads(path.read_text())
        except FileNotFoundError:  # a server that runs has just deleted it, and this process only looks
            return
        except ValueError:
            self._broken.append(path.parent)
            return
        self._records.setdefault(path.parent.parent.name, {})[unquote(path.parent.name)] = record

    def tidy(self) -> None:
        """For the server that holds the state: removes what one that was killed left half done.

        A record that cannot be read (a disk that failed, an edit by hand) is put aside as `.broken-NAME`, with a
        warning, so that it holds up nothing and nothing is lost.
        """
        for pattern in (".new-*", ".deleted-*", f"*/.{FILE}.*"):
            for path in self._state.glob(f"*/{pattern}"):
                if path.relative_to(self._state).parts[0] not in _FOREIGN:
                    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
        for directory in self._broken:
            aside = directory.with_name(f".broken-{directory.name}-{uuid4().hex[:8]}")
            directory.rename(aside)
            log.warning("%s cannot be read as JSON: it was put aside; repair it and move it back.", aside / FILE)
        self._broken.clear()

    def directory(self, kind: str, name: str) -> Path:
        # A dot too: `..` is a folder above, and what begins with one is half done.
        return self._state / kind / quote(name, safe="").replace(".", "%2E")

    def find(self, kind: str, name: str) -> Record | None:
        with self._lock:
            return copy.deepcopy(self._records.get(kind, {}).get(name))

    def get(self, kind: str, name: str) -> Record:
        """A copy of a record that is known to exist; KeyError otherwise."""
        with self._lock:
            return copy.deepcopy(self._records[kind][name])

    def all(self, kind: str) -> list[Record]:
        with self._lock:
            return copy.deepcopy(list(self._records.get(kind, {}).values()))

    def look(self, kind: str, at: Callable[[Record], T]) -> list[T]:
        """What a function that is quick, and keeps nothing of a record itself, makes of each record of a kind.

        Without a copy of each, which for a thousand jobs takes half a second.
        """
        with self._lock:
            return [at(record) for record in self._records.get(kind, {}).values()]

    def create(self, kind: str, name: str, record: Record) -> bool:
        """Adds a record; False, and nothing is changed, when the name is taken."""
        with self._lock:
            if name in self._records.get(kind, {}):
                return False
            record = {"CreationTime": time.time(), "LastModifiedTime": time.time(), **copy.deepcopy(record)}
            directory = self.directory(kind, name)
            new = directory.with_name(f".new-{uuid4().hex}")
            try:
                new.mkdir(parents=True)
                write_json(new / FILE, record)
                if directory.exists():  # without a record: from outside, and not part of the new resource
                    shutil.rmtree(directory)
                new.rename(directory)
            except OSError:
                shutil.rmtree(new, ignore_errors=True)
                raise
            self._records.setdefault(kind, {})[name] = record
            self.version += 1
            return True

    @contextmanager
    def edit(self, kind: str, name: str) -> Iterator[Record]:
        """`with records.edit(...) as record:` changes one record; other writers wait until the block ends."""
        with self._lock:
            record = self.get(kind, name)
            yield record
            record["LastModifiedTime"] = time.time()
            write_json(self.directory(kind, name) / FILE, record)
            self._records[kind][name] = record
            self.version += 1

    def delete(self, kind: str, name: str) -> None:
        """Removes a record and all that lies beside it; nothing where somebody else was quicker."""
        with self._lock:
            if name not in self._records.get(kind, {}):
                return
            directory = self.directory(kind, name)
            # Out of the way first, in one step: the name may be taken again while the files are being removed.
            removed = directory.with_name(f".deleted-{uuid4().hex}")
            directory.rename(removed)
            del self._records[kind][name]
            self.version += 1
        shutil.rmtree(removed, ignore_errors=True)
