"""The page on which an endpoint is tried, in a headless Chromium, before an endpoint that a function stands for."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import uvicorn

from orchestrate import asking, try_page
from orchestrate.asking import Endpoint, Refused
from photographs import jpeg

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HOSTILE = "<img src=x onerror=window.hacked=1>"
PATIENCE_MS = 60_000


def send(body: bytes, kind: str, accept: str, attributes: str) -> bytes:
    """What an endpoint answers."""
    if not body.startswith(b"\xff\xd8\xff"):
        raise Refused(415, "that is no JPEG")
    if accept == asking.PNG:
        assert attributes == "explain=top"
        return jpeg(0.5, np.random.default_rng(1), format="PNG")
    labels = [("004.Beagle", 0.82), (HOSTILE, 0.1), ("010.Border_terrier", 0.05)]
    return json.dumps({"predictions": [{"label": name, "probability": p} for name, p in labels]}).encode()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(Endpoint("kennel-rex", send)) as port:
        yield port


@contextlib.contextmanager
def serving(endpoint: Endpoint) -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(try_page.application(endpoint), log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        until = time.monotonic() + 60
        while not server.started and time.monotonic() < until:
            time.sleep(0.01)
        yield int(listener.getsockname()[1])
        server.should_exit = True
        thread.join()


@pytest.fixture
def page(browser: Browser, port: int) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1000, "height": 800})
    page.set_default_timeout(PATIENCE_MS)
    page.goto(f"http://127.0.0.1:{port}/")
    yield page
    assert page.evaluate("window.hacked") is None
    page.close()


def test_a_photograph_gets_labels_bars_and_a_map(page: Page, tmp_path: Path) -> None:
    photograph = tmp_path / "rex.jpg"
    photograph.write_bytes(jpeg(0.1, np.random.default_rng(0)))
    page.set_input_files("input", photograph)
    card = page.locator("figure")
    card.locator("li").first.wait_for()
    assert card.locator("li").all_inner_texts() == [
        "004.Beagle\n82.0 %",
        f"{HOSTILE}\n10.0 %",
        "010.Border_terrier\n5.0 %",
    ]
    shares = [
        page.evaluate("e => e.style.getPropertyValue('--share')", li) for li in card.locator("li").element_handles()
    ]
    assert [float(share.rstrip("%")) for share in shares] == pytest.approx([82, 10, 5])
    plain = card.locator("img").get_attribute("src")
    card.get_by_role("button").click()
    page.wait_for_selector("button[aria-pressed=true]")
    assert card.locator("img").get_attribute("src") != plain
    card.get_by_role("button").click()
    page.wait_for_selector("button[aria-pressed=false]")
    assert card.locator("img").get_attribute("src") == plain


def test_what_is_no_photograph_is_told_in_the_containers_words(page: Page, tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("no photograph")
    page.set_input_files("input", text)
    page.get_by_text("that is no JPEG").wait_for()
    large = tmp_path / "large.jpg"
    large.write_bytes(bytes(asking.MOST_BYTES + 1))
    page.set_input_files("input", large)
    page.get_by_text("larger than an endpoint takes").wait_for()


def test_an_endpoint_that_has_gone_is_told(browser: Browser, tmp_path: Path) -> None:
    from botocore.exceptions import ClientError

    def gone(*request: object) -> bytes:
        raise ClientError({"Error": {"Code": "ValidationError", "Message": "Endpoint rex not found"}}, "InvokeEndpoint")

    photograph = tmp_path / "rex.jpg"
    photograph.write_bytes(jpeg(0.1, np.random.default_rng(0)))
    page = browser.new_page()
    page.set_default_timeout(PATIENCE_MS)
    with serving(Endpoint("kennel-rex", gone)) as port:
        page.goto(f"http://127.0.0.1:{port}/")
        page.set_input_files("input", photograph)
        page.get_by_text("InvokeEndpoint was refused (ValidationError): Endpoint rex not found").wait_for()
    page.set_input_files("input", photograph)
    page.get_by_text("the program that serves this page has ended").wait_for()
    page.close()


def ask(port: int, headers: dict[str, str], body: bytes = b"\xff\xd8\xff") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("POST", "/labels", body, headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_other_pages_cannot_use_it(port: int) -> None:
    ours = {"x-kennel-page": "1"}
    assert ask(port, ours)[0] == 200
    assert ask(port, {})[0] == 403
    assert ask(port, {**ours, "Host": "evil.example"})[0] == 400
    status, told = ask(port, ours, bytes(asking.MOST_BYTES + 1))
    assert status == 400 and b"an endpoint takes no more" in told
