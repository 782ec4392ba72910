"""The model registry: groups of model packages, their versions, and packages without a group.

Source: https://docs.aws.amazon.com/sagemaker/latest/dg/model-registry.html. A record of a version is named
`GROUP:VERSION`, because ':' is in no name of AWS's.
"""

from __future__ import annotations

from typing import Any

from local_sagemaker import arns, errors
from local_sagemaker.errors import ApiError
from local_sagemaker.operations.resource import Resource
from local_sagemaker.platform import Platform
from local_sagemaker.protocol import Call
from local_sagemaker.records import Record
from local_sagemaker.support import Support
from local_sagemaker.validation import operation_model, project

_PACKAGES, _GROUPS = "model-packages", "model-package-groups"


def _missing(resource: str, words: str, name: str, region: str) -> ApiError:
    arn = name if name.startswith("arn:") else arns.build(resource, name.replace(":", "/"), region)
    return errors.validation(f"{words} {arn} does not exist.")


GROUP = Resource(
    _GROUPS, "ModelPackageGroupName", "ModelPackageGroupSummaryList",
    lambda name, region: _missing("model-package-group", "ModelPackageGroup", name, region),
    status="ModelPackageGroupStatus",
)  # fmt: skip
PACKAGE = Resource(
    _PACKAGES, "ModelPackageArn", "ModelPackageSummaryList",
    lambda name, region: _missing("model-package", "ModelPackage", name, region),
    status="ModelPackageStatus",
)  # fmt: skip


def find(platform: Platform, name_or_arn: str, region: str) -> Record:
    """The package of a name or an ARN, its version included. Raises ApiError."""
    return PACKAGE.find(platform, _record_name(name_or_arn, "model-package"), region)


def _record_name(name_or_arn: str, resource: str) -> str:
    """The name of the record that a name or an ARN of this type means. Raises ApiError for another type's ARN."""
    if not name_or_arn.startswith("arn:"):
        return name_or_arn.replace("/", ":")
    kind, name = arns.parse(name_or_arn)
    if kind != arns.KINDS[resource]:
        raise errors.validation(f"Invalid ARN {name_or_arn!r}: expected one of a {resource}.")
    return name


def create_group(platform: Platform, call: Call) -> dict[str, Any]:
    name = call.parameters["ModelPackageGroupName"]
    arn = arns.build("model-package-group", name, call.region)
    record = {
        "Tags": [],
        **call.parameters,
        "ModelPackageGroupArn": arn,
        "ModelPackageGroupStatus": "Completed",
        "CreatedBy": {},
        "_LastVersion": 0,
    }
    if not platform.records.create(_GROUPS, name, record):
        raise errors.validation(f"Model Package Group already exists: {arn}.")
    return {"ModelPackageGroupArn": arn}


def describe_group(platform: Platform, call: Call) -> dict[str, Any]:
    record = _group(platform, call.parameters["ModelPackageGroupName"], call.region)
    return project(record, operation_model(call.service, call.operation).output_shape)


def delete_group(platform: Platform, call: Call) -> dict[str, Any]:
    record = _group(platform, call.parameters["ModelPackageGroupName"], call.region)
    name = record["ModelPackageGroupName"]
    if any(package.get("ModelPackageGroupName") == name for package in platform.records.all(_PACKAGES)):
        raise ApiError(
            "ConflictException",
            f"Cannot delete model package group {record['ModelPackageGroupArn']}: it has model packages; "
            "delete these first.",
        )
    platform.records.delete(_GROUPS, name)
    return {}


def _group(platform: Platform, name_or_arn: str, region: str) -> Record:
    return GROUP.find(platform, _record_name(name_or_arn, "model-package-group"), region)


def create(platform: Platform, call: Call) -> dict[str, Any]:
    request = call.parameters
    if ("ModelPackageName" in request) == ("ModelPackageGroupName" in request):
        raise errors.validation("Give either ModelPackageName or ModelPackageGroupName: a package has one of the two.")
    if "ModelPackageName" in request:
        return _create_unversioned(platform, call)
    return _create_version(platform, call)


