"""Files that are whole or not there at all, whenever the job is killed. Pure Python."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields `NAME.writing` beside `path`, to be written; it takes the place of `path` when the block ends well."""
    writing = path.with_name(path.name + ".writing")
    try:
        yield writing
        writing.chmod(0o644)  # safetensors makes it 0600; who reads it may be another user
        writing.replace(path)
    finally:
        writing.unlink(missing_ok=True)  # what stays in a job's directories is uploaded
