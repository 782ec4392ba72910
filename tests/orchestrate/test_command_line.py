"""One grammar: the same flag means the same in every script; errors, bugs and colours look the same in all."""

from __future__ import annotations

import argparse
import importlib
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrate import completion

ROOT = Path(__file__).resolve().parents[2]
COMMON = ("--local", "--image", "--region", "--role", "--name", "--attach", "--data", "--csv", "--yes", "--dry-run",
          "--json", "--verbose", "--instance-type", "--endpoint-instance-type", "--repository", "--spot", "--seed",
          "--weights")  # fmt: skip


def options_of(script: str) -> dict[str, argparse.Action]:
    """Flag -> action."""
    parser: argparse.ArgumentParser = importlib.import_module(f"orchestrate.{script}").command_line()
    return {flag: action for action in parser._actions for flag in action.option_strings}


@pytest.mark.parametrize("flag", COMMON)
def test_a_flag_takes_the_same_everywhere(flag: str) -> None:
    # The weights of an image are a folder of many, those of a job are one file.
    found = {s: options_of(s) for s in completion.SCRIPTS if (flag, s) != ("--weights", "build")}
    kinds = {(type(o[flag]), o[flag].nargs, o[flag].dest) for o in found.values() if flag in o}
    assert len(kinds) == 1


@pytest.mark.parametrize("script", completion.SCRIPTS)
def test_what_every_script_has(script: str) -> None:
    found = options_of(script)
    assert "--verbose" in found
    assert "--json" in found or script == "completion", "what has a result tells it to machines too"
    assert ("--yes" in found) == (script in ("clean", "deploy", "pipeline", "train", "transform", "tune"))
    module = importlib.import_module(f"orchestrate.{script}")
    told = module.command_line().format_help()
    assert all(len(line) <= 120 for line in told.splitlines())
    told = " ".join(told.split())
    assert "Exit codes: 0 done; " in told
    assert ("3 the training ended well" in told) == (script in ("train", "pipeline"))


RAISING = """
from orchestrate import console
def main():
    {body}
console.run(main)
"""


def run(body: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", RAISING.format(body=body), *arguments], cwd=ROOT, capture_output=True, text=True,
        check=False, env={**os.environ, **more},
    )  # fmt: skip


def test_a_bug_is_one_sentence_and_its_traceback_is_kept(tmp_path: Path) -> None:
    done = run("{}['the bowl']", "rex", TMPDIR=str(tmp_path))
    assert done.returncode == 70
    (sentence,) = done.stderr.splitlines()
    (file,) = tmp_path.glob("kennel-bug-*.txt")
    assert sentence.startswith("error: a bug of Kennel's: KeyError: 'the bowl'; its traceback is in ")
    assert str(file) in sentence
    assert "-c rex" in file.read_text() and "in main" in file.read_text()

    done = run("{}['the bowl']", "--verbose", TMPDIR=str(tmp_path))
    assert done.returncode == 70
    assert "Traceback" in done.stderr
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("body", "code", "sentence"),
    [
        ("raise KeyboardInterrupt", 130, "error: interrupted\n"),
        ("open('/nowhere/at/all')", 2, "error: /nowhere/at/all: No such file or directory\n"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGHUP)", 129, ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 143, ""),
    ],
)
def test_ends(body: str, code: int, sentence: str) -> None:
    done = run(body)
    assert (done.returncode, done.stderr) == (code, sentence)


def at_a_terminal(**more: str) -> str:
    """What a terminal gets of a marked line and an error."""
    ours, theirs = pty.openpty()
    body = "out = console.Console(); out.marked('ok', 'green', 'text'); open('/nowhere')"
    variables = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "CI")}
    with subprocess.Popen(
        [sys.executable, "-c", RAISING.format(body=body)], cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs,
        env={**variables, "TERM": "xterm-256color", **more},
    ):  # fmt: skip
        os.close(theirs)
        told = b""
        try:
            while part := os.read(ours, 65536):
                told += part
        except OSError:  # the other end has gone
            pass
    os.close(ours)
    return told.decode()


def test_colours_are_for_a_terminal_that_wants_them() -> None:
    assert "\x1b[32mok" in at_a_terminal() and "\x1b[1;31merror:" in at_a_terminal()
    for told in (at_a_terminal(NO_COLOR="1"), at_a_terminal(TERM="dumb")):
        assert "\x1b[3" not in told and "\x1b[1;3" not in told
        assert "ok  text" in told and "error: /nowhere" in told
