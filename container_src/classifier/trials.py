"""The trials of a search: what is known of each, kept in the checkpoints while it runs, written out at the end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from classifier.atomic import replacing
from classifier.config import Config
from classifier.job import Job
from classifier.search_space import Search

COMPLETED, STOPPED, FAILED = "Completed", "Stopped", "Failed"
FILE = "trials.json"


@dataclass(frozen=True)
class Trial:
    """`epochs`: the metrics of each, null where they are no number; `metrics`: those of the epoch `kept`.

    A trial that the search gave up is `Stopped`, and has the best epoch until then.
    """

    number: int
    status: str
    hyperparameters: Mapping[str, str]
    objective: float | None
    metrics: Mapping[str, float]
    epochs: list[dict[str, Any]]
    kept: int
    seconds: float
    failure: str | None = None


class Record:
    """The trials so far. Those that finished survive a stop of the job, with the weights of the best of them."""

    def __init__(self, job: Job, config: Config, space: Search, data: str) -> None:
        """`data`: what tells the photographs or the features apart. Trials of another search are not taken up."""
        asked = json.dumps([config.to_hyperparameters(), data], sort_keys=True)
        self._folder = job.checkpoints / "search" / hashlib.sha256(asked.encode()).hexdigest()[:16]
        self._folder.mkdir(parents=True, exist_ok=True)
        self._output, self._space = job.output_dir, space
        self._log, self._weights = self._folder / "trials.jsonl", self._folder / "best.safetensors"
        self._earlier = {trial.number: trial for trial in self._read()}
        self._log.write_text("")
        self.trials: list[Trial] = []
        self.best: Trial | None = None

    def finished(self, number: int, hyperparameters: Mapping[str, str]) -> Trial | None:
        """The trial of this number from before the job was stopped, if it is the same one."""
        trial = self._earlier.get(number)
        return trial if trial and trial.hyperparameters == hyperparameters else None

    def add(self, trial: Trial, state: Mapping[str, torch.Tensor] | None = None) -> None:
        """`state`: the weights of a trial that ran just now."""
        self.trials.append(trial)
        if trial.objective is not None and (self.best is None or self._better(trial.objective)):
            self.best = trial
            if state is not None:
                with replacing(self._weights) as file:
                    save_file({name: tensor.cpu().contiguous() for name, tensor in state.items()}, file)
        # After the weights: a trial that is in the log is not run again, and its weights must be there.
        with self._log.open("a", encoding="utf-8") as log:
            log.write(json.dumps(asdict(trial)) + "\n")

    def state(self) -> dict[str, torch.Tensor]:
        """The weights of the best trial's network."""
        return load_file(self._weights)

    def write(self, embed_seconds: float) -> None:
        """`trials.json` among the job's output."""
        self._output.mkdir(parents=True, exist_ok=True)
        values = {
            "objective": self._space.objective,
            "direction": "Maximize" if self._space.maximize else "Minimize",
            "trials": [asdict(trial) for trial in self.trials],
            "best": self.best.number if self.best else None,
            "embed_seconds": embed_seconds,
        }
        with replacing(self._output / FILE) as file:
            file.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")

    def _better(self, objective: float) -> bool:
        assert self.best and self.best.objective is not None
        return objective > self.best.objective if self._space.maximize else objective < self.best.objective

    def _read(self) -> list[Trial]:
        trials: list[Trial] = []
        lines = self._log.read_text(encoding="utf-8").splitlines() if self._log.is_file() else []
        for line in lines:
            try:
                trials.append(Trial(**json.loads(line)))
            except (TypeError, ValueError):
                break  # cut off when the job was killed: it and what follows run again
        return trials
