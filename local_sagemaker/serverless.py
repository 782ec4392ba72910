"""The limits of serverless variants: the size of a body, and how many requests are inside at once.

Source: https://docs.aws.amazon.com/sagemaker/latest/dg/serverless-endpoints.html.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from local_sagemaker.errors import ApiError
from local_sagemaker.routing import Route
from local_sagemaker.runtime_protocol import SERVERLESS_BODY_LIMIT, too_large


class Serverless:
    """Counts who is inside. For many threads."""

    def __init__(self) -> None:
        self._inside: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def limits(self, route: Route, body_size: int) -> Iterator[None]:
        """Around a request; of a variant that is not serverless there are no limits. Raises ApiError."""
        if "ServerlessConfig" not in route.record:
            yield
            return
        if body_size > SERVERLESS_BODY_LIMIT:
            raise too_large(body_size, SERVERLESS_BODY_LIMIT)
        most = route.record["ServerlessConfig"]["MaxConcurrency"]
        key = (route.endpoint, route.variant)
        with self._lock:
            if self._inside[key] >= most:
                message = (
                    f"Rate exceeded: variant {route.variant} of endpoint {route.endpoint} has MaxConcurrency {most}."
                )
                raise ApiError("ThrottlingException", message, 429)
            self._inside[key] += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside[key] -= 1
