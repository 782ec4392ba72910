"""The notebook in examples/, run as `make notebook` runs it: a kernel, the local server, real jobs, a real endpoint."""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import numpy.typing as npt
import pytest
from nbformat import NotebookNode
from PIL import Image

from conftest import ROOT
from leftovers import processes_of

NAME = "train_and_deploy.ipynb"
SETTINGS = [
    'SOURCE = prepare.Source("synthetic", Settings(classes=3, per_class=40, size=64, seed=1))',
    'FIXED.update({"image-size": "32", "batch-size": "8"})',
    'RANGES, TRIALS = ["learning-rate=0.001:0.003:log", "epochs=6:7"], 2',
]


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """A copy in a folder of its own: what the notebook writes lies beside it."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("runs", "__pycache__"))
    return tmp_path / "examples"


def start(examples: Path, *arguments: object) -> subprocess.Popen[str]:
    """run.py of the copy."""
    environment = {
        name: value for name, value in os.environ.items()
        if not name.startswith(("AWS_", "KENNEL_", "LOCAL_SAGEMAKER", "MPL"))
    }  # fmt: skip
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    return subprocess.Popen(
        [sys.executable, str(examples / "run.py"), *settings, *map(str, arguments)],
        env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def printed(notebook: NotebookNode) -> str:
    """What all cells showed as text."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)


def pictures(cell: NotebookNode) -> list[npt.NDArray[np.uint8]]:
    """Those that a cell showed, in shades of grey."""
    data = [value for output in cell.outputs for kind, value in output.get("data", {}).items() if "image/" in kind]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("L")) for text in data]


@pytest.mark.slow
def test_it_runs_from_photographs_to_clean_up(examples: Path) -> None:
    running = start(examples, "--output", examples / "done.ipynb")
    told, errors = running.communicate(timeout=1500)
    assert running.returncode == 0, errors
    notebook = nbformat.read(examples / "done.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert f"cell {len(code)} of {len(code)}" in told
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]

    drawn = {cell.source: pictures(cell) for cell in code if "picture" in cell.metadata.get("tags", [])}
    assert len(drawn) == 5
    for source, found in drawn.items():
        assert len(found) == 1 and found[0].shape[1] >= 600, source
        assert found[0].min() < 100 and found[0].max() > 200, f"nothing to see: {source}"

    text = printed(notebook)
    shares = re.search(r"of all test photographs: ([\d.]+)% \(chance: ([\d.]+)%\)", text)
    assert shares and float(shares[1]) > float(shares[2])
    assert re.search(r"\d of these 3 are right", text)
    assert re.search(r"best: valid:accuracy=[\d.]+ with epochs=[67] learning-rate=0\.00", text)
    assert re.search(r"Overfit +\d+ +\d+", text)
    assert "deleted: Endpoint kennel-serve-" in text and "of this project there still run: nothing" in text
    assert str(examples.parent) not in text, "the published notebook would name a folder of this machine"
    assert processes_of(examples) == []


@pytest.mark.slow
def test_an_interrupted_cell_leaves_nothing_behind(examples: Path) -> None:
    notebook = nbformat.read(examples / NAME, as_version=4)
    searching = next(cell for cell in notebook.cells if cell.source.startswith("tuned = tune.tune("))
    searching.source = (
        'endless = {**fixed, "epochs": "1000"}\n'
        "request = train.request(session, TRAINING, image, inputs, endless, JOB, managed=False)\n"
        'jobs.create(session, "CreateTrainingJob", request)\n'
        'Path("started").touch()\n'
        "train.attach(session, out, TRAINING)"
    )
    nbformat.write(notebook, examples / NAME)
    before = (examples / NAME).read_bytes()
    running = start(examples, "--output", examples / "done.ipynb")
    until = time.monotonic() + 300
    while not (examples / "started").exists() and running.poll() is None and time.monotonic() < until:
        time.sleep(0.2)
    running.send_signal(signal.SIGINT)
    told, errors = running.communicate(timeout=300)
    assert running.returncode == 130, errors
    assert "stopping: training job kennel-train-" in told
    assert (examples / NAME).read_bytes() == before and not (examples / "done.ipynb").exists()
    assert processes_of(examples) == []


def test_as_published_it_holds_what_its_cells_showed() -> None:
    notebook = nbformat.read(ROOT / "examples" / NAME, as_version=4)
    nbformat.validate(notebook)
    assert (ROOT / "examples" / NAME).stat().st_size < 400_000
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "run `make notebook`"
    assert "injected-parameters" not in str([cell.metadata for cell in code])
    assert all(pictures(cell) for cell in code if "picture" in cell.metadata.get("tags", []))
