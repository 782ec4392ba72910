"""With --verbose: a line for each request to AWS, when it has been answered."""

from __future__ import annotations

import sys
import time
from typing import Any


def watch(boto: Any) -> None:
    """Tells of every request of the clients that `boto` (boto3.Session) makes from now on, on standard error.

    `aws sagemaker DescribeTrainingJob: 200 after 0.04 s`; retries that botocore made of itself are part of one request.
    """
    boto.events.register("before-call", _begin)
    boto.events.register("after-call", _end)
    boto.events.register("after-call-error", _failed)


def _begin(context: dict[str, Any], **_: Any) -> None:
    context["kennel_begin"] = time.monotonic()


def _end(http_response: Any, parsed: dict[str, Any], context: dict[str, Any], event_name: str, **_: Any) -> None:
    code = parsed.get("Error", {}).get("Code")
    retries = parsed.get("ResponseMetadata", {}).get("RetryAttempts", 0)
    outcome = f"{http_response.status_code}" + (f" {code}" if code else "")
    _tell(event_name, context, outcome + (f", retries: {retries}," if retries else ""))


def _failed(exception: Exception, context: dict[str, Any], event_name: str, **_: Any) -> None:
    _tell(event_name, context, type(exception).__name__)


def _tell(event_name: str, context: dict[str, Any], outcome: str) -> None:
    _, service, operation = event_name.split(".")
    seconds = time.monotonic() - context["kennel_begin"]
    print(f"aws {service} {operation}: {outcome} after {seconds:.2f} s", file=sys.stderr, flush=True)
