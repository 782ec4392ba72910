"""The kept class files come from the kept sources."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT

PING = ROOT / "container_src" / "ping"
KEPT = PING / "classes"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources, compiled anew by the script that compiled the kept classes."""
    if not shutil.which("javac"):
        pytest.skip("needs javac")
    out = tmp_path_factory.mktemp("classes")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run([PING / "build", out], check=True, env={**os.environ, "PATH": path})
    return out


def test_classes_come_from_their_sources(compiled: Path) -> None:
    sources = {p.stem for p in (PING / "kennel").glob("*.java")}
    assert {p.stem for p in (KEPT / "kennel").glob("*.class")} == sources
    assert {p.stem for p in (compiled / "kennel").glob("*.class")} == sources
    same_compiler = (compiled / "javac-major").read_text() == (KEPT / "javac-major").read_text()
    for name in sources:
        kept, new = KEPT / "kennel" / f"{name}.class", compiled / "kennel" / f"{name}.class"
        if same_compiler:
            assert kept.read_bytes() == new.read_bytes(), f"{name}: run container_src/ping/build"
        else:  # other compilers may order the constant pool otherwise
            assert disassembled(kept) == disassembled(new), f"{name}: run container_src/ping/build"


def test_every_endpoint_is_registered_and_every_class_loads_on_java_8() -> None:
    services = KEPT / "META-INF" / "services" / "software.amazon.ai.mms.servingsdk.ModelServerEndpoint"
    classes = sorted((KEPT / "kennel").glob("*.class"))
    endpoints = sorted(p.stem for p in (PING / "kennel").glob("*.java") if "\n@Endpoint(" in p.read_text())
    assert services.read_text().split() == [f"kennel.{name}" for name in endpoints]
    # Bytes 6 and 7 of a class file are its format: 52 is Java 8 (JVM specification, 4.1).
    assert {path.read_bytes()[6:8] for path in classes} == {bytes([0, 52])}


def disassembled(path: Path) -> list[str]:
    shown = subprocess.run(["javap", "-c", "-p", path], capture_output=True, text=True, check=True).stdout
    # Without the comments, constants are numbers of the pool; the comments hold what they stand for.
    return [line.split("//")[-1].strip() for line in shown.splitlines()]
