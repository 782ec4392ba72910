"""STS and IAM over the query protocol: what the SDKs ask before they start a job."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from botocore.exceptions import ClientError

from .conftest import ROLE, Local
from .test_clients import environment


def test_the_caller_is_a_session_of_a_role(local: Local) -> None:
    caller = local.client("sts").get_caller_identity()
    assert caller["Account"] == "000000000000"
    assert caller["Arn"] == "arn:aws:sts::000000000000:assumed-role/local-sagemaker/local"


def test_credentials_are_given(local: Local) -> None:
    given = local.client("sts").assume_role(RoleArn=ROLE, RoleSessionName="mine", DurationSeconds=900)
    assert given["AssumedRoleUser"]["Arn"].endswith(":assumed-role/anyone/mine")
    token = local.client("sts").get_session_token()["Credentials"]
    assert given["Credentials"]["Expiration"] < token["Expiration"]


def test_a_role_trusts_sagemaker_and_may_do_everything(local: Local) -> None:
    iam = local.client("iam")
    role = iam.get_role(RoleName="any")["Role"]
    assert role["Arn"] == "arn:aws:iam::000000000000:role/any"
    assert "sagemaker.amazonaws.com" in role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"]["Service"]
    assert iam.list_attached_role_policies(RoleName="any")["AttachedPolicies"][0]["PolicyName"] == "AdministratorAccess"
    assert iam.list_role_policies(RoleName="any")["PolicyNames"] == []
    actions = [f"s3:Action{number}" for number in range(7)]
    pages = iam.get_paginator("simulate_principal_policy").paginate(
        PolicySourceArn=ROLE,
        ActionNames=actions,
        ResourceArns=["arn:aws:s3:::a", "arn:aws:s3:::b"],
        PaginationConfig={"PageSize": 5},
    )
    found = [result for page in pages for result in page["EvaluationResults"]]
    assert [result["EvalActionName"] for result in found] == [action for action in actions for _ in range(2)]
    assert {result["EvalDecision"] for result in found} == {"allowed"}


@pytest.mark.parametrize(
    ("service", "operation", "parameters", "refusal"),
    [
        ("iam", "get_role", {"RoleName": "a b"}, r"\(ValidationError\).*regular expression"),
        ("iam", "get_role", {}, r"\(ValidationError\).*must not be null"),
        ("iam", "create_role", {"RoleName": "a", "AssumeRolePolicyDocument": "{}"}, r"does not do iam:CreateRole"),
        ("sts", "assume_role", {"RoleArn": ROLE, "RoleSessionName": "a", "DurationSeconds": 1}, "equal to 900"),
        ("sts", "assume_role", {"RoleArn": ROLE, "RoleSessionName": "a", "DurationSeconds": "x"}, "cannot be read"),
    ],
)
def test_bad_input(local: Local, service: str, operation: str, parameters: dict[str, Any], refusal: str) -> None:
    with pytest.raises(ClientError, match=refusal):
        getattr(local.client(service), operation)(**parameters)


def test_a_form_of_nothing(local: Local) -> None:
    for form in (b"", b"Action=GetRole&Version=2010-05-08&RoleName.member.x=1", b"Action=Nonsense&Version=2011-06-15"):
        request = Request(local.url + "/", form, {"Content-Type": "application/x-www-form-urlencoded"})
        with pytest.raises(OSError, match="HTTP Error 400"):
            urlopen(request)


@pytest.mark.slow
def test_the_sdk_validates_its_role(local: Local, tmp_path: Path) -> None:
    """ModelTrainer's own check of the role, and the execution role of nobody in particular."""
    pytest.importorskip("sagemaker.core.helper.iam_role_resolver", reason="the sagemaker SDK is not installed")
    code = """
from sagemaker.core.helper.iam_role_resolver import resolve_and_validate_role
from sagemaker.core.helper.session_helper import Session
session = Session()
print(resolve_and_validate_role("anyone", "training", session), resolve_and_validate_role(None, "training", session))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(local, tmp_path), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [f"arn:aws:iam::000000000000:role/{name}" for name in ("anyone", "local-sagemaker")]
