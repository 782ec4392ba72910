"""The rules at work: they see the run as it goes on, and what they find is said at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from classifier.rule_settings import Settings
from classifier.watch.collected import Collected, EpochMetrics, Sample, StepTime
from classifier.watch.rules.every import ALL
from classifier.watch.rules.machine_rules import LoadBalancing
from classifier.watch.rules.rule import KEPT_FIRINGS, Finding, Firing, Rule
from classifier.watch.rules.tensor_rules import ExplodingTensor, TensorRule


class Judge:
    """All rules that are not turned off; those on tensors where there is a `trial` of them.

    `reason`: why the job is to end, once a rule of `stop-on` has fired. `say` gets a line for each rule's first firing,
    its tenth, its hundredth and so on. A rule that fails is told in `missing` and asked no more.
    """

    def __init__(self, settings: Settings, trial: Any, say: Callable[[str], None]) -> None:
        self.missing: list[str] = []
        self.reason: str | None = None
        self._settings, self._say = settings, say
        self._rules: list[Rule] = []
        for kind in ALL:
            setting = settings.rules[kind.__name__]
            if setting.severity == "off":
                continue
            if issubclass(kind, TensorRule):
                if trial is not None:
                    self._rules.append(kind(trial, setting, self._tell))
            else:
                self._rules.append(kind(setting, self._tell))
        self._failed: set[str] = set()
        self._of = {
            name: [rule for rule in self._rules if getattr(type(rule), name) is not getattr(Rule, name)]
            for name in ("on_step", "on_epoch", "on_sample")
        }
        self._of_tensors = [rule for rule in self._rules if isinstance(rule, TensorRule)]

    def configure(self, **values: Any) -> None:
        """Sets these attributes of the rules that have them: what no step says, as `began` and `classes`."""
        for rule in self._rules:
            for name, value in values.items():
                if hasattr(rule, name):
                    setattr(rule, name, value)

    def on_step(self, step: StepTime) -> None:
        for rule in self._of["on_step"]:
            self._ask(rule, rule.on_step, step)

    def on_epoch(self, epoch: EpochMetrics) -> None:
        for rule in self._of["on_epoch"]:
            self._ask(rule, rule.on_epoch, epoch)

    def on_sample(self, sample: Sample) -> None:
        for rule in self._of["on_sample"]:
            self._ask(rule, rule.on_sample, sample)

    def on_tensors(self, step: int) -> None:
        """The trial holds this global step."""
        for rule in self._of_tensors:
            self._ask(rule, rule.invoke_at_step, step)

    def on_last_loss(self, number: int, epoch: int, at: float, loss: float) -> None:
        """That of the last step, which may not have been recorded."""
        for rule in self._of_tensors:
            if isinstance(rule, ExplodingTensor) and not rule.fired:
                self._ask(rule, rule.saw_loss, number, epoch, at, loss)

    def on_end(self, ranks: Sequence[Collected], unseen: Callable[[str], str]) -> None:
        """After everything else. `unseen`: of a collection, why it was not recorded."""
        for rule in self._rules:
            if isinstance(rule, LoadBalancing):
                self._ask(rule, rule.on_ranks, ranks)
            if isinstance(rule, TensorRule):
                rule.unseen = unseen(rule.collection) or rule.unseen
            self._ask(rule, rule.on_end)

    def findings(self) -> list[Finding]:
        """Of every rule that is not turned off, in the order of the catalogue."""
        return [rule.finding() for rule in self._rules]

    def should_stop(self) -> bool:
        return self.reason is not None

    def _ask(self, rule: Rule, question: Callable[..., object], *values: object) -> None:
        name = rule.spec.name
        if name in self._failed:
            return
        try:
            question(*values)
        except Exception as error:  # a rule's mistake is not the training's
            self._failed.add(name)
            self.missing.append(f"the rule {name} ended with an error of its own ({type(error).__name__}: {error})")

    def _tell(self, rule: Rule, firing: Firing) -> None:
        name, severity = rule.spec.name, rule.setting.severity
        if name in self._settings.stop_on and self.reason is None:
            self.reason = f"stopped by the rule {name}: {firing.detail}; {rule.spec.advice}"
        if set(str(rule.fired)[1:]) <= {"0"} and str(rule.fired)[0] == "1":
            often = f" (fired {rule.fired} times)" if rule.fired > 1 else ""
            where = f"step {firing.step}: " if firing.step else f"epoch {firing.epoch}: " if firing.epoch else ""
            self._say(f"finding: {name} ({severity}){often} {where}{firing.detail}; {rule.spec.advice}")


def merged(ranks: Iterable[Sequence[Finding]]) -> list[Finding]:
    """One finding of each rule: points and firings of all ranks together, the firings by time."""
    of: dict[str, list[Finding]] = {}
    for findings in ranks:
        for finding in findings:
            of.setdefault(finding.rule, []).append(finding)
    return [_one(findings) for findings in of.values()]


def _one(findings: list[Finding]) -> Finding:
    first = findings[0]
    points = sum(f.points for f in findings)
    firings = sorted(firing for f in findings for firing in f.firings)
    del firings[KEPT_FIRINGS - 1 : -1]
    return dataclasses.replace(
        first, points=points, fired=sum(f.fired for f in findings), firings=tuple(firings),
        unseen="" if points else first.unseen,
    )  # fmt: skip


def written(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """In a form that JSON can carry."""
    return [dataclasses.asdict(finding) for finding in findings]


def read(findings: Iterable[dict[str, Any]]) -> list[Finding]:
    """What `written` made."""
    return [
        Finding(**{**values, "firings": tuple(Firing(*firing) for firing in values["firings"])}) for values in findings
    ]
