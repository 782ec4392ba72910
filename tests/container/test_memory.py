"""What the server says about a container's memory limit, from the files of both versions of cgroups."""

from __future__ import annotations

from pathlib import Path

import pytest

from classifier import machine
from serving import memory


@pytest.fixture(params=["v1", "v2"])
def group(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Where the limit is and where the kills are counted."""
    monkeypatch.setattr(machine, "_GROUP", tmp_path)
    if request.param == "v2":
        return tmp_path / "memory.max", tmp_path / "memory.events"
    (tmp_path / "memory").mkdir()
    return tmp_path / "memory" / "memory.limit_in_bytes", tmp_path / "memory" / "memory.oom_control"


def test_a_limit_below_what_it_takes_is_told(group: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    limit, kills = group
    limit.write_text(f"{450 * 1024**2}\n")
    kills.write_text("under_oom 0\noom_kill 0\n")
    assert memory.hint() == "; the container may use 450 MB of memory and takes about 700 MB: give it more"
    memory.tell()
    assert "may use 450 MB" in capsys.readouterr().out
    kills.write_text("under_oom 0\noom_kill 3\n")
    assert memory.hint() == "; the container reached its memory limit (oom_kill 3): give it more"


@pytest.mark.parametrize("text", [f"{2 * 1024**3}", "9223372036854771712"])
def test_enough_is_not_told(group: tuple[Path, Path], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    group[0].write_text(f"{text}\n")
    memory.tell()
    assert memory.hint() == "" and not capsys.readouterr().out


def test_without_a_limit_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_GROUP", tmp_path)
    assert memory.hint() == ""
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.hint() == ""
