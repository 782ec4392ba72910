"""A real local SageMaker whose `train` and `serve` are a few lines, so that tests of the scripts take seconds.

`train` computes its "accuracy" from its hyperparameters; `--weight-decay 1` makes it (or a trial of a search) fail,
`--workers N` last N seconds (64: for ever), or until there is a file `enough` beside the splits; on features it waits
for nothing.
`serve` answers with the classes of the artifact and refuses what is no JPEG.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local_sagemaker import daemon
from orchestrate import channels, console, options
from orchestrate.channels import Weights
from orchestrate.session import Session, open_session
from photographs import data_set

ROOT = Path(__file__).resolve().parents[2]
TRAIN = """\
#!/usr/bin/env python3
import json, math, pathlib, sys, time
given = json.load(open("input/config/hyperparameters.json"))
data, mode = pathlib.Path("input/data"), given.get("mode", "train")
features = data / "features" / "features.json"
classes = json.loads(features.read_text())["classes"] if features.is_file() else sorted(
    p.name for p in (data / "train").iterdir())

def fail(reason):
    pathlib.Path("output/failure").write_text(reason)
    sys.exit(1)

def is_empty(given):
    return float(given.get("weight-decay", 0)) == 1

if is_empty(given) and mode == "train":
    fail("the bowl is empty: fill it")
seconds, enough = int(given.get("workers", 0)), (data / "train").resolve().parent / "enough"
deadline = math.inf if seconds == 64 else time.monotonic() + seconds
while time.monotonic() < deadline and not enough.exists() and not features.is_file():
    time.sleep(0.05)

def accuracy_of(given):
    return 1 - abs(math.log10(float(given.get("learning-rate", 0.003))) + 2) / 10

def line(accuracy):
    return f"epoch 1/1: train:loss=0.5 valid:loss={1 - accuracy} valid:accuracy={accuracy}"

if mode == "embed":
    augment = given.get("augment") == "true"
    key = {"data_fingerprint": given["data-fingerprint"], "model": given.get("model", "resnet18"), "weights": None,
           "preprocessing": {"crop": int(given.get("image-size", 224))}, "augment": augment,
           "views": 4 if augment else 1, "seed": int(given.get("seed", 0)) if augment else None}
    pathlib.Path("model/features.json").write_text(json.dumps({"version": 1, "key": key, "classes": classes}))
    print("embed: photographs_per_second=1000", flush=True)
    sys.exit()
if mode == "search":
    space, trials = json.loads(given["search"]), []
    for number in range(1, space["trials"] + 1):
        tried = {r["name"]: str((r.get("values") or [r["low"], r["high"]])[number % 2]) for r in space["ranges"]}
        trial = {"number": number, "status": "Failed", "hyperparameters": tried, "objective": None, "metrics": {},
                 "epochs": [], "seconds": 0.25, "failure": None}
        trials.append(trial)
        if is_empty({**given, **tried}):
            trial["failure"] = "the bowl is empty: fill it"
            print(f"trial {number}/{space['trials']}: failed: {trial['failure']}", flush=True)
            continue
        accuracy = accuracy_of({**given, **tried})
        print(f"trial {number}: {line(accuracy)}")
        print(f"trial {number}/{space['trials']}: valid:accuracy={accuracy}", flush=True)
        epochs = [{"epoch": 1, "train:loss": 0.5, "valid:loss": 1 - accuracy, "valid:accuracy": accuracy}]
        trial |= {"status": "Completed", "objective": accuracy, "epochs": epochs}
    best = max((t for t in trials if t["objective"]), key=lambda t: t["objective"], default={"number": None})
    pathlib.Path("output/data/trials.json").write_text(json.dumps(
        {"objective": space["objective"], "direction": "Maximize", "trials": trials, "best": best["number"]}))
    if not best["number"]:
        fail(f"all {len(trials)} trials failed, the last one because: {trials[-1]['failure']}")
accuracy = accuracy_of(given)
if float(given.get("label-smoothing", 0)) == 0.8:
    print("a container that tells nothing", flush=True)
else:
    print(line(accuracy), flush=True)
metrics = {"valid:accuracy": accuracy, "test:accuracy": accuracy}
document = {"classes": classes, "metrics": metrics, "hyperparameters": given,
            "channels": sorted(p.name for p in data.iterdir())}
pathlib.Path("model/model.json").write_text(json.dumps(document))
if given.get("debug") == "true":
    pathlib.Path("output/data/report.html").write_text("<h1>report</h1>")
"""
SERVE = """\
#!/usr/bin/env python3
import json, os
from http.server import BaseHTTPRequestHandler, HTTPServer
model = json.load(open("model/model.json"))
if model["hyperparameters"].get("label-smoothing") == "0.9":
    raise SystemExit("this model bites")
class Handler(BaseHTTPRequestHandler):
    def answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer(200, {})
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        taken = self.headers["Content-Type"] in ("image/jpeg", "application/x-image")
        if body[:3] != bytes([255, 216, 255]) or not taken:
            return self.answer(415, {"error": "that is no JPEG"})
        most = int((self.headers["X-Amzn-SageMaker-Custom-Attributes"] or "top_k=5").removeprefix("top_k="))
        answers = [{"label": c, "probability": 0.5 / (i + 1)} for i, c in enumerate(model["classes"])]
        self.answer(200, {"predictions": answers[:most]})
HTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def container(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of `train` and `serve`."""
    folder = tmp_path_factory.mktemp("container")
    for name, code in (("train", TRAIN), ("serve", SERVE)):
        (folder / name).write_text(code)
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ready data set of three classes."""
    return data_set(tmp_path_factory.mktemp("data"), {"train": 4, "valid": 2, "test": 2})


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, container: Path) -> Iterator[Path]:
    """The state directory of a server that all tests share."""
    state = tmp_path_factory.mktemp("state")
    daemon.ensure(state, container)
    yield state
    daemon.stop(state)


@pytest.fixture
def local(server: Path, container: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session with that server; the test runs in an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOCAL_SAGEMAKER_STATE", str(server))
    monkeypatch.setenv("LOCAL_SAGEMAKER_PROCESS_PATH", str(container))
    return open_session(options.parser(None).parse_args(["--local"]))


@pytest.fixture
def out(capsys: pytest.CaptureFixture[str]) -> console.Console:
    """Prints for people to standard error, where `capsys` finds it."""
    return console.Console(json_output=True)


@pytest.fixture
def inputs(local: Session, data: Path) -> dict[str, str]:
    """The channels of the data set."""
    return channels.publish(local, str(data), Weights())


def environment(**more: str) -> dict[str, str]:
    """Nothing of AWS, nor of the person who runs the tests."""
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true", **more}


@pytest.fixture
def run(container: Path, tmp_path: Path) -> Run:
    """Runs a script in the test's directory, with a server of the test's own state when `--local` is given."""

    def call(name: str, *arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ROOT / "orchestrate" / f"{name}.py"), *map(str, arguments)],
            cwd=tmp_path,
            env=environment(LOCAL_SAGEMAKER_PROCESS_PATH=str(container), **more),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    return call
