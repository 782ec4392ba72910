"""Jobs that misbehave: each ends with a reason that helps, and the server goes on."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from .conftest import Local, channel, wait_for

SECRET = "of this machine"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("os.rmdir('model'); os.symlink(there, 'model')", "/opt/ml/model is a symbolic link"),
        ("os.symlink(there, 'model/sub')", "sub is a symbolic link"),
        ("os.symlink(f'{there}/secret', 'output/data/plot')", "plot is a symbolic link"),
        ("os.symlink(f'{there}/secret', 'output/failure'); exit(1)", "/opt/ml/output/failure is a symbolic link"),
        ("os.rename('output', 'o'); os.symlink(there, 'output')", "/opt/ml/output is a symbolic link"),
        ("os.mkfifo('output/data/pipe')", "pipe is neither a file nor a directory"),
    ],
    ids=["model directory", "in the model", "in the output", "failure file", "output directory", "pipe"],
)
def test_links_of_a_container_lead_nowhere(local: Local, tmp_path: Path, code: str, reason: str) -> None:
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "secret").write_text(SECRET)
    job = local.finished(local.train(f"import os; there = {str(tmp_path)!r}; {code}"))
    assert job["TrainingJobStatus"] == "Failed"
    assert reason in job["FailureReason"]
    assert SECRET not in json.dumps(job, default=str)


def test_an_output_path_that_cannot_be_written(local: Local, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    output = {"S3OutputPath": (tmp_path / "file" / "below").as_uri()}
    job = local.finished(local.train('open("model/w", "w").write("w")', OutputDataConfig=output))
    assert job["TrainingJobStatus"] == "Failed"
    assert "cannot be written: Not a directory; name an output path that this user can write to" in job["FailureReason"]


def test_a_log_that_floods_leaves_the_server_answering_and_small(local: Local) -> None:
    pid = json.loads((local.state / "server.json").read_text())["pid"]
    server = psutil.Process(pid)
    before = most = server.memory_info().rss
    code = """
import sys
sys.stdout.buffer.write(b"y" * 50_000_000 + b"\\n")  # a line that no event can hold
while True:
    sys.stdout.buffer.write((b"x" * 99 + b"\\n") * 10_000)
"""
    name = local.train(code)
    logs = local.state / "logs"
    while sum(path.stat().st_size for path in logs.rglob(f"{name}*")) < 150_000_000:
        job = local.sagemaker.describe_training_job(TrainingJobName=name)
        assert job["TrainingJobStatus"] == "InProgress", job
        most = max(most, server.memory_info().rss)
    local.sagemaker.stop_training_job(TrainingJobName=name)
    assert local.finished(name)["TrainingJobStatus"] == "Stopped"
    assert most - before < 100_000_000  # bytes, of 150 MB that were printed
    for path in logs.rglob(f"{name}*"):
        path.unlink()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"only root mounts a small disk: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_jobs_that_fill_the_disk(start: Callable[..., Local], small_disk: Path) -> None:
    server = start(state=small_disk / "state")
    try:
        _fill(server, small_disk.parent / "out")
    finally:
        server.down()  # before its disk goes


def _fill(server: Local, output: Path) -> None:
    out = {"S3OutputPath": output.as_uri()}
    # The model fits, its archive beside it does not; the script that wrote it saw nothing wrong.
    silent = 'import os; open("model/w", "wb").write(os.urandom(15_000_000))'
    loud = 'open("model/w", "wb").write(bytes(64_000_000))'
    for code, reason in ((silent, "the disk of this machine is full"), (loud, "No space left on device")):
        job = server.finished(server.train(code, OutputDataConfig=out))
        assert job["TrainingJobStatus"] == "Failed"
        assert reason in job["FailureReason"]
    # One that fills everything, prints on, and is stopped while nothing can be written.
    fill = """
import time
with open("model/w", "wb", buffering=0) as stream:
    try:
        while True:
            stream.write(bytes(4096))
    except OSError:
        open("output/failure", "w").close()
while True:
    print("y" * 1000, flush=True)
    time.sleep(0.001)
"""
    name = server.train(fill, OutputDataConfig=out, StoppingCondition={"MaxRuntimeInSeconds": 3})
    job = server.finished(name)
    assert job["TrainingJobStatus"] in ("Failed", "Stopped")
    assert server.finished(server.train("pass", OutputDataConfig=out))["TrainingJobStatus"] == "Completed"


@pytest.mark.parametrize(
    ("manifest", "outcome"),
    [
        ('[{"prefix": "PREFIX"}, "a.jpg", "deep/b 100%.jpg"]', ["a.jpg", "deep/b 100%.jpg"]),
        ('[{"prefix": "PREFIX"}, "../outside"]', "'../outside' of .* leaves the channel's directory"),
        ('[{"prefix": "PREFIX"}, "missing"]', "missing does not exist"),
        ('["a.jpg"]', "is no manifest"),
        ("{", "is no manifest"),
        ('[{"prefix": "PREFIX"}, 7]', "is no manifest"),
    ],
)
def test_a_manifest_names_the_files(local: Local, tmp_path: Path, manifest: str, outcome: Any) -> None:
    for name in ("set/a.jpg", "set/c.jpg", "set/deep/b 100%.jpg", "outside"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    prefix = f"{(tmp_path / 'set').as_uri()}/"
    (tmp_path / "list.json").write_text(manifest.replace("PREFIX", prefix))
    listed = channel("train", (tmp_path / "list.json").as_uri())
    listed["DataSource"]["S3DataSource"]["S3DataType"] = "ManifestFile"
    code = """
import pathlib
root = pathlib.Path("input/data/train")
print(json.dumps(sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())))
"""
    name = local.train(code, InputDataConfig=[listed])
    job = local.finished(name)
    if isinstance(outcome, list):
        assert job["TrainingJobStatus"] == "Completed", job["FailureReason"]
        assert json.loads(local.lines(name)[0]) == outcome
    else:
        assert job["TrainingJobStatus"] == "Failed"
        assert re.search(outcome, job["FailureReason"]), job["FailureReason"]


def test_a_stop_comes_at_every_moment(local: Local) -> None:
    """Before the process starts, while it starts, while it runs, when it has ended: the job always ends."""
    names = []
    for _ in range(5):
        name = local.train("import time; time.sleep(0.1)")
        local.sagemaker.stop_training_job(TrainingJobName=name)
        names.append(name)
    for name in names:
        assert local.finished(name)["SecondaryStatus"] in ("Stopped", "Completed")


def test_a_second_stop_is_heard_earlier_never_later(local: Local) -> None:
    name = local.train('import signal, time; signal.signal(15, signal.SIG_IGN); print("ready"); time.sleep(600)')
    local.printed(name, "ready")
    for _ in range(3):
        local.sagemaker.stop_training_job(TrainingJobName=name)
    assert local.finished(name)["TrainingJobStatus"] == "Stopped"
    wait_for(lambda: (local.state / "training-jobs" / name / "ml").exists(), lambda exists: not exists)
