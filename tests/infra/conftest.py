"""AWS in the test's hands: moto's server with the stack in it, and a local SageMaker whose S3 is moto's."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from moto.server import ThreadedMotoServer

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "infra" / "template.yaml"
REGION = "eu-west-1"
CREDENTIALS = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}


@dataclass(frozen=True)
class Stack:
    """`url`: of moto's server; `resources`: logical -> physical id, of those that moto makes."""

    url: str
    outputs: dict[str, str]
    resources: dict[str, str]

    def client(self, service: str) -> Any:
        """boto3's client, of moto."""
        return boto3.client(service, region_name=REGION, endpoint_url=self.url, **CREDENTIALS)

    def managed_policy(self, logical: str) -> dict[str, Any]:
        """The document of a managed policy, every name in it filled in."""
        iam, arn = self.client("iam"), self.resources[logical]
        version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        document: dict[str, Any] = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
        return document

    def role_policy(self, logical: str, name: str) -> dict[str, Any]:
        """The document of a policy that is written into a role."""
        role = self.resources[logical]
        told = self.client("iam").get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        # moto (5.2) keeps what CloudFormation gives it as Python writes it instead of as JSON.
        document: dict[str, Any] = ast.literal_eval(told) if isinstance(told, str) else told
        return document


@pytest.fixture(scope="module")
def moto_url() -> Iterator[str]:
    """An empty AWS; no test beside these may use `mock_aws` while it runs, which would empty it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    requests.post(f"{url}/moto-api/reset", timeout=30).raise_for_status()
    yield url
    server.stop()


Deploy = Callable[..., Stack]


@pytest.fixture(scope="module")
def deploy(moto_url: str) -> Deploy:
    """Makes a stack of the template, of the given name and parameters."""

    def call(name: str = "kennel", **parameters: str) -> Stack:
        given = {"SourceLocation": "https://github.com/an-owner/a-repository", **parameters}
        made = Stack(moto_url, {}, {})
        cloudformation = made.client("cloudformation")
        cloudformation.create_stack(
            StackName=name,
            TemplateBody=TEMPLATE.read_text(),
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
            Capabilities=["CAPABILITY_IAM"],
        )
        (told,) = cloudformation.describe_stacks(StackName=name)["Stacks"]
        made.outputs.update({o["OutputKey"]: o["OutputValue"] for o in told["Outputs"]})
        listed = cloudformation.describe_stack_resources(StackName=name)["StackResources"]
        made.resources.update(
            {r["LogicalResourceId"]: r["PhysicalResourceId"] for r in listed if "LogicalResourceId" in r}
        )
        return made

    return call


@pytest.fixture(scope="module")
def stack(deploy: Deploy) -> Stack:
    """A stack of the template's own defaults."""
    return deploy()
