"""An asynchronous request as it is kept: what it must be, where its answer goes, and its file.

The file holds the members of the request, `_Accepted` (seconds since 1970), `_Region` and the two locations.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local_sagemaker import storage
from local_sagemaker.routing import Route
from local_sagemaker.runtime_protocol import refused

log = logging.getLogger(__name__)


def check(given: Mapping[str, Any], body: bytes) -> None:
    """Raises ApiError for what botocore's model does not say."""
    if bool(body) == ("InputLocation" in given):
        raise refused("Give exactly one of InputLocation and Body.")
    if given.get("InputLocation", "").startswith("https:"):
        raise refused(
            f"InputLocation {given['InputLocation']}: local SageMaker reads s3:// and file:// locations only."
        )
    if ".." in given.get("S3OutputPathExtension", "").split("/"):
        raise refused("S3OutputPathExtension must name a place below the endpoint's S3OutputPath, without '..'.")


def locations(route: Route, given: Mapping[str, Any], identity: str) -> dict[str, str]:
    """Where the answer and a failure will be, and the region of both. Raises ApiError."""
    assert route.asynchronous is not None
    config = route.asynchronous["OutputConfig"]
    if "S3OutputPath" not in config:
        raise refused(f"The AsyncInferenceConfig of endpoint {route.endpoint} has no S3OutputPath for the answer.")
    extension = given.get("S3OutputPathExtension", "").strip("/")
    name = given.get("Filename", f"{identity}.out")
    output = storage.join(config["S3OutputPath"], *filter(None, [extension, name]))
    places = {"_Region": route.region, "OutputLocation": output}
    if "S3FailurePath" in config:
        places["FailureLocation"] = storage.join(config["S3FailurePath"], f"{identity}-error.out")
    return places


def read(path: Path) -> dict[str, Any]:
    request: dict[str, Any] = json.loads(path.read_text())
    return request


def accepted(path: Path) -> float | None:
    """When a request was accepted; None where the disk has spoilt it."""
    try:
        return float(read(path)["_Accepted"])
    except ValueError:
        log.warning("%s cannot be read as JSON: its request is not sent; repair the file and start again.", path)
        return None
