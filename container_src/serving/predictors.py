"""The processes that hold the model: one a GPU, or one for all CPUs; each is started again when it ends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from classifier import events, predictor_process
from classifier.errors import InputError
from serving import memory

# Ends in a row without the model having been loaded: it will not be.
MOST_FAILURES = 3


class Predictors:
    """`sockets` of processes that come and go."""

    def __init__(self, directory: Path, gpus: int) -> None:
        """`directory`: a private one of `serve`."""
        self.sockets = tuple(directory / f"predictor-{number}.sock" for number in range(max(1, gpus)))
        self._has_gpus = gpus > 0
        self._state = directory / "state"
        self._failures = 0
        self._processes: dict[int, int] = {}

    def start(self, environment: Mapping[str, str]) -> None:
        """Starts all. They load the model at once; see `ready`."""
        self._environment = environment
        for number in range(len(self.sockets)):
            self._start(number)

    def _start(self, number: int) -> None:
        arguments = [str(self.sockets[number]), str(self._state), *([str(number)] if self._has_gpus else [])]
        command = [sys.executable, "-m", predictor_process.__name__, *arguments]
        self._processes[subprocess.Popen(command, env=self._environment).pid] = number

    @property
    def ready(self) -> bool:
        """Whether all have loaded the model."""
        return all(path.exists() for path in self.sockets)

    def replace(self, ended: set[int]) -> None:
        """Starts those anew whose process is among the `ended`.

        Raises:
            InputError: the model cannot be loaded.
        """
        for pid in ended & self._processes.keys():
            number = self._processes.pop(pid)
            failure = self._state / predictor_process.FAILURE
            if failure.exists():
                raise InputError(f"the model cannot be loaded: {failure.read_text(encoding='utf-8')}")
            was_ready = self.sockets[number].exists()
            self.sockets[number].unlink(missing_ok=True)
            self._failures = 0 if was_ready else self._failures + 1
            if self._failures == MOST_FAILURES:
                raise InputError(
                    f"the predictor's process ended {MOST_FAILURES} times before it had loaded the model; the lines "
                    f"above may say why{memory.hint()}"
                )
            events.say("predictor_lost", "error", pid=pid, hint=memory.hint().removeprefix("; ") or None)
            self._start(number)
