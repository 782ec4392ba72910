"""Checks the parameters of a call against botocore's own service model and refuses them in AWS's words.

botocore's client checks types and required members before it sends; enums, patterns, lengths of strings and upper
bounds it leaves to the service, so they are checked here. One extension: where the model's pattern wants `s3://`,
`file:///DIR` passes too.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import sys
import unicodedata
from functools import cache
from typing import Any

import botocore.session

from local_sagemaker.errors import ApiError
from local_sagemaker.protocol import unknown_operation

_NUMBERS = {"integer": "an Integer", "long": "a Long", "float": "a Float", "double": "a Double"}
# What Java reads and `re` does not; what stands for a class of characters is in _CLASSES.
_JAVA_SYNTAX = {
    r"\uD800\uDC00-\uDBFF\uDFFF": r"\U00010000-\U0010FFFF",  # Java's characters beyond \uFFFF are pairs
    r"[\w-_]": r"[\w\-_]",
    "${1,128}": "$",  # an end that is to be there 1 to 128 times
    "${1,256}": "$",
    r"\z": r"\Z",
}
_CLASSES = {"Alnum": "a-zA-Z0-9", "Print": " -~", "ASCII": r"\x00-\x7f"}
_TOKEN = re.compile(r"\\p\{(\w+)\}|\\.|[\[\]]", re.DOTALL)
_INTEGERS = {"integer": 2**31, "long": 2**63}
# The code of a refusal by each service's validation.
_CODES = {
    "logs": "InvalidParameterException",
    "iam": "ValidationError",
    "sts": "ValidationError",
    "sagemaker-runtime": "ValidationError",
}


@cache
def service_model(service: str) -> Any:
    """botocore's ServiceModel of `sagemaker`, `logs`, ... (read from disk once)."""
    return botocore.session.get_session().get_service_model(service)


def operation_model(service: str, operation: str) -> Any:
    """The model of one operation; ApiError where AWS has none of that name."""
    if operation not in service_model(service).operation_names:
        raise unknown_operation(f"{service}:{operation}")
    return service_model(service).operation_model(operation)


def check(service: str, operation: str, parameters: dict[str, Any]) -> None:
    """Raises ApiError with every violated constraint, or with the first value of the wrong type."""
    shape = operation_model(service, operation).input_shape
    faults: list[str] = []
    if shape is not None:
        try:
            _check(shape, parameters, "", faults)
        except RecursionError:
            raise ApiError("SerializationException", "The request is nested too deeply.") from None
    if faults:
        noun = "validation error" if len(faults) == 1 else "validation errors"
        code = _CODES.get(service, "ValidationException")
        raise ApiError(code, f"{len(faults)} {noun} detected: {'; '.join(faults)}")


