"""Two reports side by side: what was set otherwise, what came of it, and where the time went."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrate.report_file import Finding, Report

# In the order of a step, then what else takes time; `other` is what none of them explains.
PARTS = ("initialization", "wait", "copy", "forward", "backward", "optimizer", "evaluation", "checkpoint", "other")
# Chance alone stays within two of them in 95 % of cases.
_STANDARD_ERRORS = 2
_HIGHER_IS_BETTER = ("accuracy", "top5", "images_per_s", "precision", "recall", "f1")


@dataclass(frozen=True)
class Pair:
    """One thing in both runs; None where a run does not have it."""

    name: str
    a: Any
    b: Any

    @property
    def change(self) -> float | None:
        """b - a, of numbers."""
        if isinstance(self.a, (int, float)) and isinstance(self.b, (int, float)):
            return self.b - self.a
        return None

    @property
    def ratio(self) -> float | None:
        """b / a, of numbers above 0."""
        if self.change is None or self.a <= 0 or self.b <= 0:
            return None
        return float(self.b / self.a)

    @property
    def better(self) -> str:
        """`a` or `b`; empty where they are the same or cannot be told apart."""
        if not self.change:
            return ""
        return "b" if (self.change > 0) == self.name.endswith(_HIGHER_IS_BETTER) else "a"


@dataclass(frozen=True)
class Verdicts:
    """What one rule said of both; None where it was not run."""

    rule: str
    a: Finding | None
    b: Finding | None


@dataclass(frozen=True)
class Comparison:
    """`settings`: what each of them was (hyperparameters, versions, ...) and differs; `same`: how many of each do not.

    `times`: seconds of the whole run by part. `classes`: recall by class, the largest changes first; none where
    they were judged on different splits.
    """

    a: Report
    b: Report
    metrics: tuple[Pair, ...]
    speed: tuple[Pair, ...]
    times: tuple[Pair, ...]
    settings: Mapping[str, tuple[Pair, ...]]
    same: Mapping[str, int]
    findings: tuple[Verdicts, ...]
    classes: tuple[Pair, ...]
    summary: tuple[str, ...]


def of(a: Report, b: Report) -> Comparison:
    """Both of version 1."""
    settings, same = {}, {}
    for key, title in (("hyperparameters", "Hyperparameters"), ("dataset", "Data"), ("versions", "Versions"),
                       ("hardware", "Hardware")):  # fmt: skip
        pairs = _pairs(_flat(a.document[key]), _flat(b.document[key]))
        settings[title] = tuple(pair for pair in pairs if pair.a != pair.b)
        same[title] = len(pairs) - len(settings[title])
    metrics = tuple(_pairs(a.document["metrics"], b.document["metrics"]))
    speed = tuple(_pairs(_speed(a.document), _speed(b.document)))
    times = tuple(Pair(part, a.document["time"].get(part, 0.0), b.document["time"].get(part, 0.0))
                  for part in PARTS)  # fmt: skip
    return Comparison(
        a, b, metrics, speed, times, settings, same, _verdicts(a, b), _classes(a.document, b.document),
        tuple(filter(None, (_accuracy(a.document, b.document), _pace(speed), _rules(a, b)))),
    )  # fmt: skip


def document(found: Comparison) -> dict[str, Any]:
    """What --json prints."""

    def pairs(some: Sequence[Pair]) -> dict[str, dict[str, Any]]:
        return {pair.name: {"a": pair.a, "b": pair.b} for pair in some}

    def verdict(finding: Finding | None) -> dict[str, Any] | None:
        return {"severity": finding.severity, "fired": finding.fired, "points": finding.points} if finding else None

    return {
        "a": found.a.job,
        "b": found.b.job,
        "summary": list(found.summary),
        "metrics": pairs(found.metrics),
        "speed": pairs(found.speed),
        "seconds": pairs(found.times),
        "settings": {title.lower(): pairs(some) for title, some in found.settings.items()},
        "findings": {v.rule: {"a": verdict(v.a), "b": verdict(v.b)} for v in found.findings},
        "recall": pairs(found.classes),
    }


def curve(report: Mapping[str, Any], metric: str) -> list[tuple[float, float]]:
    """(epoch, value) of the epochs that have one."""
    return [(float(e["number"]), float(e[metric])) for e in report["epochs"] if e[metric] is not None]


def _pairs(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Pair]:
    return [Pair(name, a.get(name), b.get(name)) for name in [*a, *(name for name in b if name not in a)]]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name} ") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def _speed(report: Mapping[str, Any]) -> dict[str, float]:
    """Medians over epochs and steps, which a slow first one does not move; of the first rank."""
    found: dict[str, float] = {}
    for metric in ("images_per_s", "seconds"):
        told = [e[metric] for e in report["epochs"] if e[metric] is not None]
        if told:
            found["images_per_s" if metric == "images_per_s" else "epoch_s"] = statistics.median(told)
    if report["ranks"] and report["ranks"][0]["steps"]["number"]:
        steps = report["ranks"][0]["steps"]
        parts = {name: steps[name] for name in ("wait_s", "copy_s", "forward_s", "backward_s", "optimizer_s")}
        found["step_s"] = statistics.median(sum(v or 0.0 for v in row) for row in zip(*parts.values(), strict=True))
        found |= {f"step {name}": statistics.median(v or 0.0 for v in column) for name, column in parts.items()}
    found["job_s"] = report["time"]["total"]
    return found


def _verdicts(a: Report, b: Report) -> tuple[Verdicts, ...]:
    """Of each rule that fired in one of them, the most different first."""
    of_a, of_b = ({f.rule: f for f in report.findings} for report in (a, b))
    found = [Verdicts(rule, of_a.get(rule), of_b.get(rule)) for rule in {**of_a, **of_b}]

    def share(finding: Finding | None) -> float:
        return finding.fired / max(1, finding.points) if finding else 0.0

    fired = [v for v in found if share(v.a) or share(v.b)]
    return tuple(sorted(fired, key=lambda v: (bool(share(v.a)) == bool(share(v.b)), -abs(share(v.a) - share(v.b)))))


def _classes(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[Pair, ...]:
    """None of photographs that are not the same."""
    if a["judged_split"] != b["judged_split"]:
        return ()
    of_a, of_b = ({row["class"]: row["recall"] for row in report["per_class"]} for report in (a, b))
    return tuple(sorted(_pairs(of_a, of_b), key=lambda p: (p.change is None, -abs(p.change or 0.0), p.name)))


def _accuracy(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    """Which is better, and whether chance explains it."""
    judge, name = _judged, f"{a['judged_split']}:accuracy"
    if a["judged_split"] != b["judged_split"]:
        # One of them did not come to the test split.
        judge, name = _valid, "valid:accuracy"
    (of_a, count_a), (of_b, count_b) = judge(a), judge(b)
    change = Pair(name, of_a, of_b).change
    if change is None or not count_a or not count_b:
        return "Their accuracies cannot be compared: one of them was not judged."
    told = f"{name} is {of_a:.4f} in A and {of_b:.4f} in B"
    if not change:
        return f"{told}: the same."
    error = math.sqrt(sum(p * (1 - p) / n for p, n in ((of_a, count_a), (of_b, count_b))))
    chance = _STANDARD_ERRORS * error
    sure = "less than" if abs(change) <= chance else "more than"
    way = "higher" if change > 0 else "lower"
    photographs = f"{count_a:,}" if count_a == count_b else f"{count_a:,} and {count_b:,}"
    return (f"{told}, {abs(change):.4f} {way} in B: {sure} the {chance:.4f} that chance makes of {photographs} "
            f"photographs (two standard errors).")  # fmt: skip


def _judged(report: Mapping[str, Any]) -> tuple[Any, int]:
    """(accuracy, photographs) of the confusion, which is of the epoch that was kept."""
    matrix = report["confusion"]
    total = sum(map(sum, matrix))
    return (sum(row[i] for i, row in enumerate(matrix)) / total if total else None), total


def _valid(report: Mapping[str, Any]) -> tuple[Any, int]:
    """(accuracy, photographs) of the kept epoch on the valid split."""
    kept = next((e for e in report["epochs"] if e["number"] == report["kept_epoch"]), None)
    return (kept["valid_accuracy"] if kept else None), int(report["dataset"].get("valid") or 0)


def _pace(speed: Sequence[Pair]) -> str:
    pace = {pair.name: pair for pair in speed}.get("images_per_s")
    if pace is None or pace.ratio is None:
        return ""
    return f"B trains on {pace.b:,.4g} images/s, A on {pace.a:,.4g}: {pace.ratio:.2f} times as many."


def _rules(a: Report, b: Report) -> str:
    of_a, of_b = ([f.rule for f in report.fired] for report in (a, b))
    only = [[rule for rule in x if rule not in y] for x, y in ((of_a, of_b), (of_b, of_a))]
    parts = [f"only in {letter}: {', '.join(rules)}" for letter, rules in zip("AB", only, strict=True) if rules]
    if not parts:
        return "The same rules fired in both." if of_a else "No rule fired in either."
    return f"Rules that fired {'; '.join(parts)}."
