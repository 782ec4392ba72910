"""The HTTP server: one port of 127.0.0.1 for every service, so that one AWS_ENDPOINT_URL is enough."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TypeVar

from anyio import CancelScope, CapacityLimiter
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from local_sagemaker import __version__, eventstream, protocol, query
from local_sagemaker.errors import ApiError
from local_sagemaker.gate import Gate
from local_sagemaker.invocations import Stream
from local_sagemaker.operations import perform, training_jobs
from local_sagemaker.page import page
from local_sagemaker.platform import Platform
from local_sagemaker.protocol import Reply
from local_sagemaker.runtime_protocol import BODY_LIMITS
from local_sagemaker.s3.http import S3Requests

BODY_LIMIT = 4 * 1024 * 1024  # bytes of a request that is not an invocation
PARALLEL_INVOCATIONS = 64  # threads of their own: invocations that wait for a container must not hold up the API
log = logging.getLogger(__name__)
T = TypeVar("T")
Passing = Callable[[str, Mapping[str, str], bytes, int], T]  # a method of Invocations


def application(platform: Platform, on_ready: Callable[[], None]) -> Starlette:
    """The ASGI application; `on_ready` is called when the state is taken up and requests will be answered."""

    passing = platform.invocations
    limiter = CapacityLimiter(PARALLEL_INVOCATIONS)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await run_sync(platform.recover)
        on_ready()
        yield

    async def about(request: Request) -> Response:
        if page.wants_page(request):
            return page.index()
        return JSONResponse({"service": "local-sagemaker", "version": __version__, "pid": os.getpid()})

    async def api(request: Request) -> Response:
        return await _answer(_api(platform, request), is_query="x-amz-target" not in request.headers)

    async def invoke(request: Request) -> Response:
        return await _answer(_invoke(passing.invoke, "InvokeEndpoint", limiter, request))

    async def accept(request: Request) -> Response:
        return await _answer(_invoke(passing.accept, "InvokeEndpointAsync", limiter, request))

    async def stream(request: Request) -> Response:
        return await _answer(_stream(passing.stream, "InvokeEndpointWithResponseStream", limiter, request))

    async def interrupt(request: Request) -> Response:
        return await _answer(_interrupt(platform, request))

    async def unknown(request: Request) -> Response:
        what = f"{request.method} {request.url.path}"
        return _respond(protocol.refusal(protocol.unknown_operation(what)))

    app = Starlette(
        routes=[
            Route("/", about, methods=["GET"]),
            Route("/", api, methods=["POST"]),
            Route("/endpoints/{name}/invocations", invoke, methods=["POST"]),
            Route("/endpoints/{name}/async-invocations", accept, methods=["POST"]),
            Route("/endpoints/{name}/invocations-response-stream", stream, methods=["POST"]),
            Route("/local/interrupt/{name}", interrupt, methods=["POST"]),
            *page.routes(platform),
            Route("/{path:path}", unknown, methods=["GET", "POST", "PUT", "DELETE", "PATCH"]),
        ],
        lifespan=lifespan,
    )
    app.add_middleware(S3Requests, s3=platform.s3)
    app.add_middleware(Gate)
    return app


async def _api(platform: Platform, request: Request) -> Reply:
    body, size = await read(request, BODY_LIMIT)
    if size > BODY_LIMIT:
        raise ApiError("RequestEntityTooLarge", f"The request has {size} bytes, the limit is {BODY_LIMIT}.", 413)
    if "x-amz-target" in request.headers:
        call = protocol.parse(request.headers, body)
        return protocol.answer(await run_sync(perform, platform, call))
    call = query.parse(request.headers, body)
    return query.answer(call, await run_sync(perform, platform, call))


async def _interrupt(platform: Platform, request: Request) -> Response:
    """Takes a spot job's instances away; `{"away_s": S}` keeps them away for at least so many seconds."""
    body, _ = await read(request, BODY_LIMIT)
    try:
        away_s = float(json.loads(body or b"{}").get("away_s", 0))
    except (ValueError, TypeError, AttributeError):
        away_s = math.nan
    if not 0 <= away_s < math.inf:
        raise ApiError("ValidationException", 'The body is JSON of the form {"away_s": SECONDS}.')
    await run_sync(training_jobs.interrupt, platform, request.path_params["name"], away_s)
    return JSONResponse({})


async def _invoke(passing: Passing[T], operation: str, limiter: CapacityLimiter, request: Request) -> T:
    body, size = await read(request, BODY_LIMITS[operation])
    return await run_sync(passing, request.path_params["name"], request.headers, body, size, limiter=limiter)


async def _stream(passing: Passing[Stream], operation: str, limiter: CapacityLimiter, request: Request) -> Response:
    opened = await _invoke(passing, operation, limiter, request)

    async def events() -> AsyncIterator[bytes]:
        while (event := await run_sync(next, opened.events, None, limiter=limiter)) is not None:
            yield event

    return EventStream(events(), opened)


async def _answer(reply: Awaitable[Reply | Response], is_query: bool = False) -> Response:
    try:
        answer = await reply
        return answer if isinstance(answer, Response) else _respond(answer)
    except ApiError as error:
        return _respond(protocol.refusal(error, is_query))
    except Exception as error:
        log.exception("a request could not be answered")
        failure = ApiError("InternalFailure", f"{type(error).__name__}: {error}", 500)
        return _respond(protocol.refusal(failure, is_query))


class EventStream(StreamingResponse):
    """Sends the events of a stream, and closes it also when the client has gone away."""

    def __init__(self, events: AsyncIterator[bytes], opened: Stream) -> None:
        super().__init__(events, headers={**opened.headers, "Content-Type": eventstream.CONTENT_TYPE})
        self._close = opened.close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            with CancelScope(shield=True):
                await run_sync(self._close)


async def read(request: Request, limit: int) -> tuple[bytes, int]:
    """The body and its size; of a body that is longer than `limit` bytes, only the beginning.

    The rest is read and dropped, because a client that is still sending does not read the answer.
    """
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= limit:
            chunks.append(chunk)
    return b"".join(chunks), size


def _respond(reply: Reply) -> Response:
    # As a header and not as Starlette's media_type, which adds a charset to a container's text.
    return Response(reply.body, reply.status, {**reply.headers, "Content-Type": reply.content_type})
