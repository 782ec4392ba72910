"""The page that says of every operation which members of a request are done here: `python -m local_sagemaker.coverage`.

Everything in it comes from botocore's models and from what stands beside each operation (`support.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from local_sagemaker import operations
from local_sagemaker.s3 import operations as s3
from local_sagemaker.support import Support
from local_sagemaker.validation import operation_model, service_model

SUPPORT = operations.SUPPORT | {("s3", name): support for name, support in s3.SUPPORT.items()}
_HEAD = """\
# 11. Local SageMaker, operation by operation

Written by `make docs` from botocore's models and from the code; do not edit. What every operation of
[local SageMaker](07-local-sagemaker.md) does with each member of its request:

- **done**: it has the effect that AWS documents, as far as one machine can have it;
- **no effect**: it is checked, kept and shown again, and changes nothing here;
- **refused**: the request is answered with `ValidationException` (S3: `NotImplemented`), which names the member, so
  that nothing is silently different. `Member=VALUE` is one value of a member.

A member stands for all that is below it, except for what is named below it. Required members are **bold**. An operation
that is not here answers `UnknownOperationException` (S3: `NotImplemented`).
"""


def page() -> str:
    """The whole page, in Markdown."""
    services = list(dict.fromkeys(service for service, _ in SUPPORT))
    return "\n".join([_HEAD, *_overview(services), *(line for service in services for line in _service(service))])


def _overview(services: list[str]) -> Iterator[str]:
    yield "| service | operations | members done | no effect | refused |"
    yield "| --- | --- | --- | --- | --- |"
    for service in services:
        rows = [_members(service, name) for owner, name in SUPPORT if owner == service]
        counts = [sum(len(row[column]) for row in rows) for column in range(3)]
        title = service_model(service).metadata["serviceFullName"]
        yield f"| [{title}](#{_anchor(title)}) | {len(rows)} | {' | '.join(map(str, counts))} |"
    yield ""


def _service(service: str) -> Iterator[str]:
    names = sorted(name for owner, name in SUPPORT if owner == service)
    columns = {name: _members(service, name) for name in names}
    whole = [name for name in names if not any(columns[name][1:])]
    yield f"## {service_model(service).metadata['serviceFullName']}"
    yield ""
    if whole:
        yield "| every member is done | members |"
        yield "| --- | --- |"
        yield from (f"| {name} | {_listed(columns[name][0])} |" for name in whole)
        yield ""
    for name in names:
        if name in whole:
            continue
        yield f"### {name}"
        yield ""
        yield "| | members |"
        yield "| --- | --- |"
        for title, paths in zip(("done", "no effect", "refused"), columns[name], strict=True):
            if paths:
                yield f"| {title} | {_listed(paths)} |"
        yield ""


def _members(service: str, operation: str) -> tuple[list[str], list[str], list[str]]:
    """The paths of what is done, of what has no effect and of what is refused."""
    shape = operation_model(service, operation).input_shape
    support = SUPPORT[service, operation]
    done = list(_done(shape, support)) if shape else []
    return done, list(support.without_effect), list(support.refused)


def _done(shape: Any, support: Support, above: str = "") -> Iterator[str]:
    """The members that no path names; where a path goes further down, so does the list.

    Required members of the request are marked by an asterisk at their end.
    """
    declared = {*support.without_effect, *support.refused}
    while shape.type_name in ("list", "map"):
        shape = shape.member if shape.type_name == "list" else shape.value
    for name, member in shape.members.items():
        path = f"{above}{name}"
        if path in declared:
            continue
        if any(other.startswith(f"{path}.") for other in declared):
            yield from _done(member, support, f"{path}.")
        else:
            yield f"{path}*" if not above and name in shape.required_members else path


def _listed(paths: list[str]) -> str:
    """The paths for a cell of a table, those of one structure on a line of their own."""
    lines: dict[str, list[str]] = {}
    for path in paths:
        structure, _, name = path.rpartition(".") if "=" not in path else _value(path)
        lines.setdefault(structure, []).append(f"`{name}`" if name[-1] != "*" else f"**`{name[:-1]}`**")
    return (
        "<br>".join((f"`{structure}`: " if structure else "") + ", ".join(names) for structure, names in lines.items())
        or "none"
    )


def _value(path: str) -> tuple[str, str, str]:
    """`A.B=C.D` -> `A`, and `B=C.D`: a value may have dots."""
    members, _, value = path.partition("=")
    structure, dot, name = members.rpartition(".")
    return structure, dot, f"{name}={value}"


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


if __name__ == "__main__":
    print(page(), end="")
