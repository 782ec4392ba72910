"""Checkpoints on disk, without a training: when one is due, which one is taken up, and what is said of the others."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from classifier.checkpoint import Checkpoints


class Kept:
    """Checkpoints without a training: `told` is what was said, `spans` is what was measured."""

    def __init__(self, root: Path, run: dict[str, str] | None = None, steps: int = 0, minutes: float = 0) -> None:
        self.told: list[str] = []
        self.spans: list[str] = []
        self.checkpoints = Checkpoints(root, run or {"epochs": "4"}, steps, minutes, self.told.append, self._span)

    @contextlib.contextmanager
    def _span(self, name: str) -> Iterator[None]:
        self.spans.append(name)
        yield


def state(step: int) -> dict[str, Any]:
    return {"step": step, "weight": torch.arange(9) * step}


def test_one_is_due_every_so_many_steps_or_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("classifier.checkpoint.time.monotonic", lambda: now)
    never, steps, minutes = Kept(tmp_path).checkpoints, Kept(tmp_path, steps=3).checkpoints, Kept(tmp_path, minutes=2)
    now += 119
    assert not minutes.checkpoints.due(1)
    assert [step for step in range(1, 10) if steps.due(step)] == [3, 6, 9]
    now += 1
    assert minutes.checkpoints.due(1) and not steps.due(1) and not never.due(60)
    assert minutes.checkpoints.save(1, state(1)) and minutes.spans == ["checkpoint"]
    assert not minutes.checkpoints.due(2)
    now += 120
    assert minutes.checkpoints.due(2)
    parts = Kept(tmp_path, minutes=0.01).checkpoints
    now += 0.7
    assert parts.due(1)


def test_either_of_both_makes_one_due(tmp_path: Path) -> None:
    both = Kept(tmp_path, steps=2, minutes=60).checkpoints
    assert both.due(2) and not both.due(3)


def test_two_files_take_turns_also_after_an_interruption(tmp_path: Path) -> None:
    root = tmp_path / "checkpoints" / "training"
    first = Kept(root).checkpoints
    assert first.load() is None
    for step in (3, 6, 9):
        assert first.save(step, state(step))
    assert sorted(path.name for path in first.folder.iterdir()) == ["0.pt", "1.pt", "run.json"]
    (first.folder / "1.pt.writing").write_bytes(b"of a process that was killed")
    second = Kept(root)
    loaded = second.checkpoints.load()
    assert loaded is not None and loaded["step"] == 9 and torch.equal(loaded["weight"], torch.arange(9) * 9)
    assert second.told == ["checkpoint: going on after step 9"]
    assert sorted(path.name for path in first.folder.iterdir()) == ["0.pt", "1.pt", "run.json"]
    second.checkpoints.save(12, state(12))
    # The place of 6 was taken, and not that of 9.
    assert steps_in(second.checkpoints.folder) == {"0.pt": 9, "1.pt": 12}
    third = Kept(root).checkpoints
    assert (third.load() or {})["step"] == 12
    third.save(15, state(15))
    assert steps_in(third.folder) == {"0.pt": 15, "1.pt": 12}


def steps_in(folder: Path) -> dict[str, int]:
    return {path.name: int(path.read_bytes().split(b" ", 2)[1]) for path in folder.glob("*.pt")}


def test_what_a_file_begins_with(tmp_path: Path) -> None:
    """A copy of the folder can be judged without this program: a format, the step, a checksum."""
    kept = Kept(tmp_path, {"seed": "1", "epochs": "4"}).checkpoints
    kept.save(7, state(7))
    run = json.loads((kept.folder / "run.json").read_text())
    assert run == {"seed": "1", "epochs": "4"}
    assert (kept.folder / "run.json").read_text() == '{\n "seed": "1",\n "epochs": "4"\n}\n'
    digest = hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()
    assert kept.folder == tmp_path / digest[:16]
    line, _, content = (kept.folder / "0.pt").read_bytes().partition(b"\n")
    checksum = hashlib.sha256(f"{digest} 7 ".encode() + content).hexdigest()
    assert line.decode() == f"kennel-checkpoint/1 7 {checksum}"
    assert torch.load(io.BytesIO(content), weights_only=True)["step"] == 7
    # The order in which hyperparameters are given makes no other run.
    assert Kept(tmp_path, {"epochs": "4", "seed": "1"}).checkpoints.load() is not None


@pytest.mark.parametrize(
    "first_line",
    [
        b"",
        b"x",
        b"kennel-checkpoint/1 9",
        b"kennel-checkpoint/1 nine 00",
        b"kennel-checkpoint/1 9 00 00",
        b"\xff \xfe \xfd",
    ],
)
def test_a_first_line_that_is_none(tmp_path: Path, first_line: bytes) -> None:
    Kept(tmp_path).checkpoints.save(3, state(3))
    second = Kept(tmp_path)
    second.checkpoints.load()
    second.checkpoints.save(6, state(6))
    path = second.checkpoints.folder / "1.pt"
    path.write_bytes(first_line + b"\n" + path.read_bytes().partition(b"\n")[2])
    kept = Kept(tmp_path)
    assert (kept.checkpoints.load() or {})["step"] == 3
    assert kept.told[0].endswith(" damaged and not used; going on after step 3") and len(kept.told) == 1


def test_one_of_another_version_is_not_taken_up(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.checkpoints.save(3, state(3))
    path = kept.checkpoints.folder / "0.pt"
    path.write_bytes(path.read_bytes().replace(b"kennel-checkpoint/1", b"kennel-checkpoint/2"))
    assert kept.checkpoints.load() is None
    assert kept.told == [
        "checkpoint: the one of step 3 is damaged and not used; there is no other, and training begins anew"
    ]
    path.write_bytes(b"")
    assert kept.checkpoints.load() is None
    assert kept.told[1:] == ["checkpoint: one is damaged and not used; there is no other, and training begins anew"]


def test_two_that_are_damaged_are_both_named(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    for step in (3, 6):
        kept.checkpoints.save(step, state(step))
    for path in kept.checkpoints.folder.glob("*.pt"):
        path.write_bytes(path.read_bytes()[:-1])
    assert kept.checkpoints.load() is None
    assert kept.told == [
        "checkpoint: the one of step 6 and the one of step 3 are damaged and not used; there is no other, and training "
        "begins anew"
    ]


class Runs:
    """What a stranger's pickle would do where it is loaded."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


