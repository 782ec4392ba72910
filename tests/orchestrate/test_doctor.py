"""The doctor: each thing that it looks at, well and ill; and the whole of it as a person runs it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.server import ThreadedMotoServer

from json_aws import serving
from orchestrate import doctor_aws
from orchestrate.doctor_aws import Wanted
from orchestrate.doctor_check import FAIL, OK, SKIP, WARN, Check

Run = Callable[..., "subprocess.CompletedProcess[str]"]
REGION = "eu-west-1"
IMAGE = f"123456789012.dkr.ecr.{REGION}.amazonaws.com/kennel"
WANTED = Wanted(
    REGION, "arn:aws:iam::123456789012:role/kennel", "a-bucket", f"{IMAGE}:1", {"training job usage": "ml.x"}
)
TRUST = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}]}  # fmt: skip
LIST = "ServiceQuotasV20190624.ListServiceQuotas"


class Simulating(boto3.Session):  # type: ignore[misc]
    """Answers SimulatePrincipalPolicy, which moto lacks. `denied`: actions; None: the caller may not ask."""

    denied: list[str] | None = None

    def client(self, service: str, **more: Any) -> Any:
        made = super().client(service, **more)
        if service == "iam":
            made.simulate_principal_policy = self._simulate
        return made

    def _simulate(self, ActionNames: list[str], **_: Any) -> dict[str, Any]:
        if self.denied is None:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "SimulatePrincipalPolicy")
        told = {a: "implicitDeny" if a in self.denied else "allowed" for a in ActionNames}
        return {"EvaluationResults": [{"EvalActionName": a, "EvalDecision": d} for a, d in told.items()]}


@pytest.fixture
def boto(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty account; what moto does not know is refused."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    with serving({}) as aws, mock_aws():
        monkeypatch.setenv("AWS_ENDPOINT_URL_SERVICE_QUOTAS", aws.url)
        yield Simulating(aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION)


def make_bucket(boto: Any, region: str = REGION) -> None:
    boto.client("s3", region_name=region).create_bucket(
        Bucket="a-bucket", CreateBucketConfiguration={"LocationConstraint": region}
    )


def make_role(boto: Any, service: str = "sagemaker") -> None:
    boto.client("iam").create_role(
        RoleName="kennel", AssumeRolePolicyDocument=json.dumps(TRUST).replace("sagemaker.", f"{service}.")
    )


def push(boto: Any, manifest: dict[str, Any]) -> None:
    ecr = boto.client("ecr")
    ecr.create_repository(repositoryName="kennel")
    ecr.put_image(repositoryName="kennel", imageManifest=json.dumps(manifest), imageTag="1")


def index(*architectures: str) -> dict[str, Any]:
    """Of images for several machines."""
    one = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 1}
    return {
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [one | {"digest": f"sha256:{n:064}", "platform": {"architecture": a, "os": "linux"}}
                      for n, a in enumerate(architectures)],
    }  # fmt: skip


def look(boto: Any, name: str, wanted: Wanted = WANTED) -> Check:
    return next(check for check in doctor_aws.checks(boto, wanted) if check.name == name)


def test_an_account_with_everything(boto: Any) -> None:
    make_bucket(boto)
    make_role(boto)
    push(boto, index("amd64"))
    assert look(boto, "bucket") == Check("bucket", OK, f"a-bucket in {REGION}")
    assert look(boto, "role").status == OK
    image = look(boto, "image")
    assert image.status == OK, image
    assert "0 days old, amd64" in image.found


def test_an_empty_account(boto: Any) -> None:
    found = {check.name: check for check in doctor_aws.checks(boto, WANTED)}
    assert {name: found[name].status for name in ("bucket", "role", "image")} == dict.fromkeys(
        ("bucket", "role", "image"), FAIL
    )
    assert "aws s3 mb s3://a-bucket" in found["bucket"].remedy
    assert "build.py" in found["image"].remedy


def test_a_bucket_of_another_region(boto: Any) -> None:
    make_bucket(boto, "eu-north-1")
    found = look(boto, "bucket")
    assert (found.status, "eu-north-1" in found.found) == (FAIL, True)


def test_a_role_that_sagemaker_may_not_take_on(boto: Any) -> None:
    make_role(boto, "lambda")
    assert "does not let SageMaker take it on" in look(boto, "role").found


@pytest.mark.parametrize(
    ("changed", "name", "status", "found"),
    [
        ({"role": None}, "role", FAIL, "none is named"),
        ({"role": "me"}, "role", FAIL, "is no role's ARN"),
        ({"image": None}, "image", WARN, "none is named"),
        ({"image": "kennel:latest"}, "image", FAIL, "is no image of ECR"),
        ({"image": IMAGE.replace(REGION, "us-east-1") + ":1"}, "image", FAIL, "is in us-east-1"),
    ],
)
def test_what_is_named_and_cannot_be_used(
    boto: Any, changed: dict[str, str | None], name: str, status: str, found: str
) -> None:
    check = look(boto, name, replace(WANTED, **changed))  # type: ignore[arg-type]  # each has that type
    assert check.status == status
    assert found in check.found
    assert check.remedy


def test_an_image_for_other_machines(boto: Any) -> None:
    push(boto, index("arm64"))
    found = look(boto, "image")
    assert (found.status, "arm64" in found.found) == (FAIL, True)


def test_quotas(boto: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert look(boto, "quota").status == SKIP, "who may not look is not told that something is broken"
    quotas = [{"QuotaName": "ml.x for training job usage", "QuotaCode": "L-1", "Value": 0.0},
              {"QuotaName": "ml.y for endpoint usage", "QuotaCode": "L-2", "Value": 4.0}]  # fmt: skip
    wanted = replace(
        WANTED, instances={"training job usage": "ml.x", "endpoint usage": "ml.y", "transform job usage": "z"}
    )
    with serving({LIST: {"Quotas": quotas}}) as aws:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SERVICE_QUOTAS", aws.url)
        found = [check for check in doctor_aws.checks(boto, wanted) if check.name == "quota"]
    assert [(c.status, c.found) for c in found] == [
        (FAIL, "ml.x for training job usage: 0"), (OK, "ml.y for endpoint usage: 4"),
        (SKIP, "z for transform job usage is not listed in eu-west-1"),
    ]  # fmt: skip
    assert (
        f"https://{REGION}.console.aws.amazon.com/servicequotas/home/services/sagemaker/quotas/L-1" in found[0].remedy
    )


def test_rights_that_the_role_lacks(boto: Any) -> None:
    assert look(boto, "role's rights").status == SKIP, "the caller may not look"
    boto.denied = ["s3:PutObject"]
    found = look(boto, "role's rights")
    assert (found.status, found.found) == (FAIL, "its policies do not allow s3:PutObject")
    boto.denied = []
    assert look(boto, "role's rights").status == OK


def test_this_machine_alone(run: Run, tmp_path: Path) -> None:
    done = run("doctor", "--local", "--json", KENNEL_INSTANCE_TYPE="ml.c5.xlarge")
    document = json.loads(done.stdout)
    assert done.returncode == (0 if document["ok"] else 1), done.stderr
    status = {check["name"]: check["status"] for check in document["checks"]}
    assert status["Python"] == OK
    assert status["local server"] == OK
    assert {"packages", "disk", "memory", "port", "Docker"} <= set(status)
    in_force = {s["name"]: (s["value"], s["source"]) for s in document["settings"]}
    assert in_force["instance-type"] == ("ml.c5.xlarge", "KENNEL_INSTANCE_TYPE")
    assert not (tmp_path / "runs").exists(), "the doctor starts nothing"


def test_without_credentials(run: Run) -> None:
    done = run("doctor")
    assert done.returncode == 1
    assert "none were found" in done.stdout
    assert "aws configure" in done.stdout
    assert "Traceback" not in done.stderr


def test_as_a_person_runs_it(run: Run, tmp_path: Path) -> None:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        (tmp_path / "kennel.toml").write_text('bucket = "nowhere"\n')
        done = run(
            "doctor", "--region", REGION, "--verbose", AWS_ENDPOINT_URL=f"http://{host}:{port}",
            AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test",
        )  # fmt: skip
    finally:
        server.stop()
    assert done.returncode == 1, done.stderr
    for told in ("account 123456789012", "nowhere does not exist", str(tmp_path / "kennel.toml"), "to mend"):
        assert told in done.stdout
    assert "aws s3 HeadBucket: 404" in done.stderr
    assert "Traceback" not in done.stderr
