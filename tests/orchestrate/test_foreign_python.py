"""A script under a Python that cannot run it: one sentence with the next step, whichever script it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrate import completion

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("script", completion.SCRIPTS)
def test_without_the_packages(script: str) -> None:
    # -S leaves out site-packages, and the project with it.
    done = subprocess.run(
        [sys.executable, "-S", ROOT / "orchestrate" / f"{script}.py", "--help"], capture_output=True, text=True,
        cwd="/", check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    (sentence,) = done.stderr.splitlines()
    assert "does not have Kennel's packages (orchestrate, classifier, boto3, rich): " in sentence
    assert "make venv" in sentence or "source " in sentence


def test_with_a_python_that_is_too_old() -> None:
    code = (
        "import sys; sys.version_info = (3, 9, 18, 'final', 0); "
        f"sys.path.insert(0, {str(ROOT / 'orchestrate')!r}); import orchestrate"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: this is Python 3.9.18, and Kennel needs 3.10, 3.11 or 3.12: ")


def test_the_folder_of_the_scripts_hides_no_library() -> None:
    """The package has modules of names that others use, `settings` for one."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'orchestrate')!r})\n"
        "import orchestrate\n"
        "assert orchestrate.__file__.endswith('__init__.py'), orchestrate.__file__\n"
        "try: import settings\n"
        "except ModuleNotFoundError: sys.exit(0)\n"
        "sys.exit('found')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
