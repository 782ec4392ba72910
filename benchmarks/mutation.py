"""Which faults in the modules that own a contract no test notices: mutmut makes small ones, the modules' tests run.

    python benchmarks/mutation.py                 # all, about half an hour
    python benchmarks/mutation.py images payload  # these

Writes benchmarks/results/mutation.md from the last result of each module, once all have one in build/mutation.

Ends with 1 where a mutant survives that benchmarks/mutation_accepted.json gives no reason for: there
stand, by module and reason, the function and the line of each mutant that may.

mutmut takes a module's name from its path, and wants its settings and its copies in the working directory: so each
module is mutated in a folder of its own below build/mutation, where `classifier` lies at the top.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from benchmarks import conditions  # noqa: E402

BUILD = ROOT / "build" / "mutation"
ACCEPTED: dict[str, dict[str, list[str]]] = json.loads(
    (ROOT / "benchmarks" / "mutation_accepted.json").read_text("utf-8")
)
PAGE = conditions.RESULTS / "mutation.md"
# What tests read beside the packages.
ALONGSIDE = ("pyproject.toml", "docs/hyperparameters.md", "benchmarks/__init__.py", "benchmarks/mutations.py")


@dataclass(frozen=True)
class Subject:
    """A module and the tests that own it, by their paths.

    `early`: functions of it run when it is imported; so it is, for each mutant.
    """

    package: str
    tests: tuple[str, ...]
    early: bool = False


_REQUESTS = ("tests/container/test_payload.py",)
SUBJECTS = {
    "images": Subject("classifier", ("tests/container/test_images.py",)),
    "artifact": Subject("classifier", ("tests/container/test_artifact.py",)),
    "config": Subject("classifier", ("tests/container/test_config.py",), early=True),
    "checkpoint": Subject("classifier", ("tests/container/test_checkpoint_files.py",)),
    "payload": Subject("classifier", _REQUESTS),
    "bodies": Subject("classifier", _REQUESTS),
    "options": Subject("classifier", _REQUESTS),
    "negotiation": Subject("classifier", _REQUESTS),
    "sniffing": Subject("classifier", (*_REQUESTS, "tests/container/test_decoding.py")),
    "answers": Subject("classifier", ("tests/container/test_answers.py",)),
    "protocol": Subject("local_sagemaker", ("tests/local_sagemaker/test_protocol.py",)),
}


@dataclass(frozen=True)
class Survivor:
    """A mutant that no test noticed. `where`: the function and the line that it makes."""

    where: str
    diff: str


@dataclass(frozen=True)
class Result:
    """Of one module. `timed_out` are noticed too: a loop that does not end."""

    module: str
    mutants: int
    killed: int
    timed_out: int
    survivors: tuple[Survivor, ...]
    seconds: float

    @property
    def unexplained(self) -> list[Survivor]:
        return [survivor for survivor in self.survivors if self.reason(survivor) is None]

    def reason(self, survivor: Survivor) -> str | None:
        reasons = ACCEPTED.get(self.module, {}).items()
        return next((reason for reason, places in reasons if survivor.where in places), None)


def place(name: str, diff: str) -> str:
    """The function and the first line that a mutant adds, or else takes away: its number changes with the code."""
    function = re.sub(r".*\.x[_ǁ](.*)__mutmut_\d+", r"\1", name).replace("ǁ", ".")
    lines = [line for line in diff.splitlines() if not line.startswith(("+++", "---"))]
    added = [line[1:].strip() for line in lines if line.startswith("+")]
    removed = [line[1:].strip() for line in lines if line.startswith("-")]
    return f"{function}: {added[0] if added else 'without ' + removed[0]}"


def stage(module: str) -> Path:
    """A folder with what mutmut copies, mutates and tests."""
    subject, folder = SUBJECTS[module], BUILD / module
    shutil.rmtree(folder, ignore_errors=True)
    without = shutil.ignore_patterns("__pycache__")
    for name, source in (("classifier", "container_src/classifier"), ("local_sagemaker",) * 2, ("tests",) * 2):
        shutil.copytree(ROOT / source, folder / name, ignore=without)
    for name in ALONGSIDE:
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    settings = {
        "source_paths": ["classifier", "local_sagemaker"],
        "only_mutate": [f"{subject.package}/{module}.py"],
        "also_copy": ["docs", "benchmarks"],
        # Without the plugins and their looking after garbage a mutant takes half the time.
        "pytest_add_cli_args": ["-p", "no:cacheprovider", "-p", "no:unraisableexception", "-p", "pytest_timeout"],
        "pytest_add_cli_args_test_selection": list(subject.tests),
        # torch is not to be used before a process forks.
        "process_isolation": "forkserver",
        "forkserver_warmup": "none" if subject.early else "collect",
        "timeout_constant": "2.0",
        "timeout_multiplier": "6.0",
        "use_git_change_detection": "false",
    }
    (folder / "setup.cfg").write_text(
        "[mutmut]\n"
        + "".join(
            f"{name} =" + ("".join(f"\n    {one}" for one in value) if isinstance(value, list) else f" {value}") + "\n"
            for name, value in settings.items()
        )
    )
    return folder


def mutate(module: str) -> Result:
    """Runs mutmut on one core; what it prints goes to build/mutation/MODULE/log.

    Raises:
        SystemExit: the tests fail without a mutant.
    """
    folder = stage(module)
    started = time.monotonic()

    def mutmut(*words: str) -> str:
        done = subprocess.run(
            [str(ROOT / ".venv/bin/mutmut"), *words], cwd=folder, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        )  # fmt: skip
        with (folder / "log").open("a") as log:
            log.write(done.stdout)
        if done.returncode:
            raise SystemExit(f"mutmut {' '.join(words)} failed for {module}: {done.stdout[-2000:]}")
        return done.stdout

    mutmut("run", "--max-children", "1")
    mutmut("export-cicd-stats")
    counts = json.loads((folder / "mutants" / "mutmut-cicd-stats.json").read_text())
    left = [line.strip().rpartition(": ") for line in mutmut("results").splitlines() if ": " in line]
    survivors = []
    for name, _, status in left:
        if status != "timeout":
            diff = mutmut("show", name)
            survivors.append(Survivor(place(name, diff), diff))
    seconds = time.monotonic() - started
    return Result(module, counts["total"], counts["killed"], counts["timeout"], tuple(survivors), seconds)


def last(module: str) -> Result | None:
    """What the module's last run left."""
    path = BUILD / f"{module}.json"
    if not path.exists():
        return None
    values = json.loads(path.read_text())
    survivors = tuple(Survivor(**one) for one in values.pop("survivors"))
    return Result(**values, survivors=survivors)


