"""S3 over HTTP: told from the other services by its signature's scope, bodies streamed in both directions."""

from __future__ import annotations

import contextlib
import io
import logging
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl
from uuid import uuid4

from anyio.to_thread import run_sync
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from local_sagemaker.errors import ApiError
from local_sagemaker.s3 import routing
from local_sagemaker.s3.body import OBJECT_LIMIT, Receiver
from local_sagemaker.s3.operations import check_known, perform
from local_sagemaker.s3.service import S3, Asked, Content, Given

DOCUMENT_LIMIT = 1024 * 1024  # bytes of a body that is no object; S3's own limit
BLOCK = 1024 * 1024  # bytes that go to and from the disk at once
_SCOPE = re.compile(r"(?:Credential=|^)[^/,\s]+/\d{8}/([a-z0-9-]+)/s3/aws4_request")
log = logging.getLogger(__name__)


class S3Requests:
    """Answers the requests that are signed for S3 and passes on all others."""

    def __init__(self, app: ASGIApp, s3: S3) -> None:
        self._app = app
        self._s3 = s3

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        region = _region(scope) if scope["type"] == "http" else None
        if region is None:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        with contextlib.suppress(ClientDisconnect):  # nobody is there to answer
            response = await self._answer(request, region)
            await response(scope, receive, send)

    async def _answer(self, request: Request, region: str) -> Response:
        raw_path = request.scope["raw_path"].partition(b"?")[0].decode("latin-1")
        common = {"x-amz-request-id": uuid4().hex[:16].upper(), "x-amz-id-2": uuid4().hex}
        try:
            with contextlib.ExitStack() as stack:  # of the body's file, unless it becomes an object
                asked = await self._read(request, raw_path, region, stack)
                given = await run_sync(perform, self._s3, asked)
        except ApiError as error:
            return await self._refuse(request, error, raw_path, common)
        except ClientDisconnect:
            raise
        except Exception as error:
            log.exception("a request for S3 could not be answered")
            failure = ApiError("InternalError", f"{type(error).__name__}: {error}", 500)
            return await self._refuse(request, failure, raw_path, common)
        return _respond(asked.operation, given, common)

    async def _read(self, request: Request, raw_path: str, region: str, stack: contextlib.ExitStack) -> Asked:
        bucket, key = routing.split(raw_path)
        query = dict(parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True))
        operation = routing.operation(request.method, bucket, key, query, request.headers)
        check_known(operation)
        if operation not in routing.STREAMING:
            body = await _document(request)
            return Asked(operation, routing.parameters(operation, bucket, key, query, request.headers, body), region)
        parameters = routing.parameters(operation, bucket, key, query, request.headers, b"")
        await run_sync(self._s3.store.bucket, bucket)
        path = stack.enter_context(self._s3.store.partial(bucket))
        with path.open("wb") as stream:
            receiver = Receiver(request.headers, stream)
            await _receive(request, receiver, OBJECT_LIMIT)
        return Asked(operation, parameters, region, receiver.finish(path))

    async def _refuse(self, request: Request, error: ApiError, resource: str, headers: dict[str, str]) -> Response:
        """An answer in S3's form, when the client has sent all: one that is still sending does not read it."""
        if "expect" in request.headers:  # it waits for a word; where this is the word, its body never comes
            headers = {**headers, "Connection": "close"}
        else:
            with contextlib.suppress(RuntimeError):  # the body has been read
                async for _ in request.stream():
                    pass
        if request.method == "HEAD" or error.status == 304:
            return Response(status_code=error.status, headers=headers)
        if error.code == "InvalidRange":
            headers = {**headers, "Content-Range": f"bytes */{error.members['ActualObjectSize']}"}
        body = routing.refusal(error, resource, headers["x-amz-request-id"])
        return Response(body, error.status, {**headers, "Content-Type": "application/xml"})


def _region(scope: Scope) -> str | None:
    """The region that a request for S3 was signed for, in a header or, with a presigned URL, in the query."""
    headers = dict(scope["headers"])
    authorization = headers.get(b"authorization", b"").decode("latin-1")
    query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
    found = _SCOPE.search(authorization) or _SCOPE.search(query.get("X-Amz-Credential", ""))
    if found:
        return found.group(1)
    # The older signature, which only S3 still has and which boto3 uses for presigned URLs.
    is_old = authorization.startswith("AWS ") or query.keys() >= {"AWSAccessKeyId", "Signature", "Expires"}
    return "us-east-1" if is_old else None


async def _document(request: Request) -> bytes:
    """A body that is no object. Raises ApiError."""
    stream = io.BytesIO()
    receiver = Receiver(request.headers, stream)
    await _receive(request, receiver, DOCUMENT_LIMIT)
    receiver.finish(Path())
    return stream.getvalue()


async def _receive(request: Request, receiver: Receiver, limit: int) -> None:
    """Passes a body on, a block at a time. Raises ApiError when it is longer than `limit` bytes."""
    block = bytearray()
    size = 0
    async for chunk in request.stream():
        block += chunk
        size += len(chunk)
        if size > limit + limit // 8:  # the signatures of chunks are not counted
            raise ApiError(
                "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size", MaxSizeAllowed=limit
            )
        if len(block) >= BLOCK:
            await run_sync(receiver.feed, bytes(block))
            block.clear()
    await run_sync(receiver.feed, bytes(block))


def _respond(operation: str, given: Given, common: Mapping[str, str]) -> Response:
    members: dict[str, Any] = dict(given.members)
    headers, body = routing.answer(operation, members)
    headers = {**common, **headers}
    if body:
        headers["Content-Type"] = "application/xml"
    if given.content:
        return StreamingResponse(_blocks(given.content), given.status, headers)
    return Response(body, given.status, headers)


async def _blocks(content: Content) -> AsyncIterator[bytes]:
    left = content.length
    try:
        while left and (block := await run_sync(content.stream.read, min(left, BLOCK))):
            left -= len(block)
            yield block
    finally:
        content.stream.close()
