"""Photographs by file, folder, address and standard input."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrate import asking, photographs
from orchestrate.errors import InputError


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = {"/dog.jpg": b"a dog", "/large": bytes(asking.MOST_BYTES + 1)}.get(self.path)
            self.send_response(404 if found is None else 200)
            self.end_headers()
            self.wfile.write(found or b"")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_all_kinds(site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.jpg", "deep/a.PNG", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"piped")))
    given = [str(tmp_path), str(tmp_path / "notes.txt"), f"{site}/dog.jpg", "-"]
    assert list(photographs.read(given)) == [
        (str(tmp_path / "b.jpg"), b"b.jpg"),
        (str(tmp_path / "deep/a.PNG"), b"deep/a.PNG"),
        (str(tmp_path / "notes.txt"), b"notes.txt"),
        (f"{site}/dog.jpg", b"a dog"),
        ("standard input", b"piped"),
    ]


def test_what_is_not_there(site: str, tmp_path: Path) -> None:
    for given, sentence in (
        (f"{site}/cat.jpg", "answers 404 Not Found: give another address"),
        (f"{site}/large", "more than 6,291,456 bytes"),
        ("http://127.0.0.1:1/", "cannot be fetched"),
        (str(tmp_path / "no.jpg"), "there is no such file"),
        (str(tmp_path), "there is no photograph in this folder"),
    ):
        with pytest.raises(InputError, match=sentence):
            list(photographs.read([given]))
