from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from types import ModuleType

import pytest

from conftest import ROOT


@pytest.fixture
def bootstrap() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "requirements" / "bootstrap.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_this_machine_lacks_nothing(bootstrap: ModuleType) -> None:
    assert bootstrap.missing() == []


def test_what_is_missing_is_named_with_its_package(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(bootstrap.sysconfig, "get_path", lambda name: "/nowhere")
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    lacks = " ".join(bootstrap.missing())
    for package in ("-venv", "-dev", "build-essential"):
        assert package in lacks


def test_another_python_is_refused_before_anything_else(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 13, 0, "final", 0))
    monkeypatch.setattr(sys.modules["sys"], "version_info", type("V", (tuple,), {"major": 3, "minor": 13})((3, 13)))
    assert bootstrap.missing() == [
        "Python 3.10, 3.11 or 3.12 (this is 3.13): name one with `make PYTHON=python3.12 ...`"
    ]


def test_a_second_run_does_nothing(bootstrap: ModuleType) -> None:
    if sys.prefix != str(bootstrap.VENV):
        pytest.skip("these tests do not run in the environment that bootstrap.py made")
    base = shutil.which("python3", path=f"{sys.base_prefix}/bin")
    assert base
    ended = subprocess.run(
        [base, str(ROOT / "requirements" / "bootstrap.py")], capture_output=True, text=True, check=True
    )
    assert ended.stdout == ""
