"""What a running job does: its status, its log, its trials; told as it happens."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from orchestrate import curves
from orchestrate.console import Console
from orchestrate.errors import JobFailed
from orchestrate.session import Session

TRAINING_LOGS = "/aws/sagemaker/TrainingJobs"
ENDED = ("Completed", "Failed", "Stopped")


@dataclass(frozen=True)
class Training:
    """A training job that ended well: the last value of each metric that the log told, and where its artifact is."""

    name: str
    artifact: str
    metrics: dict[str, float]
    seconds: int


@dataclass(frozen=True)
class Trial:
    """One training job of a search, as far as it has come. `hyperparameters` are those that the search chose."""

    number: int
    name: str
    status: str
    hyperparameters: dict[str, str]
    objective: float | None
    seconds: float | None
    failure: str
    curve: tuple[Mapping[str, float], ...] = ()
    """of each epoch: its number as `epoch`, and its metrics"""

    def __str__(self) -> str:
        told = f"{self.objective:.4f}" if self.objective is not None else self.status
        chosen = " ".join(f"{name}={short(value)}" for name, value in sorted(self.hyperparameters.items()))
        spent = f"{self.seconds:.0f} s" if self.seconds is not None else ""
        return "  ".join(part for part in (f"trial {self.number}", told, chosen, spent, self.failure) if part)


class LogReader:
    """New lines of the CloudWatch log streams whose names begin with `prefix`."""

    def __init__(self, session: Session, group: str, prefix: str) -> None:
        self._logs = session.client("logs")
        self._group, self._prefix = group, prefix
        self._tokens: dict[str, str | None] = {}

    def read(self) -> list[str]:
        """What came since the last call; a group or stream that is not there yet has nothing."""
        lines: list[str] = []
        for stream in self._streams():
            while True:
                token = self._tokens.get(stream)
                answer = self._logs.get_log_events(
                    logGroupName=self._group, logStreamName=stream, startFromHead=True,
                    **({"nextToken": token} if token else {}),
                )  # fmt: skip
                lines += [event["message"] for event in answer["events"]]
                self._tokens[stream] = answer["nextForwardToken"]
                if not answer["events"]:
                    break
        return lines

    def _streams(self) -> list[str]:
        try:
            pages = self._logs.get_paginator("describe_log_streams").paginate(
                logGroupName=self._group, logStreamNamePrefix=self._prefix
            )
            return [stream["logStreamName"] for page in pages for stream in page["logStreams"]]
        except self._logs.exceptions.ResourceNotFoundException:
            return []


def until_ended(
    session: Session, name: str, on_status: Callable[[Any], None], tell: Callable[[str], None]
) -> Any:  # fmt: skip
    """Gives the log to `tell`, line by line, until the job ends; returns the SDK's TrainingJob.

    `on_status` gets it at each change of its secondary status.
    """
    from sagemaker.core.resources import TrainingJob

    log = LogReader(session, TRAINING_LOGS, f"{name}/")
    job = TrainingJob.get(training_job_name=name, session=session.boto, region=session.region)
    told = None
    while True:
        if job.secondary_status != told:
            told = job.secondary_status
            on_status(job)
        ended = job.training_job_status in ENDED
        for line in log.read():
            tell(line)
        if ended:
            return job
        time.sleep(session.poll_s)
        job.refresh()


def plainly(session: Session, name: str, console: Console, tell: Callable[[str], None]) -> Any:
    """`until_ended`, with the status changes as lines and a spinner beside."""
    with console.progress(name) as show:

        def on_status(job: Any) -> None:
            console.say(f"[{job.secondary_status}]", style="dim")
            show(f"{name}: {job.secondary_status}")

        return until_ended(session, name, on_status, tell)


def training(session: Session, name: str, console: Console, tell: Callable[[str], None] | None = None) -> Training:
    """Follows a training job to its end; its whole log is printed where `tell` does not choose.

    Raises:
        JobFailed: it ended Failed or Stopped; with its reason.
    """
    return finished(plainly(session, name, console, tell or (lambda line: console.say(f"  {line}"))))


def stop_training(session: Session, name: str) -> None:
    """Asks a training job to end."""
    session.client("sagemaker").stop_training_job(TrainingJobName=name)


def finished(job: Any) -> Training:
    """What a `TrainingJob` of the SDK left.

    Raises:
        JobFailed: it ended Failed or Stopped; with its reason.
    """
    name, status = job.training_job_name, job.training_job_status
    if status != "Completed":
        why = f": {job.failure_reason}" if job.failure_reason else f" ({job.secondary_status})"
        raise JobFailed(f"training job {name} ended {status}{why}")
    return Training(
        name=name,
        artifact=str(job.model_artifacts.s3_model_artifacts),
        metrics={m.metric_name: m.value for m in job.final_metric_data_list or []},
        seconds=job.training_time_in_seconds or 0,
    )


def tuning(session: Session, name: str, console: Console) -> tuple[Any, list[Trial]]:
    """Prints each trial as it ends, until the search does. Returns the SDK's HyperParameterTuningJob and the trials,
    with the curves that their logs tell.

    Raises:
        JobFailed: the search ended Failed, with its reason, or without a single trial that told the objective.
    """
    from sagemaker.core.resources import HyperParameterTuningJob

    job = HyperParameterTuningJob.get(hyper_parameter_tuning_job_name=name, session=session.boto, region=session.region)
    settings = job.hyper_parameter_tuning_job_config
    goal = settings.hyper_parameter_tuning_job_objective
    total = settings.resource_limits.max_number_of_training_jobs
    over: dict[str, Trial] = {}
    with console.progress(f"{name}: starting") as show:
        while True:
            ended = job.hyper_parameter_tuning_job_status in ENDED
            found = trials(session, name)
            for trial in found:
                if trial.status in ENDED and trial.name not in over:
                    # The Logs API answers few calls a second: each trial's log is read once, when it has ended.
                    lines = LogReader(session, TRAINING_LOGS, f"{trial.name}/").read()
                    over[trial.name] = replace(trial, curve=curves.read(lines))
                    top = best(list(over.values()), goal.type)
                    console.say(f"{trial}" + (f"  (best {goal.metric_name}={top.objective:.4f})" if top else ""))
                    silent = [t for t in over.values() if t.status == "Completed" and t.objective is None]
                    if top is None and silent == [over[trial.name]]:
                        console.say(f"trial {trial.number} ended well and its log never told {goal.metric_name}: if "
                                    f"none ever does, the search finds nothing; stop it with "
                                    f"python orchestrate/clean.py {session.flags} {name}")  # fmt: skip
            leader = best(list(over.values()), goal.type)
            show(f"{name}: {len(over)} of {total} trials ended, {len(found) - len(over)} running"
                 + (f", best {goal.metric_name}={leader.objective:.4f}" if leader else ""))  # fmt: skip
            if ended:
                break
            time.sleep(session.poll_s)
            job.refresh()
    status = job.hyper_parameter_tuning_job_status
    if best(list(over.values()), goal.type) is None:
        why = job.failure_reason or "no trial ended with a value of the objective"
        reasons = {t.failure: t.number for t in reversed(list(over.values())) if t.failure}
        first = "".join(f"; trial {number}: {failure}" for failure, number in list(reasons.items())[-1:])
        raise JobFailed(f"tuning job {name} ended {status}: {why}{first}")
    return job, sorted(over.values(), key=lambda t: (t.number, t.name))


def trials(session: Session, tuning_job: str) -> list[Trial]:
    """Every trial that has been started, by number. An ended one whose objective is still to come counts as running."""
    pages = (
        session.client("sagemaker")
        .get_paginator("list_training_jobs_for_hyper_parameter_tuning_job")
        .paginate(HyperParameterTuningJobName=tuning_job)
    )
    return sorted((_trial(s) for page in pages for s in page["TrainingJobSummaries"]), key=lambda t: (t.number, t.name))


def best(found: Sequence[Trial], objective_type: str) -> Trial | None:
    """The trial to take, by SageMaker's objective type; None when no trial has a value."""
    scored = [t for t in found if t.objective is not None]
    sign = 1.0 if objective_type == "Maximize" else -1.0
    return max(scored, key=lambda t: sign * (t.objective or 0.0), default=None)


def short(value: str) -> str:
    """`0.0123456789` -> `0.01235`; text and whole numbers as they are."""
    try:
        return value if value.lstrip("-").isdigit() else f"{float(value):.4g}"
    except ValueError:
        return value


def _trial(summary: dict[str, Any]) -> Trial:
    name = summary["TrainingJobName"]
    number = re.search(r"-(\d{3,})-[^-]+$", name)
    status = summary["TrainingJobStatus"]
    if status == "Completed" and summary.get("ObjectiveStatus") == "Pending":
        status = "InProgress"
    start: datetime | None = summary.get("TrainingStartTime")
    end: datetime | None = summary.get("TrainingEndTime")
    return Trial(
        number=int(number[1]) if number else 0,
        name=name,
        status=status,
        hyperparameters=dict(summary.get("TunedHyperParameters", {})),
        objective=summary.get("FinalHyperParameterTuningJobObjectiveMetric", {}).get("Value"),
        seconds=(end - start).total_seconds() if start and end else None,
        failure=" ".join(str(summary.get("FailureReason", "")).split())[:300],
    )
