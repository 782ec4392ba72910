"""Models."""

from __future__ import annotations

from typing import Any

from local_sagemaker import arns, errors, storage
from local_sagemaker.operations import model_packages
from local_sagemaker.operations.resource import Resource
from local_sagemaker.platform import Platform
from local_sagemaker.protocol import Call
from local_sagemaker.records import Record
from local_sagemaker.runners import PROCESS_IMAGE
from local_sagemaker.support import Support

RESOURCE = Resource(
    "models", "ModelName", "Models",
    lambda name, region: errors.validation(f'Could not find model "{arns.build("model", name, region)}".'),
)  # fmt: skip


def create(platform: Platform, call: Call) -> dict[str, Any]:
    request = call.parameters
    _check(platform, request, call.region)
    arn = arns.build("model", request["ModelName"], call.region)
    record = {"EnableNetworkIsolation": False, "Tags": [], **request, "ModelArn": arn}
    if not platform.records.create(RESOURCE.kind, request["ModelName"], record):
        raise errors.validation(f'Cannot create already existing model "{arn}".')
    return {"ModelArn": arn}


def containers(platform: Platform, record: Record, region: str) -> list[Record]:
    """A model's containers, each with an Image and a ContainerHostname: packages are resolved. Raises ApiError."""
    given = record["Containers"] if record.get("Containers") else [record["PrimaryContainer"]]
    return [
        {"ContainerHostname": f"container-{number}", **_resolved(platform, container, region)}
        for number, container in enumerate(given, start=1)
    ]


def delete(platform: Platform, call: Call) -> dict[str, Any]:
    RESOURCE.find(platform, call.parameters["ModelName"], call.region)
    platform.records.delete(RESOURCE.kind, call.parameters["ModelName"])
    return {}


def _check(platform: Platform, request: Record, region: str) -> None:
    if ("PrimaryContainer" in request) == bool(request.get("Containers")):
        raise errors.validation("Give either PrimaryContainer or Containers: a model has one or the other.")
    found = containers(platform, request, region)
    for container in found:
        _check_container(container)
    if request.get("EnableNetworkIsolation") and any(container["Image"] == PROCESS_IMAGE for container in found):
        raise errors.not_done_here("EnableNetworkIsolation with the image 'process'")
    if len(found) > 1:
        names = [container["ContainerHostname"] for container in found]
        if len(set(names)) < len(names):
            raise errors.validation(f"The ContainerHostname of each container must be its own, not {', '.join(names)}.")
        if any(container.get("Mode") == "MultiModel" for container in found):
            raise errors.not_done_here("Mode MultiModel for a model with several containers")


def _check_container(container: Record) -> None:
    if "Image" not in container:
        raise errors.validation("The container of the model must name an Image or a ModelPackageName.")
    if "ModelDataUrl" in container and "ModelDataSource" in container:
        raise errors.validation("Give either ModelDataUrl or ModelDataSource for a container.")
    many = container.get("Mode") == "MultiModel"
    if many and "ModelDataUrl" not in container:
        raise errors.validation("A container with Mode MultiModel must give ModelDataUrl, the prefix of its models.")
    if "ModelDataUrl" in container:
        _check_location(container["ModelDataUrl"], is_directory=many)
    sources = [container.get("ModelDataSource", {}), *container.get("AdditionalModelDataSources", [])]
    for source in (source["S3DataSource"] for source in sources if "S3DataSource" in source):
        is_prefix = source["S3DataType"] == "S3Prefix"
        if is_prefix and source["CompressionType"] == "Gzip":
            raise errors.validation("CompressionType Gzip is for S3DataType S3Object: name the archive itself.")
        if is_prefix and not source["S3Uri"].endswith("/"):
            raise errors.validation(f"The S3Uri of an S3Prefix must end with a forward slash: {source['S3Uri']}/.")
        _check_location(source["S3Uri"], is_directory=is_prefix)


def _check_location(uri: str, is_directory: bool) -> None:
    path = storage.local_path(uri)
    if path and not (path.is_dir() if is_directory else path.is_file()):
        raise errors.validation(f"Could not find model data at {uri}.")


def _resolved(platform: Platform, container: Record, region: str) -> Record:
    """The first container of the package's InferenceSpecification, with what the model's container adds."""
    if "ModelPackageName" not in container:
        return container
    package = model_packages.find(platform, container["ModelPackageName"], region)
    if "InferenceSpecification" not in package:
        raise errors.validation(
            f"Model package {package['ModelPackageArn']} cannot be deployed: it has no InferenceSpecification."
        )
    first: Record = package["InferenceSpecification"]["Containers"][0]
    kept = ("Image", "ModelDataUrl", "ModelDataSource", "AdditionalModelDataSources", "ContainerHostname")
    packaged = {key: first[key] for key in kept if key in first}
    environment = {**first.get("Environment", {}), **container.get("Environment", {})}
    return {**packaged, **container, "Environment": environment}


HANDLERS = {
    "CreateModel": create,
    "DescribeModel": RESOURCE.describe,
    "ListModels": RESOURCE.list_,
    "DeleteModel": delete,
}

_SOURCES = ("ModelDataSource", "AdditionalModelDataSources")
_WITHOUT_EFFECT = (
    "ImageConfig",
    "ContainerMetricsConfig",
    "MultiModelConfig",
    *(f"{source}.S3DataSource.{path}" for source in _SOURCES for path in ("ModelAccessConfig", "ETag", "ManifestEtag")),
)
_REFUSED = (
    "InferenceSpecificationName",
    *(f"{source}.S3DataSource.{path}" for source in _SOURCES for path in ("HubAccessConfig", "ManifestS3Uri")),
)
_CONTAINERS = ("PrimaryContainer", "Containers")
SUPPORT = {
    "CreateModel": Support(
        without_effect=(
            "ExecutionRoleArn",
            "VpcConfig",
            *(f"{where}.{path}" for where in _CONTAINERS for path in _WITHOUT_EFFECT),
        ),
        refused=tuple(f"{where}.{path}" for where in _CONTAINERS for path in _REFUSED),
    )
}
