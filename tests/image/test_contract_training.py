"""The contract, part two: what `train` finds, leaves and says.

The jobs are shared: one that succeeds under all the platform's conditions at once, one without data, one that is
stopped. Where the first fails, it runs again without any condition, and then with one at a time to name those it bears
not.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from image import training
from image.containers import KILLED
from image.demands import RUN_TRAIN, TRAIN_OUTPUT, TRAIN_SIGNAL, Demand
from image.subject import TRAIN_STOP_S, Subject
from image.training import CONDITIONS, Outcome

pytestmark = pytest.mark.engine

SUCCESS = Demand(
    '"A successful training execution should exit with an exit code of 0".',
    TRAIN_SIGNAL,
    "read the log; if this job cannot succeed, give the image's own with --hyperparameters and --channel",
)
MODEL = Demand(
    '"/opt/ml/model: Your algorithm should write all final model artifacts to this directory."',
    TRAIN_OUTPUT,
    "write the model there before the program ends",
)
FILES = Demand(
    '"SageMaker copies this data as a single object in compressed tar format": a link leads nowhere in another '
    "container, and a socket or a pipe is no data.",
    TRAIN_OUTPUT,
    "leave regular files and directories only (copy what a link leads to)",
)
FAILURE_CODE = Demand(
    '"an unsuccessful training execution should exit with a non-zero exit code".',
    TRAIN_SIGNAL,
    "let the error end the program: without its data, this job must fail (check `|| true`, `except`, pipes in shells)",
)
FAILURE_FILE = Demand(
    '"If training fails, [...] your algorithm should write the failure description to this file. [...] SageMaker '
    'returns the first 1024 characters from this file as FailureReason."',
    TRAIN_OUTPUT,
    "write the reason to /opt/ml/output/failure before the program ends",
)
STOP = Demand(
    'StopTrainingJob is "docker stop -t120": SIGTERM, and "if the container handles the SIGTERM gracefully and exits '
    'within 120 seconds from receiving it, no SIGKILL is sent."',
    RUN_TRAIN,
    "handle SIGTERM in process 1 (a shell must `exec` the program; Python as process 1 ignores it unless it sets a "
    "handler)",
)
KEPT = Demand(
    '"If you want access to the intermediate model artifacts after SageMaker stops the training, add code to handle '
    'saving artifacts in your SIGTERM handler."',
    RUN_TRAIN,
    "on SIGTERM write what was reached to /opt/ml/model, or why there is nothing to /opt/ml/output/failure",
)


def test_success_is_exit_code_0(good_job: Outcome) -> None:
    SUCCESS.check(good_job.exit_code == 0, ended(good_job))


def test_a_model_is_left(good_job: Outcome) -> None:
    needs_success(good_job)
    MODEL.check(good_job.files(), "/opt/ml/model is empty after the job")


def test_the_model_is_made_of_files(good_job: Outcome) -> None:
    needs_success(good_job)
    others = [
        str(path.relative_to(good_job.model)) for path in good_job.files() if path.is_symlink() or not path.is_file()
    ]
    FILES.check(not others, f"in /opt/ml/model: {', '.join(others)}")


@pytest.mark.parametrize("name", CONDITIONS)
def test_trains(name: str, good_job: Outcome, tested: Subject, tmp_path: Path) -> None:
    """Under each of the platform's conditions."""
    needs_success(good_job)
    if name not in good_job.conditions:
        alone = training.run(tested, tmp_path / "ml", [name])
        CONDITIONS[name].demand.check(alone.exit_code == 0, f"the job succeeds without this; with it: {ended(alone)}")


def test_failure_is_another_exit_code(bad_job: Outcome) -> None:
    FAILURE_CODE.check(bad_job.exit_code, f"a job without any channel ends with exit code 0; {bad_job.tail}")


def test_failure_is_described(bad_job: Outcome) -> None:
    FAILURE_FILE.check(
        bad_job.failure(), f"after a job without any channel the file is missing or empty; {bad_job.tail}"
    )


def test_sigterm_ends_it(stopped_job: Outcome, tested: Subject) -> None:
    if not stopped_job.began:
        pytest.fail(
            f"the long job ended before its log showed {tested.under_way!r}, so that it could not be stopped: choose "
            f"--long-hyperparameters and --under-way; {stopped_job.tail}", pytrace=False
        )  # fmt: skip
    limit_s = tested.stop_within_s or TRAIN_STOP_S
    STOP.check(stopped_job.ended and stopped_job.exit_code != KILLED, f"it ran on for {limit_s:.0f} s and was killed")


def test_what_was_reached_is_kept(stopped_job: Outcome) -> None:
    if not (stopped_job.began and stopped_job.ended):
        pytest.skip("the job was not stopped by SIGTERM: see test_sigterm_ends_it")
    KEPT.check(
        stopped_job.files() or stopped_job.failure(),
        f"after SIGTERM neither a model nor a reason; exit code {stopped_job.exit_code}; {stopped_job.tail}",
    )


def ended(job: Outcome) -> str:
    return f"exit code {job.exit_code}, FailureReason {job.failure() or 'empty'}; {job.tail}"


def needs_success(job: Outcome) -> None:
    if job.exit_code:
        pytest.skip("training fails anyway: see test_success_is_exit_code_0")