def page(results: list[Result]) -> str:
    rows = [
        [
            f"`{one.module}`", str(one.mutants), str(one.killed), str(one.timed_out), str(len(one.survivors)),
            str(len(one.unexplained)), f"{(one.killed + one.timed_out) / one.mutants:.1%}", f"{one.seconds:.0f} s",
        ]
        for one in results
    ]  # fmt: skip
    head = ["module", "mutants", "killed", "timed out", "survived", "of those without a reason", "noticed", "time"]
    parts = [
        "# Mutation: which faults the tests notice\n",
        f"{conditions.sentence('mutmut', 'pytest')}\n`make mutation`, one core.\n",
        "mutmut changes one thing at a time in a function (a comparison, a number, an argument, a text) and runs the "
        "tests that own the module. A mutant that times out is noticed too: a loop does not end, or the tests do not "
        "even load. Tables and constants at the top of a module, decorated functions and f-strings are not changed.\n",
        conditions.table(head, rows),
    ]
    for one in results:
        if one.survivors:
            parts.append(f"## `{one.module}`: what survives, and why that is right\n")
            by_reason: dict[str, list[str]] = {}
            for survivor in one.survivors:
                by_reason.setdefault(one.reason(survivor) or "No reason is known.", []).append(survivor.where)
            for reason, lines in by_reason.items():
                parts.append(f"{reason}\n\n```text\n" + "\n".join(dict.fromkeys(lines)) + "\n```\n")
    return "\n".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("module", nargs="*", help=f"of {', '.join(SUBJECTS)} (default: all)")
    chosen = parser.parse_args().module
    if unknown := [name for name in chosen if name not in SUBJECTS]:
        parser.error(f"no tests are known to own {unknown[0]!r}; choose from {', '.join(SUBJECTS)}")
    results = []
    for module in chosen or SUBJECTS:
        results.append(result := mutate(module))
        (BUILD / f"{module}.json").write_text(json.dumps(asdict(result)))
        print(
            f"{module}: {result.mutants} mutants, {result.killed} killed, {result.timed_out} timed out, "
            f"{len(result.survivors)} survived, {len(result.unexplained)} of them without a reason; "
            f"{result.seconds:.0f} s",
            flush=True,
        )
        for survivor in result.unexplained:
            print(survivor.diff, flush=True)
    every = [found for module in SUBJECTS if (found := last(module))]
    if len(every) == len(SUBJECTS):
        PAGE.write_text(page(every), encoding="utf-8")
    return int(any(result.unexplained for result in results))


if __name__ == "__main__":
    sys.exit(main())
