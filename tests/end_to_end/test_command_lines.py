"""Every command line of the documentation is one that its script takes, and every `make` target is there.

The scripts parse the lines themselves, in one process that ends each of them when it has parsed.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")),
         *sorted((ROOT / "benchmarks" / "results").glob("*.md"))]  # fmt: skip
BLOCK = re.compile(r"^```\w*\n(.*?)^```$", re.M | re.S)
INLINE = re.compile(r"`([^`\n]+)`")
# What may follow a command: a comment, a remark in brackets, where its output goes, the end of `$(...)`.
END = re.compile(r'\s+#.*|\s{2,}\(.*|\s+>.*|\)".*')
COMMAND = re.compile(r"python (?:-m (local_sagemaker)|((?:orchestrate|benchmarks|docker)/[a-z_]+\.py))(?: (.*))?$")
# `tune.py --in-one-job`: of orchestrate/, without all else that it needs.
FRAGMENT = re.compile(r"(\w+\.py)((?: .*)? --.*)")
MAKE = re.compile(r"(?:\$ |-> )?make ((?:[a-z-]+(?: |$))+)")
PARSING = """
import argparse, contextlib, io, json, runpy, sys

class Parsed(BaseException):
    pass

whole = argparse.ArgumentParser.parse_args

def parse(parser, given=None, namespace=None):
    if not line["is_fragment"]:
        whole(parser, given, namespace)
    for argument in sys.argv[1:]:
        if line["is_fragment"] and argument.startswith("--") and argument not in parser._option_string_actions:
            parser.error(f"unrecognized arguments: {argument}")
    raise Parsed

argparse.ArgumentParser.parse_args = parse
path = list(sys.path)
for line in json.load(sys.stdin):
    sys.path[:], sys.argv, told = path, [line["script"], *line["arguments"]], io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            if line["script"].endswith(".py"):
                runpy.run_path(line["script"], run_name="__main__")
            else:
                runpy.run_module(line["script"], run_name="__main__", alter_sys=True)
        said = "it parses nothing"
    except Parsed:
        said = ""
    except SystemExit:
        said = told.getvalue()
    except Exception as error:
        said = repr(error)
    print(json.dumps(said))
"""


@dataclass(frozen=True)
class Line:
    """`script`: a path below the root, or a module; `is_fragment`: it has options of it, and not all that it needs."""

    page: str
    script: str
    arguments: tuple[str, ...]
    is_fragment: bool = False


def commands(page: str, text: str) -> list[Line]:
    """Those of the code blocks, and those in the running text."""
    found: list[Line] = []
    for block in BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            if match := COMMAND.search(END.sub("", line)):
                found.append(_whole(page, match))
    for inline in INLINE.findall(BLOCK.sub("", text)):
        if match := COMMAND.search(inline):
            found.append(_whole(page, match))
        elif (match := FRAGMENT.fullmatch(inline)) and (ROOT / "orchestrate" / match[1]).is_file():
            found.append(Line(page, f"orchestrate/{match[1]}", tuple(shlex.split(match[2])), is_fragment=True))
    return found


def _whole(page: str, match: re.Match[str]) -> Line:
    # `[--provisioned 1]` may be left out or be there.
    arguments = shlex.split((match[3] or "").replace("[", " ").replace("]", " "))
    return Line(page, match[1] or match[2], tuple(arguments))


def refused(lines: Sequence[Line], folder: Path) -> list[str]:
    """What the scripts say of the lines that they do not take."""
    given = [asdict(line) for line in lines]
    for one in given:
        if one["script"].endswith(".py"):
            one["script"] = str(ROOT / one["script"])
    done = subprocess.run(
        [sys.executable, "-c", PARSING], input=json.dumps(given), cwd=folder, capture_output=True, text=True,
        timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    return [
        f"{line.page}: python {line.script} {shlex.join(line.arguments)}: {words}"
        for line, words in zip(lines, said, strict=True)
        if words
    ]


def test_every_command_line_is_one_that_its_script_takes(tmp_path: Path) -> None:
    lines = [line for page in PAGES for line in commands(page.name, page.read_text("utf-8"))]
    named = {line.script for line in lines}
    assert {f"orchestrate/{name}.py" for name in ("build", "tune", "train", "deploy", "predict", "clean")} < named
    assert refused(lines, tmp_path) == []


def test_a_wrong_line_is_noticed(tmp_path: Path) -> None:
    """The check above can fail."""
    text = "```\npython orchestrate/tune.py --data DIR --triasl 8   # eight\npython benchmarks/none.py\n```\n"
    text += "`predict.py --maps`, `python -m local_sagemaker u`, `predict.py --map FILE`"
    said = refused(commands("page", text), tmp_path)
    assert len(said) == 4
    for sentence, word in zip(said, ("--triasl", "none.py", "--maps", "'u'"), strict=True):
        assert word in sentence


def test_what_is_to_be_made_can_be_made() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    named: set[str] = set()
    for page in PAGES:
        text = page.read_text("utf-8")
        lines = [line.strip() for block in BLOCK.findall(text) for line in block.splitlines()]
        for found in map(MAKE.match, [*lines, *INLINE.findall(BLOCK.sub("", text))]):
            named.update(found[1].split() if found else ())
    assert {"demo", "test", "image"} <= named <= targets
