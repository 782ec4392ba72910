"""Everything that watches one training, and the report made of it, on every way that the training can end."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch

from classifier import rule_settings
from classifier.config import Config
from classifier.errors import InputError
from classifier.evaluation import Evaluation
from classifier.job import Job
from classifier.training import Observer
from classifier.watch import judge as judging
from classifier.watch import merge, pictures, report, tensorboard
from classifier.watch.collected import Collected
from classifier.watch.debugger import Debugger
from classifier.watch.guarded import Guarded
from classifier.watch.operators import Operators
from classifier.watch.system import System
from classifier.watch.timeline import Timeline
from classifier.watch.witness import Witness

if TYPE_CHECKING:
    from classifier.material import Material

# While the job runs the report is written anew, at most so often, and for so little of the time: a killed job has one.
REWRITTEN_S = 60.0
SHARE = 0.01


class Recorder(Observer):
    """A context around all of a job; `observers` are for its training, and `should_stop` ends it.

    `began`: when the job did, in seconds since 1970. `say`: where lines of the log go. Leaving the context writes the
    report, whatever the reason. Nothing that goes wrong in here ends the training: it is told in the report's `missing`
    and once in the log.

    Raises:
        InputError: the hook file cannot be used; from leaving the context also, a rule of `stop-on` has fired.
    """

    def __init__(
        self, config: Config, job: Job, device: torch.device, began: float, say: Callable[[str], None]
    ) -> None:
        self._config, self._job, self._say = config, job, say
        rank, _ = merge.ranks()
        merge.forget(job.output_dir, rank)
        self._first = rank == 0
        settings = rule_settings.parse(config.rules, config.stop_on)
        self._missing: list[str] = []
        # Every rank has the same weights: one records them.
        self.debugger = self._debugger() if self._first else None
        self.timeline = Timeline(began, rank)
        self.operators = Operators(job.output_dir, device)
        self.judge = judging.Judge(settings, self.debugger.trial if self.debugger else None, say)
        self.judge.configure(began=began, recorded=self._slowed)
        self.system = System(on_sample=self.judge.on_sample)
        self._first_of_host = os.environ.get("LOCAL_RANK", "0") == "0"
        self._facts: dict[str, Any] = {"classes": (), "hardware": {}, "versions": {}}
        self._told: list[str] = []
        self._witness = Witness(self.timeline, self.judge)
        watching: list[Observer] = [self.timeline, self.operators]
        watching += [self.debugger] if self.debugger else []
        self.observers: list[Observer] = [
            Guarded(observer, self._missing.append) for observer in (*watching, self._witness, self)
        ]
        self._next_report = float("inf")

    def __enter__(self) -> Recorder:
        if self._first_of_host:
            self.system.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stopped = self._job.stop.is_set()
        by_rule = self.judge.reason if error is None or isinstance(error, InputError) else None
        status: report.Status = "stopped" if stopped else "completed"
        reason = str(error) if error else None
        if by_rule:
            status, reason = "failed", by_rule
        elif error is not None and not (stopped and isinstance(error, InputError)):
            status = "failed"
            reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        self._safely("the report", lambda: self._close(status, reason, gather=error is None))
        self._tell_missing()
        if by_rule:
            raise InputError(by_rule) from None

    def should_stop(self) -> bool:
        """Whether a rule of `stop-on` has fired."""
        return self.judge.should_stop()

    def know(self, material: Material, versions: Mapping[str, str], hardware: Mapping[str, Any]) -> None:
        """What is trained on, once it is known."""
        self.judge.configure(classes=material.classes)
        self._facts |= {
            "classes": material.classes, "versions": versions, "hardware": hardware,
            "dataset": {"fingerprint": material.fingerprint, **material.sizes}, "on_features": bool(material.frozen),
        }  # fmt: skip

    def conclude(
        self, material: Material, metrics: Mapping[str, float], kept: int, split: str, judged: Evaluation
    ) -> None:
        """What came of it: of the epoch `kept`, `judged` on `split`."""
        self._facts |= {
            "metrics": metrics, "kept_epoch": kept, "judged_split": split, "matrix": judged.confusion.tolist(),
        }  # fmt: skip
        self._safely("the pictures of mistakes", lambda: self._picture(material, split, judged))

    def on_step(self, step: Any) -> None:
        if time.monotonic() >= self._next_report:
            self._rewrite()

    def on_epoch(self, epoch: Any) -> None:
        self._tell_missing()
        if epoch.number == 1 or time.monotonic() >= self._next_report:
            self._rewrite()

    def _debugger(self) -> Debugger | None:
        config, job = self._config, self._job
        hook_file = job.hook_file if job.hook_file.is_file() else None
        try:
            return Debugger(
                job.output_dir / "tensors", config.save_interval, rule_settings.collections(config.collections),
                hook_file, lambda step: self.judge.on_tensors(step),
            )  # fmt: skip
        except InputError:
            raise
        except Exception as error:  # smdebug's, or the disk's
            self._missing.append(f"tensors are missing: smdebug failed ({type(error).__name__}: {error})")
            return None

    def _slowed(self, step: int) -> bool:
        recorded = self.debugger.recorded_steps if self.debugger else set()
        # The profiler is started before a window's first step and stopped after its last, which slows the next.
        return step in recorded or step in self.operators.profiled_steps

    def _picture(self, material: Material, split: str, judged: Evaluation) -> None:
        self._facts["mistakes"] = pictures.mistakes(
            judged.mistakes, material.classes, lambda index: material.photograph(split, index), material.preprocessing
        )

    def _rewrite(self) -> None:
        began = time.monotonic()
        self._safely("the report of the running job", lambda: self._write("running", None))
        took = time.monotonic() - began
        self._next_report = time.monotonic() + max(REWRITTEN_S, took / SHARE)

    def _close(self, status: report.Status, reason: str | None, gather: bool) -> None:
        """`gather`: the other ranks have come here, too; one that has failed is not waited for."""
        self.system.close()
        self.operators.close()
        if self.debugger:
            self.debugger.close()
        self._witness.close()
        document = self._write(status, reason, final=True, gather=gather)
        if document is None:
            return
        fired = [f["rule"] for f in document["findings"] if f["fired"]]
        found = f"{len(fired)} finding{'' if len(fired) == 1 else 's'}: {', '.join(fired)}" if fired else "no findings"
        self._say(f"report: {report.PAGE} ({found})")

    def _write(
        self, status: report.Status, reason: str | None, final: bool = False, gather: bool = False
    ) -> dict[str, Any] | None:
        """Of the first rank, with what the others have left; the others leave theirs."""
        job = self._job
        seen = self._collected()
        ranks = merge.merge(job.output_dir, seen, gather=gather)
        if not self._first:
            return None
        if final:
            self.judge.on_end(ranks, self.debugger.unseen if self.debugger else lambda collection: "")
        findings = judging.merged([self.judge.findings(), *(judging.read(r.findings) for r in ranks if r is not seen)])
        missing = [*self._missing, *self.judge.missing, *(self.debugger.missing if self.debugger else ())]
        document = report.document(
            job=job.name, status=status, reason=reason, began=self.timeline.began,
            ended=time.time() if final else None, hyperparameters=self._config.to_hyperparameters(),
            epochs=self.timeline.epochs, findings=findings, ranks=ranks, missing=missing,
            losses=self.debugger.losses() if self.debugger else None,
            tensors=self.debugger.tensors() if self.debugger else None, **self._facts,
        )  # fmt: skip
        if final:
            self._deliver(document)
        else:
            report.write(job.output_dir, document)
        self._safely("TensorBoard's curves", lambda: tensorboard.write(job.output_dir / "tensorboard", document))
        return document

    def _deliver(self, document: dict[str, Any]) -> None:
        """Beside the model as well, or there alone. Raises OSError: neither has room for it."""
        output, model = self._job.output_dir, self._job.model_dir
        try:
            report.write(output, document)
        except OSError as error:
            # What lies there tells of a job that runs.
            for name in (report.PAGE, report.DOCUMENT):
                (output / name).unlink(missing_ok=True)
            sentence = f"the report lies beside the model alone: {error.strerror or error} ({output})"
            self._missing.append(sentence)
            document["missing"].append(sentence)
            report.write(model, document)
            return
        self._safely("the report beside the model", lambda: _copy(output, model))

    def _collected(self) -> Collected:
        return dataclasses.replace(
            self.timeline.collected(), samples=self.system.samples, samples_thinned=self.system.thinned,
            operators=self.operators.operators(), profiled_steps=list(self.operators.profiled_steps),
            traces=list(self.operators.traces), missing=[*self.system.missing, *self.operators.missing],
            findings=[] if self._first else judging.written(self.judge.findings()),
        )  # fmt: skip

    def _tell_missing(self) -> None:
        sources: Sequence[Sequence[str]] = (
            self._missing, self.judge.missing, self.system.missing, self.operators.missing,
            self.debugger.missing if self.debugger else (),
        )  # fmt: skip
        for sentence in (sentence for source in sources for sentence in source):
            if sentence not in self._told:
                self._told.append(sentence)
                self._say(f"watch: {sentence}")

    def _safely(self, what: str, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as error:  # the disk's, most of all; the training goes on
            reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
            sentence = f"{what} could not be written: {reason or type(error).__name__}"
            if sentence not in self._missing:
                self._missing.append(sentence)


def _copy(output: Path, model: Path) -> None:
    model.mkdir(parents=True, exist_ok=True)
    for name in (report.PAGE, report.DOCUMENT):
        shutil.copyfile(output / name, model / name)
