"""Models."""

from __future__ import annotations

from typing import Any

from local_sagemaker import arns, errors, storage
from local_sagemaker.operations.resource import Resource
from local_sagemaker.platform import Platform
from local_sagemaker.protocol import Call
from local_sagemaker.records import Record
from local_sagemaker.support import Support

RESOURCE = Resource(
    "models", "ModelName", "Models",
    lambda name, region: errors.validation(f'Could not find model "{arns.build("model", name, region)}".'),
)  # fmt: skip


def create(platform: Platform, call: Call) -> dict[str, Any]:
    request = call.parameters
    _check(request)
    arn = arns.build("model", request["ModelName"], call.region)
    record = {"EnableNetworkIsolation": False, "Tags": [], **request, "ModelArn": arn}
    if not platform.records.create(RESOURCE.kind, request["ModelName"], record):
        raise errors.validation(f'Cannot create already existing model "{arn}".')
    return {"ModelArn": arn}


def _check(request: dict[str, Any]) -> None:
    containers = [
        *request.get("Containers", []),
        *([request["PrimaryContainer"]] if "PrimaryContainer" in request else []),
    ]
    if len(containers) != 1:
        raise errors.not_done_here(f"{len(containers)} containers in a model: give one, as PrimaryContainer")
    if "Image" not in containers[0]:
        raise errors.validation("The container of the model must name an Image.")
    data = containers[0].get("ModelDataUrl")
    path = storage.local_path(data) if data else None
    if path and not path.is_file():
        raise errors.validation(f"Could not find model data at {data}.")


def container(record: Record) -> Record:
    """The one container of a model."""
    one: Record = record["PrimaryContainer"] if "PrimaryContainer" in record else record["Containers"][0]
    return one


def delete(platform: Platform, call: Call) -> dict[str, Any]:
    RESOURCE.find(platform, call.parameters["ModelName"], call.region)
    platform.records.delete(RESOURCE.kind, call.parameters["ModelName"])
    return {}


HANDLERS = {
    "CreateModel": create,
    "DescribeModel": RESOURCE.describe,
    "ListModels": RESOURCE.list_,
    "DeleteModel": delete,
}

_REFUSED_OF_A_CONTAINER = (
    "ModelDataSource",
    "AdditionalModelDataSources",
    "ModelPackageName",
    "InferenceSpecificationName",
    "Mode=MultiModel",
)
SUPPORT = {
    "CreateModel": Support(
        without_effect=("ExecutionRoleArn", "VpcConfig", "PrimaryContainer.ImageConfig", "Containers.ImageConfig"),
        refused=(
            "EnableNetworkIsolation",
            *(f"{where}.{path}" for where in ("PrimaryContainer", "Containers") for path in _REFUSED_OF_A_CONTAINER),
        ),
    )
}
