"""A page on this machine onto which photographs are dropped: it asks an endpoint and shows labels, bars and a map.

It listens on loopback alone. Another page in the same browser cannot use it: requests with a strange Host are refused
(DNS rebinding), and those that ask the endpoint need a header that only a page of the same origin may send.
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrate import asking, console
from orchestrate.asking import Endpoint
from orchestrate.errors import InputError, JobFailed

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

_HEADER = "x-kennel-page"
_TOP_K = 5
_POLICY = "default-src 'self'; img-src 'self' blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def serve(endpoint: Endpoint, out: console.Console, is_opened: bool = True) -> None:
    """Serves the page and opens it in a browser, until Ctrl-C."""
    import webbrowser

    import uvicorn

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        out.say(f"try {endpoint.name} on {address} (Ctrl-C ends the page; the endpoint stays)")
        listener.listen()
        if is_opened and not webbrowser.open(address):
            out.say("no browser was found: open that address in one")
        server = uvicorn.Server(uvicorn.Config(application(endpoint), log_level="error", lifespan="off"))
        try:
            asyncio.run(server.serve(sockets=[listener]))
        except KeyboardInterrupt:
            out.say()


def application(endpoint: Endpoint) -> Starlette:
    """`GET /`, `POST /labels` and `POST /map`, the latter two with a photograph as the body."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import HTMLResponse, JSONResponse, Response
    from starlette.routing import Route

    page = _page(endpoint)

    async def show(request: Request) -> Response:
        return HTMLResponse(page, headers={"content-security-policy": _POLICY, "cache-control": "no-store"})

    async def ask(request: Request) -> Response:
        if _HEADER not in request.headers:
            return JSONResponse({"error": "this is for the page alone"}, 403)
        drawn = request.url.path == "/map"
        attributes, accept = ("explain=top", asking.PNG) if drawn else (f"top_k={_TOP_K}", asking.JSON)
        try:
            body = await _body(request, endpoint.most_bytes)
            answer = await asyncio.to_thread(endpoint.ask, "the photograph", body, attributes, accept)
        except InputError as error:
            return JSONResponse({"error": str(error)}, 400)
        except JobFailed as error:
            return JSONResponse({"error": str(error)}, 502)
        except Exception as error:
            # The endpoint may have gone meanwhile, or the network, or the credentials have expired.
            if (sentence := console.aws_sentence(error)) is None:
                raise
            return JSONResponse({"error": sentence}, 502)
        return Response(answer, media_type=accept)

    return Starlette(
        routes=[Route("/", show), Route("/labels", ask, methods=["POST"]), Route("/map", ask, methods=["POST"])],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])],
    )


async def _body(request: Request, most_bytes: int) -> bytes:
    """Raises InputError: more than the endpoint takes, found before all of it has come."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > most_bytes:
            raise InputError(f"the photograph has more than {most_bytes:,} bytes: an endpoint takes no more")
    return body


def _page(endpoint: Endpoint) -> str:
    import jinja2

    templates = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True)
    return templates.get_template("try_page.html.j2").render(
        name=endpoint.name, most_bytes=endpoint.most_bytes, header=_HEADER
    )
