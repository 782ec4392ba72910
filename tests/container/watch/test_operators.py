from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from classifier.config import Config
from classifier.loss import criterion
from classifier.precision import Precision
from classifier.steps import Step
from classifier.training import Observer, train
from classifier.watch import operators, trace
from classifier.watch.operators import Operators

CPU = torch.device("cpu")


class Pictures:
    """`batches` of two pictures of 8 x 8 pixels."""

    def __init__(self, batches: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self._batches = [(torch.randn(2, 3, 8, 8, generator=generator), torch.tensor([0, 1])) for _ in range(batches)]

    def set_epoch(self, epoch: int, done: int = 0) -> None:
        pass

    def examples(self, batch: int) -> list[str]:
        return []

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return iter(self._batches)


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 2)
    )


def run(seen: Operators, steps: int, epochs: int = 1, beside: Observer | None = None) -> dict[str, torch.Tensor]:
    net, config = network(), Config(freeze_backbone="false", epochs=epochs, batch_size=2)
    pictures = Pictures(steps)
    train(net, config, pictures, list(pictures), lambda x: x, criterion(config), Precision(CPU, None),
          [seen, beside or Observer()])  # fmt: skip
    seen.close()
    return net.state_dict()


def test_a_run_of_twenty_steps_has_a_table_and_a_trace(tmp_path: Path) -> None:
    (tmp_path / "traces").mkdir()
    (tmp_path / "traces" / "step-7.json.gz").write_text("another run's")
    seen = Operators(tmp_path, CPU)
    run(seen, steps=20)
    assert seen.profiled_steps == [11, 12, 13] and not seen.missing
    rows = {row.name: row for row in seen.operators(limit=1000)}
    assert rows["aten::conv2d"].calls == rows["aten::convolution_backward"].calls == 3
    assert all(0 <= row.self_s <= row.total_s + 1e-9 and row.device == "cpu" for row in rows.values())
    assert list(rows.values()) == sorted(rows.values(), key=lambda row: -row.self_s)
    assert seen.traces == ["step-11.json.gz"]
    assert [path.name for path in (tmp_path / "traces").iterdir()] == seen.traces
    events = json.loads(gzip.decompress((tmp_path / "traces" / "step-11.json.gz").read_bytes()))["traceEvents"]
    assert any(event.get("name") == "aten::conv2d" for event in events)


def test_the_steps_of_an_open_window_are_known(tmp_path: Path) -> None:
    known: list[tuple[int, bool]] = []

    class Judge(Observer):
        def on_step(self, step: Step) -> None:
            known.append((step.number, step.number in seen.profiled_steps))

    seen = Operators(tmp_path, CPU)
    run(seen, steps=16, beside=Judge())
    assert [number for number, slowed in known if slowed] == [11, 12, 13]


def test_windows_spread_out_are_summed_and_only_the_newest_traces_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operators, "BUDGET", 1e9)
    monkeypatch.setattr(operators, "WINDOWS", 3)
    monkeypatch.setattr(operators, "KEPT_TRACES", 2)
    seen = Operators(tmp_path, CPU)
    run(seen, steps=100, epochs=2)
    assert seen.profiled_steps == [11, 12, 13, 45, 46, 47, 181, 182, 183]
    assert {row.name: row.calls for row in seen.operators(limit=1000)}["aten::conv2d"] == 9
    assert seen.traces == ["step-45.json.gz", "step-181.json.gz"]
    assert sorted(path.name for path in (tmp_path / "traces").iterdir()) == sorted(seen.traces)


def test_without_a_budget_there_is_one_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators, "BUDGET", 0.0)
    seen = Operators(tmp_path, CPU)
    run(seen, steps=200)
    assert seen.profiled_steps == [11, 12, 13]


@pytest.mark.parametrize(("steps", "profiled"), [(1, [11]), (2, [11, 12]), (11, [11]), (10, [11, 12, 13])])
def test_a_window_ends_with_its_epoch_so_that_no_evaluation_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int, profiled: list[int]
) -> None:
    monkeypatch.setattr(operators, "BUDGET", 0.0)
    seen = Operators(tmp_path, CPU)
    run(seen, steps=steps, epochs=14)
    assert seen.profiled_steps == profiled and not seen.missing
    calls = {row.name: row.calls for row in seen.operators(limit=1000)}
    assert calls["aten::conv2d"] == calls["aten::convolution_backward"] == len(profiled)


