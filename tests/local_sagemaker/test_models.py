"""Models: where their data comes from, packages, and several containers."""

from __future__ import annotations

import io
import socket
import tarfile
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_sagemaker import model_data
from local_sagemaker.errors import JobError
from local_sagemaker.hosting import Hosting
from local_sagemaker.logs import LogStore
from local_sagemaker.records import Records
from local_sagemaker.runner_choice import Runners
from local_sagemaker.runners import Mount
from local_sagemaker.settings import Settings

from .conftest import ROLE, Local, unique, wait_for
from .hosted import VERSION, ask, config, deployment_of, endpoint, log_of, packed, remove, settled, variant

# Adds its own name to what it is sent.
STAGE = """
class Stage(Handler):
    def do_POST(self):
        self.answer(200, self.body() + os.environ["STAGE"].encode())
serve(Stage)
"""


def source(uri: str, kind: str = "S3Prefix", compression: str = "None", **more: Any) -> dict[str, Any]:
    return {"S3DataSource": {"S3Uri": uri, "S3DataType": kind, "CompressionType": compression}, **more}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    directory = tmp_path / "data"
    directory.mkdir()
    (directory / "serve.py").write_text(VERSION)
    packed(VERSION, tmp_path / "model.tar.gz")
    return directory


def test_model_data_of_every_kind(data: Path, tmp_path: Path) -> None:
    archive, base = (tmp_path / "model.tar.gz").as_uri(), tmp_path / "ml"
    assert model_data.bring({"ModelDataUrl": archive}, base / "0", "us-east-1") == ()
    assert model_data.bring({"ModelDataSource": source(archive, "S3Object", "Gzip")}, base / "1", "us-east-1") == ()
    single = {"ModelDataSource": source((data / "serve.py").as_uri(), "S3Object")}
    assert model_data.bring(single, base / "2", "us-east-1") == ()
    assert [(base / str(n) / "model" / "serve.py").read_text() for n in range(3)] == [VERSION] * 3
    mounted = model_data.bring({"ModelDataSource": source(data.as_uri() + "/")}, base / "3", "us-east-1")
    assert mounted == (Mount(data, "model"),)
    more = [source(archive, "S3Object", "Gzip", ChannelName="adapter")]
    assert model_data.bring({"AdditionalModelDataSources": more}, base / "4", "us-east-1") == ()
    assert (base / "4" / "additional-model-data-sources" / "adapter" / "serve.py").is_file()
    assert list((base / "4" / "model").iterdir()) == []


def test_model_data_that_is_not_there_or_no_archive(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r'Failed to download model data from URL: "file:///nowhere/m\.tar\.gz"'):
        model_data.bring({"ModelDataUrl": "file:///nowhere/m.tar.gz"}, tmp_path / "0", "us-east-1")
    escape = tmp_path / "escape.tar.gz"
    with tarfile.open(escape, "w:gz") as tar:
        member = tarfile.TarInfo("../../outside")
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(JobError, match=r"valid tar.gz archive.*outside"):
        model_data.bring({"ModelDataUrl": escape.as_uri()}, tmp_path / "1", "us-east-1")
    assert not (tmp_path / "outside").exists()


def test_a_directory_of_this_machine_is_served_also_when_the_container_is_started_again(
    local: Local, data: Path
) -> None:
    name = unique("model")
    container = {"Image": "process", "ModelDataSource": source(data.as_uri() + "/"), "Environment": {"VERSION": "v1"}}
    local.sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
    deployed = endpoint(local, config(local, variant(name, InitialInstanceCount=2)))
    before = {ask(local, deployed) for _ in range(2)}
    with pytest.raises(local.client("sagemaker-runtime").exceptions.ModelError):
        ask(local, deployed, b"crash")
    wait_for(lambda: log_of(local, deployed), lambda lines: any("(restart 1)" in line for line in lines))
    after = wait_for(lambda: {ask(local, deployed) for _ in range(2)}, lambda answers: len(answers) == 2)
    assert len(after & before) == 1
    remove(local, deployed)
    assert (data / "serve.py").is_file()


def test_model_data_in_s3(local: Local, data: Path) -> None:
    s3, bucket = local.client("s3"), unique("models")
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.upload_file(str(data.parent / "model.tar.gz"), bucket, "packed/model.tar.gz")
    s3.upload_file(str(data / "serve.py"), bucket, "plain/serve.py")
    for container in (
        {"ModelDataUrl": f"s3://{bucket}/packed/model.tar.gz"},
        {"ModelDataSource": source(f"s3://{bucket}/plain/")},
    ):
        name = unique("model")
        complete = {"Image": "process", "Environment": {"VERSION": "v1"}, **container}
        local.sagemaker.create_model(ModelName=name, PrimaryContainer=complete, ExecutionRoleArn=ROLE)
        deployed = endpoint(local, config(local, variant(name)))
        assert ask(local, deployed).startswith("v1 ")
        remove(local, deployed)
    name = unique("model")
    nowhere = {"Image": "process", "ModelDataUrl": f"s3://{bucket}/nowhere.tar.gz"}
    local.sagemaker.create_model(ModelName=name, PrimaryContainer=nowhere, ExecutionRoleArn=ROLE)
    failed = unique("endpoint")
    local.sagemaker.create_endpoint(EndpointName=failed, EndpointConfigName=config(local, variant(name)))
    assert "Failed to download model data from URL" in settled(local, failed)["FailureReason"]
    remove(local, failed)


