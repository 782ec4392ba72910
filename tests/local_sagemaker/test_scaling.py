"""Scalable targets, policies and scheduled actions of endpoint variants through boto3."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from .conftest import Local

TRACKING = {
    "TargetValue": 70.0,
    "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
    "ScaleInCooldown": 300,
}


@pytest.fixture(scope="module")
def target(local: Local) -> dict[str, str]:
    """A variant that is there; its container never has to answer."""
    name = local.deploy("serve()")
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{name}/variant/AllTraffic",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }


@pytest.fixture
def registered(local: Local, target: dict[str, str]) -> Any:
    client = local.client("application-autoscaling")
    client.register_scalable_target(**target, MinCapacity=1, MaxCapacity=4, Tags={"team": "a"})
    yield target
    client.deregister_scalable_target(**target)


def test_a_target_is_registered_changed_and_described(local: Local, registered: dict[str, str]) -> None:
    client = local.client("application-autoscaling")
    arn = client.register_scalable_target(
        **registered, MaxCapacity=6, SuspendedState={"ScheduledScalingSuspended": True}
    )["ScalableTargetARN"]
    (found,) = client.describe_scalable_targets(ServiceNamespace="sagemaker", ResourceIds=[registered["ResourceId"]])[
        "ScalableTargets"
    ]
    assert (found["MinCapacity"], found["MaxCapacity"], found["ScalableTargetARN"]) == (1, 6, arn)
    assert found["SuspendedState"] == {
        "DynamicScalingInSuspended": False,
        "DynamicScalingOutSuspended": False,
        "ScheduledScalingSuspended": True,
    }
    client.tag_resource(ResourceARN=arn, Tags={"cost": "b"})
    client.untag_resource(ResourceARN=arn, TagKeys=["team"])
    assert client.list_tags_for_resource(ResourceARN=arn)["Tags"] == {"cost": "b"}


def test_policies_and_actions_are_kept_and_go_with_their_target(local: Local, target: dict[str, str]) -> None:
    client = local.client("application-autoscaling")
    client.register_scalable_target(**target, MinCapacity=0, MaxCapacity=2)
    put = {**target, "PolicyName": "p", "PolicyType": "TargetTrackingScaling"}
    arn = client.put_scaling_policy(**put, TargetTrackingScalingPolicyConfiguration=TRACKING)["PolicyARN"]
    again = client.put_scaling_policy(**put, TargetTrackingScalingPolicyConfiguration={**TRACKING, "TargetValue": 80.0})
    assert again == {**again, "PolicyARN": arn, "Alarms": []}
    (policy,) = client.describe_scaling_policies(**target)["ScalingPolicies"]
    assert policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] == 80.0
    for name in ("night", "day", "noon"):
        client.put_scheduled_action(
            **target,
            ScheduledActionName=name,
            Schedule="cron(0 22 * * ? *)",
            ScalableTargetAction={"MinCapacity": 0, "MaxCapacity": 0},
        )
    pages = client.get_paginator("describe_scheduled_actions").paginate(**target, PaginationConfig={"PageSize": 2})
    assert [[item["ScheduledActionName"] for item in page["ScheduledActions"]] for page in pages] == [
        ["night", "day"],
        ["noon"],
    ]
    assert client.describe_scaling_activities(ServiceNamespace="sagemaker")["ScalingActivities"] == []
    client.delete_scheduled_action(**target, ScheduledActionName="noon")
    client.delete_scaling_policy(**target, PolicyName="p")
    assert client.describe_scaling_policies(**target)["ScalingPolicies"] == []
    client.deregister_scalable_target(**target)
    assert client.describe_scheduled_actions(**target)["ScheduledActions"] == []
    assert client.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"] == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ServiceNamespace": "ecs"}, "Unsupported service namespace"),
        ({"ServiceNamespace": "dogs"}, "Member must satisfy enum value set"),
        ({"ResourceId": "endpoint/x"}, "Unsupported service namespace, resource type"),
        ({"ResourceId": "endpoint/nobody/variant/A"}, r'Could not find endpoint "arn:.*:endpoint/nobody"'),
        ({"MaxCapacity": 0}, "Maximum capacity cannot be less than minimum capacity"),
        ({"MinCapacity": None}, "MinCapacity is required"),
        ({"MinCapacity": -1}, "MinCapacity must be greater"),
    ],
)
def test_a_target_that_cannot_be(local: Local, target: dict[str, str], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ClientError, match=rf"\(ValidationException\).*{message}"):
        local.client("application-autoscaling").register_scalable_target(
            **{**target, "MinCapacity": 1, "MaxCapacity": 4, **changes}
        )


def test_what_is_not_registered(local: Local, target: dict[str, str]) -> None:
    client = local.client("application-autoscaling")
    missing = client.exceptions.ObjectNotFoundException
    with pytest.raises(missing, match="No scalable target found for service namespace: sagemaker, resource ID: end"):
        client.deregister_scalable_target(**target)
    with pytest.raises(missing, match="No scalable target registered for service namespace"):
        client.put_scaling_policy(**target, PolicyName="p", PolicyType="StepScaling", StepScalingPolicyConfiguration={})
    with pytest.raises(missing, match="policy name: p"):
        client.delete_scaling_policy(**target, PolicyName="p")
    with pytest.raises(missing, match="scheduled action name: a"):
        client.delete_scheduled_action(**target, ScheduledActionName="a")
    with pytest.raises(client.exceptions.InvalidNextTokenException):
        client.describe_scaling_policies(ServiceNamespace="sagemaker", NextToken="?")
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.list_tags_for_resource(ResourceARN="arn:aws:application-autoscaling:eu-west-1:1:scalable-target/a")


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({}, "PolicyType is required"),
        ({"PolicyType": "PredictiveScaling"}, "does not do PolicyType PredictiveScaling"),
        ({"PolicyType": "StepScaling", "TargetTrackingScalingPolicyConfiguration": TRACKING}, "has a StepScaling"),
        (
            {"PolicyType": "TargetTrackingScaling", "TargetTrackingScalingPolicyConfiguration": {"TargetValue": 1}},
            "either a PredefinedMetricSpecification or",
        ),
        ({"PolicyType": "TargetTrackingScaling", "TargetTrackingScalingPolicyConfiguration": {}}, "targetValue"),
    ],
)
def test_a_policy_that_cannot_be(
    local: Local, registered: dict[str, str], policy: dict[str, Any], message: str
) -> None:
    with pytest.raises(ClientError, match=rf"\(ValidationException\).*{message}"):
        local.client("application-autoscaling").put_scaling_policy(**registered, PolicyName="p", **policy)


def test_a_schedule_that_cannot_be(local: Local, registered: dict[str, str]) -> None:
    with pytest.raises(ClientError, match="is not valid: write at"):
        local.client("application-autoscaling").put_scheduled_action(
            **registered, ScheduledActionName="a", Schedule="tomorrow"
        )
