"""The state: one JSON file a resource, written atomically, so that whatever is on disk is whole.

Layout: `STATE/KIND/NAME/record.json`; what else belongs to a resource (metrics, its private /opt/ml) lies beside it. A
record is the answer of its Describe operation (times as seconds since 1970) plus `Tags` and members that begin with an
underscore.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def write_json(path: Path, value: Any) -> None:
    """Writes a file that after a crash is either the old one or the new one."""
    temporary = path.with_name(f".{path.name}.{threading.get_ident()}")
    with temporary.open("w") as stream:
        json.dump(value, stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


class Records:
    """All records, in memory and on disk. Every method may be called from any thread."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._lock = threading.RLock()
        self._records: dict[str, dict[str, Record]] = {}
        for path in sorted(state.glob("*/*/record.json")):
            self._records.setdefault(path.parent.parent.name, {})[path.parent.name] = json.loads(path.read_text())

    def directory(self, kind: str, name: str) -> Path:
        return self._state / kind / name

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

    def create(self, kind: str, name: str, record: Record) -> bool:
        """Adds a record; False, and nothing is changed, when the name is taken."""
        with self._lock:
            if name in self._records.get(kind, {}):
                return False
            self.directory(kind, name).mkdir(parents=True, exist_ok=True)
            record = {"CreationTime": time.time(), "LastModifiedTime": time.time(), **copy.deepcopy(record)}
            write_json(self.directory(kind, name) / "record.json", record)
            self._records.setdefault(kind, {})[name] = record
            return True

    @contextmanager
    def edit(self, kind: str, name: str) -> Iterator[Record]:
        """`with records.edit(...) as record:` changes one record; other writers wait until the block ends."""
        with self._lock:
            record = self.get(kind, name)
            yield record
            record["LastModifiedTime"] = time.time()
            write_json(self.directory(kind, name) / "record.json", record)
            self._records[kind][name] = record

    def delete(self, kind: str, name: str) -> None:
        with self._lock:
            # The record first: a crash in between leaves files without a record, never a record without files.
            (self.directory(kind, name) / "record.json").unlink()
            del self._records[kind][name]
        shutil.rmtree(self.directory(kind, name), ignore_errors=True)