def test_model_data_that_does_not_arrive(process_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records, settings = Records(tmp_path / "state"), Settings(tmp_path / "state")
    hosting = Hosting(records, LogStore(tmp_path / "logs"), Runners(process_path), settings)
    container = {"Image": "process", "ModelDataUrl": "s3://bucket/model.tar.gz"}
    deployed = deployment_of(container, ModelDataDownloadTimeoutInSeconds=1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{silent.getsockname()[1]}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "any")
        hosting.submit({"EndpointName": "e", "EndpointConfigName": "c"}, deployed, "us-east-1")
        record = wait_for(lambda: records.get("endpoints", "e"), lambda record: record["EndpointStatus"] == "Failed")
    assert "production variant A did not arrive within 1 s" in record["FailureReason"]


def test_a_model_of_a_package(local: Local, data: Path) -> None:
    specification = {
        "Containers": [
            {
                "Image": "process",
                "ModelDataUrl": (data.parent / "model.tar.gz").as_uri(),
                "Environment": {"VERSION": "packaged", "OTHER": "1"},
            }
        ],
        "SupportedContentTypes": ["text/plain"],
        "SupportedResponseMIMETypes": ["text/plain"],
    }
    package, name = unique("package"), unique("model")
    arn = local.sagemaker.create_model_package(
        ModelPackageName=package, InferenceSpecification=specification, ModelPackageDescription="x"
    )["ModelPackageArn"]
    local.sagemaker.create_model(ModelName=name, Containers=[{"ModelPackageName": arn}], ExecutionRoleArn=ROLE)
    assert local.sagemaker.describe_model(ModelName=name)["Containers"] == [{"ModelPackageName": arn}]
    deployed = endpoint(local, config(local, variant(name)))
    assert ask(local, deployed).startswith("packaged ")
    remove(local, deployed)
    with pytest.raises(ClientError, match="does not exist"):
        container = {"ModelPackageName": f"{arn}-nobody"}
        local.sagemaker.create_model(ModelName=unique("m"), PrimaryContainer=container, ExecutionRoleArn=ROLE)


def test_several_containers_in_a_row_or_each_by_its_name(local: Local, tmp_path: Path) -> None:
    archive = packed(STAGE, tmp_path / "stage.tar.gz").as_uri()
    containers = [
        {"Image": "process", "ModelDataUrl": archive, "ContainerHostname": name, "Environment": {"STAGE": f"-{name}"}}
        for name in ("first", "second", "third")
    ]
    serial, direct = unique("serial"), unique("direct")
    local.sagemaker.create_model(ModelName=serial, Containers=containers, ExecutionRoleArn=ROLE)
    name = endpoint(local, config(local, variant(serial)))
    assert ask(local, name, b"x") == "x-first-second-third"
    streams = local.client("logs").describe_log_streams(logGroupName=f"/aws/sagemaker/Endpoints/{name}")["logStreams"]
    assert [stream["logStreamName"].rpartition("/")[2] for stream in streams] == ["first", "second", "third"]
    remove(local, name)

    how = {"InferenceExecutionConfig": {"Mode": "Direct"}}
    local.sagemaker.create_model(ModelName=direct, Containers=containers, ExecutionRoleArn=ROLE, **how)
    name = endpoint(local, config(local, variant(direct)))
    assert ask(local, name, b"x", TargetContainerHostname="second") == "x-second"
    remove(local, name)


@pytest.mark.parametrize(
    ("container", "message"),
    [
        ({"ModelDataSource": source("file:///nowhere/")}, "Could not find model data at file:///nowhere/"),
        ({"ModelDataSource": source("s3://b/p")}, "must end with a forward slash"),
        (
            {"ModelDataSource": source("s3://b/p/", compression="Gzip")},
            "CompressionType Gzip is for S3DataType S3Object",
        ),
        (
            {"ModelDataSource": source("s3://b/p/"), "ModelDataUrl": "s3://b/m.tar.gz"},
            "ModelDataUrl or ModelDataSource",
        ),
        ({"Mode": "MultiModel", "ModelDataUrl": "file:///nowhere/"}, "Could not find model data at file:///nowhere/"),
    ],
)
def test_model_data_that_is_refused(local: Local, container: dict[str, Any], message: str) -> None:
    with pytest.raises(ClientError, match=message):
        local.sagemaker.create_model(
            ModelName="a", PrimaryContainer={"Image": "process", **container}, ExecutionRoleArn=ROLE
        )


def test_isolation_needs_an_image(local: Local) -> None:
    with pytest.raises(ClientError, match="EnableNetworkIsolation with the image 'process'"):
        local.sagemaker.create_model(
            ModelName="a", PrimaryContainer={"Image": "process"}, ExecutionRoleArn=ROLE, EnableNetworkIsolation=True
        )
