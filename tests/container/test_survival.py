"""`train` as a process that is killed, and whose disk is full."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract_training import Job
from photographs import data_set

# Five steps an epoch; batch normalization learns, and early stopping looks on.
LONG = {
    "weights": "none", "freeze-backbone": "false", "image-size": "32", "batch-size": "8",
    "augment": "true", "early-stopping-patience": "50", "seed": "5",
}  # fmt: skip
# What has a state of its own, or draws.
RECIPE = {
    "freeze-backbone": "until-epoch-2", "backbone-learning-rate-factor": "0.3", "warmup-epochs": "1.5",
    "ema-decay": "0.9", "mixup-alpha": "0.4", "cutmix-alpha": "1", "class-weights": "balanced",
}  # fmt: skip
QUICK = LONG | {"epochs": "1"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data_set(tmp_path_factory.mktemp("data"), {"train": 12, "valid": 4})


def job(root: Path, data: Path) -> Job:
    return Job(root, {name: data / name for name in ("train", "valid")})


def saved_step(root: Path) -> int:
    """Of the newest checkpoint, 0 where there is none."""
    steps = []
    for path in (root / "checkpoints" / "training").glob("*/?.pt"):
        with path.open("rb") as stream:
            steps.append(int(stream.readline(256).split()[1]))
    return max(steps, default=0)


def start_again(root: Path) -> None:
    """Another instance: of /opt/ml only the checkpoints are there."""
    for name in ("input", "model", "output"):
        shutil.rmtree(root / name)


@pytest.mark.slow
def test_killed_at_random_steps_it_ends_with_the_same_weights(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """KILLS=20 in the environment kills so often. The signals take turns, and each comes at a later step; none so late
    that the job might be done before it comes."""
    kills = int(os.environ.get("KILLS", "3"))
    epochs = max(8, kills)
    long = LONG | RECIPE | {"epochs": str(epochs)}
    undisturbed = job(tmp_path / "undisturbed", data)
    code, log = undisturbed.run(long | {"checkpoint-minutes": "0"})
    assert code == 0, log
    assert not any((undisturbed.root / "checkpoints" / "training").glob("*"))
    expected = json.loads((undisturbed.root / "model" / "model.json").read_text())

    random_ = random.Random(kills)
    targets = sorted(random_.sample(range(1, 5 * epochs * 2 // 3), kills))
    this, done = job(tmp_path / "killed", data), list[str]()
    for number, target in enumerate(targets):
        term = number % 2 == 0
        target = max(target, saved_step(this.root) + 1)  # until it trains, it may not even handle the signal
        # By SIGKILL the steps since the last checkpoint are lost, and made again.
        this.write(long | {"checkpoint-steps": "1" if term else "2"})
        process = this.start()
        try:
            while process.poll() is None and saved_step(this.root) < target:
                time.sleep(0.01)
            process.send_signal(signal.SIGTERM if term else signal.SIGKILL)
            log, _ = process.communicate(timeout=600)
        finally:
            process.kill()
        assert target <= saved_step(this.root) < 5 * epochs
        if not term:
            assert process.returncode == -signal.SIGKILL
        elif saved_step(this.root) != 5:  # there it depends on whether the first evaluation had begun
            assert process.returncode == (0 if saved_step(this.root) > 5 else 1), log
        assert ("checkpoint: going on after step" in log) == (number > 0)
        done.append(f"{'SIGTERM' if term else 'SIGKILL'} after {saved_step(this.root)}")
        start_again(this.root)
    code, log = this.run(long)
    assert code == 0, log
    found = json.loads((this.root / "model" / "model.json").read_text())
    assert found["weights_sha256"] == expected["weights_sha256"], done
    assert found["metrics"] == expected["metrics"]
    assert found["provenance"]["kept_epoch"] == expected["provenance"]["kept_epoch"]
    assert not any((this.root / "checkpoints" / "training").iterdir()), "a run that is over leaves none"
    with capsys.disabled():
        print(f"\n{kills} kills ({', '.join(done)} of {5 * epochs} steps): final weights equal")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MB: a ResNet-18 has 45."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_disk_without_room_for_the_model_fails_the_job(data: Path, small_disk: Path) -> None:
    """Nor is there room for a checkpoint, which alone would have ended nothing."""
    this = job(small_disk / "ml", data)
    code, log = this.run(QUICK | {"checkpoint-steps": "2"})
    assert code == 1, log
    assert log.count("could not be saved (No space left on device); training goes on") == 1
    assert "kept epoch 1 of 1" in log
    assert this.failure().startswith(f"the model could not be written to {this.root / 'model'} (")
    assert "No space left on device" in this.failure() and "Traceback" not in log
    assert not any((this.root / "model").iterdir())


def test_a_disk_without_room_for_a_reason_fails_the_job_too(data: Path, small_disk: Path) -> None:
    """sagemaker-training alone would report success of a job whose failure file it cannot write."""
    this = job(small_disk / "ml", data)
    this.write(QUICK | {"learning-rat": "1"})
    with (small_disk / "full").open("wb") as stream, pytest.raises(OSError, match="No space left"):
        while True:
            stream.write(bytes(1 << 16))
            stream.flush()
    process = this.start()
    log, _ = process.communicate(timeout=600)
    assert process.returncode == 1, log
    assert "unknown hyperparameter 'learning-rat'" in log


def test_a_model_directory_that_cannot_be_written_to_fails_the_job_at_once(data: Path, tmp_path: Path) -> None:
    this = job(tmp_path / "ml", data)
    this.write(QUICK)
    (this.root / "model").rmdir()
    (this.root / "model").symlink_to("/proc")  # where not even root can make a file
    process = this.start()
    log, _ = process.communicate(timeout=600)
    assert process.returncode == 1, log
    assert this.failure().startswith(f"the model cannot be written to {this.root / 'model'} (")
    assert "epoch 1" not in log and "Traceback" not in log
