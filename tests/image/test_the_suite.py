"""The suite can fail: a small image that keeps the contract passes, and one that breaks a promise fails just there."""

from __future__ import annotations

import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from conftest import ROOT
from image import test_contract_image
from image.broken_promises import BROKEN, Broken
from image.containers import docker

pytestmark = [pytest.mark.engine, pytest.mark.slow]

HERE = Path(__file__).parent
SUITE = {part: HERE / f"test_contract_{part}.py" for part in ("image", "training", "serving")}


@pytest.fixture
def built(image: str, config: dict[str, Any], tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The miniature, with the promise broken that the test's parameter tells."""
    if (config["Labels"] or {}).get("org.opencontainers.image.title") != "kennel":
        pytest.skip("the small images are built on Kennel's, which has a python3")
    source = shutil.copytree(HERE / "miniature", tmp_path / "miniature")
    broken: Broken | None = getattr(request, "param", None)
    if broken:
        file = source / broken.file
        text = file.read_text()
        assert text.count(broken.old) == 1, f"{broken.file} has {broken.old!r} {text.count(broken.old)} times"
        file.write_text(text.replace(broken.old, broken.new))
    tag = f"contract-miniature:{uuid.uuid4().hex[:8]}"
    done = docker("build", "--quiet", f"--build-arg=BASE={image}", f"--tag={tag}", str(source))
    assert done.returncode == 0, done.stderr
    yield tag
    docker("rmi", "--force", tag)


def outcomes(report: Path, image: str, *arguments: str) -> tuple[dict[str, str], str]:
    """test -> "passed", "failure", "error" or "skipped" in a process of its own, and what that printed."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={report}", f"--image={image}"]
    done = subprocess.run(
        [*command, "--stop-within=3", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    results = {}
    for case in ElementTree.parse(report).iter("testcase"):
        kinds = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        results[case.attrib["name"]] = kinds[0] if kinds else "passed"
    return results, done.stdout


def test_the_miniature_keeps_the_contract(built: str, tmp_path: Path) -> None:
    results, printed = outcomes(tmp_path / "report.xml", built, *map(str, SUITE.values()))
    assert set(results.values()) == {"passed"}, printed


@pytest.mark.parametrize("built", BROKEN.values(), ids=BROKEN, indirect=True)
def test_a_broken_promise_fails_its_test(built: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    broken: Broken = request.node.callspec.params["built"]
    model = tmp_path / "model"
    model.mkdir()
    (model / "count.json").write_text("18")
    results, printed = outcomes(
        tmp_path / "report.xml", built, str(SUITE[broken.suite]), f"--model={model}", "--start-within=4"
    )
    failed = {name for name, result in results.items() if result in ("failure", "error")}
    assert failed == set(broken.failing), printed
    assert all(words in printed for words in ("the contract: ", "seen: ", "to do: ")), printed


def test_every_test_of_the_suite_is_seen_to_fail(engine: None) -> None:
    """But for the port's, which an image cannot lack that is built on one that has it: the next test."""
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", *map(str, SUITE.values())],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    names = {line.rpartition("::")[2] for line in listed.stdout.splitlines() if "::" in line}
    seen = {name for broken in BROKEN.values() for name in broken.failing}
    assert names - seen == {"test_the_port_is_declared", "test_size_leaves_every_way_of_hosting_open"}
    assert not seen - names


def test_an_undeclared_port(engine: None) -> None:
    with pytest.raises(pytest.fail.Exception, match="seen: EXPOSE nothing, label None") as raised:
        test_contract_image.test_the_port_is_declared({"Labels": None, "ExposedPorts": None})
    assert test_contract_image.PORT.advice in str(raised.value)
    test_contract_image.test_the_port_is_declared({"Labels": None, "ExposedPorts": {"8080/tcp": {}}})
