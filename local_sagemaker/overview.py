"""What `status` and `logs` print, read from the state directory itself, so that it works without a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from local_sagemaker.logs import LogStore
from local_sagemaker.records import Records

_SHOWN = (
    ("tuning-jobs", "tuning job", "HyperParameterTuningJob"),
    ("training-jobs", "training job", "TrainingJob"),
    ("endpoints", "endpoint", "Endpoint"),
)


def overview(state: Path) -> Iterator[str]:
    """One line a job or endpoint, oldest first."""
    records = Records(state)
    for kind, words, prefix in _SHOWN:
        for record in sorted(records.all(kind), key=lambda record: float(record["CreationTime"])):
            yield f"{words:13} {record[prefix + 'Status']:12} {record[prefix + 'Name']}"


def log_lines(state: Path, name: str) -> Iterator[str] | None:
    """The lines of every stream of a training job or an endpoint; None where there is none."""
    store = LogStore(state / "logs")
    places = [("/aws/sagemaker/TrainingJobs", f"{name}/"), (f"/aws/sagemaker/Endpoints/{name}", "")]
    found = [
        (group, stream)
        for group, prefix in places
        for stream in store.streams(group) or []
        if stream.startswith(prefix)
    ]
    if not found:
        return None
    return (event.message for group, stream in found for event in store.forward(group, stream))
