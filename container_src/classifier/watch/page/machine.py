"""What each host did while the job ran: its cores and GPUs as a heat map, its memory, disk and network as curves."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from classifier.watch.page import heat
from classifier.watch.page.charts import MOST_POINTS as MOST_POINTS_OF_ONE
from classifier.watch.page.charts import Chart, chart, thin

MOST_COLUMNS, MOST_CELLS = 600, 120_000
MOST_HOSTS = 8
# Of a curve, shared by the hosts; but no fewer than are told apart.
MOST_POINTS, FEWEST_POINTS = 1_200, 120
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
    charts: list[Chart]
    gpu_charts: list[Chart]
    cpu: float | None
    gpu: float | None


def hosts(document: Mapping[str, Any], total: float) -> list[Host]:
    """Those that were watched, in the order of their ranks."""
    watched = [rank for rank in document["ranks"] if len(rank["samples"]["at"]) > 1][:MOST_HOSTS]
    points = max(FEWEST_POINTS, min(MOST_POINTS_OF_ONE, MOST_POINTS // max(1, len(watched))))
    return [_host(rank, document["began"], total, MOST_CELLS // len(watched), points) for rank in watched]


def _host(rank: Mapping[str, Any], began: float, total: float, cells: int, points: int) -> Host:
    samples = rank["samples"]

    def curves(title: str, lines: Mapping[str, Numbers], note: str = "") -> Chart | None:
        return chart(
            title, {name: thin(at, values, points) for name, values in lines.items()},
            x_title="time", kind="clock", floor=0.0, x_range=(0.0, total), note=note,
        )  # fmt: skip

    at = [instant - began for instant in samples["at"]]
    gpus = samples["gpus"]
    groups = [
        ("CPU cores", [f"core {i}" for i in range(len(samples["cpu"]))], samples["cpu"]),
        ("GPUs", [f"GPU {gpu['number']}" for gpu in gpus], [gpu["utilization"] for gpu in gpus]),
    ]
    by_gpu = {
        title: {f"GPU {gpu['number']}": _scaled(gpu[column], unit) for gpu in gpus}
        for title, column, unit in (("GPU memory, GB", "memory_bytes", 1e9), ("GPU power, W", "power_w", 1),
                                    ("GPU temperature, °C", "temperature_c", 1))
    }  # fmt: skip
    drawn = [
        curves("CPU, %", {"busy": _means(samples["cpu"]), "waiting for the disk": samples["iowait"]},
               "mean of all cores"),
        curves("Memory, GB", {"resident": _scaled(samples["memory_bytes"], 1e9)},
               f"of the job's processes; the machine has {rank['memory_total'] / 1e9:.3g} GB"),
        curves("Disk, MB/s", {"read": _scaled(samples["read_bytes_s"], 1e6),
                              "written": _scaled(samples["written_bytes_s"], 1e6)}, "the whole machine's"),
        curves("Network, MB/s", {"received": _scaled(samples["received_bytes_s"], 1e6),
                                 "sent": _scaled(samples["sent_bytes_s"], 1e6)}, "the whole machine's"),
    ]  # fmt: skip
    return Host(
        rank["host"], [_heat(title, names, rows, at, total, cells) for title, names, rows in groups if rows],
        [made for made in drawn if made], [made for title, lines in by_gpu.items() if (made := curves(title, lines))],
        _mean(_means(samples["cpu"])), _mean([value for gpu in gpus for value in gpu["utilization"]]),
    )  # fmt: skip


def _heat(title: str, names: list[str], rows: Sequence[Numbers], at: list[float], total: float, cells: int) -> Heat:
    count = max(2, min(MOST_COLUMNS, len(at), cells // len(rows)))
    levels = heat.levels(heat.columns(rows, at, total, count))
    data = {"rows": names, "columns": count, "levels": base64.b64encode(levels).decode()}
    return Heat(title, names, count, heat.picture(levels, count), data)


def _scaled(values: Numbers, unit: float) -> list[float | None]:
    return [None if value is None else value / unit for value in values]


def _means(rows: Sequence[Numbers]) -> list[float | None]:
    return [_mean(values) for values in zip(*rows, strict=True)]


def _mean(values: Numbers) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
