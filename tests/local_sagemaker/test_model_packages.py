"""The model registry and the tags of what is in it, through boto3."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from .conftest import Local, unique

SPECIFICATION = {
    "Containers": [{"Image": "process", "ModelDataUrl": "s3://models/a.tar.gz", "Environment": {"A": "1"}}],
    "SupportedContentTypes": ["image/jpeg"],
    "SupportedResponseMIMETypes": ["application/json"],
}


@pytest.fixture
def group(local: Local) -> str:
    name = unique("dogs")
    created = local.sagemaker.create_model_package_group(ModelPackageGroupName=name)
    assert created["ModelPackageGroupArn"].endswith(f":model-package-group/{name}")
    return name


def register(local: Local, group: str, **more: Any) -> str:
    request = {"ModelPackageGroupName": group, "InferenceSpecification": SPECIFICATION, **more}
    return str(local.sagemaker.create_model_package(**request)["ModelPackageArn"])


def test_versions_are_numbered_approved_and_listed(local: Local, group: str) -> None:
    first, second = register(local, group), register(local, group, ModelPackageDescription="better")
    assert first.endswith(f":model-package/{group}/1")
    assert second.endswith(f":model-package/{group}/2")
    described = local.sagemaker.describe_model_package(ModelPackageName=first)
    assert described["ModelApprovalStatus"] == "PendingManualApproval"
    assert described["ModelPackageStatus"] == "Completed"
    assert described["InferenceSpecification"] == SPECIFICATION

    local.sagemaker.update_model_package(
        ModelPackageArn=second,
        ModelApprovalStatus="Approved",
        ApprovalDescription="91 %",
        CustomerMetadataProperties={"who": "me", "why": "accuracy"},
    )
    local.sagemaker.update_model_package(ModelPackageArn=second, CustomerMetadataPropertiesToRemove=["why"])
    described = local.sagemaker.describe_model_package(ModelPackageName=second)
    assert (described["ModelApprovalStatus"], described["ApprovalDescription"]) == ("Approved", "91 %")
    assert described["CustomerMetadataProperties"] == {"who": "me"}

    def listed(**more: Any) -> list[str]:
        found = local.sagemaker.list_model_packages(**more)["ModelPackageSummaryList"]
        return [package["ModelPackageArn"] for package in found]

    assert listed(ModelPackageGroupName=group, SortOrder="Ascending") == [first, second]
    assert listed(ModelPackageGroupName=group, ModelApprovalStatus="Approved") == [second]
    pages = local.sagemaker.get_paginator("list_model_packages").paginate(
        ModelPackageGroupName=group, PaginationConfig={"PageSize": 1}
    )
    assert [len(page["ModelPackageSummaryList"]) for page in pages] == [1, 1]

    local.sagemaker.delete_model_package(ModelPackageName=second)
    assert register(local, group).endswith("/3")  # a number is never given twice


def test_a_repeated_request_registers_once(local: Local, group: str) -> None:
    assert register(local, group, ClientToken="t" * 36) == register(local, group, ClientToken="t" * 36)


def test_a_package_without_a_group(local: Local) -> None:
    name = unique("alone")
    local.sagemaker.create_model_package(ModelPackageName=name, InferenceSpecification=SPECIFICATION)
    described = local.sagemaker.describe_model_package(ModelPackageName=name)
    assert described["ModelPackageName"] == name
    assert "ModelApprovalStatus" not in described
    found = local.sagemaker.list_model_packages(NameContains=name.upper())["ModelPackageSummaryList"]
    assert [package["ModelPackageName"] for package in found] == [name]


def test_a_group_goes_when_it_is_empty(local: Local, group: str) -> None:
    package = register(local, group)
    with pytest.raises(ClientError, match=r"\(ConflictException\).*has model packages"):
        local.sagemaker.delete_model_package_group(ModelPackageGroupName=group)
    local.sagemaker.delete_model_package(ModelPackageName=package)
    local.sagemaker.delete_model_package_group(ModelPackageGroupName=group)
    with pytest.raises(ClientError, match=r"\(ValidationException\).*does not exist"):
        local.sagemaker.describe_model_package_group(ModelPackageGroupName=group)


def test_groups_have_tags(local: Local) -> None:
    name = unique("tagged")
    arn = local.sagemaker.create_model_package_group(
        ModelPackageGroupName=name, Tags=[{"Key": "team", "Value": "vision"}]
    )["ModelPackageGroupArn"]
    package = register(local, name)
    for resource, tags in ((arn, ["team", "more"]), (package, ["more"])):
        local.sagemaker.add_tags(ResourceArn=resource, Tags=[{"Key": "more", "Value": "1"}])
        assert [tag["Key"] for tag in local.sagemaker.list_tags(ResourceArn=resource)["Tags"]] == tags


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ModelPackageGroupName": "none-of-that-name"}, "ModelPackageGroup .* does not exist"),
        ({"ModelPackageName": "both"}, "either ModelPackageName or ModelPackageGroupName"),
        ({"Tags": [{"Key": "a", "Value": "b"}]}, "tags of its group"),
        ({"ModelApprovalStatus": "Perhaps"}, "enum value set"),
        ({"SourceAlgorithmSpecification": {"SourceAlgorithms": [{"AlgorithmName": "a"}]}}, "does not do SourceAlg"),
        ({"InferenceSpecification": {}}, "must not be null"),
    ],
)
def test_what_cannot_be_registered(local: Local, group: str, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ClientError, match=rf"(?s)\(ValidationException\).*{message}"):
        register(local, group, **change)


def test_names_of_nothing(local: Local, group: str) -> None:
    arn = f"arn:aws:sagemaker:eu-west-1:000000000000:model-package/{group}/7"
    for operation, parameters in (
        ("describe_model_package", {"ModelPackageName": arn}),
        ("update_model_package", {"ModelPackageArn": arn, "ModelApprovalStatus": "Approved"}),
        ("delete_model_package", {"ModelPackageName": arn}),
    ):
        with pytest.raises(ClientError, match=rf"\(ValidationException\).*{group}/7 does not exist"):
            getattr(local.sagemaker, operation)(**parameters)
    with pytest.raises(ClientError, match="already exists"):
        local.sagemaker.create_model_package_group(ModelPackageGroupName=group)
