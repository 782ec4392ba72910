"""Stateful sessions: a request that names one goes to the instance that opened it.

Source: https://docs.aws.amazon.com/sagemaker/latest/dg/stateful-sessions.html.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from local_sagemaker.routing import Route
from local_sagemaker.runtime_protocol import refused

NEW = "NEW_SESSION"
_ATTEMPTS = 64  # routes drawn, round robin, until the session's own instance comes up


class Sessions:
    """Which instance each open session is on. For many threads."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, str], tuple[str, tuple[str, ...]]] = {}
        self._lock = threading.Lock()

    def route(self, endpoint: str, session: str, draw: Callable[[str], Route]) -> Route:
        """A route to the session's instance; `draw` gives one of a variant's. Raises ApiError when it is gone."""
        with self._lock:
            place = self._places.get((endpoint, session))
        if place:
            variant, urls = place
            for _ in range(_ATTEMPTS):
                route = draw(variant)
                if route.urls == urls:
                    return route
                for other in (route, *route.shadows):
                    other.release()
        raise refused(f"Session {session} of endpoint {endpoint} was not found: open one with SessionId {NEW}.")

    def follow(self, route: Route, answered: Mapping[str, str]) -> None:
        """Remembers the session that an answer opens, forgets the one that it closes."""
        with self._lock:
            if "NewSessionId" in answered:
                session = answered["NewSessionId"].partition(";")[0]
                self._places[route.endpoint, session] = (route.variant, route.urls)
            if "ClosedSessionId" in answered:
                self._places.pop((route.endpoint, answered["ClosedSessionId"]), None)
