"""Documents of runs that were never run: as long, as wide and as odd as a test needs them."""

from __future__ import annotations

import base64
import dataclasses
import io
import math
import random
from collections.abc import Sequence
from typing import Any

from PIL import Image

from classifier.watch import report
from classifier.watch.collected import Collected, EpochMetrics, Gpu, Operator, Sample, Span, StepTime
from classifier.watch.rules.rule import Finding, Firing

BEGAN = 1_790_000_000.0


def epochs(count: int, classes: int, seconds: float = 10.0, photographs: int = 6) -> list[EpochMetrics]:
    """The network gets better until the last epoch but one."""
    rng = random.Random(count)
    made = []
    for number in range(1, count + 1):
        right = 0.9 - 0.6 / number - (0.05 if number == count else 0.0)
        matrix = [[0] * classes for _ in range(classes)]
        for i in range(classes):
            for k in range(photographs):
                j = i if (k + 0.5) / photographs < right else (i + rng.choice((1, 1, 1, 2, 5))) % classes
                matrix[i][j] += 1
        accuracy = sum(matrix[i][i] for i in range(classes)) / (classes * photographs)
        made.append(EpochMetrics(
            number, BEGAN + 5 + (number - 1) * seconds, seconds, 95.5, 3 / number, 3.2 / number + 0.1, accuracy,
            min(1.0, accuracy + 0.1), matrix, [photographs] * classes,
        ))  # fmt: skip
    return made


def finding(rule: str, fired: int = 0, points: int = 100, severity: str = "warning", **more: Any) -> Finding:
    firings = tuple(Firing(BEGAN + 6 + i, 10 + i, 1, f"step {10 + i} took {i + 1}.5 s") for i in range(min(fired, 50)))
    values: dict[str, Any] = {
        "subject": "system", "what": f"{rule} holds", "advice": f"mend what {rule} found", "source": "a page",
        "parameters": {"share": 0.3}, "unseen": "" if points else "there is no GPU",
    } | more  # fmt: skip
    return Finding(rule=rule, severity=severity, points=points, fired=fired, firings=firings, **values)


def rank(
    number: int = 0, steps: int = 100, samples: int = 40, cores: int = 2, gpus: int = 0, seconds: float = 50.0,
    each_epoch: int = 20, thinned: int = 1,
) -> Collected:  # fmt: skip
    """A rank that began at BEGAN and worked for `seconds`, the first five of them to begin."""
    rng = random.Random(number)
    step_s = (seconds - 5) / (steps or 1) / thinned
    parts = [0.1, 0.02, 0.33, 0.4, 0.05]
    made = [
        StepTime(1 + i * thinned, 1 + i // each_epoch, 64, BEGAN + 5 + i * step_s * thinned,
                 *(step_s * part * rng.uniform(0.8, 1.0) for part in parts))
        for i in range(steps)
    ]  # fmt: skip
    watched = [
        Sample(
            BEGAN + (i + 1) * seconds / samples, tuple(rng.uniform(0, 100) for _ in range(cores)), rng.uniform(0, 20),
            2_000_000_000 + i * 1000, 5e6, 1e5, 1e3, 1e3,
            tuple(Gpu(g, rng.uniform(0, 100), 3_000_000_000, 16_000_000_000, 60.0, 150.0) for g in range(gpus)),
        )
        for i in range(samples)
    ]  # fmt: skip
    spans = [Span("initialization", 0, BEGAN, 5.0)]
    spans += [Span("evaluation", e, BEGAN + 5 + e * (seconds - 5) / 5 - 0.4, 0.4) for e in range(1, 6)]
    return Collected(
        number, f"algo-{number + 1}", BEGAN, cores, 16_000_000_000, made, watched, spans,
        operators=[Operator("aten::convolution", "cpu", 40, 1.25, 2.5, 1_000_000),
                   Operator("aten::relu_", "cpu", 34, 2.0, 2.0, -5)],
        profiled_steps=[11, 12], traces=["step-11.json.gz"], steps_thinned=thinned, samples_thinned=thinned,
        missing=["the machine has no GPU"],
    )  # fmt: skip


def tensors(names: Sequence[str], points: int) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "collection": "gradients" if name.startswith("gradient") else "weights",
            "steps": [10 * i for i in range(points)],
            "min": [-1.0 - i / points for i in range(points)], "max": [1.0 + i / points for i in range(points)],
            "mean": [0.1 * math.sin(i / 5) for i in range(points)], "std": [0.5 / (1 + i / 20) for i in range(points)],
        }
        for name in names
    }  # fmt: skip


def document(classes: int = 3, **changes: Any) -> dict[str, Any]:
    names = changes.pop("classes_named", [f"{i + 1:03}.Breed_{i + 1}" for i in range(classes)])
    values: dict[str, Any] = {
        "job": "kennel-train-20261121-120000-abcd", "status": "completed", "began": BEGAN, "ended": BEGAN + 55.0,
        "classes": names, "epochs": epochs(5, len(names)), "ranks": [rank()], "kept_epoch": 4,
        "hyperparameters": {"model": "resnet18", "epochs": "5", "freeze-backbone": "false", "augment": "false"},
        "findings": [finding("LossNotDecreasing"), finding("StepOutlier", fired=3),
                     finding("LowGPUUtilization", points=0)],
        "losses": {"train": [(i, 3.0 / (i + 1)) for i in range(0, 100, 10)], "eval": [(i, 1.0) for i in range(5)]},
        "tensors": tensors(["weight/fc.weight", "gradient/fc.weight"], 10),
        "metrics": {"valid:accuracy": 0.7, "test:accuracy": 0.66}, "versions": {"torch": "2.10.0"},
        "hardware": {"device": "CPU", "cpus": 2}, "dataset": {"train": 250, "fingerprint": "0" * 64},
    } | changes  # fmt: skip
    return report.document(**values)


def picture(side: int = 160) -> str:
    """A thumbnail about as large as they become."""
    noise = random.Random(side).randbytes(side * side * 3)
    file = io.BytesIO()
    Image.frombytes("RGB", (side, side), noise).save(file, "JPEG", quality=30)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def day_long() -> dict[str, Any]:
    """As much as is ever kept: 133 classes, eight ranks on eight hosts, a thousand epochs and a thousand tensors."""
    day = 86_400.0
    one = rank(0, steps=20_000, samples=20_000, cores=8, gpus=1, seconds=day, each_epoch=20, thinned=64)
    one.spans = [Span("evaluation", e, BEGAN + 5 + 86.0 * e, 4.0) for e in range(1, 1001)]
    one.operators = [Operator(f"aten::operator_{i}", "cuda", i, 0.1 * i, 0.2 * i, i) for i in range(300)]
    ranks = [dataclasses.replace(one, rank=i, host=f"algo-{i + 1}") for i in range(8)]
    (first,) = epochs(1, 133)
    mistakes = [
        {"picture": picture(), "photograph": f"{i:03}.Breed/Photograph_{i}.jpg", "label": f"{i:03}.Breed",
         "called": "002.Other", "probability": 0.9} for i in range(24)
    ]  # fmt: skip
    return document(
        classes=133, epochs=[first._replace(number=e) for e in range(1, 1001)], ranks=ranks, ended=BEGAN + day,
        mistakes=mistakes,
        tensors=tensors([f"gradient/layer{i}.weight" for i in range(1000)], 100),
        findings=[finding(f"Rule{i}", fired=i * 1000, points=20_000) for i in range(22)],
        losses={"train": [(i, 1 / (i + 1)) for i in range(20_000)], "eval": [(i, 1.0) for i in range(20_000)]},
    )  # fmt: skip
