"""train.py at a job that watches itself: what people see of it, the report, the exit codes; and report.py afterwards.

The job is a real one of a real local SageMaker; its program tells prepared lines and leaves a report.json that the
container's own writer has made.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from container.watch import runs
from local_sagemaker import daemon
from orchestrate import browser, channels, console, follow, jobs, options, ranges, report, search, tune
from orchestrate.channels import Weights
from orchestrate.errors import InputError
from orchestrate.search import Search
from orchestrate.session import Session, open_session
from terminal import Terminal, terminal

Run = Callable[..., "subprocess.CompletedProcess[str]"]
ROOT = Path(__file__).resolve().parents[2]
# `--seed 1`: a rule marked as an error fires; 2: the job fails; `--workers 9`: it trains until it is stopped or a file
# `enough` lies beside the splits.
TRAIN = """\
#!/usr/bin/env python3
import json, pathlib, shutil, signal, sys, time
given, reports = json.load(open("input/config/hyperparameters.json")), pathlib.Path({reports!r})
seed, enough = given.get("seed", "0"), pathlib.Path("input/data/train").resolve().parent / "enough"
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
def say(text):
    print(text, flush=True)
say("device: 2 CPUs, no NVIDIA driver")
say("epoch 1/3: train:loss=1.5 valid:loss=1.25 valid:accuracy=0.5 (95 images/s, 100.0 s)")
say("step 40/105 of epoch 2/3: loss=1.234 97 images/s")
if seed == "1":
    say("finding: LossNotDecreasing (error) step 40: the loss rose; lower learning-rate")
while given.get("workers") == "9" and not stopped and not enough.exists():
    time.sleep(0.05)
if given.get("debug") == "true":
    name = "failed" if seed == "2" else "stopped" if stopped else "error" if seed == "1" else "completed"
    shutil.copytree(reports / name, "output/data", dirs_exist_ok=True)
    say("report: report.html")
if seed == "2":
    pathlib.Path("output/failure").write_text("the bowl is empty: fill it")
    sys.exit(1)
say("epoch 2/3: train:loss=1 valid:loss=1 valid:accuracy=0.75 (95 images/s, 100.0 s)")
pathlib.Path("model/model.json").write_text(json.dumps({{"classes": [], "metrics": {{"test:accuracy": 0.75}}}}))
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of `train`."""
    folder = tmp_path_factory.mktemp("watched")
    for name, job, more in (
        ("completed", "healthy", {"findings": [runs.finding("LossNotDecreasing")]}),
        ("error", "sick", {"findings": [
            runs.finding("StepOutlier", fired=3),
            runs.finding("LossNotDecreasing", fired=1, points=2, severity="error", subject="model"),
        ]}),
        ("stopped", "halted", {"status": "stopped", "findings": []}),
        ("failed", "hungry", {"status": "failed", "reason": "the bowl is empty", "findings": []}),
    ):  # fmt: skip
        left = folder / "reports" / name
        left.mkdir(parents=True)
        (left / "report.json").write_text(json.dumps(runs.document(job=job, **more)))
        (left / "report.html").write_text(f"<!doctype html><title>{job}</title>")
    (folder / "train").write_text(TRAIN.format(reports=str(folder / "reports")))
    (folder / "train").chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory, program: Path) -> Iterator[Path]:
    """Of the server that these tests share."""
    folder = tmp_path_factory.mktemp("state")
    daemon.ensure(folder, program)
    yield folder
    daemon.stop(folder)


@pytest.fixture
def variables(state: Path, program: Path) -> dict[str, str]:
    here = {"LOCAL_SAGEMAKER_STATE": str(state), "LOCAL_SAGEMAKER_PROCESS_PATH": str(program)}
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true", **here}


@pytest.fixture
def script(variables: dict[str, str], tmp_path: Path) -> Run:
    """Runs a script with that server, in the test's directory, where nobody is at a terminal."""

    def call(name: str, *arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ROOT / "orchestrate" / f"{name}.py"), "--local", *map(str, arguments)],
            cwd=tmp_path, env={**variables, **more}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip

    return call