def _create_unversioned(platform: Platform, call: Call) -> dict[str, Any]:
    request = call.parameters
    if "InferenceSpecification" not in request:
        raise errors.validation("A model package without a group must give an InferenceSpecification.")
    if "ModelApprovalStatus" in request:
        raise errors.validation("ModelApprovalStatus is for versioned model packages: give a ModelPackageGroupName.")
    name = request["ModelPackageName"]
    arn = arns.build("model-package", name, call.region)
    if not platform.records.create(_PACKAGES, name, {"Tags": [], **_package(request), "ModelPackageArn": arn}):
        raise errors.validation(f"Model Package already exists: {arn}.")
    return {"ModelPackageArn": arn}


def _create_version(platform: Platform, call: Call) -> dict[str, Any]:
    request = call.parameters
    if request.get("Tags"):
        raise errors.validation("A versioned model package has the tags of its group: tag the group.")
    group = _group(platform, request["ModelPackageGroupName"], call.region)["ModelPackageGroupName"]
    with platform.records.edit(_GROUPS, group) as record:  # also keeps two requests from taking one number
        token = request.get("ClientToken")
        for package in platform.records.all(_PACKAGES):
            if token and package.get("ClientToken") == token and package.get("ModelPackageGroupName") == group:
                return {"ModelPackageArn": package["ModelPackageArn"]}
        record["_LastVersion"] += 1
        version = record["_LastVersion"]
        arn = arns.build("model-package", f"{group}/{version}", call.region)
        package = {
            "ModelApprovalStatus": "PendingManualApproval",
            "Tags": [],
            **_package(request),
            "ModelPackageGroupName": group,
            "ModelPackageVersion": version,
            "ModelPackageArn": arn,
        }
        platform.records.create(_PACKAGES, f"{group}:{version}", package)
    return {"ModelPackageArn": arn}


def _package(request: dict[str, Any]) -> Record:
    """What every new package's record has: it is complete at once, because nothing is scanned here."""
    return {
        "CertifyForMarketplace": False,
        "ModelPackageRegistrationType": "Registered",
        **request,
        "ModelPackageStatus": "Completed",
        "ModelPackageStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},
        "CreatedBy": {},
        "LastModifiedBy": {},
    }


def describe(platform: Platform, call: Call) -> dict[str, Any]:
    record = find(platform, call.parameters["ModelPackageName"], call.region)
    return project(record, operation_model(call.service, call.operation).output_shape)


def list_(platform: Platform, call: Call) -> dict[str, Any]:
    request, packages = call.parameters, platform.records.all(_PACKAGES)
    kind = request.get("ModelPackageType", "Unversioned")
    if "ModelPackageGroupName" in request:
        group = _group(platform, request["ModelPackageGroupName"], call.region)["ModelPackageGroupName"]
        packages = [package for package in packages if package.get("ModelPackageGroupName") == group]
        kind = request.get("ModelPackageType", "Versioned")
    status = request.get("ModelApprovalStatus")
    chosen = [
        package
        for package in packages
        if kind in ("Both", "Versioned" if "ModelPackageGroupName" in package else "Unversioned")
        and (status is None or package.get("ModelApprovalStatus") == status)
        and request.get("NameContains", "").lower() in _name(package).lower()
    ]
    without_name = {key: value for key, value in request.items() if key != "NameContains"}
    return PACKAGE.listed(chosen, Call(call.service, call.operation, without_name, call.region))


def _name(package: Record) -> str:
    return str(package.get("ModelPackageGroupName") or package["ModelPackageName"])


