"""From API calls to the IAM permissions that they need, and whether a policy grants them."""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

ACCOUNT = "123456789012"
PARTITION = "aws"

# Which actions and resources an operation needs where they are not `service:Operation` on what the request names:
# the service authorization reference, https://docs.aws.amazon.com/service-authorization/latest/reference/
#   list_amazons3.html and https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
S3_ACTIONS = {
    "DeleteObjects": ("DeleteObject",),
    "CompleteMultipartUpload": ("PutObject",),
    "CreateMultipartUpload": ("PutObject",),
    "GetObject": ("GetObject",),
    "HeadBucket": ("ListBucket",),
    "HeadObject": ("GetObject",),
    "ListObjectsV2": ("ListBucket",),
    "PutObject": ("PutObject",),
    # A part that cannot be sent ends in AbortMultipartUpload: s3transfer does that by itself.
    "UploadPart": ("PutObject", "AbortMultipartUpload"),
}
#   https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html: no permission is needed
FREE = {("sts", "GetCallerIdentity")}
#   list_amazonsagemaker.html; the names by which a request tells what it is about
SAGEMAKER_KINDS = {
    "EndpointConfigName": "endpoint-config",
    "EndpointName": "endpoint",
    "HyperParameterTuningJobName": "hyper-parameter-tuning-job",
    "ModelName": "model",
    "TrainingJobName": "training-job",
    "TransformJobName": "transform-job",
}
#   https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-auto-scaling-prerequisites.html: what Application Auto
#   Scaling asks of the caller beside its own action, on the endpoint, ...
SCALING_OF_ENDPOINT = {
    "RegisterScalableTarget": ("DescribeEndpoint", "DescribeEndpointConfig", "UpdateEndpointWeightsAndCapacities"),
}
#   ... on the alarms that it makes (docs.aws.amazon.com/autoscaling/application/userguide/
#   application-auto-scaling-target-tracking.html: their names begin with TargetTracking- and the resource's) ...
SCALING_OF_ALARMS = {
    "PutScalingPolicy": ("PutMetricAlarm", "DescribeAlarms"),
    "DeregisterScalableTarget": ("DeleteAlarms", "DescribeAlarms"),
}
#   ... and of IAM, once in an account: its own role.
SCALING_ROLE = "sagemaker.application-autoscaling.amazonaws.com"
#   list_amazonelasticcontainerregistry.html, https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html
#   and image-pull-iam.html (manifest and blob): what a `docker` command needs of ECR
DOCKER_ACTIONS = {
    "push": (
        "BatchCheckLayerAvailability", "BatchGetImage", "CompleteLayerUpload", "InitiateLayerUpload", "PutImage",
        "UploadLayerPart",
    ),
    "imagetools": ("BatchGetImage", "GetDownloadUrlForLayer"),
}  # fmt: skip

_REFERENCE: dict[str, Any] = json.loads(
    importlib.resources.files("cfnlint.data.AdditionalSpecs").joinpath("Policies.json").read_text("utf-8")
)


@dataclass(frozen=True)
class Need:
    """An action on a resource; `*` where the action knows no resources. `context`: IAM's condition keys."""

    action: str
    resource: str
    context: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Call:
    """An API call of a script. `service` as botocore names it; `parameters` as the script gave them."""

    script: str
    service: str
    operation: str
    parameters: Mapping[str, Any] = field(hash=False, default_factory=dict)

    @property
    def name(self) -> str:
        """`sagemaker:CreateModel`."""
        return f"{self.service}:{self.operation}"


def needs(call: Call, region: str) -> Iterator[Need]:
    """What IAM asks for before it lets the call through."""
    if (call.service, call.operation) in FREE:
        return
    yield from _OF_SERVICE.get(call.service, _sagemaker)(call, region)
    for role in _roles(call.parameters):
        # https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_passrole.html
        yield Need("iam:PassRole", role, (("iam:PassedToService", f"{call.service}.amazonaws.com"),))


def docker_needs(command: str, region: str, repository: str) -> Iterator[Need]:
    """What a docker command needs of ECR, which it asks without botocore."""
    for action in DOCKER_ACTIONS[command]:
        yield Need(f"ecr:{action}", _arn("ecr", region, f"repository/{repository}"))


def resource_types(action: str) -> list[str]:
    """Of the service authorization reference; empty where an action knows no resources.

    Raises:
        KeyError: there is no such action.
    """
    service, _, name = action.partition(":")
    found: list[str] = _REFERENCE[service]["Actions"][name.lower()].get("Resources", [])
    return found


@dataclass(frozen=True)
class Statement:
    """One statement that allows."""

    sid: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: Mapping[str, Mapping[str, str]] = field(hash=False)

    def allows(self, need: Need) -> bool:
        """Whether IAM would let it through because of this statement."""
        return need.action in self.actions and self.covers(need) and self._holds(dict(need.context))

    def covers(self, need: Need) -> bool:
        """Whether the resource is one of the statement's."""
        return any(self.names(resource, need) for resource in self.resources)

    @staticmethod
    def names(resource: str, need: Need) -> bool:
        """Whether one of the statement's resources is meant. `*` as what is needed is met by `*` only."""
        return fnmatchcase(need.resource, resource)

    def _holds(self, context: Mapping[str, str]) -> bool:
        operators: dict[str, Callable[[str, str], bool]] = {"StringEquals": str.__eq__, "StringLike": fnmatchcase}
        return all(
            key in context and operators[operator](context[key], value)
            for operator, wanted in self.conditions.items()
            for key, value in wanted.items()
        )