def test_elsewhere_than_on_a_terminal_there_are_plain_lines(script: Run, data: Path, tmp_path: Path) -> None:
    done = script("train", "--data", data, "--name", "watched-well", "--epochs", 3, FORCE_COLOR="1", TERM="xterm")
    assert done.returncode == 0, done.stderr
    assert "  device: 2 CPUs, no NVIDIA driver\n" in re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    plain = script("train", "--attach", "watched-well", "--json")
    assert "\x1b" not in plain.stdout + plain.stderr
    lines = plain.stderr.splitlines()
    assert "  step 40/105 of epoch 2/3: loss=1.234 97 images/s" in lines and "  report: report.html" in lines
    told = json.loads(plain.stdout)
    assert told["findings"] == [] and told["metrics"] == {"test:accuracy": 0.75}
    assert (tmp_path / told["results"]["report"]).read_bytes().startswith(b"<!doctype html>")


def test_a_rule_marked_as_an_error_has_an_exit_code_of_its_own(script: Run, data: Path, tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text('#!/bin/sh\necho "$1" >>opened\n')
    browser.chmod(0o755)
    done = script("train", "--data", data, "--seed", 1, "--name", "watched-sick", "--open", BROWSER=str(browser))
    assert done.returncode == 3, done.stderr
    assert done.stderr.startswith("error: training job watched-sick ended well, and LossNotDecreasing (error) fired")
    rows = [line.split()[:4] for line in done.stdout.splitlines()]
    assert ["LossNotDecreasing", "error", "1", "2"] in rows and ["StepOutlier", "warning", "3", "100"] in rows
    page = tmp_path / "runs" / "watched-sick" / "results" / "report.html"
    assert f"report:   {page.relative_to(tmp_path)}" in done.stdout
    assert (tmp_path / "opened").read_text() == f"{page.as_uri()}\n"


def test_a_failed_job_has_a_report_too(script: Run, data: Path, tmp_path: Path) -> None:
    done = script("train", "--data", data, "--seed", 2, "--name", "watched-hungry")
    assert done.returncode == 1
    (error,) = re.findall(r"error: (.*)", done.stderr)
    assert "ended Failed: AlgorithmError: the bowl is empty: fill it" in error
    path = tmp_path / error.partition("; its report: ")[2]
    assert json.loads(path.with_name("report.json").read_text())["status"] == "failed"
    path.unlink()
    shown = script("report", "watched-hungry", "--json")
    assert shown.returncode == 0, shown.stderr
    (told,) = json.loads(shown.stdout)
    assert told["reason"] == "the bowl is empty" and path.is_file()


def _train(variables: dict[str, str], data: Path, folder: Path, name: str) -> list[object]:
    return [sys.executable, ROOT / "orchestrate" / "train.py", "--local", "--data", data, "--workers", 9,
            "--name", name, "--seed", 1]  # fmt: skip


def test_the_panel_on_a_terminal(variables: dict[str, str], script: Run, data: Path, tmp_path: Path) -> None:
    """Ctrl-C asks; a yes stops the job, whose report can be had afterwards."""
    command = _train(variables, data, tmp_path, "watched-live")
    with terminal(command, tmp_path, {**variables, "COLUMNS": "120", "LINES": "40"}) as seen:
        log = seen.until("watched-live Training")
        log += seen.until("epoch 2 of 3")
        bar = seen.until("step 40 of 105")
        figures = seen.until("97 images/s")
        times = seen.until("left about")
        finding = seen.until("lower learning-rate")
        assert "46%" in bar  # one epoch and 40 of 105 steps of another, of three
        assert "loss 1.234 valid accuracy 0.5000 (best 0.5000, epoch 1)" in figures
        assert "elapsed 0:" in times
        assert "LossNotDecreasing (error): step 40: the loss rose" in finding
        assert "step 40/105" not in log + bar, "the panel has it"
        _stop(seen, "watched-live")
    attached = script("train", "--attach", "watched-live")
    assert attached.returncode == 1
    assert "training job watched-live ended Stopped" in attached.stderr and "; its report: runs/" in attached.stderr
    shown = script("report", "watched-live")
    assert shown.returncode == 0, shown.stderr
    assert "halted (stopped)" in shown.stdout and "The job was stopped after 5 epochs" in shown.stdout


def _stop(seen: Terminal, name: str) -> None:
    seen.interrupt()
    seen.until(f"Stop {name}?")
    seen.type("y\n")
    seen.until(f"python orchestrate/report.py --local {name}")
    seen.until("error: interrupted")
    assert seen.end() == 130


def test_no_browser_where_nobody_asked_nor_in_ci(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: console.Console
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda uri: not opened.append(uri))  # type: ignore[func-returns-value]
    monkeypatch.delenv("CI", raising=False)
    browser.show(tmp_path / "report.html", None, out)
    browser.show(tmp_path / "report.html", False, out)
    assert opened == []
    browser.show(tmp_path / "report.html", True, out)
    monkeypatch.setenv("CI", "true")
    browser.show(tmp_path / "report.html", True, out)
    assert opened == [(tmp_path / "report.html").as_uri()]


@pytest.fixture
def session(variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """The same server, without a process for each script."""
    monkeypatch.chdir(tmp_path)
    for name in ("LOCAL_SAGEMAKER_STATE", "LOCAL_SAGEMAKER_PROCESS_PATH"):
        monkeypatch.setenv(name, variables[name])
    return open_session(options.parser(None).parse_args(["--local"]))


def test_a_trial_has_no_report_and_says_so(session: Session, data: Path, out: console.Console) -> None:
    """Trials run without any of it; a search, a stranger's name and a folder without a report say what to give."""
    machine, space = jobs.Machine("ml.m5.xlarge", 600), Search((ranges.parse("seed=3:4"),), trials=1)
    inputs = channels.publish(session, str(data), Weights())
    found = tune.tune(session, out, "watched-search", inputs, {"epochs": "3"}, machine, search.check(space))
    trial = found.best.name
    request = session.client("sagemaker").describe_training_job(TrainingJobName=trial)
    assert "debug" not in request["HyperParameters"]
    assert not {"DebugHookConfig", "ProfilerConfig"} & set(request)
    for name, sentence in (
        (trial, f"training job {trial} left no report: it ran with debug=false"),
        ("watched-search", f"watched-search is a search: name one of its training jobs, such as its best, {trial}"),
        ("watched-nobody", "there is no training job watched-nobody in us-east-1, and no folder of that name"),
    ):
        with pytest.raises(InputError, match=re.escape(sentence)):
            report.fetch(session, name)


def test_a_job_that_still_runs_has_no_report_yet(session: Session, data: Path) -> None:
    name, inputs = "watched-still", channels.publish(session, str(data), Weights())
    given, machine = {"workers": "9", "debug": "true", "epochs": "3"}, jobs.Machine("ml.m5.xlarge", 600)
    jobs.create(session, "CreateTrainingJob", jobs.training(session, name, "process", inputs, given, machine))
    with pytest.raises(InputError, match=f"its report comes when it ends; .* --attach {name}"):
        report.fetch(session, name)
    follow.stop_training(session, name)


def test_a_folder_without_a_report_or_with_one_of_another_form(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no report\.json below"):
        report.local(tmp_path)
    (tmp_path / "report.json").write_text('{"version": 9}')
    with pytest.raises(InputError, match="has another form than this version reads"):
        report.local(tmp_path)


def test_rules_that_would_never_judge_are_refused(session: Session) -> None:
    parser = options.parser(None)
    options.add_training(parser)
    for arguments, sentence in (
        (["--rules", "Overfti:off"], "there is no rule 'Overfti'; did you mean Overfit?"),
        (["--stop-on", "Overfit", "--rules", "Overfit:off"], "stop-on: Overfit is turned off"),
    ):
        with pytest.raises(InputError, match=re.escape(sentence)):
            options.hyperparameters(parser.parse_args(arguments))