def test_what_is_trained_is_the_same_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators, "BUDGET", 1e9)
    with_it = run(Operators(tmp_path, CPU), steps=60)
    monkeypatch.setattr(operators, "WARM_UP", 1000)
    without = run(Operators(tmp_path, CPU), steps=60)
    assert all(torch.equal(with_it[name], without[name]) for name in without)


@pytest.mark.parametrize("call", ["start", "stop", "export_chrome_trace"])
def test_a_profiler_that_fails_leaves_the_training_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    real = getattr(torch.profiler.profile, call)

    def fail(self: Any, *arguments: Any) -> None:
        if call == "stop":
            real(self)  # what is tested is our part, not a profiler that goes on
        raise RuntimeError("CUPTI is in use\nby another tool")

    monkeypatch.setattr(torch.profiler.profile, call, fail)
    seen = Operators(tmp_path, CPU)
    run(seen, steps=100)
    assert seen.profiled_steps == [] and seen.operators() == []
    (sentence,) = seen.missing
    assert "CUPTI is in use by another tool" in sentence
    if call == "export_chrome_trace":
        assert not torch.autograd.profiler._is_profiler_enabled


def test_a_disk_that_takes_no_trace_leaves_the_table(tmp_path: Path) -> None:
    seen = Operators(tmp_path, CPU)
    (tmp_path / "traces").write_text("a file where the folder should be")
    run(seen, steps=20)
    assert seen.profiled_steps == [11, 12, 13] and seen.operators() and not seen.traces
    assert len(seen.missing) == 1


def test_a_trace_that_is_too_long_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators, "TRACE_BYTES", 100)
    seen = Operators(tmp_path, CPU)
    run(seen, steps=20)
    assert seen.operators() and not seen.traces and "step-11.json.gz is left out" in seen.missing[0]


def test_says_what_the_profiler_itself_says(tmp_path: Path) -> None:
    net, (inputs, labels) = network(), next(iter(Pictures(1)))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        for _ in range(3):
            torch.nn.functional.cross_entropy(net(inputs), labels).backward()  # type: ignore[no-untyped-call]
    profile.export_chrome_trace(str(tmp_path / "trace.json"))
    table = trace.Operators()
    table.add(json.loads((tmp_path / "trace.json").read_text()))
    ours = {row.name: row for row in table.rows(limit=10_000)}
    theirs = {row.key: row for row in profile.key_averages() if row.key != "[memory]"}
    assert ours.keys() == theirs.keys()
    for name, row in theirs.items():
        assert ours[name].calls == row.count
        assert ours[name].total_s == pytest.approx(row.cpu_time_total / 1e6, abs=1e-6)
        assert ours[name].self_s == pytest.approx(row.self_cpu_time_total / 1e6, abs=1e-6)
    # The trace is rounded to nanoseconds: what is taken on the edge of an operator may go to the one around it.
    moved = sum(abs(row.self_cpu_memory_usage) for row in theirs.values())
    apart = sum(abs(ours[name].memory_bytes - row.self_cpu_memory_usage) for name, row in theirs.items())
    assert apart < 0.2 * moved
    assert any(row.memory_bytes > 0 for row in ours.values())


def test_kernels_of_a_gpu_are_rows_of_their_own() -> None:
    """Written after the documented format: no GPU was there."""
    table = trace.Operators()
    operator = {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "tid": 1, "ts": 0.0, "dur": 10.0, "args": {}}
    table.add({"traceEvents": [
        {"ph": "M", "name": "process_name", "args": {"name": "python"}},
        operator,
        {"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "tid": 1, "ts": 4.0, "dur": 2.0, "args": {}},
        {"ph": "i", "cat": "cpu_instant_event", "name": "[memory]", "tid": 1, "ts": 2.0,
         "args": {"Device Type": 1, "Bytes": 512}},
        {"ph": "i", "cat": "cpu_instant_event", "name": "[memory]", "tid": 1, "ts": 2.0,
         "args": {"Device Type": 0, "Bytes": 64}},
        {"ph": "X", "cat": "kernel", "name": "sm90_gemm", "tid": 7, "ts": 6.0, "dur": 30.0, "args": {}},
        {"ph": "X", "cat": "gpu_memcpy", "name": "Memcpy HtoD", "tid": 7, "ts": 40.0, "dur": 5.0, "args": {}},
    ]})  # fmt: skip
    rows = [(r.name, r.device, r.calls, round(r.self_s * 1e6), r.memory_bytes) for r in table.rows(limit=10)]
    assert rows == [("sm90_gemm", "cuda", 1, 30, 0), ("aten::mm", "cpu", 1, 10, 512), ("Memcpy HtoD", "cuda", 1, 5, 0)]
