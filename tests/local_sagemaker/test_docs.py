"""The page says what is true: its table lists the operations, its Python runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from local_sagemaker import coverage
from local_sagemaker.operations import SUPPORT

from .conftest import ROOT, Local
from .test_clients import environment

PAGE = (ROOT / "docs" / "07-local-sagemaker.md").read_text()


def test_the_table_lists_the_operations() -> None:
    table = PAGE.split("## What it answers")[1].split("\n\n")[1]
    listed = set(re.findall(r"\b[A-Z][a-z]+(?:[A-Z][a-z]+)+\b", table)) - {"SageMaker", "CloudWatch"}
    assert listed == {operation for _, operation in SUPPORT}


def test_the_page_of_operations_is_up_to_date() -> None:
    written = (ROOT / "docs" / "11-local-sagemaker-operations.md").read_text()
    assert written == coverage.page(), "the code has changed: `make docs` writes the page again"


def test_the_python_of_the_page_runs(local: Local, tmp_path: Path) -> None:
    code = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
    (tmp_path / "train").mkdir()
    code = code.replace("/data/", f"{tmp_path}/").replace('{"epochs": "1"}', repr({"code": "print('loss=0.5')"}))
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(local, tmp_path),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Completed None [{'MetricName': 'loss', 'Value': 0.5")
