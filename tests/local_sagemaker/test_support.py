"""What is refused and what has no effect is said in paths of botocore's model, and what is refused is refused."""

from __future__ import annotations

from typing import Any

import pytest

from local_sagemaker import validation
from local_sagemaker.errors import ApiError
from local_sagemaker.operations import HANDLERS, SUPPORT
from local_sagemaker.support import Support

PATHS = [
    (service, operation, path)
    for (service, operation), support in SUPPORT.items()
    for path in (*support.without_effect, *support.refused)
]


def shape_at(service: str, operation: str, path: str) -> Any:
    shape = validation.operation_model(service, operation).input_shape
    for member in path.split("."):
        while shape.type_name in ("list", "map"):
            shape = shape.member if shape.type_name == "list" else shape.value
        shape = shape.members[member]
    return shape


@pytest.mark.parametrize(("service", "operation", "path"), PATHS)
def test_a_path_is_a_member_of_the_request(service: str, operation: str, path: str) -> None:
    members, _, value = path.partition("=")
    shape = shape_at(service, operation, members)
    assert not value or value in shape.enum


def test_every_operation_is_spoken_of() -> None:
    assert set(SUPPORT) == set(HANDLERS)


def test_what_is_refused() -> None:
    support = Support(refused=("A.B", "C=x", "D"))
    for given in ({"A": [{"B": 1}]}, {"A": {"B": {"c": 1}}}, {"C": "x"}, {"D": True}):
        with pytest.raises(ApiError, match="local SageMaker does not do"):
            support.check(given)
    support.check({"A": [{"X": 1}], "C": "y", "D": False})
    support.check({"A": {"B": []}, "D": None})
