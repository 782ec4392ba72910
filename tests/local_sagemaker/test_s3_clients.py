"""Clients of S3 that are not ours, with AWS_ENDPOINT_URL alone: the AWS command line and the SageMaker SDK."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Local, unique
from .test_clients import AWS, environment

# The SDK asks STS for the name of its default bucket at an address that no variable changes, so the name is given.
SDK_CONFIG = """\
SchemaVersion: "1.0"
SageMaker:
  PythonSDK:
    Modules:
      Session:
        DefaultS3Bucket: sagemaker-local
"""


@pytest.mark.slow
@pytest.mark.skipif(AWS is None, reason="the AWS command line is not installed")
def test_the_aws_command_line(local: Local, tmp_path: Path) -> None:
    bucket = unique("cli")
    here = tmp_path / "here"
    for name, text in (("a.txt", "1"), ("deep/b c.txt", "2"), ("deep/er/ü.txt", "3")):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(text)
    (here / "large").write_bytes(b"x" * 9 * 1024 * 1024)  # above the command line's threshold: several parts

    def s3(*arguments: str) -> str:
        assert AWS
        done = subprocess.run(
            [AWS, "s3", *arguments], env=environment(local, tmp_path), capture_output=True, text=True, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    s3("mb", f"s3://{bucket}")
    assert s3("sync", "here", f"s3://{bucket}/to").count("upload:") == 4
    assert s3("sync", "here", f"s3://{bucket}/to") == ""  # sizes and times agree
    assert f" {bucket}\n" in s3("ls")
    assert [line.split(maxsplit=1)[0] for line in s3("ls", f"s3://{bucket}/to/").splitlines()].count("PRE") == 1
    assert len(s3("ls", f"s3://{bucket}", "--recursive").splitlines()) == 4
    s3("cp", f"s3://{bucket}/to/deep", "back", "--recursive")
    assert (tmp_path / "back" / "er" / "ü.txt").read_text() == "3"
    s3("mv", f"s3://{bucket}/to/large", f"s3://{bucket}/moved")
    s3("cp", f"s3://{bucket}/moved", "large")
    assert (tmp_path / "large").read_bytes() == (here / "large").read_bytes()
    s3("rm", f"s3://{bucket}", "--recursive")
    s3("rb", f"s3://{bucket}")


@pytest.mark.slow
def test_the_sagemaker_sdk(local: Local, tmp_path: Path) -> None:
    pytest.importorskip("sagemaker.core.helper.session_helper", reason="the sagemaker SDK is not installed")
    (tmp_path / "config.yaml").write_text(SDK_CONFIG)
    (tmp_path / "data" / "deep").mkdir(parents=True)
    (tmp_path / "data" / "deep" / "a.txt").write_text("woof")
    code = """
from sagemaker.core.helper.session_helper import Session
session = Session()
bucket = session.default_bucket()
uri = session.upload_data("data", key_prefix="sets")
print(bucket, uri, session.list_s3_files(bucket, "sets"), session.read_s3_file(bucket, "sets/deep/a.txt"))
print(session.download_data("back", bucket, "sets"))
print(Session(default_bucket="another-bucket").default_bucket())
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment(local, tmp_path), "SAGEMAKER_USER_CONFIG_OVERRIDE": str(tmp_path / "config.yaml")},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "sagemaker-local s3://sagemaker-local/sets ['sets/deep/a.txt'] woof" in done.stdout
    assert (tmp_path / "back" / "deep" / "a.txt").read_text() == "woof"
    assert {item["Name"] for item in local.client("s3").list_buckets()["Buckets"]} >= {
        "sagemaker-local",
        "another-bucket",
    }
