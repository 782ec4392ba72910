"""Who may ask: this machine's own clients, and of web pages only the server's own.

A browser sends what any page tells it to, to loopback too. Three things keep other sites out: the Host must be this
machine (so a name that was made to resolve to 127.0.0.1 gets nothing), a request that changes something must not come
from another site (`Sec-Fetch-Site`, `Origin`), and what lies below /local/ takes JSON only, which no form can send.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from local_sagemaker import protocol
from local_sagemaker.errors import ApiError

_HOSTS = ("127.0.0.1", "localhost")
_READING = ("GET", "HEAD", "OPTIONS")


class Gate:
    """ASGI middleware; what it refuses gets an AccessDeniedException."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reason = _refused(scope) if scope["type"] == "http" else None
        if reason is None:
            await self._app(scope, receive, send)
            return
        reply = protocol.refusal(ApiError("AccessDeniedException", reason, 403))
        headers = {**reply.headers, "Content-Type": reply.content_type, "Content-Length": str(len(reply.body))}
        raw = [(key.lower().encode(), value.encode()) for key, value in headers.items()]
        await send({"type": "http.response.start", "status": reply.status, "headers": raw})
        await send({"type": "http.response.body", "body": reply.body})


def _refused(scope: Scope) -> str | None:
    headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
    host = headers.get("host", "")
    if host.partition(":")[0] not in _HOSTS:
        return "local SageMaker answers to 127.0.0.1 and localhost only: use one of these in the endpoint's URL."
    if scope["method"] in _READING:
        return None
    origin = headers.get("origin")
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") or (
        origin is not None and urlsplit(origin).netloc != host
    ):
        return "a web page of another site sent this request: local SageMaker takes changes from its own page only."
    if scope["path"].startswith("/local/") and headers.get("content-type", "").partition(";")[0] != "application/json":
        return "requests below /local/ are JSON: send them with Content-Type: application/json."
    return None
