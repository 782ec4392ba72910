from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.crc32c import crc32c
from tensorboardX.proto.event_pb2 import Event

from classifier.watch import report, tensorboard
from classifier.watch.collected import Collected, EpochMetrics, Gpu, Sample, StepTime
from classifier.watch.rules.rule import Finding

BEGAN = 1_700_000_000.0


def events(directory: Path) -> Iterator[Any]:
    """What TensorBoard reads: records of length, its checksum, an Event, its checksum."""
    (path,) = directory.iterdir()
    assert ".tfevents." in path.name
    data = path.read_bytes()
    while data:
        (length,), checks = struct.unpack("<Q", data[:8]), data[8:12]
        assert struct.unpack("<I", checks)[0] == masked(data[:8])
        content, rest = data[12 : 12 + length], data[12 + length :]
        assert struct.unpack("<I", rest[:4])[0] == masked(content)
        yield Event.FromString(content)
        data = rest[4:]


def masked(data: bytes) -> int:
    check: int = crc32c(data)
    return ((check >> 15 | check << 17) + 0xA282EAD8) & 0xFFFFFFFF


def curves(directory: Path) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for event in events(directory):
        for value in event.summary.value:
            if value.WhichOneof("value") == "simple_value":
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def seen(rank: int = 0, steps: int = 3) -> Collected:
    times = [StepTime(n, 1, 8, BEGAN + n, 0.125, 0.0, 0.25, 0.5, 0.0625) for n in range(1, steps + 1)]
    gpu = Gpu(0, 75.0, 1 << 30, 1 << 34, math.nan, 250.0)
    samples = [Sample(BEGAN + 0.5 * n, (100.0, 50.0), 1.0, 1 << 20, math.nan, 2.0, 3.0, 4.0, (gpu,)) for n in range(4)]
    return Collected(rank, "here", BEGAN, 2, 1 << 34, steps=times, samples=samples)


def document(*ranks: Collected, train: list[tuple[int, float]]) -> dict[str, Any]:
    finding = Finding("Overfit", "model", "warning", "what", "add data", "source", {}, 7, 2, ())
    return report.document(
        job="j", status="completed", began=BEGAN, ended=BEGAN + 60, classes=["a", "b"], hyperparameters={},
        epochs=[EpochMetrics(1, BEGAN, 2.0, 12.0, 0.75, 0.5, 0.875, 1.0, [[1, 0], [0, 1]], [4, 4])],
        findings=[finding], ranks=ranks, losses={"train": train, "eval": [(3, 0.5)]},
    )  # fmt: skip


def test_the_curves_of_the_report_are_read_back(tmp_path: Path) -> None:
    tensorboard.write(tmp_path / "tb", document(seen(), train=[(1, 2.5), (2, math.nan), (3, 1.5)]))
    found = curves(tmp_path / "tb")
    assert found["loss/train"] == [(1, 2.5), (3, 1.5)] and found["loss/eval"] == [(3, 0.5)]
    assert found["epoch/train_loss"] == [(1, 0.75)] and found["epoch/valid_accuracy"] == [(1, 0.875)]
    assert found["step/wait_s"] == [(n, 0.125) for n in (1, 2, 3)] and found["step/backward_s"][0] == (1, 0.5)
    assert found["system/cpu"] == [(0, 75.0), (0, 75.0), (1, 75.0), (2, 75.0)]
    assert found["system/memory_bytes"][0] == (0, float(1 << 20)) and found["system/sent_bytes_s"][0] == (0, 4.0)
    assert found["system/gpu-0/utilization"][0] == (0, 75.0) and found["system/gpu-0/power_w"][0] == (0, 250.0)
    assert "system/read_bytes_s" not in found and "system/gpu-0/temperature_c" not in found
    loss = next(e for e in events(tmp_path / "tb") if e.summary.value and e.summary.value[0].tag == "loss/train")
    assert loss.wall_time == BEGAN + 1


def test_findings_are_told_as_text(tmp_path: Path) -> None:
    tensorboard.write(tmp_path, document(seen(), train=[]))
    texts = {
        v.tag: v.tensor.string_val[0].decode()
        for e in events(tmp_path)
        for v in e.summary.value
        if v.HasField("tensor")
    }
    assert "| Overfit | warning | 2 of 7 | add data |" in texts["findings/text_summary"]
    assert texts["summary/text_summary"]


def test_each_rank_has_curves_of_its_own(tmp_path: Path) -> None:
    tensorboard.write(tmp_path, document(seen(), seen(rank=1, steps=2), train=[]))
    found = curves(tmp_path)
    assert len(found["rank-0/step/forward_s"]) == 3 and len(found["rank-1/step/forward_s"]) == 2


def test_a_long_run_is_thinned_and_written_in_place_of_the_old_one(tmp_path: Path) -> None:
    for _ in range(2):
        tensorboard.write(tmp_path, document(seen(steps=2500), train=[(n, 1.0) for n in range(1, 1501)]))
    found = curves(tmp_path)
    assert [step for step, _ in found["step/wait_s"]] == list(range(1, 2501, 5))
    assert len(found["loss/train"]) == 500


def test_a_disk_that_is_full_is_an_error_and_no_waiting(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tensorboardX.record_writer.open", lambda *_: full.open("wb"), raising=False)
        with pytest.raises(OSError, match="No space left"):
            tensorboard.write(tmp_path, document(seen(), train=[]))
