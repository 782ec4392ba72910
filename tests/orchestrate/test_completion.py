"""Completion, in a real bash at a terminal: what TAB makes of a line."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrate import completion

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120
Press = Callable[[str, str], str]


@pytest.fixture(scope="module")
def press(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Press]:
    """(keys, what must appear) -> what the terminal showed since; each call begins an empty line."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash is on PATH")
    folder = tmp_path_factory.mktemp("completed")
    (folder / "photographs").mkdir()
    (folder / "kennel.sh").write_text(completion.script("bash"))
    (folder / "orchestrate").symlink_to(ROOT / "orchestrate")
    (folder / "other.py").touch()
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execve(bash, [bash, "--norc", "--noprofile", "-i"],
                  {"PATH": os.environ["PATH"], "TERM": "dumb", "PS1": "$ ", "HOME": str(folder)})  # fmt: skip

    def call(keys: str, wanted: str) -> str:
        os.write(terminal, f"\x15{keys}".encode())  # Ctrl-U: an empty line
        seen, until = "", time.monotonic() + PATIENCE_S
        while not re.search(wanted, seen):
            assert time.monotonic() < until, f"{wanted!r} did not appear: {seen!r}"
            if select.select([terminal], [], [], 1)[0]:
                seen += os.read(terminal, 65536).decode(errors="replace").replace("\r", "")
        return seen

    call("source kennel.sh && echo re''ady\n", "ready")
    yield call
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(terminal)


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ("python orchestrate/tune.py --strat\t", "--strategy "),
        ("python orchestrate/tune.py --strategy hy\t", "hyperband "),
        ("python3 ./orchestrate/deploy.py --name rex --serverl\t", "--serverless "),
        ("python orchestrate/train.py --data pho\t", "--data photographs/"),
        ("python orchestrate/doctor.py --loc\t", "--local "),
        ("python oth\t", "python other.py "),
    ],
)
def test_tab(press: Press, keys: str, line: str) -> None:
    press(keys, re.escape(line))


def test_every_script_is_completed() -> None:
    programs = {p.stem for p in (ROOT / "orchestrate").glob("*.py") if "command_line().parse_args()" in p.read_text()}
    assert set(completion.SCRIPTS) == programs


def test_zsh_gets_a_script_of_its_own() -> None:
    made = completion.script("zsh")
    assert "compdef _kennel_python python python3" in made
    assert "--in-one-job" in made


def test_no_heavy_import(tmp_path: Path) -> None:
    """A shell that starts waits for it."""
    import subprocess

    code = ("import sys; from orchestrate import completion; completion.script('bash'); "
            "assert not {'boto3', 'botocore', 'sagemaker', 'optuna', 'rich', 'numpy'} & set(sys.modules)")  # fmt: skip
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
