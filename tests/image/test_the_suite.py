"""The suite can fail: a small image that keeps the contract passes, and one that breaks a promise fails just there."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
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


@pytest.fixture(scope="module")
def base(image: str, config: dict[str, Any]) -> str:
    if (config["Labels"] or {}).get("org.opencontainers.image.title") != "kennel":
        pytest.skip("the small images are built on Kennel's, which has a python3")
    return image


@contextlib.contextmanager
def built(base: str, folder: Path, broken: Broken | None = None) -> Iterator[str]:
    """The miniature as an image on `base`, with that promise broken."""
    source = shutil.copytree(HERE / "miniature", folder / "miniature")
    if broken:
        file = source / broken.file
        text = file.read_text()
        assert text.count(broken.old) == 1, f"{broken.file} has {broken.old!r} {text.count(broken.old)} times"
        file.write_text(text.replace(broken.old, broken.new))
    tag = f"contract-miniature:{uuid.uuid4().hex[:8]}"
    done = docker("build", "--quiet", f"--build-arg=BASE={base}", f"--tag={tag}", str(source))
    assert done.returncode == 0, done.stderr
    try:
        yield tag
    finally:
        docker("rmi", "--force", tag)


def outcomes(report: Path, image: str, *arguments: str) -> tuple[dict[str, str], str]:
    """test -> "passed", "failure", "error" or "skipped" in a process of its own, and what that printed."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={report}", f"--image={image}"]
    done = subprocess.run(
        [*command, "--stop-within=5", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    results = {}
    for case in ElementTree.parse(report).iter("testcase"):
        kinds = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        results[case.attrib["name"]] = kinds[0] if kinds else "passed"
    return results, done.stdout


def run_broken(base: str, folder: Path, broken: Broken) -> tuple[dict[str, str], str]:
    """The outcomes of the suite that is to notice it."""
    model = folder / "model"
    model.mkdir()
    (model / "count.json").write_text("18")
    with built(base, folder, broken) as image:
        suite = str(SUITE[broken.suite])
        return outcomes(folder / "report.xml", image, suite, f"--model={model}", "--start-within=10")


@pytest.fixture(scope="module")
def runs(
    base: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[tuple[dict[str, str], str]]]]:
    """Of the promises that are to be broken now; several at a time, because containers are mostly waited for."""
    chosen = [item.callspec.params["name"] for item in request.session.items if hasattr(item, "callspec")
              and getattr(item, "originalname", "") == test_a_broken_promise_fails_its_test.__name__]  # fmt: skip
    pool = ThreadPoolExecutor(3)
    yield {name: pool.submit(run_broken, base, tmp_path_factory.mktemp("broken"), BROKEN[name]) for name in chosen}
    pool.shutdown(cancel_futures=True)


def test_the_miniature_keeps_the_contract(base: str, tmp_path: Path) -> None:
    with built(base, tmp_path) as image:
        results, printed = outcomes(tmp_path / "report.xml", image, *map(str, SUITE.values()))
    assert set(results.values()) == {"passed"}, printed


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_promise_fails_its_test(name: str, runs: dict[str, Future[tuple[dict[str, str], str]]]) -> None:
    results, printed = runs[name].result()
    failed = {test for test, result in results.items() if result in ("failure", "error")}
    assert failed == set(BROKEN[name].failing), printed
    assert all(words in printed for words in ("the contract: ", "seen: ", "to do: ")), printed


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--image=nothing/of:this"], "--image nothing/of:this is not on this machine: `docker pull` it or build it"),
        (["--channel=train"], "--channel 'train' is not NAME=DIR with a directory that exists; correct it"),
        (["--hyperparameters=[1]"], "--hyperparameters '[1]' is no JSON object"),
        (["--body=no/such/file"], "--body no/such/file cannot be read (No such file or directory); name a file"),
        (["--model=no/such/dir"], "--model no/such/dir is no directory; name the one that `train` left"),
    ],
)
def test_a_wrong_option_is_named_and_ends_the_run(base: str, options: list[str], sentence: str) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--image={base}", *options]
    suite = SUITE["serving"]
    done = subprocess.run([*command, str(suite)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert done.stdout.count(sentence) == 1, done.stdout
    assert "Traceback" not in done.stdout + done.stderr and "def " not in done.stdout


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
