"""What is refused and what has no effect is said in paths of botocore's model, and what is refused is refused."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

import pytest

from local_sagemaker import validation
from local_sagemaker.errors import ApiError
from local_sagemaker.operations import HANDLERS, SUPPORT
from local_sagemaker.support import Support

from .conftest import ROOT

PATHS = [
    (service, operation, path)
    for (service, operation), support in SUPPORT.items()
    for path in (*support.without_effect, *support.refused, *support.kept)
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
    assert set(HANDLERS) < set(SUPPORT)


def test_what_is_refused() -> None:
    support = Support(refused=("A.B", "C=x", "D"))
    for given in ({"A": [{"B": 1}]}, {"A": {"B": {"c": 1}}}, {"C": "x"}, {"D": True}):
        with pytest.raises(ApiError, match="local SageMaker does not do"):
            support.check(given)
    support.check({"A": [{"X": 1}], "C": "y", "D": False})
    support.check({"A": {"B": []}, "D": None})


def names_in_the_code() -> set[str]:
    """Every text of the package that may be the name of a member; what SUPPORT is made of is no use of a member."""
    names: set[str] = set()
    for path in (ROOT / "local_sagemaker").rglob("*.py"):
        tree = ast.parse(path.read_text())
        for statement in tree.body:
            if path.parent.name == "operations" and isinstance(statement, ast.Assign | ast.AnnAssign):
                continue
            for node in ast.walk(statement):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    names.add(node.value)
    return names


def unread(shape: Any, support: Support, names: set[str], above: str = "") -> Iterator[str]:
    """Members of a request that no path names and that the code never mentions."""
    while shape.type_name in ("list", "map"):
        shape = shape.member if shape.type_name == "list" else shape.value
    if shape.type_name != "structure":
        return
    declared = {path.partition("=")[0] for path in (*support.without_effect, *support.refused, *support.kept)}
    for name, member in shape.members.items():
        path = f"{above}{name}"
        if path in declared or re.fullmatch("(Creation|LastModified)Time(After|Before)", path):  # read by a pattern
            continue
        if name not in names:
            yield path
        elif path.count(".") < 8:
            yield from unread(member, support, names, f"{path}.")


def test_a_member_that_nobody_reads_is_declared() -> None:
    names = names_in_the_code()
    silent = {
        operation: found
        for (service, operation), support in SUPPORT.items()
        if (shape := validation.operation_model(service, operation).input_shape)
        and (found := list(unread(shape, support, names)))
    }
    assert not silent, "add them to SUPPORT of their operation, as without effect, refused or kept"
