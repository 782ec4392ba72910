"""What a training job left: model.json out of its model.tar.gz, and the files of its output.tar.gz with the report."""

from __future__ import annotations

import json
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from orchestrate.follow import Training
from orchestrate.session import Session

REPORT = "report.html"
_MODEL = "model.json"


@dataclass(frozen=True)
class Results:
    """`report`: None for a job that wrote none; `model`: what model.json says."""

    folder: Path
    report: Path | None
    model: dict[str, Any]


def fetch(session: Session, training: Training, folder: Path) -> Results:
    """Puts both on this machine, into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    extract(session, training.artifact, folder, lambda name: name == _MODEL)
    if session.storage.size(training.output) is not None:
        extract(session, training.output, folder, lambda name: True)
    description = folder / _MODEL
    return Results(
        folder,
        next(iter(sorted(folder.rglob(REPORT))), None),
        json.loads(description.read_text("utf-8")) if description.is_file() else {},
    )


def extract(session: Session, uri: str, folder: Path, wanted: Callable[[str], bool]) -> None:
    """Regular files with paths inside `folder` only: an archive of a job is not to be trusted blindly.

    (`tarfile`'s own filters are missing from the first releases of Python 3.10 and 3.11.)
    """
    with tempfile.TemporaryDirectory() as temporary:
        archive = Path(temporary) / "archive.tar.gz"
        session.storage.download(uri, archive)
        with tarfile.open(archive) as bundle:
            for member in bundle:
                path = PurePosixPath(member.name)
                if not member.isreg() or path.is_absolute() or ".." in path.parts or not wanted(str(path)):
                    continue
                stream = bundle.extractfile(member)
                assert stream is not None
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as out:
                    shutil.copyfileobj(stream, out)
