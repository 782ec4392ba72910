"""Values as XML by botocore's shapes, for the two protocols that speak it: the query protocol and REST-XML.

Sources: https://smithy.io/2.0/aws/protocols/aws-query-protocol.html and .../aws-restxml-protocol.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from local_sagemaker.errors import ApiError

XSI = "http://www.w3.org/2001/XMLSchema-instance"
ElementTree.register_namespace("xsi", XSI)


def fill(element: Element, shape: Any, value: Any) -> None:
    """Writes a value into an element that stands for it."""
    kind = shape.type_name
    if kind == "structure":
        for name, member in shape.members.items():
            if value.get(name) is None or member.serialization.get("location"):
                continue
            tag = member.serialization.get("name", name)
            if member.serialization.get("xmlAttribute"):
                element.set(f"{{{XSI}}}{tag.partition(':')[2]}" if tag.startswith("xsi:") else tag, str(value[name]))
            else:
                _add(element, tag, member, value[name])
    elif kind == "list":
        for item in value:
            _add(element, shape.member.serialization.get("name", "member"), shape.member, item)
    elif kind == "map":
        for key, item in value.items():
            entry = SubElement(element, "entry")
            _add(entry, shape.key.serialization.get("name", "key"), shape.key, key)
            _add(entry, shape.value.serialization.get("name", "value"), shape.value, item)
    else:
        element.text = text(value, kind)


def _add(parent: Element, tag: str, shape: Any, value: Any) -> None:
    if shape.type_name == "list" and shape.serialization.get("flattened"):
        for item in value:
            _add(parent, shape.member.serialization.get("name", tag), shape.member, item)
    else:
        fill(SubElement(parent, tag), shape, value)


def text(value: Any, kind: str) -> str:
    """A scalar; times (seconds since 1970) in ISO 8601 with milliseconds."""
    if kind == "boolean":
        return "true" if value else "false"
    if kind == "timestamp":
        return datetime.fromtimestamp(value, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return str(value)


def document(element: Element) -> bytes:
    """The bytes of a document whose root is the element."""
    body: bytes = ElementTree.tostring(element, encoding="UTF-8", xml_declaration=True)
    return body


def parse(shape: Any, body: bytes) -> Any:
    """The value in a document, by its shape. Raises ApiError MalformedXML."""
    try:
        root = ElementTree.fromstring(body)
        return _value(shape, _bare(root))
    except (ElementTree.ParseError, ValueError):
        raise ApiError(
            "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema."
        ) from None


def _bare(element: Element) -> Element:
    """Without namespaces, which clients give or leave out."""
    for inner in element.iter():
        inner.tag = inner.tag.rpartition("}")[2]
    return element


def _value(shape: Any, element: Element) -> Any:
    kind = shape.type_name
    if kind == "structure":
        found = {}
        for name, member in shape.members.items():
            tag = member.serialization.get("name", name)
            if member.type_name == "list" and member.serialization.get("flattened"):
                items = element.findall(member.member.serialization.get("name", tag))
                if items:
                    found[name] = [_value(member.member, item) for item in items]
            else:
                inner = element.find(tag)
                if inner is not None:
                    found[name] = _value(member, inner)
        return found
    if kind == "list":
        tag = shape.member.serialization.get("name", "member")
        return [_value(shape.member, item) for item in element.findall(tag)]
    return scalar(element.text or "", kind)


def scalar(value: str, kind: str) -> Any:
    """A scalar of an element, a form or a query. Raises ValueError."""
    if kind in ("integer", "long"):
        return int(value)
    if kind in ("float", "double"):
        return float(value)
    if kind == "boolean":
        if value not in ("true", "false"):
            raise ValueError(value)
        return value == "true"
    if kind == "timestamp":
        return datetime.fromisoformat(value.replace("Z", "+00:00")).timestamp()
    return value


def structure_of_form(shape: Any, form: Mapping[str, str]) -> dict[str, Any]:
    """The parameters in a form of the query protocol: `Names.member.1=a`, `Tags.member.1.Key=b`, unknown ones as text.

    Raises ValueError for a scalar of the wrong type.
    """
    found: dict[str, Any] = {}
    groups: dict[str, dict[str, str]] = {}
    for name, value in form.items():
        head, _, rest = name.partition(".")
        groups.setdefault(head, {})[rest] = value
    for name, inner in groups.items():
        found[name] = _of_form(shape.members[name], inner) if shape and name in shape.members else inner.get("", "")
    return found


def _of_form(shape: Any, form: dict[str, str]) -> Any:
    if shape.type_name == "structure":
        return structure_of_form(shape, form)
    if shape.type_name == "list":
        items: dict[int, dict[str, str]] = {}
        for name, value in form.items():
            parts = name.split(".", 2 if not shape.serialization.get("flattened") else 1)
            if not shape.serialization.get("flattened"):
                parts = parts[1:]
            if parts:
                items.setdefault(int(parts[0]), {})[".".join(parts[1:])] = value
        return [_of_form(shape.member, items[number]) for number in sorted(items)]
    return scalar(form.get("", ""), shape.type_name)
