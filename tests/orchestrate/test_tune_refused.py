"""What goes wrong with a search, as people meet it: one sentence, and an exit code that tells whose fault it is."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrate import channels, console, features, jobs, options, tune
from orchestrate.channels import Weights
from orchestrate.session import Session
from photographs import data_set

IN_ONE_JOB = ("--in-one-job", "--seed", "0")


@dataclass(frozen=True)
class Done:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    def error(self, code: int) -> str:
        """The one error, told last; the exit code must be `code`."""
        assert self.code == code, self.err
        lines = self.err.splitlines()
        assert [line for line in lines if line.startswith("error: ")] == lines[-1:], self.err
        return lines[-1]


Tune = Callable[..., Done]


@pytest.fixture
def tune_here(local: Session, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Tune]:
    """tune.py --local from its command line on, in this process, so that the SDK is imported once for all tests."""

    def call(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["tune.py", "--local", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        capsys.readouterr()
        code = 0
        try:
            console.run(tune.main)
        except SystemExit as end:
            assert isinstance(end.code, int)
            code = end.code
        return Done(code, *capsys.readouterr())

    before = signal.getsignal(signal.SIGTERM)
    yield call
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--range", "learning-rate=0.1:11"], "'11' is not valid: it must be a number between 1e-07 and 10.0"),
        (["--range", "batch-size=16,1"], "'1' is not valid: it must be a whole number between 2 and 4096"),
        (["--range", "epochs=10:2"], "the range epochs=10:2 is empty: 10 is not below 2"),
        (["--range", "weight-decay=0:0.1:log"], "cannot be logarithmic: its lower end 0 must be above 0"),
        (["--range", "learnin-rate=0.1:1"], "no hyperparameter 'learnin-rate': did you mean 'learning-rate'?"),
        (["--trials", 2, "--parallel", 3], "--parallel 3 must be between 1 and the number of trials (2)"),
        (["--objective", "test:accuracy"], "'test:accuracy' (choose from"),
        (["--in-one-job", *(f"--range={name}=" + ",".join(f"0.1{i:021}" for i in range(30))
                            for name in ("learning-rate", "weight-decay", "label-smoothing"))],
         "characters of the 2,500 that SageMaker allows"),
    ],
)  # fmt: skip
def test_what_is_asked_wrong_starts_nothing(
    tune_here: Tune, data: Path, arguments: list[object], sentence: str
) -> None:
    done = tune_here("--data", data, *arguments)
    assert sentence in done.error(2)
    assert (done.out, done.err.count("\n")) == ("", 1), "nothing was looked up or begun before"


def test_features_of_other_data(
    tune_here: Tune, local: Session, inputs: dict[str, str], out: console.Console, tmp_path: Path
) -> None:
    key = features.key_of(features.fingerprint_of(local, inputs), {}, Weights(), "process")
    made = features.embed(local, out, inputs, {}, jobs.Machine("ml.m5.xlarge", 600), key, options.unguarded)
    others = data_set(tmp_path / "others", {"train": 3, "valid": 1})
    fingerprint = features.fingerprint_of(local, channels.publish(local, str(others), Weights()))
    done = tune_here("--data", others, "--features", made.uri)
    assert f"{key.data_fingerprint} there and {fingerprint} here; leave --features out" in done.error(2)
    assert "[Training]" not in done.out + done.err


@pytest.mark.parametrize("way", [("--parallel", 2), IN_ONE_JOB], ids=["jobs", "one job"])
def test_a_trial_that_fails(tune_here: Tune, data: Path, way: tuple[object, ...]) -> None:
    """The others go on, and its reason is told as it happens and on the page."""
    done = tune_here("--data", data, "--strategy", "grid", "--range", "weight-decay=0,1", *way)
    assert done.code == 0, done.err
    table = [line.split() for line in done.out.splitlines()]
    assert sum("Failed" in row for row in table) >= 1 and sum(row[-1:] == ["best"] for row in table) == 1
    assert any("trial" in line and "the bowl is empty: fill it" in line for line in done.out.splitlines())
    assert "weight-decay=0" in next(line for line in done.out.splitlines() if line.startswith("best: "))


@pytest.mark.parametrize("way", [("--parallel", 2), IN_ONE_JOB], ids=["jobs", "one job"])
def test_all_trials_fail(tune_here: Tune, data: Path, way: tuple[object, ...]) -> None:
    done = tune_here("--data", data, "--weight-decay", 1, "--trials", 2, *way)
    error = done.error(1)
    assert "ended Failed" in error and "the bowl is empty: fill it" in error
    assert "best:" not in done.out


def test_an_objective_that_no_log_tells(tune_here: Tune, data: Path) -> None:
    done = tune_here("--data", data, "--label-smoothing", 0.8, "--trials", 3)
    assert "ended Failed" in done.error(1)
    lines = [line for line in done.out.splitlines() if line.startswith("trial ")]
    assert "trial 1 ended well and its log never told valid:accuracy" in lines[1], "after the first, not the last"
    assert "stop it with python orchestrate/clean.py --local kennel-tune-" in lines[1]
