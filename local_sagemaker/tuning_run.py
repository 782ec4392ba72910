"""One tuning job: a thread that asks the search, starts trials as training jobs, and tells the search what came out."""

from __future__ import annotations

import contextlib
import functools
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from local_sagemaker import contract, hyperband, job_record, trials, warm_start
from local_sagemaker.completion import Progress
from local_sagemaker.errors import REASON_LIMIT
from local_sagemaker.records import Record, Records
from local_sagemaker.settings import Settings, cpus
from local_sagemaker.slots import Slots
from local_sagemaker.training import TrainingJobs
from local_sagemaker.tuning_definition import Definition, definitions

if TYPE_CHECKING:
    from local_sagemaker.search import Search

ALL_FAILED = "All training jobs failed. Please take a look at the training jobs failures to get more details."
log = logging.getLogger(__name__)


@dataclass
class Trial:
    """A trial as its tuning job remembers it: its number, `trials.state` and ObjectiveStatus."""

    number: int
    state: str = "InProgress"
    objective: str = "Pending"
    values: int = 0  # of the objective, while it runs


class TuningRun:
    """The life of one tuning job. What happens to it comes to its thread as calls in a queue."""

    def __init__(
        self,
        name: str,
        region: str,
        records: Records,
        jobs: TrainingJobs,
        settings: Settings,
        slots: Slots,
        earlier: list[tuple[dict[str, str], float]],
        forget: Callable[[str], None],
    ) -> None:
        self._name = name
        self._region = region
        self._records = records
        self._jobs = jobs
        self._settings = settings
        self._slots = slots
        self._earlier = earlier
        self._forget = forget
        self._tuning = records.get(trials.KIND, name)
        self._config = self._tuning["HyperParameterTuningJobConfig"]
        self._definitions = definitions(self._tuning)
        self._direction = self._definitions[0].objective["Type"]
        limits = self._config["ResourceLimits"]
        self._most: int = limits["MaxNumberOfTrainingJobs"]
        self._parallel: int = limits["MaxParallelTrainingJobs"]
        self._deadline: float | None = None
        if "MaxRuntimeInSeconds" in limits:
            self._deadline = time.monotonic() + limits["MaxRuntimeInSeconds"]
        self._stops_early = self._config.get("TrainingJobEarlyStoppingType") == "Auto"
        learns = self._config["Strategy"] == "Bayesian" or self._stops_early
        self._is_ordered = "RandomSeed" in self._config and learns
        self._progress = Progress(self._direction, self._config.get("TuningJobCompletionCriteria", {}))
        self._searches: list[Search] = []
        self._calls: queue.Queue[Callable[[], None]] = queue.Queue()
        self._trials: dict[str, Trial] = {}
        self._active: dict[str, Trial] = {}
        self._results: dict[int, float | None] = {}  # finished, and the search was not told yet
        self._hint: str | None = None
        self._ends_as: str | None = None  # the status, once no other trial is to begin
        self._thread = threading.Thread(target=self._live, name=f"tuning-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def stop(self, grace_s: float) -> None:
        with self._records.edit(trials.KIND, self._name) as record:
            if record["HyperParameterTuningJobStatus"] == "InProgress":
                record["HyperParameterTuningJobStatus"] = "Stopping"
        self._calls.put(lambda: self._halt("Stopped", grace_s))

    def _live(self) -> None:
        try:
            self._run()
        except Exception as error:
            log.exception("tuning job %s", self._name)
            for name in self._active:
                self._jobs.stop(name)
                self._slots.give_back()
            trials.abandon(self._records, self._name, f"InternalServerError: {type(error).__name__}: {error}")
        finally:
            self._slots.leave(self._wake)
            self._forget(self._name)

    def _run(self) -> None:
        from local_sagemaker.search import searches

        lag = self._parallel if self._is_ordered else 1
        self._searches = searches(self._config, self._definitions, lag)
        if self._config["Strategy"] == "Bayesian":
            self._searches[0].learn(self._earlier)
        while True:
            while self._may_launch():
                self._launch()
            if not self._active and (self._ends_as or len(self._trials) == self._most):
                break
            left = None if self._deadline is None or self._ends_as else self._deadline - time.monotonic()
            try:
                call = self._calls.get(timeout=None if left is None else max(0, left))
            except queue.Empty:
                self._halt("Completed", self._settings.training_stop_s)
            else:
                call()
        self._conclude()

    def _may_launch(self) -> bool:
        if self._ends_as or len(self._trials) == self._most or len(self._active) == self._parallel:
            return False
        horizon = self._horizon(len(self._trials))
        if self._is_ordered and any(trial.number <= horizon for trial in self._active.values()):
            return False
        return self._slots.take(self._wake)

    def _wake(self) -> None:
        self._calls.put(lambda: None)

    def _horizon(self, number: int) -> int:
        """The last trial whose result the proposal of that number may use.

        With a seed a search that learns is a function of results, not of who finishes first: trial n learns from
        trials up to n - parallel, whatever else has ended by then.
        """
        return number - (self._parallel if self._is_ordered else 1)

    def _of(self, number: int) -> tuple[Definition, Search, int]:
        """Where a trial belongs: the definitions take turns. And its number among those of its definition."""
        turn, index = divmod(number, len(self._definitions))
        return self._definitions[index], self._searches[index], turn

    def _tell(self, following: int) -> None:
        """Tells the searches what a proposal of that number may use."""
        for number in sorted(self._results):
            if number <= self._horizon(following):
                _, proposals, turn = self._of(number)
                proposals.tell(turn, self._results.pop(number))

    def _launch(self) -> None:
        number = len(self._trials)
        name = f"{self._name}-{number + 1:03d}-{uuid4().hex[:8]}"
        self._trials[name] = self._active[name] = Trial(number)
        self._tell(number)
        definition, proposals, _ = self._of(number)
        tuned = proposals.ask()
        more: Record = {
            "TuningJobArn": self._tuning["HyperParameterTuningJobArn"],
            "TunedHyperParameters": tuned,
            "ObjectiveStatus": "Pending",
        }
        if "DefinitionName" in definition.record:
            more["TrainingJobDefinitionName"] = definition.record["DefinitionName"]
        request = definition.request(name, tuned)
        request["Environment"] = {**self._share(request), **request.get("Environment", {})}
        request["Tags"] = self._tuning["Tags"]
        self._save()
        is_watched = self._stops_early or self._config["Strategy"] == "Hyperband"
        self._jobs.submit(request, self._region, self._on_end, self._on_metric if is_watched else None, **more)

    def _share(self, request: dict[str, Any]) -> dict[str, str]:
        """A trial's share of the machine: on AWS each host of each trial is an instance of its own.

        Without it each of them starts a thread a core, and they run many times slower than one after the other. MKL and
        OpenBLAS follow this variable too.
        """
        hosts = sum(group.count for group in contract.groups(request["ResourceConfig"]))
        at_once = min(self._parallel, self._settings.max_parallel, self._most) * hosts
        return {"OMP_NUM_THREADS": str(max(1, cpus() // at_once))} if at_once > 1 else {}

    def _on_end(self, ended: Record) -> None:
        self._calls.put(functools.partial(self._take, ended))

    def _on_metric(self, job: str, metric: str, value: float, timestamp: float) -> None:
        trial = self._trials[job]
        if metric == self._of(trial.number)[0].objective["MetricName"] and trial.values <= hyperband.MOST:
            trial.values += 1  # a job that floods its log does not flood the queue
            self._calls.put(functools.partial(self._judge, job, value))

    def _judge(self, job: str, value: float) -> None:
        """A value of the objective of a running trial, which the search may want to stop."""
        trial = self._active.get(job)
        if trial is None or self._ends_as:
            return
        _, proposals, turn = self._of(trial.number)
        if proposals.report(turn, value):
            self._jobs.stop(job)

    def _take(self, ended: Record) -> None:
        """Reads the objective of a trial that ended."""
        self._slots.give_back()
        name = ended["TrainingJobName"]
        trial = self._active.pop(name)
        changes = trials.outcome(ended, self._of(trial.number)[0])
        trial.state, trial.objective = trials.state(ended), changes["ObjectiveStatus"]
        self._hint = changes.get(trials.UNMATCHED, self._hint)
        # A client that deletes jobs as they end may have been quicker.
        with contextlib.suppress(KeyError), self._records.edit(job_record.KIND, name) as record:
            record.update(changes)
        value = trials.value(changes) if trial.objective == "Succeeded" else None
        self._results[trial.number] = value
        self._tell(len(self._trials))
        is_best = value is not None and self._progress.take(value)
        self._save(trials.summary({**ended, **changes}) if is_best else None)
        if self._progress.is_complete():
            self._halt("Completed", self._settings.training_stop_s)

    def _halt(self, status: str, grace_s: float) -> None:
        """Starts no other trial and stops those that run."""
        if self._ends_as != "Stopped":
            self._ends_as = status
        for name in self._active:
            self._jobs.stop(name, grace_s)

    def _save(self, best: Record | None = None) -> None:
        with self._records.edit(trials.KIND, self._name) as record:
            record[trials.NAMES] = list(self._trials)
            record.update(trials.counters([(trial.state, trial.objective) for trial in self._trials.values()]))
            record["TuningJobCompletionDetails"] = self._progress.details()
            record["ConsumedResources"] = trials.consumed(record)
            if best:
                record["BestTrainingJob"] = best
                overall = record.get("OverallBestTrainingJob")
                is_identical = self._tuning.get("WarmStartConfig", {}).get("WarmStartType") == warm_start.IDENTICAL
                if is_identical and (overall is None or self._progress.is_better(trials.value(overall))):
                    record["OverallBestTrainingJob"] = {**best, "TuningJobName": self._name}
            if self._progress.best is not None:
                record.pop("FailureReason", None)
            elif self._hint:  # the whole search would end like this trial: who looks should not have to wait
                record["FailureReason"] = self._hint[:REASON_LIMIT]

    def _conclude(self) -> None:
        if self._ends_as == "Stopped":
            trials.finish(self._records, self._name, "Stopped")
        elif self._progress.best is not None:
            trials.finish(self._records, self._name, "Completed")
        else:
            mine = trials.of(self._records, self._records.get(trials.KIND, self._name))
            reasons = dict.fromkeys(trials.summary(trial).get("FailureReason", "stopped") for trial in mine)
            text = f"{ALL_FAILED} ({'; '.join(reasons)})"
            trials.finish(self._records, self._name, "Failed", text[:REASON_LIMIT])
