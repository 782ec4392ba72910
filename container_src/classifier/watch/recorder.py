"""Debugger and profiler of one run, and the report made of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from classifier.training import Observer
from classifier.watch import old_report as report
from classifier.watch import rules
from classifier.watch.debugger import Debugger
from classifier.watch.profiler import Profiler


class Recorder:
    """Records from its making on; `observers` are to be given to the training, `report` ends it.

    `hook_file`: Debugger's JSON file, where SageMaker wrote one.
    """

    def __init__(self, output_dir: Path, save_interval: int, hook_file: Path | None) -> None:
        self.output_dir = output_dir
        self.profiler = Profiler()
        self.debugger = Debugger(output_dir / "tensors", save_interval, hook_file)
        self.observers: list[Observer] = [self.profiler, self.debugger]
        self.profiler.start()

    def report(
        self, summary: Mapping[str, Any], classes: Sequence[str], confusion: torch.Tensor
    ) -> tuple[Path, list[rules.Finding]]:
        """Judges what was recorded and writes the report; its page and the findings."""
        self.profiler.close()
        complete = self.debugger.close()
        profiler = self.profiler
        run = rules.Run(profiler.epochs, profiler.steps, profiler.samples, profiler.first_step_s or 0.0)
        findings = rules.judge(run)
        page = report.write(
            self.output_dir,
            summary={**summary, "debugger_failed": not complete},
            classes=classes,
            confusion=confusion,
            profiler=profiler,
            losses=self.debugger.losses(),
            findings=findings,
        )
        return page, findings
