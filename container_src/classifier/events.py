"""What happens to a server, one line of JSON an event: CloudWatch Logs finds the fields by itself."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from typing import TextIO

LONGEST = 4000
# The variable of sagemaker-training and sagemaker-inference: Python's levels, 20 unless told otherwise.
LEVEL = "SAGEMAKER_CONTAINER_LOG_LEVEL"
DEBUG = 10


def say(event: str, level: str = "info", stream: TextIO | None = None, **fields: object) -> None:
    """Writes one line to `stream` (stdout). Texts are cut: what a stranger sent may be in them."""
    now = time.time()
    moment = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now * 1000) % 1000:03d}Z"
    cut = {name: value[:LONGEST] if isinstance(value, str) else value for name, value in fields.items()}
    line = json.dumps({"time": moment, "level": level, "event": event, **cut}, ensure_ascii=False)
    # One write, so that the lines of several processes do not mix.
    (stream or sys.stdout).write(line + "\n")
    (stream or sys.stdout).flush()


def say_error(what: str, stream: TextIO | None = None) -> None:
    """The exception that is being handled, with its traceback, for whoever runs the server."""
    say("error", "error", stream, what=what, traceback=traceback.format_exc())


def wants_every_request() -> bool:
    """Whether the operator asked for a line a request."""
    return os.environ.get(LEVEL, "").isdigit() and int(os.environ[LEVEL]) <= DEBUG
