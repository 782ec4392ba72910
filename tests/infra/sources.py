"""The API operations that the source of orchestrate/ names, whether or not a run reaches them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import botocore.session
from botocore import xform_name

# What boto3's transfers make of one call, boto3.s3.transfer.
TRANSFERS = {
    "download_file": {"HeadObject", "GetObject"},
    "upload_file": {"PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"},
}
# What the methods of the SageMaker SDK's resources call, sagemaker.core.resources.
_RESOURCE_METHODS = {
    "create": "Create{}",
    "delete": "Delete{}",
    "get": "Describe{}",
    "get_all": "List{}s",
    "invoke": "Invoke{}",
    "refresh": "Describe{}",
    "stop": "Stop{}",
    "update": "Update{}",
    "wait": "Describe{}",
    "wait_for_delete": "Describe{}",
    "wait_for_status": "Describe{}",
}


def services(files: list[Path]) -> set[str]:
    """Those for which a client is made: `client("s3")`."""
    calls = (node for file in files for node in ast.walk(_tree(file)) if isinstance(node, ast.Call))
    return {
        call.args[0].value
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr == "client" and call.args
        if isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str)
    }


def operations(file: Path, of: set[str]) -> set[str]:
    """`service:Operation` of everything in the file that is called like an operation of the services `of`.

    That is: an attribute (`client.stop_training_job`), a string (`get_paginator("list_models")`, "CreateModel"), an
    f-string whose end is another string of the file (`f"delete_{kind}"`), and methods of the SDK's resources. A name of
    one word (`search`) is one only where it is called, and, as operations have to be, without positional arguments.
    """
    tree = _tree(file)
    words = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    attributes = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute)]
    called = {name for name in words | {n.attr for n in attributes} if "_" in xform_name(name)}
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute) and not n.args]
    called |= {n.func.attr for n in calls if isinstance(n.func, ast.Attribute)}
    called |= {beginning + word for beginning in _beginnings(tree) for word in words}
    found = {
        f"{service}:{known[name]}" for service in of for known in [_known(service)] for name in called & set(known)
    }
    if "s3" in of:
        found |= {f"s3:{made}" for n in attributes if n.attr in TRANSFERS for made in TRANSFERS[n.attr]}
    return found | {f"sagemaker:{operation}" for operation in _of_resources(tree)}


def _beginnings(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) and len(node.values) == 2 and isinstance(node.values[0], ast.Constant):
            yield str(node.values[0].value)


def _of_resources(tree: ast.AST) -> Iterator[str]:
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module == "sagemaker.core.resources"]
    resources = {alias.name for node in imports for alias in node.names}
    modules = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "orchestrate"
        for alias in node.names
    }
    known = set(_known("sagemaker").values()) | set(_known("sagemaker-runtime").values())
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        pattern = _RESOURCE_METHODS.get(node.func.attr)
        owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
        if pattern is None or owner in modules:
            continue
        # Of which resource a variable is cannot be told: of any of the file's.
        of = {owner} & resources or (
            resources if owner.islower() and node.func.attr not in ("get", "create") else set()
        )
        yield from {pattern.format(resource) for resource in of} & known


@cache
def _known(service: str) -> dict[str, str]:
    """Both spellings of each operation, as in Python and as in the API -> that of the API."""
    names = botocore.session.get_session().get_service_model(service).operation_names
    return {xform_name(name): name for name in names} | {name: name for name in names}


@cache
def _tree(file: Path) -> ast.AST:
    return ast.parse(file.read_text("utf-8"))
