"""The HTTP server: one port of 127.0.0.1 for every service, so that one AWS_ENDPOINT_URL is enough."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from local_sagemaker import __version__, invocations, protocol
from local_sagemaker.errors import ApiError
from local_sagemaker.invocations import Invocations
from local_sagemaker.operations import perform
from local_sagemaker.platform import Platform
from local_sagemaker.protocol import Reply

BODY_LIMIT = 4 * 1024 * 1024  # bytes of a request that is not an invocation
PARALLEL_INVOCATIONS = 64  # threads of their own: invocations that wait for a container must not hold up the API
log = logging.getLogger(__name__)


def application(platform: Platform, on_ready: Callable[[], None]) -> Starlette:
    """The ASGI application; `on_ready` is called when the state is taken up and requests will be answered."""

    passing = Invocations(platform.hosting)
    limiter = CapacityLimiter(PARALLEL_INVOCATIONS)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await run_sync(platform.recover)
        on_ready()
        yield

    async def about(request: Request) -> Response:
        return JSONResponse({"service": "local-sagemaker", "version": __version__, "pid": os.getpid()})

    async def api(request: Request) -> Response:
        return await _answer(_api(platform, request), is_query="x-amz-target" not in request.headers)

    async def invoke(request: Request) -> Response:
        return await _answer(_invoke(passing, limiter, request))

    async def unknown(request: Request) -> Response:
        what = f"{request.method} {request.url.path}"
        return _respond(protocol.refusal(protocol.unknown_operation(what)))

    app = Starlette(
        routes=[
            Route("/", about, methods=["GET"]),
            Route("/", api, methods=["POST"]),
            Route("/endpoints/{name}/invocations", invoke, methods=["POST"]),
            Route("/{path:path}", unknown, methods=["GET", "POST", "PUT", "DELETE", "PATCH"]),
        ],
        lifespan=lifespan,
    )
    app.add_middleware(LoopbackOnly)
    return app


async def _api(platform: Platform, request: Request) -> Reply:
    body, size = await read(request, BODY_LIMIT)
    if size > BODY_LIMIT:
        raise ApiError("RequestEntityTooLarge", f"The request has {size} bytes, the limit is {BODY_LIMIT}.", 413)
    call = protocol.parse(request.headers, body)
    return protocol.answer(call, await run_sync(perform, platform, call))


async def _invoke(passing: Invocations, limiter: CapacityLimiter, request: Request) -> Reply:
    body, size = await read(request, invocations.BODY_LIMIT)
    if size > invocations.BODY_LIMIT:
        raise invocations.too_large(size)
    name, region = request.path_params["name"], protocol.region_of(request.headers)
    return await run_sync(passing.invoke, name, request.headers, body, region, limiter=limiter)


async def _answer(reply: Awaitable[Reply], is_query: bool = False) -> Response:
    try:
        return _respond(await reply)
    except ApiError as error:
        return _respond(protocol.refusal(error, is_query))
    except Exception as error:
        log.exception("a request could not be answered")
        failure = ApiError("InternalFailure", f"{type(error).__name__}: {error}", 500)
        return _respond(protocol.refusal(failure, is_query))


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


class LoopbackOnly:
    """Refuses requests whose Host is not this machine.

    A web page whose name was made to resolve to 127.0.0.1 gets nothing.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._is_local(scope):
            message = "local SageMaker answers to 127.0.0.1 and localhost only: use one of these in the endpoint's URL."
            await _respond(protocol.refusal(ApiError("AccessDeniedException", message, 403)))(scope, receive, send)
            return
        await self._app(scope, receive, send)

    @staticmethod
    def _is_local(scope: Scope) -> bool:
        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        return host.partition(":")[0] in ("127.0.0.1", "localhost")


def _respond(reply: Reply) -> Response:
    # As a header and not as Starlette's media_type, which adds a charset to a container's text.
    return Response(reply.body, reply.status, {**reply.headers, "Content-Type": reply.content_type})
