"""A few operations of AWS that moto lacks, over real HTTP: the JSON protocol, with answers that a test gives."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class JsonAws:
    """`answers`: `X-Amz-Target` -> what is answered; anything else is an access denied. `asked`: what came."""

    answers: Mapping[str, Any]
    url: str = ""
    asked: list[tuple[str, Any]] = field(default_factory=list)


@contextmanager
def serving(answers: Mapping[str, Any]) -> Iterator[JsonAws]:
    """Answers on 127.0.0.1 until the end of the block."""
    made = JsonAws(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            target = self.headers["X-Amz-Target"]
            made.asked.append((target, body))
            known = target in made.answers
            answer = made.answers[target] if known else {"__type": "AccessDeniedException", "message": "no"}
            data = json.dumps(answer).encode()
            self.send_response(200 if known else 400)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
