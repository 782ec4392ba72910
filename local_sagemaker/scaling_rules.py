"""What Application Auto Scaling takes of an endpoint's variant: targets, policies, schedules. Each raises ApiError."""

from __future__ import annotations

import re

from local_sagemaker import arns, errors
from local_sagemaker.hosting import KIND as ENDPOINTS
from local_sagemaker.platform import Platform
from local_sagemaker.protocol import Call
from local_sagemaker.records import Record
from local_sagemaker.validation import operation_model

DIMENSIONS = ("sagemaker:variant:DesiredInstanceCount", "sagemaker:variant:DesiredProvisionedConcurrency")
CONFIGURATIONS = {
    "StepScaling": "StepScalingPolicyConfiguration",
    "TargetTrackingScaling": "TargetTrackingScalingPolicyConfiguration",
}
_RESOURCE = re.compile(r"endpoint/([^/]+)/variant/([^/]+)")
_SCHEDULE = re.compile(r"at\(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\)|rate\(\d+ (?:minute|hour|day)s?\)|cron\((?:\S+ ){5}\S+\)")


def check_resource(platform: Platform, call: Call) -> None:
    """Raises ApiError unless the request names a variant of an endpoint that is there."""
    request = call.parameters
    place = _RESOURCE.fullmatch(request["ResourceId"])
    if request["ServiceNamespace"] != "sagemaker" or request["ScalableDimension"] not in DIMENSIONS or not place:
        raise errors.validation(
            "Unsupported service namespace, resource type or scalable dimension: local SageMaker knows the namespace "
            f"sagemaker, resources endpoint/NAME/variant/NAME and the dimensions {' and '.join(DIMENSIONS)}."
        )
    endpoint, variant = place.groups()
    record = platform.records.find(ENDPOINTS, endpoint)
    if record is None:
        raise errors.validation(f'Could not find endpoint "{arns.build("endpoint", endpoint, call.region)}".')
    if variant not in [item["VariantName"] for item in record["_Deployment"]["Variants"]]:
        raise errors.validation(f'Could not find variant "{variant}" of endpoint "{record["EndpointArn"]}".')


def suspensions() -> list[str]:
    """The members of a SuspendedState."""
    return list(
        operation_model("application-autoscaling", "RegisterScalableTarget")
        .input_shape.members["SuspendedState"]
        .members
    )


def check_capacity(target: Record) -> None:
    for member in ("MinCapacity", "MaxCapacity"):
        if target.get(member) is None:
            raise errors.validation(f"{member} is required when a scalable target is registered.")
        if target[member] < 0:
            raise errors.validation(f"{member} must be greater than or equal to 0, not {target[member]}.")
    if target["MaxCapacity"] < target["MinCapacity"]:
        raise errors.validation(
            "Maximum capacity cannot be less than minimum capacity: "
            f"{target['MaxCapacity']} is less than {target['MinCapacity']}."
        )


def check_policy(policy: Record) -> None:
    kind = policy.get("PolicyType")
    if kind is None:
        raise errors.validation("PolicyType is required when a scaling policy is created.")
    if kind not in CONFIGURATIONS:
        raise errors.validation(f"Policy type {kind} is not supported for service namespace sagemaker.")
    for known, member in CONFIGURATIONS.items():
        if (known == kind) != (member in policy):
            raise errors.validation(f"A policy of type {kind} has a {CONFIGURATIONS[kind]}, and no other one.")
    if kind == "TargetTrackingScaling":
        specifications = {"PredefinedMetricSpecification", "CustomizedMetricSpecification"} & set(
            policy[CONFIGURATIONS[kind]]
        )
        if len(specifications) != 1:
            raise errors.validation(
                "You must specify either a PredefinedMetricSpecification or a CustomizedMetricSpecification."
            )


def check_schedule(action: Record) -> None:
    if not _SCHEDULE.fullmatch(action.get("Schedule", "")):
        raise errors.validation(
            f"The schedule {action.get('Schedule')!r} is not valid: write at(yyyy-mm-ddThh:mm:ss), rate(value unit) "
            "or cron(minutes hours day_of_month month day_of_week year)."
        )
