"""Application Auto Scaling of endpoint variants: scalable targets, their policies and their scheduled actions.

They are kept and shown. One machine has nothing to scale to, so none of them changes a fleet, and no CloudWatch alarm
is made. Errors and ARNs as https://docs.aws.amazon.com/autoscaling/application/APIReference/ has them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from local_sagemaker import arns, errors, listing, scaling_rules
from local_sagemaker.errors import ApiError
from local_sagemaker.platform import Platform
from local_sagemaker.protocol import Call
from local_sagemaker.records import Record
from local_sagemaker.support import Support
from local_sagemaker.validation import operation_model, project

TARGETS, POLICIES, ACTIONS = "scalable-targets", "scaling-policies", "scheduled-actions"
PAGE = 50  # results where the request does not say how many
TAGS_LIMIT = 50
# The service's own role, which AWS writes where the request gives none.
ROLE = (
    f"arn:aws:iam::{arns.ACCOUNT}:role/aws-service-role/sagemaker.application-autoscaling.amazonaws.com/"
    "AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
)
_IDENTITY = ("ServiceNamespace", "ResourceId", "ScalableDimension")


def register(platform: Platform, call: Call) -> dict[str, Any]:
    """Makes a target, or changes the members that the request gives."""
    request = call.parameters
    scaling_rules.check_resource(platform, call)
    name = _name(request)
    before = platform.records.find(TARGETS, name)
    if before and request.get("Tags"):
        raise errors.validation(
            "The scalable target that you tried to tag already exists. To update tags on an existing scalable target, "
            "use the TagResource API."
        )
    suspended = dict.fromkeys(scaling_rules.suspensions(), False)
    suspended |= (before or {}).get("SuspendedState", {}) | request.get("SuspendedState", {})
    wanted = {"Tags": {}, "RoleARN": ROLE, **(before or {}), **request, "SuspendedState": suspended}
    scaling_rules.check_capacity(wanted)
    if before:
        with platform.records.edit(TARGETS, name) as record:
            record.update(wanted)
        return {"ScalableTargetARN": before["ScalableTargetARN"]}
    arn = f"arn:aws:application-autoscaling:{call.region}:{arns.ACCOUNT}:scalable-target/{name}"
    platform.records.create(TARGETS, name, {**wanted, "ScalableTargetARN": arn})
    return {"ScalableTargetARN": arn}


def deregister(platform: Platform, call: Call) -> dict[str, Any]:
    """Forgets a target, with its policies and scheduled actions."""
    target = _target(platform, call.parameters, "found")
    for kind in (POLICIES, ACTIONS):
        for name, record in _records(platform, kind):
            if _name(record) == _name(target):
                platform.records.delete(kind, name)
    platform.records.delete(TARGETS, _name(target))
    return {}


def put_policy(platform: Platform, call: Call) -> dict[str, Any]:
    arn = _arn(call, "scalingPolicy", f"policyName/{call.parameters['PolicyName']}")
    kept = _put(platform, call, POLICIES, "PolicyName", scaling_rules.check_policy, {"PolicyARN": arn, "Alarms": []})
    return {"PolicyARN": kept["PolicyARN"], "Alarms": []}


def delete_policy(platform: Platform, call: Call) -> dict[str, Any]:
    return _delete(platform, call, POLICIES, "scaling policy", "PolicyName", "policy name")


def put_action(platform: Platform, call: Call) -> dict[str, Any]:
    arn = _arn(call, "scheduledAction", f"scheduledActionName/{call.parameters['ScheduledActionName']}")
    new = {"ScheduledActionARN": arn}
    _put(platform, call, ACTIONS, "ScheduledActionName", scaling_rules.check_schedule, new)
    return {}


def delete_action(platform: Platform, call: Call) -> dict[str, Any]:
    return _delete(platform, call, ACTIONS, "scheduled action", "ScheduledActionName", "scheduled action name")


def describe_targets(platform: Platform, call: Call) -> dict[str, Any]:
    wanted = call.parameters.get("ResourceIds")
    return _describe(platform, call, TARGETS, "ScalableTargets", "ResourceId", wanted)


def describe_policies(platform: Platform, call: Call) -> dict[str, Any]:
    wanted = call.parameters.get("PolicyNames")
    return _describe(platform, call, POLICIES, "ScalingPolicies", "PolicyName", wanted)


def describe_actions(platform: Platform, call: Call) -> dict[str, Any]:
    wanted = call.parameters.get("ScheduledActionNames")
    return _describe(platform, call, ACTIONS, "ScheduledActions", "ScheduledActionName", wanted)


def describe_activities(platform: Platform, call: Call) -> dict[str, Any]:
    """Nothing is scaled, so there has been no activity."""
    return {"ScalingActivities": []}


def tag(platform: Platform, call: Call) -> dict[str, Any]:
    arn = call.parameters["ResourceARN"]
    with platform.records.edit(TARGETS, _tagged(platform, arn)) as record:
        tags = {**record["Tags"], **call.parameters["Tags"]}
        if len(tags) > TAGS_LIMIT:
            message = f"A scalable target has at most {TAGS_LIMIT} tags; this one would have {len(tags)}."
            raise ApiError("TooManyTagsException", message, ResourceName=arn)
        record["Tags"] = tags
    return {}


def untag(platform: Platform, call: Call) -> dict[str, Any]:
    with platform.records.edit(TARGETS, _tagged(platform, call.parameters["ResourceARN"])) as record:
        record["Tags"] = {key: value for key, value in record["Tags"].items() if key not in call.parameters["TagKeys"]}
    return {}


def list_tags(platform: Platform, call: Call) -> dict[str, Any]:
    return {"Tags": platform.records.get(TARGETS, _tagged(platform, call.parameters["ResourceARN"]))["Tags"]}


def _name(record: Record, more: str | None = None) -> str:
    """The name of a record: the same for the same resource, and fit for a directory."""
    parts = [record[member] for member in _IDENTITY] + ([record[more]] if more else [])
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _records(platform: Platform, kind: str) -> list[tuple[str, Record]]:
    more = {TARGETS: None, POLICIES: "PolicyName", ACTIONS: "ScheduledActionName"}[kind]
    return [(_name(record, more), record) for record in platform.records.all(kind)]


def _target(platform: Platform, request: dict[str, Any], what: str) -> Record:
    record = platform.records.find(TARGETS, _name(request))
    if record is None:
        raise _not_found("scalable target", request, what)
    return record


def _not_found(noun: str, request: dict[str, Any], what: str = "found", more: str = "") -> ApiError:
    return ApiError(
        "ObjectNotFoundException",
        f"No {noun} {what} for service namespace: {request['ServiceNamespace']}, resource ID: {request['ResourceId']}, "
        f"scalable dimension: {request['ScalableDimension']}{more}",
    )


def _put(
    platform: Platform, call: Call, kind: str, member: str, check: Callable[[Record], None], new: Record
) -> Record:
    """Makes what a target has under that name, with the members `new`, or changes those that the request gives."""
    request = call.parameters
    _target(platform, request, "registered")
    name = _name(request, member)
    before = platform.records.find(kind, name)
    check({**(before or {}), **request})
    if before is None:
        record = {**request, **new}
        platform.records.create(kind, name, record)
        return record
    with platform.records.edit(kind, name) as record:
        record.update(request)
    return before


def _delete(platform: Platform, call: Call, kind: str, noun: str, member: str, said: str) -> dict[str, Any]:
    name = _name(call.parameters, member)
    if platform.records.find(kind, name) is None:
        raise _not_found(noun, call.parameters, more=f", {said}: {call.parameters[member]}")
    platform.records.delete(kind, name)
    return {}


def _describe(
    platform: Platform, call: Call, kind: str, answer: str, member: str, wanted: list[str] | None
) -> dict[str, Any]:
    request = call.parameters
    found = [
        (name, record)
        for name, record in _records(platform, kind)
        if all(request.get(key) in (None, record[key]) for key in _IDENTITY)
        and record[member] in (wanted or [record[member]])
    ]
    found.sort(key=lambda item: (item[1]["CreationTime"], item[0]))
    try:
        chosen, token = listing.page(
            found, request.get("NextToken"), request.get("MaxResults", PAGE), lambda item: str(item[0])
        )
    except ApiError as error:
        raise ApiError("InvalidNextTokenException", error.message) from None
    shape = operation_model(call.service, call.operation).output_shape.members[answer].member
    return {answer: [project(record, shape) for _, record in chosen], **({"NextToken": token} if token else {})}


def _tagged(platform: Platform, arn: str) -> str:
    name = arn.rpartition("/")[2]
    if platform.records.find(TARGETS, name) is None:
        raise ApiError("ResourceNotFoundException", f"The scalable target {arn} was not found.", ResourceName=arn)
    return name


def _arn(call: Call, kind: str, tail: str) -> str:
    resource = f"resource/{call.parameters['ServiceNamespace']}/{call.parameters['ResourceId']}"
    return f"arn:aws:autoscaling:{call.region}:{arns.ACCOUNT}:{kind}:{uuid4()}:{resource}:{tail}"


HANDLERS = {
    "RegisterScalableTarget": register,
    "DeregisterScalableTarget": deregister,
    "DescribeScalableTargets": describe_targets,
    "PutScalingPolicy": put_policy,
    "DeleteScalingPolicy": delete_policy,
    "DescribeScalingPolicies": describe_policies,
    "PutScheduledAction": put_action,
    "DeleteScheduledAction": delete_action,
    "DescribeScheduledActions": describe_actions,
    "DescribeScalingActivities": describe_activities,
    "TagResource": tag,
    "UntagResource": untag,
    "ListTagsForResource": list_tags,
}
SUPPORT = {
    "DescribeScalingActivities": Support(without_effect=("IncludeNotScaledActivities",)),
    "RegisterScalableTarget": Support(without_effect=("MinCapacity", "MaxCapacity", "RoleARN", "SuspendedState")),
    "PutScalingPolicy": Support(
        without_effect=tuple(scaling_rules.CONFIGURATIONS.values()),
        refused=("PolicyType=PredictiveScaling", "PredictiveScalingPolicyConfiguration"),
    ),
    "PutScheduledAction": Support(
        without_effect=("Schedule", "Timezone", "StartTime", "EndTime", "ScalableTargetAction")
    ),
}