def update(platform: Platform, call: Call) -> dict[str, Any]:
    request = dict(call.parameters)
    name = _record_name(request.pop("ModelPackageArn"), "model-package")
    package = PACKAGE.find(platform, name, call.region)
    if "ModelPackageGroupName" not in package and {"ModelApprovalStatus", "ApprovalDescription"} & set(request):
        raise errors.validation("ModelApprovalStatus is for versioned model packages.")
    properties = {
        key: value
        for key, value in {
            **package.get("CustomerMetadataProperties", {}),
            **request.pop("CustomerMetadataProperties", {}),
        }.items()
        if key not in request.get("CustomerMetadataPropertiesToRemove", [])
    }
    specifications = [
        *package.get("AdditionalInferenceSpecifications", []),
        *request.pop("AdditionalInferenceSpecificationsToAdd", []),
    ]
    names = [specification["Name"] for specification in specifications]
    if len(names) != len(set(names)):
        raise errors.validation("The names of AdditionalInferenceSpecifications must be unique in a model package.")
    request.pop("CustomerMetadataPropertiesToRemove", None)
    request.pop("ClientToken", None)
    with platform.records.edit(_PACKAGES, name) as record:
        record.update(request)
        if properties or "CustomerMetadataProperties" in record:
            record["CustomerMetadataProperties"] = properties
        if specifications:
            record["AdditionalInferenceSpecifications"] = specifications
    return {"ModelPackageArn": package["ModelPackageArn"]}


def delete(platform: Platform, call: Call) -> dict[str, Any]:
    name = _record_name(call.parameters["ModelPackageName"], "model-package")
    PACKAGE.find(platform, name, call.region)
    platform.records.delete(_PACKAGES, name)
    return {}


HANDLERS = {
    "CreateModelPackageGroup": create_group,
    "DescribeModelPackageGroup": describe_group,
    "ListModelPackageGroups": GROUP.list_,
    "DeleteModelPackageGroup": delete_group,
    "CreateModelPackage": create,
    "DescribeModelPackage": describe,
    "ListModelPackages": list_,
    "UpdateModelPackage": update,
    "DeleteModelPackage": delete,
}
# What a package's containers say beside where they come from is shown again, and no container hears of it.
_OF_A_CONTAINER = (
    "ModelInput",
    "Framework",
    "FrameworkVersion",
    "NearestModelName",
    "AdditionalS3DataSource",
    "ModelDataETag",
    "IsCheckpoint",
    "BaseModel",
    "ImageDigest",
    "ProductId",
    *(
        f"{source}.S3DataSource.{member}"
        for source in ("ModelDataSource", "AdditionalModelDataSources")
        for member in ("ModelAccessConfig", "HubAccessConfig", "ManifestS3Uri", "ManifestEtag")
    ),
)
_KEPT = (
    *(f"InferenceSpecification.Containers.{member}" for member in _OF_A_CONTAINER),
    "InferenceSpecification.SupportedTransformInstanceTypes",
    "InferenceSpecification.SupportedRealtimeInferenceInstanceTypes",
    "InferenceSpecification.SupportedContentTypes",
    "InferenceSpecification.SupportedResponseMIMETypes",
    "SourceUri",
    "ModelCard",
    "ModelLifeCycle",
)
SUPPORT = {
    "CreateModelPackageGroup": Support(
        without_effect=("ManagedConfiguration",), kept=("ModelPackageGroupDescription",)
    ),
    "ListModelPackageGroups": Support(refused=("CrossAccountFilterOption=CrossAccount",)),
    "CreateModelPackage": Support(
        without_effect=("SkipModelValidation", "SecurityConfig", "CertifyForMarketplace", "ManagedStorageType"),
        refused=("ValidationSpecification", "SourceAlgorithmSpecification"),
        kept=(
            *_KEPT,
            "ModelPackageDescription",
            "AdditionalInferenceSpecifications",
            "MetadataProperties",
            "ModelMetrics",
            "Domain",
            "Task",
            "SamplePayloadUrl",
            "DriftCheckBaselines",
        ),
    ),
    "DescribeModelPackage": Support(without_effect=("IncludedData",)),
    "UpdateModelPackage": Support(
        without_effect=("ClientToken",), kept=(*_KEPT, "AdditionalInferenceSpecificationsToAdd")
    ),
}
