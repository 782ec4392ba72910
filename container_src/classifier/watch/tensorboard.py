"""The report's curves as TensorBoard's event files."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.summary import text

# TensorBoard itself shows a sample of a curve; each point costs a tenth of a millisecond with protobuf's Python.
POINTS = 500
_EPOCH = ("train_loss", "valid_loss", "valid_accuracy", "valid_top5", "images_per_s", "seconds")
Document = Mapping[str, Any]
Point = tuple[int, float, dict[str, Any]]
"""step, seconds since 1970, value of each tag"""


def write(directory: Path, report: Document) -> None:
    """Writes the curves of `report`, which is what report.json holds, in place of what `directory` held.

    Losses and step times are over steps, metrics over epochs, readings of the machine over seconds. Numbers that are
    not finite, null in the report, are left out. Raises OSError.
    """
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    # Its SummaryWriter hands events to a thread, which dies of a full disk, and then waits for it for ever.
    with contextlib.closing(EventsWriter(str(directory / "events"))) as events:
        for step, at, values in _points(report):
            finite = [Summary.Value(tag=tag, simple_value=v) for tag, v in values.items() if v is not None]
            if finite:
                events.write_event(Event(step=step, wall_time=at, summary=Summary(value=finite)))
        for tag, words in (("summary", "\n\n".join(report["summary"])), ("findings", _findings(report))):
            events.write_event(Event(wall_time=report["ended"] or report["began"], summary=text(tag, words)))


def _points(report: Document) -> Iterator[Point]:
    began: dict[int, float] = {
        step: at for rank in report["ranks"][:1] for step, at in _columns(rank["steps"], "number", "began")
    }
    for phase, losses in report["losses"].items():
        for step, loss in _thinned(losses):
            yield step, began.get(step, float(report["began"])), {f"loss/{phase}": loss}
    for epoch in report["epochs"]:
        yield epoch["number"], epoch["began"] + (epoch["seconds"] or 0), {f"epoch/{k}": epoch[k] for k in _EPOCH}
    for rank in report["ranks"]:
        prefix = f"rank-{rank['rank']}/" if len(report["ranks"]) > 1 else ""
        yield from _steps(rank["steps"], prefix)
        yield from _samples(rank["samples"], prefix, rank["began"])


def _steps(steps: Document, prefix: str) -> Iterator[Point]:
    parts = [name for name in steps if name.endswith("_s")]
    for number, at, *seconds in _thinned(_columns(steps, "number", "began", *parts)):
        yield number, at, {f"{prefix}step/{part}": value for part, value in zip(parts, seconds, strict=True)}


def _samples(samples: Document, prefix: str, began: float) -> Iterator[Point]:
    numbers = [name for name in samples if name not in ("at", "cpu", "gpus")]
    for i in _thinned(range(len(samples["at"]))):
        cpu = [core[i] for core in samples["cpu"] if core[i] is not None]
        values = {"cpu": sum(cpu) / len(cpu) if cpu else None} | {name: samples[name][i] for name in numbers}
        for gpu in samples["gpus"]:
            values |= {f"gpu-{gpu['number']}/{name}": gpu[name][i] for name in gpu if name != "number"}
        at = samples["at"][i]
        yield round(at - began), at, {f"{prefix}system/{name}": value for name, value in values.items()}


def _findings(report: Document) -> str:
    rows = [
        f"| {f['rule']} | {f['severity']} | {f['fired']} of {f['points']} | {f['advice'] if f['fired'] else ''} |"
        for f in report["findings"]
    ]
    return "\n".join(["| rule | severity | fired | what to change |", "| --- | --- | --- | --- |", *rows])


def _columns(table: Document, *names: str) -> list[tuple[Any, ...]]:
    return list(zip(*(table[name] for name in names), strict=True))


def _thinned(entries: Sequence[Any]) -> Sequence[Any]:
    return entries[:: max(1, -(-len(entries) // POINTS))]
