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

from orchestrate import report_file, storage
from orchestrate.session import Session

_MODEL = "model.json"


@dataclass(frozen=True)
class Results:
    """`report`: the page, None for a job that wrote none; `model`: what model.json says."""

    folder: Path
    report: Path | None
    model: dict[str, Any]


def fetch(session: Session, job: Any, folder: Path) -> Results:
    """Puts what an ended job left into `folder`: a completed one both, a failed or stopped one what it had written.

    `job`: the SDK's TrainingJob.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if job.training_job_status == "Completed":
        extract(session, str(job.model_artifacts.s3_model_artifacts), folder, lambda name: name == _MODEL)
    output = output_of(job)
    # SageMaker uploads /opt/ml/output/data whatever the job's end was, where there is anything in it.
    if session.storage.size(output) is not None:
        extract(session, output, folder, lambda name: True)
    description = folder / _MODEL
    return Results(
        folder,
        next(iter(sorted(folder.rglob(report_file.PAGE))), None),
        json.loads(description.read_text("utf-8")) if description.is_file() else {},
    )


def output_of(job: Any) -> str:
    """The URI of an ended TrainingJob's output.tar.gz."""
    folder = str(job.output_data_config.s3_output_path)
    return storage.join(folder, job.training_job_name, "output", "output.tar.gz")


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
