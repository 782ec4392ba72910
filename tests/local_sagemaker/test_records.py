"""What a killed server, a full disk or a hand may leave in the state directory, and what comes of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from local_sagemaker.records import Records, write_json

from .conftest import ROOT, Local

JOB = {"TrainingJobName": "a", "TrainingJobStatus": "Completed"}


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_resource_is_there_wholly_or_not_at_all(tmp_path: Path) -> None:
    records = Records(tmp_path)
    assert records.create("models", "a", {"ModelName": "a"})
    assert not records.create("models", "a", {"ModelName": "b"})
    (records.directory("models", "a") / "beside").mkdir()
    records.delete("models", "a")
    assert (names(tmp_path / "models"), records.find("models", "a")) == ([], None)
    assert records.version == 2


def test_names_are_folders_whatever_they_hold(tmp_path: Path) -> None:
    records = Records(tmp_path)
    for name in ("group:1", "a/b", "..", ".new-x"):
        assert records.create("model-packages", name, {"Name": name})
    assert sorted(Records(tmp_path).look("model-packages", lambda record: str(record["Name"]))) == [
        "..",
        ".new-x",
        "a/b",
        "group:1",
    ]


def test_what_was_half_done_is_gone(tmp_path: Path) -> None:
    kind = tmp_path / "training-jobs"
    for name in (".new-1", ".deleted-2", "a"):
        (kind / name / "ml").mkdir(parents=True)
        write_json(kind / name / "record.json", JOB)
    (kind / "a" / ".record.json.77").write_text('{"half')
    records = Records(tmp_path)
    assert len(records.all("training-jobs")) == 1
    assert names(kind) == [".deleted-2", ".new-1", "a"]  # who only looks changes nothing
    records.tidy()
    assert (names(kind), names(kind / "a")) == (["a"], ["ml", "record.json"])


def test_a_folder_without_a_record_is_no_part_of_a_new_resource(tmp_path: Path) -> None:
    stale = tmp_path / "training-jobs" / "a" / "metrics.jsonl"
    stale.parent.mkdir(parents=True)
    stale.write_text('{"MetricName": "loss", "Value": 1.0, "Timestamp": 1.0}\n')
    assert Records(tmp_path).create("training-jobs", "a", dict(JOB))
    assert names(stale.parent) == ["record.json"]


def test_an_object_in_a_bucket_is_no_record(tmp_path: Path) -> None:
    for place in ("s3/bucket", "logs/group"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "record.json").write_text("no JSON")
    (tmp_path / "s3" / "bucket" / ".new-file").touch()
    records = Records(tmp_path)
    records.tidy()
    assert records.all("s3") == []
    assert names(tmp_path / "s3" / "bucket") == [".new-file", "record.json"]


def test_records_that_cannot_be_read_are_put_aside(start: Callable[..., Local]) -> None:
    server = start()
    kept = server.train("pass")
    broken = {server.train("pass"): content for content in ("", '{"TrainingJobName": "b", "Train', "\0" * 100)}
    for name in (kept, *broken):
        server.finished(name)
    server.kill()
    directory = server.state / "training-jobs"
    for name, content in broken.items():
        (directory / name / "record.json").write_text(content)
    server.up()
    (job,) = server.sagemaker.list_training_jobs()["TrainingJobSummaries"]
    assert job["TrainingJobName"] == kept
    for name, content in broken.items():
        (aside,) = directory.glob(f".broken-{name}-*")
        assert (aside / "record.json").read_text() == content
        assert f"{aside / 'record.json'} cannot be read as JSON" in (server.state / "server.log").read_text()


# A limit on the size of files makes writing fail as a full disk does; it binds one process only.
FULL = """
import json, resource
from pathlib import Path
from local_sagemaker.logs import LogStore
from local_sagemaker.records import Records

state = Path({state!r})
records, store, heard = Records(state), LogStore(state / "logs"), []
records.create("models", "a", {{"Text": "small"}})
writer = store.writer("/g", "s/1", lambda when, line: heard.append(line))
writer.write(b"first\\n")
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
refused = []
for change in ("create", "edit"):
    try:
        if change == "create":
            records.create("models", "b", {{"Text": "x" * 5000}})
        else:
            with records.edit("models", "a") as record:
                record["Text"] = "x" * 5000
    except OSError as error:
        refused.append(change)
writer.write(b"y" * 2000 + b"\\nthird\\n" + b"z" * 2000 + b"\\n")
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
writer.write(b"last\\n")
writer.close()
print(json.dumps({{
    "refused": refused,
    "memory": [item["Text"] for item in records.all("models")],
    "disk": [item["Text"] for item in Records(state).all("models")],
    "files": sorted(path.name for path in (state / "models").rglob("*")),
    "lines": [event.message for event in store.forward("/g", "s/1")],
    "heard": [line[:5] for line in heard],
}}))
"""


def test_a_full_disk_changes_nothing_and_stops_no_log(tmp_path: Path) -> None:
    code = FULL.format(state=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "refused": ["create", "edit"],
        "memory": ["small"],
        "disk": ["small"],
        "files": ["a", "record.json"],
        "lines": ["first", "[local SageMaker: 3 lines are missing here, the disk was full]", "last"],
        "heard": ["first", "yyyyy", "third", "zzzzz", "last"],
    }
    assert done.stderr.count("a log cannot be written") == 1
