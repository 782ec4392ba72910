"""Tuning jobs: one thread asks the search, starts trials as training jobs, and tells the search what came out."""

from __future__ import annotations

import logging
import queue
import threading
import time
from typing import Any
from uuid import uuid4

from local_sagemaker import arns, search, training
from local_sagemaker.records import Record, Records
from local_sagemaker.settings import Settings
from local_sagemaker.training import TrainingJobs
from local_sagemaker.validation import project, service_model

KIND = "tuning-jobs"
UNFINISHED = ("InProgress", "Stopping")
_COUNTERS = {"Completed": "Completed", "Failed": "NonRetryableError", "Stopped": "Stopped"}
log = logging.getLogger(__name__)


class TuningJobs:
    """Every tuning job of this server."""

    def __init__(self, records: Records, jobs: TrainingJobs, settings: Settings) -> None:
        self._records = records
        self._jobs = jobs
        self._settings = settings
        self._runs: dict[str, TuningRun] = {}
        self._lock = threading.Lock()

    def submit(self, request: dict[str, Any], region: str) -> str | None:
        """Starts a tuning job; gives its ARN, or None when the name is taken."""
        name = request["HyperParameterTuningJobName"]
        record: Record = {
            "Tags": [],
            **request,
            "HyperParameterTuningJobArn": arns.build("hyper-parameter-tuning-job", name, region),
            "HyperParameterTuningJobStatus": "InProgress",
            **_counters([]),
            # For the summary, which has them at its top.
            "Strategy": request["HyperParameterTuningJobConfig"]["Strategy"],
            "ResourceLimits": request["HyperParameterTuningJobConfig"]["ResourceLimits"],
        }
        if not self._records.create(KIND, name, record):
            return None
        run = TuningRun(name, region, self._records, self._jobs)
        with self._lock:
            self._runs[name] = run
        run.start()
        return str(record["HyperParameterTuningJobArn"])

    def stop(self, name: str) -> None:
        """Asks a tuning job and its running trials to end."""
        with self._lock:
            self._runs[name].stop(self._settings.training_stop_s)

    def recover(self) -> None:
        """After a server that was killed, and after the training jobs were taken up."""
        for record in self._records.all(KIND):
            if record["HyperParameterTuningJobStatus"] in UNFINISHED:
                name = record["HyperParameterTuningJobName"]
                reason = training.KILLED.replace("the job", "the tuning job")
                _finish(self._records, name, "Failed", reason)

    def shutdown(self) -> None:
        """Stops every tuning job and waits for the last one."""
        with self._lock:
            runs = list(self._runs.values())
        for run in runs:
            run.stop(self._settings.shutdown_stop_s)
        for run in runs:
            run.join()


