"""Requests made from botocore's model: a valid one of each operation, and every way to break it by one fault."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from local_sagemaker import validation

REFUSED = "validation error"  # what a refusal says: a constraint is violated ...
UNREADABLE = "can not be converted"  # ... or the value is of another type
# What the patterns of the model ask for, in the order in which it is tried.
SAMPLES = (
    "process",
    "a",
    "1",
    "file:///tmp/none",
    "s3://a/b",
    "https://a.example/b",
    "/opt/ml/a",
    "arn:aws:iam::000000000000:role/a",
    "arn:aws:sagemaker:us-east-1:000000000000:model-package/a",
    "arn:aws:sagemaker:us-east-1:000000000000:training-job/a",
    "arn:aws:sns:us-east-1:000000000000:a",
    "arn:aws:application-autoscaling:us-east-1:000000000000:scalable-target/a",
    "arn:aws:lambda:us-east-1:000000000000:function:a",
    "000000000000.dkr.ecr.us-east-1.amazonaws.com/a@sha256:" + "0" * 64,
    "arn:aws:sagemaker:us-east-1:000000000000:training-plan/a",
    "arn:aws:sagemaker:us-east-1:000000000000:mlflow-app/a",
    "arn:aws:sagemaker:us-east-1:000000000000:model-package-group/a",
    "arn:aws:sagemaker:us-east-1:aws:hub-content/a/Model/a/1.0.0",
    "arn:aws:sagemaker:us-east-1:aws:hub-content/a/DataSet/a/1.0.0",
    "sha256:" + "0" * 64,
    "mig-1g.5gb",
    "fs-00000000",
    "1.0.0",
    "1K",
    "0" * 12,
    "0" * 6,
    "/a/",
    "subnet-1",
    "text/csv",
    "0" * 32,
)
MISFITS = ("", "-", "!", "a b", "ü", "\n", "a\nb", "x" * 40, "\ufffe")
_RANGES = {"integer": 2**31, "long": 2**63}


@dataclass(frozen=True)
class Fault:
    """A value with one fault in it.

    `member`: the member at fault, by its last name; `says`: what the refusal must say.
    """

    what: str
    value: Any
    says: str
    member: str = ""


def valid(shape: Any, with_members: bool = False) -> Any:
    """The smallest valid value; `with_members`: lists and maps hold one item at least."""
    kind, metadata = shape.type_name, shape.metadata
    least = max(metadata.get("min", 0), 1 if with_members else 0)
    if kind == "structure":
        return {name: valid(shape.members[name]) for name in shape.required_members}
    if kind == "list":
        return [valid(shape.member) for _ in range(least)]
    if kind == "map":
        key = valid(shape.key)
        return {f"{key}{number or ''}": valid(shape.value) for number in range(least)}
    if kind in ("integer", "long", "float", "double"):
        return min(max(metadata.get("min", 1), 1), metadata.get("max", 1))
    if kind in ("boolean", "timestamp"):
        return kind == "boolean" or 1_700_000_000
    return _text(shape)


def broken(shape: Any, above: tuple[str, ...] = ()) -> Iterator[Fault]:
    """Every value of a shape that has exactly one fault, at any depth."""
    yield from {"structure": _structures, "list": _lists, "map": _maps}.get(shape.type_name, _scalars)(shape)
    if shape.name in above:
        return
    above = (*above, shape.name)
    if shape.type_name == "structure":
        whole = valid(shape)
        for name, member in shape.members.items():
            for fault in broken(member, above):
                yield Fault(
                    f"{name}.{fault.what}", {**whole, name: fault.value}, fault.says, fault.member or _small(name)
                )
    elif shape.type_name == "list":
        rest = valid(shape)[1:]
        for fault in broken(shape.member, above):
            yield Fault(f"[].{fault.what}", [fault.value, *rest], fault.says, fault.member)
    elif shape.type_name == "map":
        key, *_ = valid(shape, with_members=True)
        for fault in broken(shape.value, above):
            yield Fault(f"{{}}.{fault.what}", {**valid(shape), key: fault.value}, fault.says, fault.member)


def grown(shape: Any, whole: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Valid values that each give one member more than `whole`, at any depth."""
    if shape.name in above:
        return
    above = (*above, shape.name)
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            if name not in whole:
                yield name, {**whole, name: valid(member, with_members=True)}
            inner = grown(member, whole.get(name, valid(member)), above)
            yield from ((f"{name}.{path}", {**whole, name: value}) for path, value in inner)
    elif shape.type_name == "list":
        first, *rest = whole or valid(shape, with_members=True)
        yield from ((path, [value, *rest]) for path, value in grown(shape.member, first, above))
    elif shape.type_name == "map":
        key, *_ = whole or valid(shape, with_members=True)
        inner = grown(shape.value, whole.get(key, valid(shape.value)), above)
        yield from ((path, {**whole, key: value}) for path, value in inner)


