"""Tags of any resource, kept in its record."""

from __future__ import annotations

from typing import Any

from local_sagemaker import arns, errors, listing
from local_sagemaker.platform import Platform
from local_sagemaker.protocol import Call

LIMIT = 50  # tags of one resource, as on AWS


def add(platform: Platform, call: Call) -> dict[str, Any]:
    kind, name = _find(platform, call)
    with platform.records.edit(kind, name) as record:
        tags = {tag["Key"]: tag["Value"] for tag in [*record["Tags"], *call.parameters["Tags"]]}
        if len(tags) > LIMIT:
            raise errors.limit_exceeded(
                f"A resource has at most {LIMIT} tags; {call.parameters['ResourceArn']} would have {len(tags)}."
            )
        record["Tags"] = [{"Key": key, "Value": value} for key, value in tags.items()]
        return {"Tags": record["Tags"]}


def list_(platform: Platform, call: Call) -> dict[str, Any]:
    kind, name = _find(platform, call)
    tags = platform.records.get(kind, name)["Tags"]
    chosen, token = listing.page(
        tags, call.parameters.get("NextToken"), call.parameters.get("MaxResults", LIMIT), lambda tag: str(tag["Key"])
    )
    return {"Tags": chosen, **({"NextToken": token} if token else {})}


def delete(platform: Platform, call: Call) -> dict[str, Any]:
    kind, name = _find(platform, call)
    with platform.records.edit(kind, name) as record:
        record["Tags"] = [tag for tag in record["Tags"] if tag["Key"] not in call.parameters["TagKeys"]]
    return {}


def _find(platform: Platform, call: Call) -> tuple[str, str]:
    kind, name = arns.parse(call.parameters["ResourceArn"])
    if platform.records.find(kind, name) is None:
        raise errors.validation(f"Could not find resource {call.parameters['ResourceArn']}.")
    return kind, name


HANDLERS = {"AddTags": add, "ListTags": list_, "DeleteTags": delete}
