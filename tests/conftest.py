"""What tests of every room share: the options, the real photographs, the engine."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--image", help="URI of an image built from docker/Dockerfile, for the tests marked `engine`")


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
