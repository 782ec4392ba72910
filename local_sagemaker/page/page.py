"""The routes of the page.

The page asks once a second. Every answer has the version of the records and of the logs as its ETag, so that a second
in which nothing happened costs a comparison of two strings. What changes something (stop, delete) is asked of the API
itself.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local_sagemaker import prune
from local_sagemaker.page import views
from local_sagemaker.platform import Platform

# Nothing from elsewhere, no inline script, nobody may frame it: names and log lines are whatever a container says.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_FILES = files("local_sagemaker.page")
_BOOT = f"{time.time_ns():x}"  # versions of different servers are different

log = logging.getLogger(__name__)

View = Callable[[Platform, Request], dict[str, Any]]


def wants_page(request: Request) -> bool:
    """Whether a browser asks for the root: a client of AWS signs, and asks for no HTML."""
    return "text/html" in request.headers.get("accept", "") and "authorization" not in request.headers


def index() -> Response:
    return _file("index.html")


def routes(platform: Platform) -> list[Route]:
    """Everything below /local/ that the page asks for."""

    def shown(view: View, changes_with_records: bool = True) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            tag = f'"{_BOOT}-{platform.records.version}-{platform.logs.version}"'
            # An endpoint's instances come and go without a change of its record.
            has_tag = changes_with_records and request.path_params.get("kind") != "endpoints"
            headers = {**HEADERS, "ETag": tag} if has_tag else HEADERS
            if has_tag and request.headers.get("if-none-match") == tag:
                return Response(status_code=304, headers=headers)
            try:
                return JSONResponse(await run_sync(view, platform, request), headers=headers)
            except views.Missing:
                return JSONResponse({"message": "There is no such thing here (any more)."}, 404, HEADERS)
            except ValueError as error:
                return JSONResponse({"message": f"The request cannot be read: {error}."}, 400, HEADERS)
            except Exception as error:
                log.exception("the page could not be answered")
                return JSONResponse({"message": f"{type(error).__name__}: {error}"}, 500, HEADERS)

        return answer

    async def static(request: Request) -> Response:
        return _file(request.path_params["name"])

    async def pruning(request: Request) -> Response:
        try:
            asked = json.loads(await request.body())
            age, dry_run = float(asked["older_than_s"]), bool(asked["dry_run"])
        except (ValueError, TypeError, KeyError):
            return JSONResponse({"message": "Give older_than_s (a number) and dry_run (true or false)."}, 400, HEADERS)
        found = await run_sync(prune.prune, platform.records, platform.logs, platform.settings.state, age, dry_run)
        return JSONResponse({"found": [vars(item) for item in found]}, headers=HEADERS)

    return [
        Route("/local/page/{name}", static, methods=["GET"]),
        Route("/local/list/{kind}", shown(views.listed), methods=["GET"]),
        Route("/local/detail/{kind}/{name:path}", shown(views.detail), methods=["GET"]),
        Route("/local/metrics/{name}", shown(views.metrics, False), methods=["GET"]),
        Route("/local/log", shown(views.log, False), methods=["GET"]),
        Route("/local/prune", pruning, methods=["POST"]),
    ]


def _file(name: str) -> Response:
    path = _FILES / name
    kind = _TYPES.get(name.rpartition(".")[2])
    if "/" in name or kind is None or not path.is_file():
        return JSONResponse({"message": f"The page has no file {name!r}."}, 404, HEADERS)
    return Response(path.read_bytes(), media_type=kind, headers=HEADERS)
