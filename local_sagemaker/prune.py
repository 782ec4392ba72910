"""Removing what ended jobs left: records, logs, private directories, containers, networks.

What jobs wrote to their output locations belongs to their owners and stays; so do endpoints, which DeleteEndpoint ends.
A trial goes with its tuning job, never before it.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from local_sagemaker.logs import LogStore
from local_sagemaker.overview import KINDS, log_place, row
from local_sagemaker.records import Records

JOBS = ("tuning-jobs", "training-jobs", "transform-jobs")
_ENDPOINT_LOGS = "/aws/sagemaker/Endpoints/"


@dataclass(frozen=True)
class Leftover:
    """One thing that prune removes: `kind` is a job's kind, or `logs`, `container`, `network`; size in bytes."""

    kind: str
    name: str
    size: int = 0


def prune(records: Records, logs: LogStore, state: Path, older_than_s: float, dry_run: bool) -> list[Leftover]:
    """What is removed, or with `dry_run` would be: of jobs that ended more than `older_than_s` ago."""
    now = time.time()
    jobs = _jobs(records, now - older_than_s)
    found = [Leftover(kind, name, _size(records, logs, kind, name)) for kind, name in jobs]
    orphans = _orphan_groups(records, logs, now - older_than_s)
    found += [Leftover("logs", group, logs.stored(group, "")) for group in orphans]
    engine = _engine()
    things = _of_engine(engine, records, state) if engine else []
    found += [Leftover(kind, thing.name) for kind, thing in things]
    if not dry_run:
        for kind, thing in things:
            thing.remove(**({"force": True} if kind == "container" else {}))
        for kind, name in jobs:
            logs.remove(*log_place(kind, name))
            records.delete(kind, name)
        for group in orphans:
            logs.remove(group, "")
    return found


def _jobs(records: Records, before: float) -> list[tuple[str, str]]:
    """Kind and name of the jobs that go."""
    going: list[tuple[str, str]] = []
    tuning = {item.name for item in records.look("tuning-jobs", partial(row, KINDS["tuning-jobs"]))}
    for kind in JOBS:  # tuning jobs first
        for item in records.look(kind, partial(row, KINDS[kind])):
            has_ended = item.ended is not None and item.ended <= before
            if has_ended and (item.tuning not in tuning or ("tuning-jobs", item.tuning) in going):
                going.append((kind, item.name))
    return going


def _size(records: Records, logs: LogStore, kind: str, name: str) -> int:
    size = logs.stored(*log_place(kind, name)) if kind != "tuning-jobs" else 0
    for path in records.directory(kind, name).rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            size += path.lstat().st_blocks * 512
    return size


def _orphan_groups(records: Records, logs: LogStore, before: float) -> list[str]:
    """The log groups of endpoints that are gone."""
    return [
        group
        for group in logs.groups()
        if group.startswith(_ENDPOINT_LOGS)
        and records.find("endpoints", group.removeprefix(_ENDPOINT_LOGS)) is None
        and all(logs.written(group, stream) <= before * 1000 for stream in logs.streams(group) or [])
    ]


def _engine() -> Any:
    import docker
    from docker.errors import DockerException

    with contextlib.suppress(DockerException):
        engine = docker.from_env()
        engine.ping()
        return engine
    return None


def _of_engine(engine: Any, records: Records, state: Path) -> list[tuple[str, Any]]:
    """Containers and networks that carry our label for a directory of this state, and whose job runs no more."""
    from local_sagemaker.container import LABEL

    found = []
    for kind, things in (
        ("container", engine.containers.list(all=True, filters={"label": LABEL}, ignore_removed=True)),
        ("network", engine.networks.list(filters={"label": LABEL})),
    ):
        for thing in things:
            labels = thing.labels if kind == "container" else thing.attrs.get("Labels") or {}
            path = Path(labels.get(LABEL, ""))
            if path.is_relative_to(state) and not _runs(records, path.relative_to(state)):
                found.append((kind, thing))
    return found


def _runs(records: Records, path: Path) -> bool:
    """Whether a directory of the state belongs to something that has not ended."""
    if len(path.parts) < 2:
        return False
    kind, name = path.parts[:2]
    record = records.find(kind, name)
    return record is not None and (kind not in KINDS or row(KINDS[kind], record).ended is None)
