"""Files by URI, on this machine and (with moto in AWS's place) on S3; and the session on AWS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from orchestrate import channels, options
from orchestrate.channels import Weights
from orchestrate.errors import InputError
from orchestrate.session import Session, open_session
from orchestrate.storage import Storage, check_uri, child, local_path

ROLE = "arn:aws:iam::123456789012:role/kennel"
BUCKET = "sagemaker-eu-west-1-123456789012"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_PROFILE", "KENNEL_ROLE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with mock_aws():
        yield


def on_aws(*arguments: str) -> Session:
    return open_session(options.parser(None).parse_args(["--region", "eu-west-1", *arguments]))


def bucket(name: str) -> None:
    boto3.client("s3", region_name="eu-west-1").create_bucket(
        Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )


@pytest.fixture(params=["file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, aws: None) -> tuple[Storage, str]:
    """A storage, and a URI under which nothing is."""
    if request.param == "s3":
        bucket("a-bucket")
        return on_aws("--role", ROLE).storage, "s3://a-bucket/some/where"
    return Storage(lambda: pytest.fail("no S3 is needed")), (tmp_path / "some where").as_uri()


def test_files_by_uri(place: tuple[Storage, str], tmp_path: Path) -> None:
    storage, root = place
    assert not storage.has_any(root)
    assert storage.size(child(root, "a")) is None
    names = ["a", "b/100% sure?.txt", "b/c#d.txt"]
    for name in names:
        storage.write(name.encode(), child(root, name))
    storage.write(b"a neighbour", root + "-else")
    assert sorted(storage.list(root)) == [(name, len(name)) for name in names]
    for name in names:
        storage.download(child(root, name), tmp_path / "down" / name)
        assert (tmp_path / "down" / name).read_text() == name
    storage.upload(tmp_path / "down" / "a", child(root, "z"))
    assert storage.size(child(root, "z")) == 1
    with pytest.raises(InputError, match="there is no file at"):
        storage.download(child(root, "y"), tmp_path / "y")


@pytest.mark.parametrize("uri", ["s3://", "s3:///key", "file://relative/path", "https://host/data", "bucket/key"])
def test_no_uri(uri: str) -> None:
    with pytest.raises(InputError, match="no location that can be used"):
        check_uri(uri)


def test_a_folder_here_is_not_copied_for_here(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    uri = Storage(lambda: None).publish(tmp_path / "a b", "file:///anywhere")
    assert local_path(uri) == tmp_path / "a b"


def test_a_data_set_is_uploaded_once(aws: None, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = on_aws("--role", ROLE)
    assert session.root == f"s3://{BUCKET}/kennel"
    with pytest.raises(InputError, match=f"aws s3 mb s3://{BUCKET}"):
        channels.publish(session, str(data), Weights())
    bucket(BUCKET)
    inputs = channels.publish(session, str(data), Weights())
    assert inputs["train"].startswith(f"s3://{BUCKET}/kennel/data/")
    assert len(list(session.storage.list(inputs["train"]))) == 12
    monkeypatch.setattr(session.storage, "upload", lambda *_: pytest.fail("it is there already"))
    assert channels.publish(session, str(data), Weights()) == inputs


def test_the_role_of_a_notebook_on_sagemaker(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="--role ARN or KENNEL_ROLE"):
        on_aws().require_role()
    monkeypatch.setenv("KENNEL_ROLE", ROLE)
    assert on_aws().role == ROLE
    monkeypatch.delenv("KENNEL_ROLE")
    name = "AmazonSageMaker-ExecutionRole-20260101T000000"
    assumed = boto3.client("sts", region_name="eu-west-1").assume_role(
        RoleArn=f"arn:aws:iam::123456789012:role/service-role/{name}", RoleSessionName="SageMaker"
    )["Credentials"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", assumed["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", assumed["SecretAccessKey"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", assumed["SessionToken"])
    assert on_aws().role == f"arn:aws:iam::123456789012:role/service-role/{name}"
