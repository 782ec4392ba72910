"""Asking the running server for what is not in AWS's API, below /local/."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import quote, urlsplit

from local_sagemaker.daemon import DaemonError

TIMEOUT_S = 600  # removing a hundred thousand files takes its time


def post(url: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer to a POST. Raises DaemonError with what the server says when it refuses."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT_S)
    try:
        connection.request("POST", quote(path), json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        said = response.read().decode("utf-8", "replace")
    except OSError as error:
        raise DaemonError(f"The server at {url} does not answer: {error}.") from error
    finally:
        connection.close()
    answer: dict[str, Any] = json.loads(said or "{}")
    if response.status >= 400:
        raise DaemonError(str(answer.get("message", said)))
    return answer
