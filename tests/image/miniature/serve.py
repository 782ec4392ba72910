#!/usr/bin/env -S python3 -IS
"""A server that answers for a JPEG with the number that the job left."""

import json
import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MODEL = Path("/opt/ml/model")
LIMIT = 6_291_456
PARAMETERS = {"MaxConcurrentTransforms": 8, "BatchStrategy": "SINGLE_RECORD", "MaxPayloadInMB": 6}
state: dict[str, object] = {}
too_early = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
# Here a broken promise may be put.


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/ping":
            self.answer(200 if "count" in state else 503)
        elif self.path == "/execution-parameters":
            self.answer(200, PARAMETERS)
        else:
            self.answer(404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if "count" not in state:
            self.answer(503)
        elif len(body) > LIMIT:
            self.answer(413)
        elif not body.startswith(b"\xff\xd8"):
            self.answer(400)
        else:
            self.answer(200, state["count"])

    def answer(self, status: int, value: object = None) -> None:
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if status == 503:
            too_early.set()


def load() -> None:
    """Once somebody has come too early: that a 503 is seen, and how often, is then no matter of the machine's speed."""
    too_early.wait()
    try:
        state["count"] = json.loads((MODEL / "count.json").read_text())
    except OSError as error:
        print(error, flush=True)
        os._exit(1)


threading.Thread(target=load).start()
ThreadingHTTPServer(("", int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))), Handler).serve_forever()
