"""What a rank saw, as columns: smaller in JSON than a record for each step, and what a chart wants."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from classifier.watch.collected import Collected, Gpu, Operator, Sample, Span, StepTime

# Digits after the point: microseconds for instants and durations, tenths for percent, whole bytes.
_DIGITS = {"cpu": 1, "iowait": 1, "utilization": 1, "temperature_c": 1, "power_w": 1, "images": 0}
_BYTES = ("bytes", "bytes_s", "total")


def of(collected: Collected, most: int) -> dict[str, Any]:
    """At most `most` of the steps and of the samples, evenly apart: `steps_thinned` and `samples_thinned` say how many
    each stands for. `steps`, `spans` and `samples` by column; `samples["cpu"]` holds a list for each core,
    `samples["gpus"]` columns for each GPU, with None where a sample lacks it."""
    each_step, each_sample = (math.ceil(len(rows) / most) or 1 for rows in (collected.steps, collected.samples))
    steps, samples = collected.steps[::each_step], collected.samples[::each_sample]
    return {
        "rank": collected.rank, "host": collected.host, "began": collected.began, "cores": collected.cores,
        "memory_total": collected.memory_total, "steps_thinned": collected.steps_thinned * each_step,
        "samples_thinned": collected.samples_thinned * each_sample, "profiled_steps": list(collected.profiled_steps),
        "steps": _columns(StepTime._fields, steps), "spans": _columns(Span._fields, collected.spans),
        "samples": _columns([name for name in Sample._fields if name not in ("cpu", "gpus")], samples)
        | {"cpu": _cores(samples), "gpus": _gpus(samples)},
    }  # fmt: skip


def operators(ranks: Iterable[Collected]) -> list[dict[str, Any]]:
    """Of all ranks together, the one that took longest by itself first."""
    sums: dict[tuple[str, str], Operator] = {}
    for operator in (operator for rank in ranks for operator in rank.operators):
        key = operator.name, operator.device
        before = sums.get(key, Operator(*key, 0, 0.0, 0.0, 0))
        sums[key] = Operator(
            *key, before.calls + operator.calls, before.self_s + operator.self_s, before.total_s + operator.total_s,
            before.memory_bytes + operator.memory_bytes,
        )  # fmt: skip
    return [operator._asdict() for operator in sorted(sums.values(), key=lambda o: -o.self_s)]


def tensors(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The statistics of smdebug's tensors to six digits."""
    return {
        name: {key: [_six(v) for v in values] if isinstance(values, list) else values for key, values in tensor.items()}
        for name, tensor in found.items()
    }


def jsonable(value: Any) -> Any:
    """The same with None for NaN and infinity, which JSON has no words for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): jsonable(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(v) for v in value]
    return value


def _columns(names: Sequence[str], rows: Sequence[Any]) -> dict[str, list[Any]]:
    return {name: [_rounded(name, getattr(row, name)) for row in rows] for name in names}


def _cores(samples: Sequence[Sample]) -> list[list[float]]:
    cores = max((len(sample.cpu) for sample in samples), default=0)
    return [[_rounded("cpu", s.cpu[core]) if core < len(s.cpu) else math.nan for s in samples] for core in range(cores)]


def _gpus(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    rows: dict[int, list[Gpu | None]] = defaultdict(lambda: [None] * len(samples))
    for i, sample in enumerate(samples):
        for gpu in sample.gpus:
            rows[gpu.number][i] = gpu
    names = [name for name in Gpu._fields if name != "number"]
    return [
        {"number": number} | {name: [_rounded(name, getattr(g, name)) if g else None for g in row] for name in names}
        for number, row in sorted(rows.items())
    ]


def _rounded(name: str, value: Any) -> Any:
    if not isinstance(value, float) or not math.isfinite(value):
        return value
    return round(value) if name.endswith(_BYTES) else round(value, _DIGITS.get(name, 6))


def _six(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) and math.isfinite(value) else value