def statements(document: Mapping[str, Any]) -> list[Statement]:
    """Of a policy document without Deny and NotAction."""
    assert all(s["Effect"] == "Allow" for s in document["Statement"])
    return [
        Statement(s["Sid"], tuple(_listed(s["Action"])), tuple(_listed(s["Resource"])), s.get("Condition", {}))
        for s in document["Statement"]
    ]


def _s3(call: Call, region: str) -> Iterator[Need]:
    bucket = f"arn:{PARTITION}:s3:::{call.parameters['Bucket']}"
    for action in S3_ACTIONS[call.operation]:
        of_object = "object" in resource_types(f"s3:{action}")
        deleted = [one["Key"] for one in call.parameters.get("Delete", {}).get("Objects", [])]
        for key in deleted or [call.parameters.get("Key", "")]:
            yield Need(f"s3:{action}", f"{bucket}/{key}" if of_object else bucket)


def _logs(call: Call, region: str) -> Iterator[Need]:
    if call.operation == "DescribeLogGroups":
        # IAM wants all groups, whatever the beginning of their names.
        yield Need(f"logs:{call.operation}", _arn("logs", region, "log-group:*"))
        return
    # IAM sees a group as its streams without a name.
    stream = call.parameters.get("logStreamName", "")
    group = call.parameters["logGroupName"]
    yield Need(f"logs:{call.operation}", _arn("logs", region, f"log-group:{group}:log-stream:{stream}"))


def _ecr(call: Call, region: str) -> Iterator[Need]:
    action = f"ecr:{call.operation}"
    if not resource_types(action):
        yield Need(action, "*")
        return
    names = call.parameters.get("repositoryNames") or [call.parameters["repositoryName"]]
    for name in names:
        yield Need(action, _arn("ecr", region, f"repository/{name}"))
        if "tags" in call.parameters:
            yield Need("ecr:TagResource", _arn("ecr", region, f"repository/{name}"))


def _scaling(call: Call, region: str) -> Iterator[Need]:
    asked = call.parameters
    context = (("application-autoscaling:service-namespace", asked["ServiceNamespace"]),)
    # A target is known by a number of its own, which the request does not hold.
    yield Need(
        f"application-autoscaling:{call.operation}",
        _arn("application-autoscaling", region, "scalable-target/0123"),
        context,
    )
    name = asked["ResourceId"].split("/")[1]
    for action in SCALING_OF_ENDPOINT.get(call.operation, ()):
        for type_ in resource_types(f"sagemaker:{action}"):
            yield Need(f"sagemaker:{action}", _arn("sagemaker", region, f"{type_}/{name}"))
    for action in SCALING_OF_ALARMS.get(call.operation, ()):
        # Describing is by the beginning of a name, for which IAM wants all alarms.
        alarm = "*" if action == "DescribeAlarms" else f"TargetTracking-{asked['ResourceId']}-AlarmHigh-0123"
        yield Need(f"cloudwatch:{action}", _arn("cloudwatch", region, f"alarm:{alarm}"))
    if call.operation == "RegisterScalableTarget":
        role = f"aws-service-role/{SCALING_ROLE}/AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
        yield Need(
            "iam:CreateServiceLinkedRole", f"arn:{PARTITION}:iam::{ACCOUNT}:role/{role}",
            (("iam:AWSServiceName", SCALING_ROLE),),
        )  # fmt: skip


def _sagemaker(call: Call, region: str) -> Iterator[Need]:
    action = f"sagemaker:{call.operation}"
    types = resource_types(action)
    if not types:
        yield Need(action, "*")
        return
    named = {
        kind: _arn("sagemaker", region, f"{kind}/{call.parameters[name]}")
        for name, kind in SAGEMAKER_KINDS.items()
        if name in call.parameters and kind in types
    }
    if "ResourceArn" in call.parameters:
        named["the"] = _arn("sagemaker", region, call.parameters["ResourceArn"].split(":", 5)[5])
    assert named, f"{call.name} names nothing that IAM could look at"
    for resource in named.values():
        yield Need(action, resource)
    if "Tags" in call.parameters:
        yield Need("sagemaker:AddTags", named[SAGEMAKER_KINDS[f"{call.operation.removeprefix('Create')}Name"]])


def _iam(call: Call, region: str) -> Iterator[Need]:
    asked = call.parameters
    role = asked.get("PolicySourceArn") or f"arn:{PARTITION}:iam::{ACCOUNT}:role/{asked['RoleName']}"
    yield Need(f"iam:{call.operation}", role)


def _of_account(call: Call, region: str) -> Iterator[Need]:
    yield Need(f"{call.service.replace('-', '')}:{call.operation}", "*")


_OF_SERVICE = {
    "application-autoscaling": _scaling, "ecr": _ecr, "iam": _iam, "logs": _logs, "pricing": _of_account, "s3": _s3,
    "service-quotas": _of_account,
}  # fmt: skip


def _roles(parameters: Any) -> Iterator[str]:
    if isinstance(parameters, dict):
        for name, value in parameters.items():
            if name in ("RoleArn", "ExecutionRoleArn"):
                yield value
            else:
                yield from _roles(value)


def _arn(service: str, region: str, resource: str) -> str:
    return f"arn:{PARTITION}:{service}:{region}:{ACCOUNT}:{resource}"


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
