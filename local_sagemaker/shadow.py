"""Copies of requests to shadow variants: sent aside, and what becomes of them is nobody's concern."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from local_sagemaker.errors import ApiError
from local_sagemaker.routing import Route

PARALLEL = 8
WAITING = 64  # copies on their way; a shadow that cannot follow misses some
log = logging.getLogger(__name__)


class Shadows:
    """Sends copies from threads of its own."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(PARALLEL, thread_name_prefix="shadow")
        self._places = threading.BoundedSemaphore(WAITING)

    def send(self, route: Route, copy: Callable[[], None]) -> None:
        """Calls `copy` aside and then lets the shadow's route go; returns at once."""
        if self._places.acquire(blocking=False):
            self._pool.submit(self._send, route, copy)
        else:
            route.release()
            log.warning("shadow variant %s of endpoint %s misses a request", route.variant, route.endpoint)

    def _send(self, route: Route, copy: Callable[[], None]) -> None:
        try:
            with route:
                copy()
        except ApiError as error:
            log.info("shadow variant %s of endpoint %s: %s", route.variant, route.endpoint, error)
        except Exception:
            log.exception("shadow variant %s of endpoint %s", route.variant, route.endpoint)
        finally:
            self._places.release()
