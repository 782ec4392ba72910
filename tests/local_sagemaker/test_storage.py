"""Where data comes from and goes to: this machine, and S3 as moto answers it."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from local_sagemaker import archive, storage
from local_sagemaker.checkpoints import Checkpoints
from local_sagemaker.errors import JobError

REGION = "us-east-1"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        client = boto3.client("s3", region_name=REGION)
        client.create_bucket(Bucket="dogs")
        yield client


def put(s3: Any, *keys: str) -> None:
    for key in keys:
        s3.put_object(Bucket="dogs", Key=key, Body=key.encode())


def files(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://dogs/set/train", ["a/1.jpg", "b/2.jpg"]),
        ("s3://dogs/set/train/", ["a/1.jpg", "b/2.jpg"]),
        ("s3://dogs/set/train/a/1.jpg", ["1.jpg"]),
        ("s3://dogs/set/train/a/", ["1.jpg"]),
    ],
)
def test_a_prefix_is_downloaded(s3: Any, tmp_path: Path, uri: str, expected: list[str]) -> None:
    put(s3, "set/train/a/1.jpg", "set/train/b/2.jpg", "set/train/b/", "set/valid/a/3.jpg")
    storage.download(uri, tmp_path, REGION)
    assert files(tmp_path) == expected


def test_a_key_does_not_leave_the_channel(s3: Any, tmp_path: Path) -> None:
    put(s3, "set/../../evil")
    with pytest.raises(JobError, match="leaves the channel's directory"):
        storage.download("s3://dogs/set", tmp_path / "channel", REGION)
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("s3://dogs/nothing", "no object below s3://dogs/nothing"),
        ("s3://cats/x", "NoSuchBucket"),
        ("https://dogs/x", "s3:// and file:// locations only"),
    ],
)
def test_what_cannot_be_downloaded(s3: Any, tmp_path: Path, uri: str, message: str) -> None:
    with pytest.raises(JobError, match=message):
        storage.download(uri, tmp_path, REGION)


def test_each_host_gets_its_part_of_the_keys(s3: Any, tmp_path: Path) -> None:
    put(s3, *(f"set/{number}" for number in range(5)))
    for place in (0, 1):
        storage.download("s3://dogs/set/", tmp_path / str(place), REGION, (place, 2))
    assert files(tmp_path) == ["0/0", "0/2", "0/4", "1/1", "1/3"]


def test_an_output_path_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(JobError, match="cannot be written: Not a directory; name an output path"):
        storage.upload_file(tmp_path / "file", (tmp_path / "file" / "below" / "x").as_uri(), REGION)


def test_a_link_to_this_machines_files_is_not_uploaded(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "100%").write_text("kept")
    (tmp_path / "from" / "link").symlink_to(tmp_path / "secret")
    storage.upload_directory(tmp_path / "from", (tmp_path / "to").as_uri(), REGION)
    assert files(tmp_path / "to") == ["100%"]


def test_files_go_to_s3_and_come_back(s3: Any, tmp_path: Path) -> None:
    (tmp_path / "from" / "deep").mkdir(parents=True)
    (tmp_path / "from" / "deep" / "file").write_text("x")
    storage.upload_directory(tmp_path / "from", "s3://dogs/kept/", REGION)
    storage.download_file("s3://dogs/kept/deep/file", tmp_path / "back", REGION)
    assert (tmp_path / "back").read_text() == "x"


@pytest.mark.parametrize("name", ["plain", "with space", "ünï", "100%"])
def test_files_go_to_this_machine(tmp_path: Path, name: str) -> None:
    (tmp_path / "source").write_text("x")
    target = tmp_path / name / "deep" / "file"
    storage.upload_file(tmp_path / "source", target.as_uri(), REGION)
    assert target.read_text() == "x"
    assert files(tmp_path / name) == ["deep/file"]  # no partial file is left
    with pytest.raises(JobError, match="does not exist"):
        storage.download_file((tmp_path / "nowhere").as_uri(), tmp_path / "back", REGION)


def test_checkpoints_are_restored_from_s3_and_sent_there(s3: Any, tmp_path: Path) -> None:
    put(s3, "run/old")
    (tmp_path / "checkpoints").mkdir()
    checkpoints = Checkpoints(tmp_path, {"CheckpointConfig": {"S3Uri": "s3://dogs/run"}}, REGION)
    assert checkpoints.restore() == ()
    assert files(tmp_path / "checkpoints") == ["old"]
    (tmp_path / "checkpoints" / "new").write_text("2")
    s3.delete_object(Bucket="dogs", Key="run/old")  # would come back if it were sent again
    checkpoints.finish()
    assert [item["Key"] for item in s3.list_objects_v2(Bucket="dogs")["Contents"]] == ["run/new"]


def test_an_archive_keeps_files_and_no_owner(tmp_path: Path) -> None:
    (tmp_path / "model" / "code").mkdir(parents=True)
    (tmp_path / "model" / "code" / "x.py").write_text("1")
    archive.pack([tmp_path / "model"], tmp_path / "m.tar.gz")
    with tarfile.open(tmp_path / "m.tar.gz") as tar:
        assert [(member.name, member.uid, member.uname) for member in tar] == [("code", 0, ""), ("code/x.py", 0, "")]
    archive.unpack(tmp_path / "m.tar.gz", tmp_path / "again")
    assert files(tmp_path / "again") == ["code/x.py"]


def test_hosts_are_packed_as_one_and_the_first_wins(tmp_path: Path) -> None:
    for host, names in (("a", ["weights", "x"]), ("b", ["weights", "rank/1"])):
        for name in names:
            (tmp_path / host / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / host / name).write_text(host)
    (tmp_path / "b" / "x").mkdir()
    (tmp_path / "b" / "x" / "below").write_text("where the first host has a file")
    os.link(tmp_path / "a" / "weights", tmp_path / "a" / "same")
    archive.pack([tmp_path / "a", tmp_path / "b"], tmp_path / "m.tar.gz")
    with tarfile.open(tmp_path / "m.tar.gz") as tar:
        assert all(member.isreg() or member.isdir() for member in tar)
    archive.unpack(tmp_path / "m.tar.gz", tmp_path / "again")
    assert files(tmp_path / "again") == ["rank/1", "same", "weights", "x"]
    assert (tmp_path / "again" / "weights").read_text() == "a"


@pytest.mark.parametrize("name", ["../evil", "/evil", "link/evil"])
def test_an_archive_does_not_leave_its_directory(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "m.tar.gz", "w:gz") as tar:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        tar.addfile(link)
        member = tarfile.TarInfo(name)
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(JobError, match="cannot be unpacked"):
        archive.unpack(tmp_path / "m.tar.gz", tmp_path / "model")
    assert files(tmp_path) == ["m.tar.gz"]