def _structures(shape: Any) -> Iterator[Fault]:
    whole = valid(shape)
    yield Fault("is text", "x", UNREADABLE)
    yield Fault("is a list", [], UNREADABLE)
    if not getattr(shape, "is_document_type", False):
        yield Fault("unknown member", {**whole, "NoSuchMember": 1}, REFUSED, "noSuchMember")
    for name in shape.required_members:
        rest = {key: value for key, value in whole.items() if key != name}
        yield Fault(f"without {name}", rest, REFUSED, _small(name))
        yield Fault(f"{name} is null", {**rest, name: None}, REFUSED, _small(name))


def _lists(shape: Any) -> Iterator[Fault]:
    yield Fault("is a map", {}, UNREADABLE)
    yield Fault("is text", "x", UNREADABLE)
    yield Fault("holds null", [None], UNREADABLE)
    lowest, highest = shape.metadata.get("min", 0), shape.metadata.get("max")
    if lowest:
        yield Fault("too short", [valid(shape.member)] * (lowest - 1), REFUSED)
    if highest is not None:
        yield Fault("too long", [valid(shape.member)] * (highest + 1), REFUSED)


def _maps(shape: Any) -> Iterator[Fault]:
    yield Fault("is a list", [], UNREADABLE)
    yield Fault("is text", "x", UNREADABLE)
    key, *_ = valid(shape, with_members=True)
    yield Fault("holds null", {key: None}, UNREADABLE)
    highest = shape.metadata.get("max")
    if highest is not None:
        entry = valid(shape.value)
        yield Fault("too many", {f"{key}{number}": entry for number in range(highest + 1)}, REFUSED)
    if shape.key.metadata.get("max"):
        yield Fault("key too long", {"a" * (shape.key.metadata["max"] + 1): valid(shape.value)}, REFUSED)


def _scalars(shape: Any) -> Iterator[Fault]:
    kind = shape.type_name
    yield Fault("is a map", {}, UNREADABLE)
    yield Fault("is a list", [], UNREADABLE)
    if kind in ("string", "blob"):
        yield Fault("is a number", 7, UNREADABLE)
        yield Fault("half a surrogate pair", "\ud800", UNREADABLE)
    else:
        yield Fault("is text", "x", UNREADABLE)
    if kind != "boolean":
        yield Fault("is true", True, UNREADABLE)
    if kind in ("float", "double", "integer", "long", "timestamp"):
        yield Fault("is infinite", float("inf"), UNREADABLE)
    if kind in _RANGES:
        yield Fault("is no integer", 1.5, UNREADABLE)
        yield Fault("is too large for its type", _RANGES[kind], UNREADABLE)
    if kind in ("float", "double", "integer", "long"):
        yield from _out_of_range(shape)
    if kind == "string":
        yield from _strings(shape)


def _out_of_range(shape: Any) -> Iterator[Fault]:
    lowest, highest, type_limit = shape.metadata.get("min"), shape.metadata.get("max"), _RANGES.get(shape.type_name)
    if lowest is not None and (type_limit is None or lowest > -type_limit):
        yield Fault("too small", lowest - 1, REFUSED)
    if highest is not None and (type_limit is None or highest + 1 < type_limit):
        yield Fault("too large", highest + 1, REFUSED)


def _strings(shape: Any) -> Iterator[Fault]:
    lowest, highest = shape.metadata.get("min", 0), shape.metadata.get("max")
    if shape.enum:
        yield Fault("not in the enum", "no-such-value", REFUSED)
        return
    if lowest:
        yield Fault("too short", "a" * (lowest - 1), REFUSED)
    if highest is not None:
        yield Fault("too long", "a" * (highest + 1), REFUSED)
    if "pattern" in shape.metadata:
        pattern = validation.pattern(shape.metadata["pattern"])
        for text in MISFITS:
            if _fits_length(shape, text) and not pattern.fullmatch(text):
                yield Fault(f"pattern misses {text!r}", text, REFUSED)
                return


def _text(shape: Any) -> str:
    if shape.type_name != "string":
        return ""
    if shape.enum:
        return str(shape.enum[0])
    pattern = validation.pattern(shape.metadata.get("pattern", ".*"))
    padded = "a" * shape.metadata.get("min", 0)
    for text in (*SAMPLES, padded):
        if _fits_length(shape, text) and pattern.fullmatch(text):
            return text
    raise AssertionError(f"no sample fits {shape.name}: add one that matches {shape.metadata}")


def _fits_length(shape: Any, text: str) -> bool:
    return bool(shape.metadata.get("min", 0) <= len(text) <= shape.metadata.get("max", 2**31))


def _small(name: str) -> str:
    return name[0].lower() + name[1:]
