"""A search inside one training job (mode=search): its request, its log as it comes, the trials that it wrote down."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrate import follow, jobs, results, search, storage, tuned
from orchestrate.console import Console
from orchestrate.errors import InputError, JobFailed
from orchestrate.jobs import Machine
from orchestrate.search import OBJECTIVES, Search
from orchestrate.session import Session

TRIALS = "trials.json"
# `trial 3/20: ...` ends a trial; `trial 3: epoch 1/5: ...` is on its way.
_ENDED = re.compile(r"trial (\d+)/(\d+): ")
_EPOCH = re.compile(r"trial \d+: epoch ")


def request(
    session: Session, name: str, inputs: Mapping[str, str], fixed: Mapping[str, str], machine: Machine, space: Search
) -> dict[str, Any]:
    """CreateTrainingJob of mode=search."""
    given = {**fixed, "mode": "search", "search": search.to_hyperparameter(space)}
    return jobs.training(session, jobs.check_name(name), session.require_image(), inputs, given, machine)


def follow_search(session: Session, out: Console, name: str) -> tuned.Tuned:
    """Tells each trial as it ends, then reads what the job left. A job that was stopped has what it had finished.

    Raises:
        JobFailed: it ended without a trial that told the objective.
    """
    with out.progress(name) as show:

        def tell(line: str) -> None:
            if _EPOCH.match(line):
                show(f"{name}: {line}")
            else:
                out.say(line if _ENDED.match(line) else f"  {line}")

        # The trials' own epochs would drown the trials.
        follow.plainly(session, name, out, tell)
    job = tuned.describe(session, name)
    found = trials(session, job)
    status, goal = job["TrainingJobStatus"], json.loads(job["HyperParameters"]["search"])["objective"]
    if follow.best(found, direction(job)) is None:
        why = job.get("FailureReason") or "no trial ended with a value of the objective"
        raise JobFailed(f"search {name} ended {status}: {why}")
    seconds = (job["TrainingEndTime"] - job["TrainingStartTime"]).total_seconds()
    return tuned.of_trials(
        session, name, folder_of(job), goal, direction(job), found, job["HyperParameters"], seconds,
        job["ResourceConfig"]["InstanceType"], True,
    )  # fmt: skip


def trials(session: Session, job: Mapping[str, Any]) -> list[follow.Trial]:
    """Those of an ended search, from the trials.json in its output.tar.gz; none where it left none."""
    archive = storage.join(folder_of(job), "output", "output.tar.gz")
    if session.storage.size(archive) is None:
        return []
    with tempfile.TemporaryDirectory() as folder:
        results.extract(session, archive, Path(folder), lambda name: Path(name).name == TRIALS)
        file = next(Path(folder).rglob(TRIALS), None)
        if file is None:
            return []
        document = json.loads(file.read_text("utf-8"))
    try:
        return [_trial(job["TrainingJobName"], item) for item in document["trials"]]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{TRIALS} in {archive} has another form than this version reads ({error!r}): "
                         f"take the orchestrate/ of the image's commit") from None  # fmt: skip


def folder_of(job: Mapping[str, Any]) -> str:
    """The URI under which everything of the job lies."""
    return storage.join(job["OutputDataConfig"]["S3OutputPath"], job["TrainingJobName"])


def direction(job: Mapping[str, Any]) -> str:
    """Maximize or Minimize."""
    return OBJECTIVES[json.loads(job["HyperParameters"]["search"])["objective"]]


def _trial(job: str, item: Mapping[str, Any]) -> follow.Trial:
    return follow.Trial(
        number=int(item["number"]),
        name=job,
        status=str(item["status"]).capitalize(),
        hyperparameters={name: str(value) for name, value in item["hyperparameters"].items()},
        objective=None if item["objective"] is None else float(item["objective"]),
        seconds=None if item["seconds"] is None else float(item["seconds"]),
        failure=" ".join(str(item["failure"] or "").split()),
        curve=tuple(
            {name: float(value) for name, value in epoch.items() if value is not None} for epoch in item["epochs"]
        ),
    )
