"""Which runner an image gets."""

from __future__ import annotations

import contextlib
from pathlib import Path

from local_sagemaker.process import ProcessRunner
from local_sagemaker.runners import PROCESS_IMAGE, Runner, RunnerError


class Runners:
    """The two runners of a server; Docker is asked only when an image needs it."""

    def __init__(self, process_path: Path | None) -> None:
        self._process_path = process_path
        self._docker: Runner | None = None

    def of(self, image: str) -> Runner:
        if image == PROCESS_IMAGE:
            return ProcessRunner(self._process_path)
        if self._docker is None:
            from local_sagemaker.container import DockerRunner

            self._docker = DockerRunner()
        return self._docker

    def sweep(self, image: str, base: Path) -> None:
        """Ends what was left running; where the Docker engine is gone, so are its containers."""
        with contextlib.suppress(RunnerError):
            self.of(image).sweep(base)
