"""The three sentences at the top of a report, and what to change first: from what was measured, nothing else."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from classifier.config import DEFAULT_VIEWS
from classifier.watch.times import words

# Less than this share of the run is not worth a change.
_WORTH = 0.05
# A run of epochs this long without a better one is what early stopping would wait for.
_PATIENCE = 2
_SAYS = {
    "initialization": "initialization", "evaluation": "evaluation", "checkpoint": "writing checkpoints",
    "wait": "waiting for data", "compute": "the network's steps", "other": "everything else",
}  # fmt: skip


class Saving(NamedTuple):
    """`rule`: the rule that fires for it, where there is one."""

    seconds: float
    rule: str | None
    advice: str


def first(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """What to change first: what an error asks for; else what saves most time; else what a warning asks for."""
    fired = [f for f in document["findings"] if f["fired"]]
    time = document["time"]
    for finding in fired:
        if finding["severity"] == "error":
            return {"rule": finding["rule"], "advice": finding["advice"],
                    "saves": f"the {words(time['total'])} of a run that {_outcome(document)}"}  # fmt: skip
    best = max(_savings(document), key=lambda saving: saving.seconds)
    if best.seconds > _WORTH * time["total"]:
        return {"rule": best.rule, "advice": best.advice,
                "saves": f"up to {words(best.seconds)} of {words(time['total'])} "
                         f"({_share(best.seconds / time['total'])})"}  # fmt: skip
    if fired:
        about = "what the model learns" if fired[0]["subject"] == "model" else "how evenly the machine works"
        return {"rule": fired[0]["rule"], "advice": fired[0]["advice"],
                "saves": f"no time that could be measured: it is about {about}"}  # fmt: skip
    return None


def summary(document: Mapping[str, Any]) -> list[str]:
    """How it ended and how good it is; what limited its speed; what the rules found."""
    return [_ending(document), _speed(document), _rules(document)]


def _savings(document: Mapping[str, Any]) -> list[Saving]:
    time, epochs = document["time"], [e for e in document["epochs"] if e["seconds"] is not None]
    finding = {f["rule"]: f for f in document["findings"]}

    def saving(seconds: float, rule: str, advice: str) -> Saving:
        said = finding.get(rule)
        return Saving(seconds, rule, said["advice"]) if said and said["fired"] else Saving(seconds, None, advice)

    savings = [
        saving(time["wait"], "Dataloader", "Raise workers, or store smaller photographs: the steps wait for them."),
        saving(_outlying(document), "StepOutlier", ""),
    ]
    late = finding.get("MaxInitializationTime")
    if late and late["fired"]:
        savings.append(Saving(time["initialization"], late["rule"], late["advice"]))
    hyperparameters, kept = document["hyperparameters"], document["kept_epoch"]
    views = int(hyperparameters.get("views") or 0) or DEFAULT_VIEWS
    once = views if hyperparameters.get("augment") == "true" else 1
    if hyperparameters.get("freeze-backbone") == "true" and not document["on_features"]:
        savings.append(Saving(
            sum(e["seconds"] for e in epochs[once:]), None,
            "Compute the features of the frozen backbone once (mode=embed) and train on them: every epoch after the "
            + ("first" if once == 1 else f"{once}th") + " sends the same photographs through the same weights.",
        ))  # fmt: skip
    if kept is not None and document["status"] != "running":
        later = [e for e in epochs if e["number"] > kept + _PATIENCE]
        savings.append(saving(
            sum(e["seconds"] for e in later), "Overtraining",
            f"Set early-stopping-patience={_PATIENCE}: no epoch after {kept} was better.",
        ))  # fmt: skip
    return savings


def _outlying(document: Mapping[str, Any]) -> float:
    """Seconds by which the steps that were told as outliers exceed the median step; those of the first rank."""
    finding = next((f for f in document["findings"] if f["rule"] == "StepOutlier"), None)
    if not document["ranks"] or finding is None or not finding["fired"]:
        return 0.0
    steps = document["ranks"][0]["steps"]
    durations = step_seconds(steps)
    told = {firing["step"] for firing in finding["firings"]}
    median = statistics.median(durations) if durations else 0.0
    return sum(max(0.0, s - median) for number, s in zip(steps["number"], durations, strict=True) if number in told)


def step_seconds(steps: Mapping[str, Sequence[Any]]) -> list[float]:
    """All of each step."""
    parts = [steps[f"{part}_s"] for part in ("wait", "copy", "forward", "backward", "optimizer")]
    return [sum(value or 0.0 for value in values) for values in zip(*parts, strict=True)]


def _ending(document: Mapping[str, Any]) -> str:
    done, asked = len(document["epochs"]), document["hyperparameters"].get("epochs")
    epochs = f"{done} of {asked} epochs" if asked and str(done) != str(asked) else _plural(done, "epoch")
    took = words(document["time"]["total"])
    said = {
        "completed": f"The job completed {epochs} in {took}",
        "running": f"The job was still running when this was written: {epochs} in {took}",
        "stopped": f"The job was stopped after {epochs} and {took}",
        "failed": f"The job failed after {epochs} and {took}",
    }[document["status"]]
    return f"{said}; it {_outcome(document)}."


def _outcome(document: Mapping[str, Any]) -> str:
    kept = next((e for e in document["epochs"] if e["number"] == document["kept_epoch"]), None)
    if kept is None:
        return "has no complete epoch to judge" if not document["epochs"] else "kept no epoch"
    said = f"reached valid:accuracy={_number(kept['valid_accuracy'])} in epoch {kept['number']}"
    test = document["metrics"].get("test:accuracy")
    return said + (f" and test:accuracy={_number(test)}" if test is not None else "")


def _speed(document: Mapping[str, Any]) -> str:
    time = document["time"]
    if not time["total"] or not document["epochs"]:
        return "No epoch was completed, so there is no speed to tell."
    compute = sum(time[part] for part in ("copy", "forward", "backward", "optimizer"))
    spent = {**{k: v for k, v in time.items() if k in _SAYS}, "compute": compute}
    shares = sorted(((s / time["total"], name) for name, s in spent.items()), reverse=True)
    _, *rest = [f"{_SAYS[name]} {_share(share)}" for share, name in shares if share >= 0.005]
    rates = [e["images_per_s"] for e in document["epochs"] if e["images_per_s"] is not None]
    fast = f"It trained on {statistics.median(rates):.3g} images/s; " if rates else ""
    limit = "the computing of the network's steps" if shares[0][1] == "compute" else _SAYS[shares[0][1]]
    return (f"{fast}what limited it most was {limit}: {_share(shares[0][0])} of its time"
            + (f" (then {', '.join(rest)})" if rest else "") + ".")  # fmt: skip


def _rules(document: Mapping[str, Any]) -> str:
    findings = document["findings"]
    fired = [f for f in findings if f["fired"]]
    if not findings:
        return "No rule has judged this run."
    if not fired:
        blind = sum(not f["points"] for f in findings)
        return f"None of the {len(findings)} rules fired" + (f"; {blind} of them had nothing to see." if blind else ".")
    names = ", ".join(f"{f['rule']} ({f['fired']} of {f['points']})" for f in fired)
    return f"{len(fired)} of {len(findings)} rules fired: {names}."


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"


def _share(share: float) -> str:
    return f"{100 * share:.0f} %"


def _plural(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")
