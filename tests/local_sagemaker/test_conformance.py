"""Every operation refuses what AWS refuses, each constraint of botocore's model by one request that breaks only it; and
answers what is valid, or says why not."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from local_sagemaker import validation
from local_sagemaker.errors import ApiError
from local_sagemaker.operations import HANDLERS, perform
from local_sagemaker.platform import Platform
from local_sagemaker.protocol import Call
from local_sagemaker.settings import Settings

from .conftest import training_request
from .from_model import UNREADABLE, broken, grown, valid
from .test_tuning import request as tuning_request

OPERATIONS = sorted(HANDLERS)
NAMES = [f"{service}:{operation}" for service, operation in OPERATIONS]
NAME = "HyperParameterTuningJobName"
NOWHERE = cast(Platform, None)  # a request that reaches a handler fails its test


def shape_of(service: str, operation: str) -> Any:
    return validation.operation_model(service, operation).input_shape


def refusal(service: str, operation: str, parameters: Any) -> ApiError | None:
    try:
        perform(NOWHERE, Call(service, operation, parameters, "us-east-1"))
    except ApiError as error:
        return error
    return None


@pytest.mark.parametrize(("service", "operation"), OPERATIONS, ids=NAMES)
def test_each_constraint_of_the_model(service: str, operation: str) -> None:
    shape = shape_of(service, operation)
    if shape is None:
        pytest.skip("takes no parameters")
    validation.check(service, operation, valid(shape))
    codes = {
        "logs": "InvalidParameterException",
        "sts": "ValidationError",
        "iam": "ValidationError",
    }
    passed = []
    for fault in broken(shape):
        if not isinstance(fault.value, dict):  # the server's own reading of the body refuses these
            continue
        error = refusal(service, operation, fault.value)
        wanted = "SerializationException" if fault.says == UNREADABLE else codes.get(service, "ValidationException")
        if (
            error is None
            or error.code != wanted
            or fault.says not in error.message
            or fault.member not in error.message
        ):
            passed.append((fault.what, error and (error.code, error.message)))
    assert not passed, passed[:5]


def test_there_are_thousands_of_faults() -> None:
    assert sum(1 for one in OPERATIONS if (shape := shape_of(*one)) for _ in broken(shape)) > 5000


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Everything but HTTP; nothing that is created can run, because there is no `train` and no `serve`."""
    directory = tmp_path_factory.mktemp("platform")
    (directory / "bin").mkdir()
    for verb in ("train", "serve"):
        (directory / "bin" / verb).write_text("#!/bin/false\n")
        (directory / "bin" / verb).chmod(0o755)
    (directory / "state").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nobody answers: no test of this asks a real S3
        built = Platform(Settings(directory / "state", directory / "bin"))
        yield built
        built.shutdown()


def whole(service: str, operation: str) -> dict[str, Any]:
    """A valid request that gives what the operation needs and the model does not ask for."""
    request: dict[str, Any] = valid(shape_of(service, operation))
    job = training_request("pass", Path("/tmp/none"))
    trial = {key: value for key, value in job.items() if key not in ("TrainingJobName", "HyperParameters")}
    more: dict[str, dict[str, Any]] = {
        "CreateTrainingJob": {**job, "TrainingJobName": "process"},
        "CreateHyperParameterTuningJob": {**tuning_request(), NAME: "process", "TrainingJobDefinition": trial},
        "CreateModel": {"PrimaryContainer": {"Image": "process"}},
        "CreateEndpointConfig": {
            "ProductionVariants": [
                {
                    "VariantName": "a",
                    "ModelName": "process",
                    "InstanceType": "ml.m5.large",
                    "InitialInstanceCount": 1,
                }
            ]
        },
    }
    more["CreateHyperParameterTuningJob"]["TrainingJobDefinition"] = {
        **trial,
        "AlgorithmSpecification": tuning_request()["TrainingJobDefinition"]["AlgorithmSpecification"],
    }
    return {**request, **more.get(operation, {})}


def named(parameters: dict[str, Any], number: int) -> dict[str, Any]:
    """The same request under a name of its own."""
    is_new = {"TrainingJobName", NAME, "ModelName", "EndpointConfigName", "EndpointName", "TransformJobName"}
    return {key: f"a-{number}" if key in is_new else value for key, value in parameters.items()}


@pytest.mark.parametrize(("service", "operation"), OPERATIONS, ids=NAMES)
def test_what_is_valid_is_answered_or_refused_with_a_reason(service: str, operation: str, platform: Platform) -> None:
    """Each member alone, as null and with a value, at any depth: no operation fails on what AWS takes."""
    shape = shape_of(service, operation)
    requests: list[dict[str, Any]] = [{}]
    if shape is not None:
        base = whole(service, operation)
        requests = [valid(shape), base, {**dict.fromkeys(shape.members), **base}]
        requests += [value for _, value in grown(shape, base)]
    failed = []
    for number, request in enumerate(requests):
        for parameters in (request, named(request, number)) if operation.startswith("Create") else (request,):
            try:
                perform(platform, Call(service, operation, parameters, "us-east-1"))
            except ApiError:
                continue
            except Exception as error:
                failed.append((repr(error), traceback.extract_tb(error.__traceback__)[-1], parameters))
    assert not failed, failed[:5]
