"""The health check of SageMaker's serving contract: `GET /ping`.

Source: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html: 200 means healthy, the
connection is accepted within 250 ms, the answer comes within 2 s, the first one within 8 minutes of the start.
"""

from __future__ import annotations

import threading
import time

import urllib3

from local_sagemaker.runners import Running

STARTUP_S = 480.0  # ContainerStartupHealthCheckTimeoutInSeconds when it is not given
CONNECT_S = 0.25
ANSWER_S = 2.0
_FIRST_PAUSE_S = 0.1  # between the first pings of a container that starts; later ones come every second
_PAUSE_S = 1.0
_QUOTED = 200  # bytes of an answer that a reason quotes


class Unhealthy(Exception):
    """What was wrong, as the predicate of a sentence about the container."""


def ping(url: str) -> str | None:
    """None when the container is healthy, else what it did instead: "answered 503 loading"."""
    try:
        answer = urllib3.request(
            "GET",
            f"{url}/ping",
            headers={"Connection": "close"},  # so that each ping measures a connection of its own
            timeout=urllib3.Timeout(connect=CONNECT_S, read=ANSWER_S),
            retries=False,
            preload_content=False,
        )
        try:
            if answer.status == 200:
                return None
            return f"answered {answer.status} {answer.read(_QUOTED).decode('utf-8', 'replace')}".strip()
        finally:
            answer.close()
    except urllib3.exceptions.NewConnectionError:
        return "refused the connection"
    except urllib3.exceptions.ConnectTimeoutError:
        return f"did not accept a connection within {CONNECT_S * 1000:.0f} ms"
    except urllib3.exceptions.ReadTimeoutError:
        return f"answered nothing within {ANSWER_S:.0f} s"
    except urllib3.exceptions.HTTPError as error:
        return f"answered no HTTP ({type(error).__name__})"


def await_healthy(running: Running, limit_s: float, stop: threading.Event) -> None:
    """Returns when /ping answers 200, or when `stop` is set. Raises Unhealthy."""
    deadline = time.monotonic() + limit_s
    pause, said = _FIRST_PAUSE_S, ""
    while not stop.is_set():
        trouble = ping(running.url)
        if trouble is None:
            return
        said = trouble
        if time.monotonic() >= deadline:
            raise Unhealthy(f"{said} to GET /ping after {limit_s:g} s")
        code = running.wait(pause)
        if code is not None:
            raise Unhealthy(f"ended with exit code {code}")
        pause = min(_PAUSE_S, pause * 1.5)
