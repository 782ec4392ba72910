"""What tests of every room share: the options, how they are spread over processes, the real photographs, the engine."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
# Pictures of 32 pixels are too little work for two threads, and those of several processes wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("an image", "the image under test: Kennel's own, or for tests/image any SageMaker image")
    add = group.addoption
    add("--image", metavar="URI", help="the image for the tests marked `engine`")
    add("--hyperparameters", metavar="JSON", help="those of a job of seconds (default: such a job of Kennel's)")
    add("--long-hyperparameters", metavar="JSON", help="added to them, a job to be stopped (default: 1000 epochs)")
    add("--under-way", metavar="REGEX", default=r"\bepoch 1\b", help="what the log says when training has begun")
    add("--channel", metavar="NAME=DIR", action="append", default=[], help="input data (default: generated pictures)")
    add("--model", metavar="DIR", help="what to serve (default: what the training test left)")
    add("--body", metavar="FILE", help="a request that is answered with 2xx (default: a generated JPEG)")
    add("--bad-body", metavar="FILE", help="one that is answered with 4xx (default: a line of text)")
    add("--content-type", metavar="TYPE", default="image/jpeg", help="the type of both (default: %(default)s)")
    add("--docker-option", metavar="OPTION", action="append", default=[], help='for every container, as "--gpus=all"')
    add("--start-within", metavar="SECONDS", type=float, default=480, help="until the first good /ping (%(default)s)")
    add("--stop-within", metavar="SECONDS", type=float, help="from SIGTERM to the end (train 120, serve 30)")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Of `-n auto`: two a core, because the tests mostly wait for what they started."""
    return min(2 * (os.cpu_count() or 1), 8)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules with slow tests come first, so that no process begins one when the others are done."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium of this machine."""
    from playwright.sync_api import sync_playwright

    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("neither chromium nor google-chrome is on PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def dogs() -> Path:
    """Photographs of ten breeds, class folders in train/, valid/ and test/."""
    path = SHARED / "dogs"
    if not path.is_dir():
        pytest.skip(f"needs the photographs in {path}")
    return path


@pytest.fixture(scope="session")
def resnet18_weights() -> Path:
    """A pretrained ResNet-18 named as torchvision names its files."""
    found = sorted((SHARED / "weights").glob("resnet18-*.pth"))
    if not found:
        pytest.skip(f"needs pretrained weights in {SHARED / 'weights'}")
    return found[0]


@pytest.fixture(scope="session")
def engine() -> None:
    """Skips where no container engine answers."""
    try:
        answer = subprocess.run(["docker", "info"], capture_output=True, text=True, timeout=30, check=False)
    except FileNotFoundError:
        pytest.skip("needs the docker command")
    if answer.returncode:
        pytest.skip("needs a container engine: `docker info` fails")


@pytest.fixture(scope="session")
def image(engine: None, request: pytest.FixtureRequest) -> str:
    """The image under test."""
    uri = request.config.getoption("--image")
    if not uri:
        pytest.skip("needs --image URI (build it with `make image`)")
    return str(uri)
