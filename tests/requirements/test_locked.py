from __future__ import annotations

import importlib.util
import subprocess
import sys
from types import ModuleType

import pytest

from conftest import ROOT


@pytest.fixture(scope="module")
def locked() -> ModuleType:
    spec = importlib.util.spec_from_file_location("locked", ROOT / "requirements" / "locked.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LOCK = """\
a==1 \\
    --hash=sha256:00
    # via
    #   app (pyproject.toml)
    #   b
b==2 ; python_full_version < '3.11' \\
    --hash=sha256:11
    # via app (pyproject.toml)
b==3 ; python_full_version >= '3.11' \\
    --hash=sha256:22
    # via app (pyproject.toml)
c==4 \\
    --hash=sha256:33
    # via a
d==5 \\
    --hash=sha256:44
    # via
    #   e
    #   -r somewhere
e==6 \\
    --hash=sha256:55
    # via app (pyproject.toml)
"""


def test_the_closure_of_what_is_needed(locked: ModuleType) -> None:
    assert locked.needed(LOCK, {"b"}) == {"a", "b", "c"}
    assert locked.needed(LOCK, {"e"}) == {"d", "e"}
    assert [len(texts) for texts in locked.blocks(LOCK).values()] == [1, 2, 1, 1, 1]


def test_the_image_gets_what_it_needs_and_not_the_host_side() -> None:
    output = subprocess.run(
        [sys.executable, str(ROOT / "requirements" / "locked.py"), "--extra", "container"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    names = {line.split("==")[0] for line in output.splitlines() if line[:1].isalnum()}
    assert {"torch", "torchvision", "smdebug", "multi-model-server", "sagemaker-training", "boto3"} <= names
    assert {"nvidia-cudnn-cu12", "pandas", "gevent"} <= names
    assert not {"sagemaker", "docker", "pytest", "moto", "uv"} & names
    assert output.count("--hash=sha256:") > len(names)


def test_an_unknown_extra_is_named() -> None:
    failed = subprocess.run(
        [sys.executable, str(ROOT / "requirements" / "locked.py"), "--extra", "kitchen"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert failed.returncode == 1
    assert "no extra 'kitchen'" in failed.stderr


def test_the_lock_names_no_package_index() -> None:
    assert "://" not in (ROOT / "requirements" / "requirements.lock").read_text()
