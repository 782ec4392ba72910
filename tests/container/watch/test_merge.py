"""Two ranks: real processes, which meet through gloo and each train a tiny network."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from classifier.watch import merge
from classifier.watch.collected import Collected, Gpu, Operator, Sample, Span, StepTime

PROGRAM = """
import json, sys, time
from pathlib import Path
import torch, torch.distributed as distributed
from classifier.config import Config
from classifier.loss import criterion
from classifier.precision import Precision
from classifier.training import train
from classifier.watch import merge
from classifier.watch.timeline import Timeline

output_dir, rendezvous, dies, steps = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "dies", int(sys.argv[4])
rank, world = merge.ranks()
torch.set_num_threads(1)

class Noise(list):
    def set_epoch(self, epoch, done=0): pass
    def examples(self, batch): return []

if rendezvous:
    distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world)
timeline = Timeline()
noise = Noise([(torch.randn(2, 4), torch.tensor([0, 1]))] * steps)
config = Config(freeze_backbone="false", epochs=1, batch_size=2)
train(torch.nn.Linear(4, 2), config, noise, noise, lambda x: x, criterion(config), Precision(torch.device("cpu"), None),
      [timeline])
if dies:
    sys.stdout.flush()
    import os
    os._exit(9)
found = merge.merge(output_dir, timeline.collected(), gather=bool(rendezvous), patience_s=float(sys.argv[5]))
print(json.dumps([[part.rank, len(part.steps), part.missing] for part in found]))
"""


def start(rank: int, output_dir: Path, rendezvous: Path | str, dies: bool = False, patience_s: int = 120) -> Any:
    environment = {**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "PYTHONPATH": "container_src"}
    steps = str(3 + rank)
    how = [str(output_dir), str(rendezvous), "dies" if dies else "lives", steps, str(patience_s)]
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *how], stdout=subprocess.PIPE, text=True, env=environment,
        cwd=Path(__file__).resolve().parents[3],
    )  # fmt: skip


def told(process: Any) -> Any:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    return json.loads(output.splitlines()[-1])


def test_two_hosts_come_together_through_torch_distributed(tmp_path: Path) -> None:
    hosts = [start(rank, tmp_path / f"host-{rank}", tmp_path / "rendezvous") for rank in (0, 1)]
    first, second = (told(process) for process in hosts)
    assert first == [[0, 3, []], [1, 4, []]]
    assert second == [[1, 4, []]]
    for rank in (0, 1):
        assert [path.name for path in (tmp_path / f"host-{rank}" / "watch").iterdir()] == [f"rank-{rank}.json"]


def test_a_rank_that_died_is_named_and_not_waited_for(tmp_path: Path) -> None:
    hosts = [start(rank, tmp_path, tmp_path / "rendezvous", dies=rank == 1, patience_s=5) for rank in (0, 1)]
    ((rank, steps, missing),) = told(hosts[0])
    assert hosts[1].wait(60) == 9
    assert (rank, steps) == (0, 3)
    assert "did not come together" in missing[0] and "rank 1" in missing[1]


def seen(rank: int) -> Collected:
    return Collected(
        rank, f"algo-{rank + 1}", 1_700_000_000.25, 2, 1 << 34,
        steps=[StepTime(1, 1, 64, 1.5, 0.1, 0.2, 0.3, 0.4, 0.5)],
        samples=[Sample(2.0, (50.0, 12.5), 1.0, 1 << 30, math.nan, 1.0, 2.0, 3.0, (Gpu(0, math.nan, 5, 6, 7.0, 8.0),))],
        spans=[Span("evaluation", 1, 3.0, 0.5)], operators=[Operator("aten::mm", "cpu", 3, 0.5, 0.6, -8)],
        profiled_steps=[1], traces=["step-1.json.gz"], samples_thinned=4, missing=["the disk"],
    )  # fmt: skip


def test_what_a_rank_writes_is_read_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    merge.write(tmp_path, seen(1))
    json.loads((tmp_path / "watch" / "rank-1.json").read_text(), parse_constant=pytest.fail)  # NaN is no JSON
    # NaN is unlike itself, and in words the same.
    assert repr(merge.merge(tmp_path, seen(0))[1]) == repr(seen(1))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"rank": 1}', '{"steps": [], "spans": 3}'])
def test_what_cannot_be_read_of_a_rank_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "rank-1.json").write_text(content)
    (found,) = merge.merge(tmp_path, seen(0))
    assert found.rank == 0 and "rank 1" in found.missing[-1]


def test_another_run_s_ranks_are_not_taken_for_this_one_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    for rank in (1, 2):
        merge.write(tmp_path, seen(rank))
    monkeypatch.setenv("WORLD_SIZE", "2")
    merge.forget(tmp_path, 1)
    (found,) = merge.merge(tmp_path, seen(0))
    assert "rank 1" in found.missing[-1]


def test_one_rank_alone_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    (found,) = merge.merge(tmp_path, seen(0), gather=True)
    assert found.rank == 0 and not (tmp_path / "watch").exists()
