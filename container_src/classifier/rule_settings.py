"""Every rule that judges a training run, once: what it looks at, its thresholds, its advice; and what the user set.

The names and the thresholds are those of SageMaker Debugger's built-in rules and of its profiler report, which are
closed to new accounts (docs.aws.amazon.com/sagemaker/latest/dg/debugger-built-in-rules.html and
docs.aws.amazon.com/sagemaker/latest/dg/debugger-built-in-profiler-rules.html). Pure Python: the scripts check with it
what they send.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from classifier import model_rule_specs, system_rule_specs
from classifier.errors import InputError
from classifier.rule_spec import Severity, Spec, Threshold


@dataclass(frozen=True)
class Setting:
    """How one rule runs in this job."""

    severity: Severity
    parameters: Mapping[str, float]


@dataclass(frozen=True)
class Settings:
    """`rules`: every rule by its name. `stop_on`: those that end the job when they fire."""

    rules: Mapping[str, Setting]
    stop_on: frozenset[str] = frozenset()


RULES: dict[str, Spec] = {spec.name: spec for spec in (*model_rule_specs.SPECS, *system_rule_specs.SPECS)}


# What can be recorded of a training: smdebug's collections of PyTorch that say what they hold, and the activations.
COLLECTIONS = ("losses", "gradients", "weights", "biases", "relu")


def collections(text: str) -> tuple[str, ...]:
    """The hyperparameter `collections`: names separated by `,`. Losses are always among them.

    Raises:
        InputError: an unknown name.
    """
    asked = {name for part in text.split(",") if (name := part.strip())}
    for name in sorted(asked - set(COLLECTIONS)):
        close = difflib.get_close_matches(name, COLLECTIONS, 1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else "known are: " + ", ".join(COLLECTIONS)
        raise InputError(f"hyperparameter collections: there is no collection {name!r}; {hint}")
    return tuple(name for name in COLLECTIONS if name in asked | {"losses"})


def parse(rules: str, stop_on: str) -> Settings:
    """The hyperparameters `rules` and `stop-on`.

    `rules`: `NAME[:WORD[:WORD...]]` separated by `;`, each WORD `off`, `warning`, `error` or `threshold=number`, as in
    `Overfit:patience=5;DeadRelu:off;LossNotDecreasing:error`. `stop_on`: names separated by `,`.

    Raises:
        InputError: an unknown rule or threshold, or a threshold out of its range.
    """
    settings = {
        name: Setting(spec.severity, {key: t.default for key, t in spec.thresholds.items()})
        for name, spec in RULES.items()
    }
    for entry in filter(None, (part.strip() for part in rules.split(";"))):
        name, *words = (word.strip() for word in entry.split(":"))
        spec = RULES[_known("rules", name)]
        severity, parameters = settings[name].severity, dict(settings[name].parameters)
        for word in words:
            key, equals, value = word.partition("=")
            if word in ("off", "warning", "error"):
                severity = word  # type: ignore[assignment]
            elif equals and key in spec.thresholds:
                parameters[key] = _number(name, key, spec.thresholds[key], value)
            else:
                known = ", ".join([*(f"{t}=NUMBER" for t in spec.thresholds), "off", "warning", "error"])
                raise InputError(f"hyperparameter rules: {name} knows no {word!r}; it takes {known}")
        settings[name] = Setting(severity, parameters)
    stopping = frozenset(_known("stop-on", name) for part in stop_on.split(",") if (name := part.strip()))
    for name in sorted(stopping):
        if settings[name].severity == "off":
            raise InputError(f"hyperparameter stop-on: {name} is turned off by the hyperparameter rules: take it out "
                             f"of one of them")  # fmt: skip
    return Settings(settings, stopping)


def _known(hyperparameter: str, name: str) -> str:
    if name not in RULES:
        close = difflib.get_close_matches(name, RULES, 1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else "known are: " + ", ".join(RULES)
        raise InputError(f"hyperparameter {hyperparameter}: there is no rule {name!r}; {hint}")
    return name


def _number(rule: str, key: str, threshold: Threshold, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not threshold.low <= value <= threshold.high:
        raise InputError(f"hyperparameter rules: {rule}:{key}={text} is not valid: it must be a number between "
                         f"{threshold.low:g} and {threshold.high:g} ({threshold.help})")  # fmt: skip
    return value


def reference() -> str:
    """The rules as a page of Markdown."""
    parts = [
        "# Rules",
        "Written by `make docs` from `container_src/classifier/rule_settings.py`. How each rule runs is set with the "
        "hyperparameter `rules`, as in `StepOutlier:stddev=4:n_outliers=20;DeadRelu:off;LossNotDecreasing:error`; "
        "`stop-on` names those that end the job.",
    ]
    for subject, title in (("model", "On what is trained"), ("system", "On the machine")):
        parts += [
            f"\n## {title}\n",
            "| rule | does not fire while | thresholds: default (range), meaning | what to change | source |",
            "| --- | --- | --- | --- | --- |",
        ]
        for spec in RULES.values():
            if spec.subject == subject:
                thresholds = "<br>".join(
                    f"`{name}`: {t.default:g} ({t.low:g} to {t.high:g}), {t.help}"
                    for name, t in spec.thresholds.items()
                )
                severity = "" if spec.severity == "warning" else f" ({spec.severity})"
                parts.append(f"| {spec.name}{severity} | {spec.what} | {thresholds} | {spec.advice} | {spec.source} |")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    print(reference(), end="")
