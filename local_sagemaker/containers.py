"""HTTP to the containers of endpoints: one request, one answer, within a time and a size."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO

import urllib3

from local_sagemaker import arns
from local_sagemaker.errors import ApiError
from local_sagemaker.instance import log_group
from local_sagemaker.routing import Route

TIMEOUT_S = 60.0  # how long SageMaker waits for a container
ANSWER_LIMIT = 6_291_456  # bytes, of botocore's model of InvokeEndpoint
CHUNK = 65_536
OCTETS = "application/octet-stream"


class NoAnswer(Exception):
    """The container did not answer, or not with HTTP, not in time, or with too much; one sentence."""


class Overdue(NoAnswer):
    """The container did not answer in time."""


@dataclass(frozen=True)
class Answer:
    """What a container answered, its status whatever it was."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def content_type(self) -> str:
        return self.headers.get("Content-Type", OCTETS)


class Answering:
    """An answer whose body is still coming. Close it by reading to the end or with `close`."""

    def __init__(self, answer: urllib3.BaseHTTPResponse, deadline: float, limit: int | None) -> None:
        self.status = answer.status
        self.headers: Mapping[str, str] = answer.headers
        self._answer = answer
        self._deadline = deadline
        self._limit = limit

    def chunks(self) -> Iterator[bytes]:
        """The body as it comes. Raises NoAnswer when it breaks off, takes too long or is too long."""
        size = 0
        try:
            with _failures():
                while chunk := self._answer.read1(CHUNK):
                    size += len(chunk)
                    if self._limit is not None and size > self._limit:
                        raise NoAnswer(f"The container's answer is longer than {self._limit} bytes")
                    if time.monotonic() > self._deadline:
                        raise Overdue("The container's answer did not end in time")
                    yield chunk
            self._answer.release_conn()
        finally:
            # A connection with an unread rest is of no use to the next request; one that was released stays open.
            self.close()

    def read(self) -> bytes:
        return b"".join(self.chunks())

    def close(self) -> None:
        if self._answer.connection is not None:
            self._answer.close()


class Containers:
    """Connections to containers, kept and used again. For many threads."""

    def __init__(self) -> None:
        self._http = urllib3.PoolManager(num_pools=256, maxsize=64, retries=False)

    def open(
        self,
        method: str,
        url: str,
        body: bytes | IO[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
        limit: int | None = ANSWER_LIMIT,
    ) -> Answering:
        """Sends a request and gives the answer when its head is there. Raises NoAnswer."""
        deadline = time.monotonic() + timeout_s
        with _failures():
            answer = self._http.request(
                method, url, body=body, headers=headers, timeout=timeout_s, preload_content=False, redirect=False
            )
        return Answering(answer, deadline, limit)

    def ask(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Answer:
        """The whole answer. Raises NoAnswer."""
        answering = self.open(method, url, body, headers, timeout_s)
        return Answer(answering.status, answering.headers, answering.read())


class _failures:
    """Turns what urllib3 raises into a sentence."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, urllib3.exceptions.TimeoutError):
            raise Overdue("The container did not answer in time") from error
        if isinstance(error, urllib3.exceptions.HTTPError):
            raise NoAnswer(f"The container did not answer: {error}") from error


def unanswered(route: Route, who: str, failure: NoAnswer) -> ApiError:
    """ModelError of a container that gave no answer; AWS says 0 for its status."""
    if isinstance(failure, Overdue):
        message = (
            f"Your invocation timed out while waiting for a response from container {who}. Review the latency metrics "
            "for each container in Amazon CloudWatch, resolve the issue, and try again."
        )
        return model_error(route, who, 0, message)
    return model_error(route, who, 0, f"{failure}.")


def model_error(route: Route, who: str, status: int, message: str) -> ApiError:
    """AWS's error for what a container refused (4xx) or failed at; `who`: the container's name."""
    blame = "client" if 400 <= status < 500 else "server"
    stream = f"arn:aws:logs:{route.region}:{arns.ACCOUNT}:log-group:{log_group(route.endpoint)}"
    return ApiError(
        "ModelError",
        f'Received {blame} error ({status}) from {who} with message "{message}". See {stream} for more information.',
        424,
        OriginalStatusCode=status,
        OriginalMessage=message,
        LogStreamArn=stream,
    )
