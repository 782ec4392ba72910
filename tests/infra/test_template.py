"""The template: cfn-lint, and the stack that moto makes of it.

moto's CloudFormation (5.2) makes no bucket policies and no CodeBuild projects, and leaves out most of a bucket, a
repository's lifecycle, scans and encryption, and the managed policies of a role: those are read from the template.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cfnlint import decode  # type: ignore[import-untyped]

from infra.permissions import resource_types
from orchestrate import registry

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse AWS")

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "infra" / "template.yaml"
ACCOUNT = "123456789012"


@pytest.fixture(scope="module")
def resources() -> dict[str, dict[str, Any]]:
    """Logical id -> properties, with CloudFormation's functions as they are."""
    template, errors = decode.decode(str(TEMPLATE))
    assert not errors and template
    return {name: resource["Properties"] for name, resource in template["Resources"].items()}


def test_cfn_lint() -> None:
    command = Path(sys.executable).with_name("cfn-lint")
    done = subprocess.run(
        [command, "--include-checks", "I", "--", TEMPLATE], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_outputs_fill_in_the_scripts_options(stack: Any) -> None:
    bucket = f"kennel-{ACCOUNT}-eu-west-1"
    assert stack.outputs["BucketName"] == stack.resources["Bucket"] == bucket
    assert stack.outputs["RepositoryUri"] == f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/kennel"
    role = stack.client("iam").get_role(RoleName=stack.resources["ExecutionRole"])["Role"]
    assert stack.outputs["ExecutionRoleArn"] == role["Arn"]
    assert stack.outputs["ScriptsPolicyArn"] == stack.resources["ScriptsPolicy"]
    assert stack.outputs["PushPolicyArn"] == stack.resources["PushPolicy"]
    assert stack.outputs["CarePolicyArn"] == stack.resources["CarePolicy"]


def test_names_of_your_own(deploy: Any) -> None:
    own = deploy("other", BucketName="a-bucket-of-dogs", RepositoryName="dogs/kennel")
    assert own.resources["Bucket"] == "a-bucket-of-dogs"
    (objects,) = [s for s in own.managed_policy("ScriptsPolicy")["Statement"] if s["Sid"] == "Download"]
    assert objects["Resource"] == "arn:aws:s3:::a-bucket-of-dogs/*"
    (push,) = [s for s in own.managed_policy("PushPolicy")["Statement"] if s["Sid"] == "Push"]
    assert push["Resource"] == f"arn:aws:ecr:eu-west-1:{ACCOUNT}:repository/dogs/kennel"


def test_the_bucket_is_encrypted_and_private(stack: Any, resources: dict[str, Any]) -> None:
    rules = stack.client("s3").get_bucket_encryption(Bucket=stack.resources["Bucket"])
    (rule,) = rules["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    bucket = resources["Bucket"]
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert all(value is True for value in bucket["PublicAccessBlockConfiguration"].values())
    assert bucket["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    (statement,) = resources["BucketPolicy"]["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert len(statement["Resource"]) == 2  # the bucket and its objects


def test_the_bucket_forgets_runs_and_keeps_data(resources: dict[str, Any]) -> None:
    rules = {rule["Id"]: rule for rule in resources["Bucket"]["LifecycleConfiguration"]["Rules"]}
    assert all(rule["Status"] == "Enabled" for rule in rules.values())
    assert resources["Bucket"]["VersioningConfiguration"]["Status"] == "Enabled"
    expiring = [rule for rule in rules.values() if "ExpirationInDays" in rule]
    assert [rule["Prefix"] for rule in expiring] == ["kennel/kennel-"]
    assert rules["expire-overwritten"]["NoncurrentVersionExpiration"]["NoncurrentDays"] > 0
    assert rules["abort-unfinished-uploads"]["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] > 0


def test_the_repository_is_what_build_makes_where_there_is_none(stack: Any, resources: dict[str, Any]) -> None:
    name, repository = stack.resources["Repository"], resources["Repository"]
    wanted = registry.requests(name)
    asked = wanted["CreateRepository"]
    (made,) = stack.client("ecr").describe_repositories(repositoryNames=[name])["repositories"]
    assert made["imageTagMutability"] == asked["imageTagMutability"] == "IMMUTABLE"
    assert repository["EncryptionConfiguration"] == {"EncryptionType": "AES256"}
    assert asked["encryptionConfiguration"] == {"encryptionType": "AES256"}
    assert repository["ImageScanningConfiguration"] == {"ScanOnPush": True}
    assert asked["imageScanningConfiguration"] == {"scanOnPush": True}
    lifecycle = repository["LifecyclePolicy"]["LifecyclePolicyText"]["Fn::Sub"].replace("${ImagesKept}", "20")
    assert json.loads(lifecycle) == json.loads(wanted["PutLifecyclePolicy"]["lifecyclePolicyText"])


def test_the_build_is_privileged_cached_and_logged(stack: Any, resources: dict[str, Any]) -> None:
    build = resources["Build"]
    assert build["Source"]["BuildSpec"] == "buildspec.yml"
    assert build["Environment"]["PrivilegedMode"] is True
    assert build["Cache"] == {"Type": "LOCAL", "Modes": ["LOCAL_DOCKER_LAYER_CACHE", "LOCAL_SOURCE_CACHE"]}
    assert {v["Name"]: v["Value"] for v in build["Environment"]["EnvironmentVariables"]} == {
        "KENNEL_REPOSITORY": {"Ref": "Repository"}
    }
    assert "KENNEL_REPOSITORY" in yaml.safe_load((ROOT / "buildspec.yml").read_text())["env"]["variables"]
    assert build["LogsConfig"]["CloudWatchLogs"]["GroupName"] == {"Ref": "BuildLogs"}
    (group,) = stack.client("logs").describe_log_groups(logGroupNamePrefix=stack.resources["BuildLogs"])["logGroups"]
    assert group["retentionInDays"] == 30


@pytest.mark.parametrize(("role", "service"), [("ExecutionRole", "sagemaker"), ("BuildRole", "codebuild")])
def test_a_role_is_for_its_service_acting_for_this_account(stack: Any, role: str, service: str) -> None:
    made = stack.client("iam").get_role(RoleName=stack.resources[role])["Role"]
    (statement,) = made["AssumeRolePolicyDocument"]["Statement"]
    assert statement == {
        "Effect": "Allow",
        "Principal": {"Service": f"{service}.amazonaws.com"},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"aws:SourceAccount": ACCOUNT}},
    }


def test_the_build_role_can_push(resources: dict[str, Any]) -> None:
    assert resources["BuildRole"]["ManagedPolicyArns"] == [{"Ref": "PushPolicy"}]


def _grants(resources: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for properties in resources.values():
        documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
        for document in [*documents, *filter(None, [properties.get("PolicyDocument")])]:
            yield from (s for s in document["Statement"] if s["Effect"] == "Allow")


def test_everything_granted_is_named(resources: dict[str, Any]) -> None:
    """No wildcard among the actions, and no resource `*` where an action takes a narrower one or a condition."""
    grants = list(_grants(resources))
    assert len(grants) > 20
    for statement in grants:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        assert not [action for action in actions if "*" in action]
        if statement["Resource"] == "*" and "Condition" not in statement:
            assert not [action for action in actions if resource_types(action)], statement["Sid"]


def test_a_managed_policy_is_not_longer_than_iam_takes(deploy: Any) -> None:
    """6,144 characters, https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html; elsewhere too."""
    longest = deploy("longest", BucketName="b" * 63, RepositoryName="kennel-of-a-long-name")
    for policy in ("ScriptsPolicy", "CarePolicy", "PushPolicy"):
        text = json.dumps(longest.managed_policy(policy), separators=(",", ":"))
        text = text.replace("eu-west-1", "us-gov-west-1").replace("arn:aws:", "arn:aws-us-gov:")
        assert len(text) <= 6144, policy


def test_every_statement_says_who_needs_it() -> None:
    lines = TEMPLATE.read_text().splitlines()
    at = [number for number, line in enumerate(lines) if re.match(r" +- Sid: ", line)]
    assert len(at) > 20
    assert [lines[n] for n in at if not lines[n - 1].lstrip().startswith("# ")] == []
