"""What each host did while the job ran: its cores and GPUs as a heat map, its memory, disk and network as curves."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from classifier.watch.page import charts, heat

MOST_COLUMNS, MOST_CELLS = 600, 120_000
MOST_HOSTS = 8
Numbers = Sequence[float | None]


@dataclass(frozen=True)
class Heat:
    """`picture`: a PNG, a pixel each column and row. `data` is for the script."""

    title: str
    rows: list[str]
    columns: int
    picture: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Host:
    """`cpu`, `gpu`: mean percent busy; None where nothing was read."""

    name: str
    heats: list[Heat]
    charts: list[charts.Chart]
    cpu: float | None
    gpu: float | None


def hosts(document: Mapping[str, Any], total: float) -> list[Host]:
    """Those that were watched, in the order of their ranks."""
    watched = [rank for rank in document["ranks"] if len(rank["samples"]["at"]) > 1][:MOST_HOSTS]
    return [_host(rank, document["began"], total, MOST_CELLS // len(watched)) for rank in watched]


def _host(rank: Mapping[str, Any], began: float, total: float, cells: int) -> Host:
    samples = rank["samples"]
    at = [instant - began for instant in samples["at"]]
    gpus = samples["gpus"]
    groups = [
        ("CPU cores", [f"core {i}" for i in range(len(samples["cpu"]))], samples["cpu"]),
        ("GPUs", [f"GPU {gpu['number']}" for gpu in gpus], [gpu["utilization"] for gpu in gpus]),
    ]
    curves = [
        _curves("Memory, GB", at, {"resident": _scaled(samples["memory_bytes"], 1e9)}, total,
                f"of the job's processes; the machine has {rank['memory_total'] / 1e9:.3g} GB"),
        _curves("Disk, MB/s", at, {"read": _scaled(samples["read_bytes_s"], 1e6),
                                   "written": _scaled(samples["written_bytes_s"], 1e6)}, total, "the whole machine's"),
        _curves("Network, MB/s", at, {"received": _scaled(samples["received_bytes_s"], 1e6),
                                      "sent": _scaled(samples["sent_bytes_s"], 1e6)}, total, "the whole machine's"),
        _curves("CPU, %", at, {"busy": _means(samples["cpu"]), "waiting for the disk": samples["iowait"]}, total,
                "mean of all cores"),
        *_gpu_curves(gpus, at, total),
    ]  # fmt: skip
    return Host(
        rank["host"], [_heat(title, names, rows, at, total, cells) for title, names, rows in groups if rows],
        [curve for curve in curves if curve],
        _mean(_means(samples["cpu"])), _mean([value for gpu in gpus for value in gpu["utilization"]]),
    )  # fmt: skip


def _gpu_curves(gpus: Sequence[Mapping[str, Any]], at: list[float], total: float) -> list[charts.Chart | None]:
    def of(column: str, unit: float) -> dict[str, Numbers]:
        return {f"GPU {gpu['number']}": _scaled(gpu[column], unit) for gpu in gpus}

    return [
        _curves("GPU memory, GB", at, of("memory_bytes", 1e9), total, ""),
        _curves("GPU power, W", at, of("power_w", 1), total, ""),
        _curves("GPU temperature, °C", at, of("temperature_c", 1), total, ""),
    ]


def _heat(title: str, names: list[str], rows: Sequence[Numbers], at: list[float], total: float, cells: int) -> Heat:
    count = max(2, min(MOST_COLUMNS, len(at), cells // len(rows)))
    levels = heat.levels(heat.columns(rows, at, total, count))
    data = {"rows": names, "columns": count, "levels": base64.b64encode(levels).decode()}
    return Heat(title, names, count, heat.picture(levels, count), data)


def _curves(title: str, at: list[float], lines: Mapping[str, Numbers], total: float, note: str) -> charts.Chart | None:
    return charts.chart(
        title, {name: charts.thin(at, values) for name, values in lines.items()},
        x_title="time", kind="clock", floor=0.0, x_range=(0.0, total), note=note,
    )  # fmt: skip


def _scaled(values: Numbers, unit: float) -> list[float | None]:
    return [None if value is None else value / unit for value in values]


def _means(rows: Sequence[Numbers]) -> list[float | None]:
    return [_mean(values) for values in zip(*rows, strict=True)]


def _mean(values: Numbers) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