def test_reading_one_runs_no_code(tmp_path: Path) -> None:
    kept = Kept(tmp_path).checkpoints
    kept.save(1, {"weight": Runs(tmp_path / "has run")})
    with pytest.raises(pickle.UnpicklingError):
        kept.load()
    assert not (tmp_path / "has run").exists()


def test_the_last_of_several_other_runs_is_the_one_that_differs_least(tmp_path: Path) -> None:
    far = {"epochs": "5", "seed": "2", "model": "resnet50", "augment": "true", "views": "3"}
    Kept(tmp_path, far).checkpoints.save(3, state(3))
    mine = {"epochs": "4", "seed": "1", "model": "resnet18", "augment": "false"}
    kept = Kept(tmp_path, mine)
    kept.checkpoints.save(1, state(1))
    kept.checkpoints.load()
    assert kept.told == [
        "checkpoint: those of another run are not taken up (augment: true there, false here; epochs: 5 there, 4 here; "
        "model: resnet50 there, resnet18 here and 2 more)",
        "checkpoint: going on after step 1",
    ]
    four = Kept(tmp_path / "four", mine)
    Kept(tmp_path / "four", dict(list(far.items())[:4])).checkpoints.save(3, state(3))
    four.checkpoints.load()
    assert four.told[0].endswith("resnet18 here and 1 more)")
    Kept(tmp_path, mine | {"seed": "2"}).checkpoints.save(3, state(3))
    for name, content in (("broken", "{"), ("list", "[]"), ("text", "\udcff")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    kept.told.clear()
    kept.checkpoints.load()
    assert kept.told[0] == "checkpoint: those of other runs are not taken up (seed: 2 there, 1 here)"


def test_names_are_told_as_they_were_given(tmp_path: Path) -> None:
    Kept(tmp_path, {"rules": "größer"}).checkpoints.save(1, state(1))
    kept = Kept(tmp_path)
    kept.checkpoints.load()
    assert kept.told == [
        "checkpoint: those of another run are not taken up (epochs: None there, 4 here; rules: größer there, None here)"
    ]


def test_a_save_that_fails_is_told_once_and_does_not_take_the_turn_of_the_next(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.checkpoints.save(1, state(1))
    (kept.checkpoints.folder / "1.pt").mkdir()
    (kept.checkpoints.folder / "1.pt" / "in the way").touch()
    assert not kept.checkpoints.save(2, state(2)) and not kept.checkpoints.save(3, state(3))
    (line,) = kept.told
    assert line == (
        "checkpoint: step 2 could not be saved (Is a directory); training goes on, and an interruption now loses what "
        "came after the last one that was"
    )
    shutil.rmtree(kept.checkpoints.folder / "1.pt")
    assert kept.checkpoints.save(4, state(4))
    assert steps_in(kept.checkpoints.folder) == {"0.pt": 1, "1.pt": 4}


def test_nothing_is_said_where_nobody_listens(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, {}, 0, 0)
    assert kept.save(1, state(1)) and kept.load() is not None
    kept.remove()
    kept.remove()
    assert kept.load() is None and not kept.folder.exists()