class TuningRun:
    """The life of one tuning job."""

    def __init__(self, name: str, region: str, records: Records, jobs: TrainingJobs) -> None:
        self._name = name
        self._region = region
        self._records = records
        self._jobs = jobs
        self._tuning = records.get(KIND, name)
        self._config = self._tuning["HyperParameterTuningJobConfig"]
        self._definition = self._tuning["TrainingJobDefinition"]
        limits = self._config["ResourceLimits"]
        self._most: int = limits["MaxNumberOfTrainingJobs"]
        self._parallel: int = limits["MaxParallelTrainingJobs"]
        self._seed: int | None = self._config.get("RandomSeed")
        self._is_ordered = self._seed is not None and self._config["Strategy"] == "Bayesian"
        self._ends: queue.Queue[Record | None] = queue.Queue()
        self._active: dict[str, int] = {}
        self._launched = 0
        self._results: dict[int, float | None] = {}  # finished, and the search was not told yet
        self._stop_grace_s: float | None = None
        self._thread = threading.Thread(target=self._live, name=f"tuning-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def stop(self, grace_s: float) -> None:
        with self._records.edit(KIND, self._name) as record:
            if record["HyperParameterTuningJobStatus"] == "InProgress":
                record["HyperParameterTuningJobStatus"] = "Stopping"
        self._stop_grace_s = grace_s
        self._ends.put(None)

    def _live(self) -> None:
        try:
            self._run()
        except Exception as error:
            log.exception("tuning job %s", self._name)
            for name in self._active:
                self._jobs.stop(name)
            _finish(self._records, self._name, "Failed", f"InternalServerError: {type(error).__name__}: {error}")

    def _run(self) -> None:
        ranges = search.ranges(self._config.get("ParameterRanges", {}))
        objective = self._config["HyperParameterTuningJobObjective"]
        proposals = search.Search(self._config["Strategy"], ranges, objective["Type"], self._most, self._seed)
        while True:
            while self._may_launch():
                self._tell(proposals)
                self._launch(proposals.ask())
            self._save()
            if not self._active:
                break
            ended = self._ends.get()
            if ended is None:
                for name in self._active:
                    self._jobs.stop(name, self._stop_grace_s)
            else:
                self._take(ended)
        self._conclude()

    def _may_launch(self) -> bool:
        if self._stop_grace_s is not None or self._launched == self._most or len(self._active) == self._parallel:
            return False
        return not self._is_ordered or all(number > self._horizon() for number in self._active.values())

    def _horizon(self) -> int:
        """The last trial whose result the next proposal may use.

        With a seed a Bayesian search is a function of results, not of who finishes first: trial n learns from
        trials up to n - parallel, whatever else has ended by then.
        """
        return self._launched - self._parallel if self._is_ordered else self._launched

    def _tell(self, proposals: search.Search) -> None:
        for number in sorted(self._results):
            if number <= self._horizon():
                proposals.tell(number, self._results.pop(number))

    def _launch(self, tuned: dict[str, str]) -> None:
        name = f"{self._name}-{self._launched + 1:03d}-{uuid4().hex[:8]}"
        definition = {key: value for key, value in self._definition.items() if key in _training_members()}
        if "ResourceConfig" not in definition:
            definition["ResourceConfig"] = self._definition["HyperParameterTuningResourceConfig"]
        metric = self._config["HyperParameterTuningJobObjective"]["MetricName"]
        more: Record = {
            "TuningJobArn": self._tuning["HyperParameterTuningJobArn"],
            "TunedHyperParameters": tuned,
            "ObjectiveStatus": "Pending",
        }
        if "DefinitionName" in self._definition:
            more["TrainingJobDefinitionName"] = self._definition["DefinitionName"]
        request = {
            **definition,
            "TrainingJobName": name,
            "HyperParameters": {
                **self._definition.get("StaticHyperParameters", {}),
                **tuned,
                "_tuning_objective_metric": metric,
            },
        }
        self._active[name] = self._launched
        self._launched += 1
        self._jobs.submit(request, self._region, self._ends.put, **more)

    def _take(self, ended: Record) -> None:
        """Reads the objective of a trial that ended."""
        name = ended["TrainingJobName"]
        objective = self._config["HyperParameterTuningJobObjective"]
        values = {item["MetricName"]: item["Value"] for item in ended["FinalMetricDataList"]}
        # What a trial that failed had printed before is no result.
        value = values.get(objective["MetricName"]) if ended["TrainingJobStatus"] != "Failed" else None
        with self._records.edit(training.KIND, name) as record:
            record["ObjectiveStatus"] = "Failed" if value is None else "Succeeded"
            if value is not None:
                record["FinalHyperParameterTuningJobObjectiveMetric"] = {**objective, "Value": value}
            elif ended["TrainingJobStatus"] == "Completed":
                record["_ObjectiveFailureReason"] = self._unmatched(objective["MetricName"])
        self._results[self._active.pop(name)] = value

    def _unmatched(self, metric: str) -> str:
        definitions = self._definition["AlgorithmSpecification"]["MetricDefinitions"]
        regex = next(item["Regex"] for item in definitions if item["Name"] == metric)
        return f"No line of the log matched the regex '{regex}' of the objective metric '{metric}'."

    def _save(self) -> None:
        with self._records.edit(KIND, self._name) as record:
            record.update(_counters(trials(self._records, record)))
            best = _best(trials(self._records, record), self._config["HyperParameterTuningJobObjective"]["Type"])
            if best:
                record["BestTrainingJob"] = summary(best)

    def _conclude(self) -> None:
        mine = trials(self._records, self._tuning)
        if self._stop_grace_s is not None:
            _finish(self._records, self._name, "Stopped")
        elif any(trial["ObjectiveStatus"] == "Succeeded" for trial in mine):
            _finish(self._records, self._name, "Completed")
        else:
            reasons = dict.fromkeys(summary(trial).get("FailureReason", "stopped") for trial in mine)
            text = f"No training job gave a value of the objective metric: {'; '.join(reasons)}"
            _finish(self._records, self._name, "Failed", text[: training.REASON_LIMIT])


def trials(records: Records, tuning: Record) -> list[Record]:
    """The training jobs of a tuning job."""
    arn = tuning["HyperParameterTuningJobArn"]
    return [record for record in records.all(training.KIND) if record.get("TuningJobArn") == arn]


def summary(trial: Record) -> Record:
    """A trial as ListTrainingJobsForHyperParameterTuningJob and BestTrainingJob show it."""
    shape = service_model("sagemaker").shape_for("HyperParameterTrainingJobSummary")
    shown = project(trial, shape)
    if "_ObjectiveFailureReason" in trial:
        shown["FailureReason"] = trial["_ObjectiveFailureReason"]
    return shown


def _training_members() -> set[str]:
    """What a definition has in common with a training job."""
    members = set(service_model("sagemaker").shape_for("CreateTrainingJobRequest").members)
    return members - {"TrainingJobName", "HyperParameters"}


def _counters(mine: list[Record]) -> Record:
    statuses = dict.fromkeys(("Completed", "InProgress", "RetryableError", "NonRetryableError", "Stopped"), 0)
    objectives = dict.fromkeys(("Succeeded", "Pending", "Failed"), 0)
    for trial in mine:
        statuses[_COUNTERS.get(trial["TrainingJobStatus"], "InProgress")] += 1
        objectives[trial["ObjectiveStatus"]] += 1
    return {"TrainingJobStatusCounters": statuses, "ObjectiveStatusCounters": objectives}


def _best(mine: list[Record], direction: str) -> Record | None:
    scored = [trial for trial in mine if trial["ObjectiveStatus"] == "Succeeded"]
    sign = 1 if direction == "Maximize" else -1
    return max(
        scored,
        key=lambda trial: sign * float(trial["FinalHyperParameterTuningJobObjectiveMetric"]["Value"]),
        default=None,
    )


def _finish(records: Records, name: str, status: str, reason: str | None = None) -> None:
    with records.edit(KIND, name) as record:
        for trial in trials(records, record):
            if trial["ObjectiveStatus"] == "Pending":  # nobody will read it any more
                with records.edit(training.KIND, trial["TrainingJobName"]) as edited:
                    edited["ObjectiveStatus"] = "Failed"
        record.update(_counters(trials(records, record)))
        record["HyperParameterTuningJobStatus"] = status
        record["HyperParameterTuningEndTime"] = time.time()
        if reason is not None:
            record["FailureReason"] = reason
