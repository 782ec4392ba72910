"""Every way of hosting with the real container code, in processes, as a person runs the scripts."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from photographs import CLASSES, data_set

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_MS = 120_000
Script = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where everything runs: `data/`, and in `runs/` what the scripts write."""
    folder = tmp_path_factory.mktemp("serving")
    data_set(folder / "data", {"train": 8, "valid": 4, "test": 2})
    return folder


@pytest.fixture(scope="module")
def environment(folder: Path) -> dict[str, str]:
    """Nothing of AWS nor of another server, and no browser that opens by itself."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "LOCAL_SAGEMAKER", "KENNEL"))}
    return kept | {"BROWSER": "true", "PYTHONUNBUFFERED": "1"}


@pytest.fixture(scope="module")
def script(folder: Path, environment: dict[str, str]) -> Iterator[Script]:
    """Runs a script with --local; it must end with `code`."""

    def run(name: str, *arguments: object, code: int = 0, given: bytes = b"") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command(name, *arguments), cwd=folder, env=environment, input=given, capture_output=True, timeout=900,
            check=False,
        )  # fmt: skip
        told = subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())
        assert told.returncode == code, f"{name} {arguments}: exit {told.returncode}\n{told.stdout}{told.stderr}"
        return told

    yield run
    run("clean", "--stop-server")


def command(name: str, *arguments: object) -> list[str]:
    return [sys.executable, str(ROOT / "orchestrate" / f"{name}.py"), "--local", *map(str, arguments)]


@pytest.fixture(scope="module")
def first(folder: Path, script: Script) -> str:
    """The URI of a model that `train` made."""
    trained = script(
        "train", "--data", "data", "--weights", "none", "--freeze-backbone", "false", "--image-size", 64, "--epochs", 1,
        "--batch-size", 8, "--debug", "false", "--name", "first", "--json",
    )  # fmt: skip
    return str(json.loads(trained.stdout)["artifact"])


@pytest.fixture(scope="module")
def second(folder: Path, first: str) -> str:
    """The same model, which calls its classes by other names."""
    unpacked, packed = folder / "second", folder / "second.tar"
    shutil.unpack_archive(first.removeprefix("file://"), unpacked)
    described = json.loads((unpacked / "model.json").read_text())
    described["classes"] = [name.upper() for name in described["classes"]]
    (unpacked / "model.json").write_text(json.dumps(described))
    return Path(shutil.make_archive(str(packed), "gztar", unpacked)).as_uri()


@pytest.fixture(scope="module")
def photograph(folder: Path) -> Path:
    return folder / "data" / "test" / CLASSES[0] / "0.jpg"


def labels(told: subprocess.CompletedProcess[str]) -> list[list[str]]:
    """Of each photograph, from --json."""
    return [[label for label, _ in answer["labels"]] for answer in json.loads(told.stdout)]


def captured(folder: Path, endpoint: str) -> dict[tuple[str, str], list[str]]:
    """(request, variant) -> the labels that it answered, of what data capture has kept."""
    found = {}
    root = folder / "runs" / "endpoints" / endpoint / "captured" / endpoint
    for file in root.rglob("*.jsonl"):
        for line in file.read_text().splitlines():
            record = json.loads(line)
            output = record["captureData"]["endpointOutput"]
            if output["observedContentType"] == "application/json":  # maps are kept too
                key = (record["eventMetadata"]["eventId"], file.relative_to(root).parts[0])
                found[key] = [p["label"] for p in json.loads(output["data"])["predictions"]]
    return found


def test_an_endpoint_with_capture_its_next_model_and_a_shadow(
    folder: Path, script: Script, first: str, second: str, photograph: Path, browser: Browser,
    environment: dict[str, str],
) -> None:  # fmt: skip
    script("deploy", "--artifact", first, "--name", "rex", "--capture", 100)
    ask_in_every_way(folder, script, photograph)
    try_on_the_page(folder, environment, browser, photograph)

    script("deploy", "--artifact", second, "--update", "rex", "--rollout", "canary", "--wait-s", 0, "--name", "max")
    (found,) = labels(script("predict", "--endpoint", "rex", photograph, "--json"))
    assert sorted(found) == sorted(name.upper() for name in CLASSES)
    script("deploy", "--artifact", first, "--shadow-of", "rex", "--name", "shade")
    assert labels(script("predict", "--endpoint", "rex", photograph, "--top-k", 3, "--json")) == [found]
    script("deploy", "--end-shadow", "rex", "--name", "alone")
    # What is kept is written behind the requests' back, and all of it when the server ends.
    script("clean", "--stop-server")
    kept = captured(folder, "rex")
    # An answer of each variant to the one request that both have seen; the update went on with capturing.
    (shadowed,) = [request for request, variant in kept if variant == "Shadow"]
    assert kept[shadowed, "AllTraffic"] == found
    assert kept[shadowed, "Shadow"] == [name.lower() for name in found]
    cleaned = script("clean", "rex", "--yes").stdout
    assert "rex" in cleaned and "alone" in cleaned and "max" in cleaned
    assert "max" not in script("clean", "--what", "endpoints").stdout


def ask_in_every_way(folder: Path, script: Script, photograph: Path) -> None:
    """File, folder, address and standard input; picture, map and table."""
    shutil.copytree(folder / "data" / "test", folder / "mixed")
    (folder / "mixed" / "broken.jpg").write_text("no photograph")
    told = script("predict", "--endpoint", "rex", "mixed", "--csv", "all.csv", "--picture", "all.png", code=2)
    assert "no answer: mixed/broken.jpg: the bytes are no image" in told.stdout
    assert "1 of 7 photographs have no answer" in told.stderr
    rows = list(csv.DictReader((folder / "all.csv").open()))
    assert len(rows) == 2 * len(CLASSES) and {row["label"] for row in rows} <= set(CLASSES)
    with Image.open(folder / "all.png") as picture:
        assert picture.width > 600

    handler = partial(SimpleHTTPRequestHandler, directory=str(photograph.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{site.server_port}/0.jpg"
        told = script("predict", "--endpoint", "rex", address, "-", "--json", given=photograph.read_bytes())
        site.shutdown()
    by_address, piped = labels(told)
    assert by_address == piped and sorted(piped) == sorted(CLASSES)
    script("predict", "--endpoint", "rex", photograph, "--map", "map.png")
    with Image.open(folder / "map.png") as drawn, Image.open(photograph) as original:
        assert drawn.format == "PNG" and drawn.width / drawn.height == pytest.approx(
            original.width / original.height, rel=0.05
        )


def try_on_the_page(folder: Path, environment: dict[str, str], browser: Browser, photograph: Path) -> None:
    """Labels, bars and the map of a real model."""
    asked = command("predict", "--endpoint", "rex", "--page")
    with subprocess.Popen(
        asked, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            address = next(word for line in process.stdout for word in line.split() if word.startswith("http://"))
            page = browser.new_page(viewport={"width": 1000, "height": 700})
            page.set_default_timeout(PATIENCE_MS)
            page.goto(address)
            page.set_input_files("input", photograph)
            page.locator("li").first.wait_for()
            shown = [text.split("\n")[0] for text in page.locator("li").all_inner_texts()]
            assert sorted(shown) == sorted(CLASSES)
            page.get_by_role("button", name="Where in the photograph?").click()
            page.wait_for_selector("button[aria-pressed=true]")
            picture = page.locator("figure img")
            assert page.evaluate("i => i.decode().then(() => i.naturalWidth)", picture.element_handle()) > 0
            page.screenshot(path=folder / "page.png")
            page.close()
        finally:
            process.terminate()


def test_serverless_asynchronous_and_in_a_batch(folder: Path, script: Script, first: str, photograph: Path) -> None:
    script("deploy", "--artifact", first, "--serverless", "--memory-mb", 2048, "--name", "less")
    (found,) = labels(script("predict", "--endpoint", "less", photograph, "--json"))
    large = folder / "large.jpg"
    large.write_bytes(bytes(5_000_000))
    assert "takes 1 to 4,194,304" in script("predict", "--endpoint", "less", large, code=2).stderr
    told = script("deploy", "--artifact", first, "--update", "less", "--rollout", "rolling", code=2).stderr
    assert "the endpoint less is serverless" in told
    script("deploy", "--artifact", first, "--async", "--name", "line")
    assert labels(script("predict", "--endpoint", "line", photograph, "--json")) == [found]
    script("clean", "less", "line", "--yes")

    answers: Any = json.loads(
        script("transform", "--artifact", first, "--data", "data/test", "--csv", "batch.csv", "--json").stdout
    )
    assert answers["photographs"] == 2 * len(CLASSES)
    rows = {row["photograph"]: row for row in csv.DictReader((folder / "batch.csv").open())}
    assert rows[f"{CLASSES[0]}/0.jpg"]["label"] == found[0]