def without_nulls(value: Any) -> Any:
    """A checked request as AWS reads it: a member that is null was not given."""
    if isinstance(value, dict):
        return {name: without_nulls(item) for name, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def project(record: dict[str, Any], shape: Any) -> dict[str, Any]:
    """The members of `record` that a botocore structure has: what a describe or a summary shows of it."""
    return {name: record[name] for name in shape.members if name in record}


def _check(shape: Any, value: Any, path: str, faults: list[str]) -> None:
    kind = shape.type_name
    if kind == "structure":
        _expect(isinstance(value, dict), value, "a structure", path)
        if not getattr(shape, "is_document_type", False):
            _check_structure(shape, value, path, faults)
        return
    if kind == "list":
        _expect(isinstance(value, list), value, "a list", path)
        _add(faults, value, path, _bounds(shape, len(value), "length"))
        for position, item in enumerate(value, start=1):
            _check(shape.member, item, f"{path}.{position}.member", faults)
        return
    if kind == "map":
        _expect(isinstance(value, dict), value, "a map", path)
        _check_map(shape, value, path, faults)
        return
    _check_type(shape, value, path)
    _add(faults, value, path, _constraints(shape, value))


def _check_structure(shape: Any, value: dict[str, Any], path: str, faults: list[str]) -> None:
    for name in shape.required_members:
        if value.get(name) is None:
            _add(faults, None, _member(path, name), ["Member must not be null"])
    for name, item in value.items():
        if name not in shape.members:
            close = ", ".join(shape.members)
            _add(faults, item, _member(path, name), [f"Member is unknown, known are: [{close}]"])
        elif item is not None:
            _check(shape.members[name], item, _member(path, name), faults)


def _check_map(shape: Any, value: dict[str, Any], path: str, faults: list[str]) -> None:
    _add(faults, value, path, _bounds(shape, len(value), "length"))
    for key, item in value.items():
        _check_type(shape.key, key, path)
        wrong = _constraints(shape.key, key)
        if wrong:
            _add(faults, value, path, [f"Map keys must satisfy constraint: [{', '.join(wrong)}]"])
        if shape.value.type_name in ("structure", "list", "map"):
            _check(shape.value, item, f"{path}.{key}.member", faults)
            continue
        _check_type(shape.value, item, f"{path}.{key}")
        wrong = _constraints(shape.value, item)
        if wrong:
            _add(faults, value, path, [f"Map value must satisfy constraint: [{', '.join(wrong)}]"])


def _check_type(shape: Any, value: Any, path: str) -> None:
    kind = shape.type_name
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind in ("string", "blob", "character"):
        _expect(isinstance(value, str) and _is_text(value), value, "a String", path)
    elif kind in ("integer", "long"):
        limit = _INTEGERS[kind]
        is_whole = is_number and -limit <= value < limit and int(value) == value
        _expect(is_whole, value, _NUMBERS[kind], path)
    elif kind in _NUMBERS:
        _expect(is_number and _is_finite(value), value, _NUMBERS[kind], path)
    elif kind == "boolean":
        _expect(isinstance(value, bool), value, "a Boolean", path)
    elif kind == "timestamp":
        _expect(is_number and _is_finite(value), value, "a Timestamp (seconds since 1970)", path)


def _is_text(value: str) -> bool:
    """Whether it can be written as UTF-8: JSON can spell half of a surrogate pair."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _is_finite(value: float) -> bool:
    """Whether it fits a float: JSON can spell 1e999 and integers of thousands of digits."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _expect(holds: bool, value: Any, wanted: str, path: str) -> None:
    if not holds:
        names = {
            str: "STRING_VALUE",
            bool: "BOOLEAN_VALUE",
            int: "NUMBER_VALUE",
            float: "DECIMAL_VALUE",
            dict: "STRUCTURE_VALUE",
        }
        name = names.get(type(value), "LIST_VALUE" if isinstance(value, list) else "NULL_VALUE")
        raise ApiError("SerializationException", f"{name} can not be converted to {wanted} (at '{path}')")


def _constraints(shape: Any, value: Any) -> list[str]:
    """What a scalar violates, in AWS's words."""
    if shape.type_name != "string":
        return _bounds(shape, value, "value") if shape.type_name in _NUMBERS else []
    wrong = _bounds(shape, len(value), "length")
    if shape.enum and value not in shape.enum:
        wrong.append(f"Member must satisfy enum value set: [{', '.join(shape.enum)}]")
    text = shape.metadata.get("pattern")
    # Out of bounds already: some patterns backtrack without end on a very long value.
    if text and not wrong and not pattern(text).fullmatch(value):
        also = " (here also file:///DIR)" if _is_location(text) else ""
        wrong.append(f"Member must satisfy regular expression pattern: {text}{also}")
    return wrong


@cache
def pattern(text: str) -> re.Pattern[str]:
    """A pattern of the model for `re`, with `file:///` added where it wants `s3://`."""
    for java, python in _JAVA_SYNTAX.items():
        text = text.replace(java, python)
    if _is_location(text):
        text += "|file:///.+"
    # ASCII: what Java means by \w, \d and \s.
    return re.compile(_with_classes(text), re.DOTALL | re.ASCII)


def _is_location(text: str) -> bool:
    return "s3)://" in text


def _with_classes(text: str) -> str:
    r"""Writes each \p{...} as a range of characters, in brackets of its own where it stands outside of any."""
    is_inside = False

    def written(token: re.Match[str]) -> str:
        nonlocal is_inside
        if token[1] is None:
            is_inside = {"[": True, "]": False}.get(token[0], is_inside)
            return token[0]
        characters = _CLASSES.get(token[1]) or _categories()[token[1]]
        return characters if is_inside else f"[{characters}]"

    return _TOKEN.sub(written, text)


@cache
def _categories() -> dict[str, str]:
    """The ranges of characters of Unicode's general categories, by their first letter: L, M, N, P, S, Z, C."""
    found: dict[str, list[str]] = {}
    codes = range(sys.maxunicode + 1)
    for category, run in itertools.groupby(codes, key=lambda code: unicodedata.category(chr(code))[0]):
        members = list(run)
        found.setdefault(category, []).append(f"\\U{members[0]:08x}-\\U{members[-1]:08x}")
    return {category: "".join(ranges) for category, ranges in found.items()}


def _bounds(shape: Any, size: float, noun: str) -> list[str]:
    lowest, highest = shape.metadata.get("min"), shape.metadata.get("max")
    wrong = []
    if lowest is not None and size < lowest:
        wrong.append(f"Member must have {noun} greater than or equal to {lowest}")
    if highest is not None and size > highest:
        wrong.append(f"Member must have {noun} less than or equal to {highest}")
    return wrong


def _add(faults: list[str], value: Any, path: str, constraints: list[str]) -> None:
    shown = "null" if value is None else f"'{value if isinstance(value, str) else json.dumps(value)}'"
    if len(shown) > 200:
        shown = shown[:200] + "...'"
    faults.extend(f"Value {shown} at '{path}' failed to satisfy constraint: {text}" for text in constraints)


def _member(path: str, name: str) -> str:
    """AWS writes the path of a member with a small first letter."""
    return f"{path}.{name[0].lower()}{name[1:]}" if path else f"{name[0].lower()}{name[1:]}"
