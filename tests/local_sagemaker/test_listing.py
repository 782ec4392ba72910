"""List operations and tags."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_sagemaker import listing

from .conftest import ROLE, Local, unique

RECORDS = [
    {"TrainingJobName": name, "TrainingJobStatus": status, "CreationTime": time, "LastModifiedTime": time + 10}
    for time, (name, status) in enumerate([("b", "Completed"), ("Cat", "Failed"), ("a", "Completed"), ("d", "Failed")])
]


def names(**request: Any) -> list[str]:
    chosen, _ = listing.select(RECORDS, request, "TrainingJobName", "TrainingJobStatus")
    return [record["TrainingJobName"] for record in chosen]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({}, ["b", "Cat", "a", "d"]),
        ({"SortOrder": "Descending"}, ["d", "a", "Cat", "b"]),
        ({"SortBy": "Name"}, ["Cat", "a", "b", "d"]),
        ({"SortBy": "Status"}, ["a", "b", "Cat", "d"]),
        ({"NameContains": "A"}, ["Cat", "a"]),
        ({"StatusEquals": "Failed"}, ["Cat", "d"]),
        ({"CreationTimeAfter": 1}, ["a", "d"]),
        ({"CreationTimeBefore": 1}, ["b"]),
        ({"LastModifiedTimeAfter": 10, "LastModifiedTimeBefore": 13}, ["Cat", "a"]),
        ({"MaxResults": 2}, ["b", "Cat"]),
    ],
)
def test_filters_and_order(request_: dict[str, Any], expected: list[str]) -> None:
    assert names(**request_) == expected


def test_a_page_goes_on_where_the_last_one_ended_although_items_come_and_go() -> None:
    chosen, token = listing.page(["b", "d", "f"], None, 2, str)
    assert chosen == ["b", "d"]
    assert listing.page(["a", "b", "c", "d", "e", "f"], token, 2, str) == (["e", "f"], None)
    assert listing.page(["b", "e", "f"], token, 2, str) == (["f"], None)  # d is gone
    assert listing.page(["a"], None, 2, str) == (["a"], None)


@pytest.mark.parametrize("token", ["", "?", "bm90IGpzb24=", "WzEsMiwzXQ=="])
def test_a_token_of_somebody_else_is_refused(local: Local, token: str) -> None:
    with pytest.raises(ClientError, match=r"token"):
        local.sagemaker.list_models(NextToken=token or "=")


def test_pages_through_boto3(local: Local) -> None:
    mine = [unique("listed") for _ in range(5)]
    for name in mine:
        local.sagemaker.create_model(ModelName=name, PrimaryContainer={"Image": "process"}, ExecutionRoleArn=ROLE)
    pages = local.sagemaker.get_paginator("list_models").paginate(
        NameContains="LISTED", PaginationConfig={"PageSize": 2}
    )
    found = [[model["ModelName"] for model in page["Models"]] for page in pages]
    assert [len(page) for page in found] == [2, 2, 1]
    assert [name for page in found for name in page] == mine[::-1]  # models come newest first
    for name in mine:
        local.sagemaker.delete_model(ModelName=name)
    assert local.sagemaker.list_models(NameContains="listed")["Models"] == []


def test_a_list_of_training_jobs(local: Local) -> None:
    good, bad = local.train("pass"), local.train("raise SystemExit(1)")
    for name in (good, bad):
        local.finished(name)
    (summary,) = local.sagemaker.list_training_jobs(NameContains=bad, StatusEquals="Failed")["TrainingJobSummaries"]
    assert summary["TrainingJobName"] == bad
    assert summary["TrainingEndTime"] >= summary["CreationTime"]
    assert local.sagemaker.list_training_jobs(NameContains=good, StatusEquals="Failed")["TrainingJobSummaries"] == []


def test_tags(local: Local) -> None:
    name = local.train("pass", Tags=[{"Key": "project", "Value": "kennel"}])
    arn = local.finished(name)["TrainingJobArn"]

    def tags() -> dict[str, str]:
        return {tag["Key"]: tag["Value"] for tag in local.sagemaker.list_tags(ResourceArn=arn)["Tags"]}

    assert tags() == {"project": "kennel"}
    local.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "project", "Value": "dogs"}, {"Key": "run", "Value": "1"}])
    assert tags() == {"project": "dogs", "run": "1"}
    local.sagemaker.delete_tags(ResourceArn=arn, TagKeys=["project"])
    assert tags() == {"run": "1"}
    many = [{"Key": str(number), "Value": ""} for number in range(50)]
    with pytest.raises(local.sagemaker.exceptions.ResourceLimitExceeded, match="at most 50 tags"):
        local.sagemaker.add_tags(ResourceArn=arn, Tags=many)


@pytest.mark.parametrize(
    ("arn", "message"),
    [
        ("arn:aws:sagemaker:us-east-1:000000000000:training-job/nobody", "Could not find resource"),
        ("arn:aws:sagemaker:us-east-1:000000000000:pipeline/x", "Invalid resource ARN"),
    ],
)
def test_tags_of_nothing(local: Local, arn: str, message: str) -> None:
    with pytest.raises(ClientError, match=message):
        local.sagemaker.list_tags(ResourceArn=arn)
