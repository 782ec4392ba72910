"""The predictor's batches, and what is read from pulses, without a server."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from classifier.batching import Batcher, Pixels
from classifier.pulse import Pulse
from closed_loop import until
from serving.watch import Watch


class Counting:
    """Answers an image with its first value; waits in the first forward pass until it is let go."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.entered, self.goes_on = threading.Event(), threading.Event()

    def predict(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        self.sizes.append(len(pixels))
        self.entered.set()
        assert self.goes_on.wait(600)
        if (pixels == 255).any():
            raise RuntimeError("this image cannot be computed")
        return pixels[:, 0, 0, :1].astype(np.float32)

    def features(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        return np.zeros((len(pixels), 2), np.float32)

    def activation_map(self, pixels: Pixels, class_index: int) -> npt.NDArray[np.float32]:
        return np.full((len(pixels), 1, 1), class_index, np.float32)


def images(*values: int) -> Pixels:
    return np.stack([np.full((2, 2, 3), value, np.uint8) for value in values])


def test_what_waits_is_computed_together_and_everyone_gets_his_own(tmp_path: Path) -> None:
    predictor, waiting = Counting(), threading.Semaphore(0)
    batcher = Batcher(predictor, 4)
    threading.Thread(target=batcher.run, args=(Pulse(tmp_path, "predictor"),), daemon=True).start()

    def ask(wanted: str, pixels: Pixels) -> npt.NDArray[np.float32]:
        waiting.release()
        return batcher.compute(wanted, pixels, 7)

    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(ask, "predict", images(1))
        assert predictor.entered.wait(600)
        others = [threads.submit(ask, "predict", images(*v)) for v in ((2,), (3, 4), (5,), (6, 7, 8, 9, 10))]
        seen = threads.submit(ask, "features", images(11))
        shown = threads.submit(ask, "activation_map", images(12))
        until(lambda: len(batcher._tasks) == 6)
        predictor.goes_on.set()
        assert [r.result().ravel().tolist() for r in (first, *others)] == [[1], [2], [3, 4], [5], [6, 7, 8, 9, 10]]
        assert seen.result().shape == (1, 2) and shown.result().tolist() == [[[7]]]
    # No forward pass was larger than allowed, and the ten images took fewer than ten.
    assert max(predictor.sizes) <= 4 and sum(predictor.sizes) == 10 and len(predictor.sizes) < 8

    with pytest.raises(RuntimeError, match="this image"):
        batcher.compute("predict", images(255))
    assert batcher.compute("predict", images(3)).tolist() == [[3]]


def test_one_pass_does_not_keep_up_those_of_another_lane(tmp_path: Path) -> None:
    class Both:
        """Answers when two passes are under way at the same time."""

        meet = threading.Barrier(2, timeout=600)

        def predict(self, pixels: Pixels) -> npt.NDArray[np.float32]:
            self.meet.wait()
            return pixels[:, 0, 0, :1].astype(np.float32)

        features = predict

        def activation_map(self, pixels: Pixels, class_index: int) -> npt.NDArray[np.float32]:
            return self.predict(pixels)

    batcher = Batcher(Both(), 1)
    for lane in range(2):
        pulse = Pulse(tmp_path, f"predictor.{lane}")
        threading.Thread(target=batcher.run, args=(pulse,), daemon=True).start()
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda value: batcher.compute("predict", images(value)), range(4)))
    assert [answer.tolist() for answer in answers] == [[[0]], [[1]], [[2]], [[3]]]
    # Each is looked at by itself.
    watch = Watch(tmp_path, 1.0, hangs_after=10**9, stuck_after=10**9)
    watch.look()
    assert sorted(path.name for path in watch._seen) == [f"predictor.{lane}-{os.getpid()}" for lane in range(2)]


def test_a_process_that_hangs_is_told_from_one_that_works(tmp_path: Path) -> None:
    """Looks are counted, not seconds: the processes do the same between any two of them."""
    begun = (
        "import pathlib, sys, time; from classifier.pulse import Pulse; p = Pulse(pathlib.Path(sys.argv[1]), 'worker')"
    )
    programs = {
        "idle": "time.sleep(600)",
        "sleeps": "p.begin(); time.sleep(600)",
        "steps": "p.begin()\nwhile True: p.step(); time.sleep(0.001)",
        "computes": "p.begin()\nwhile True: pass",
    }
    running = {
        name: subprocess.Popen(
            [sys.executable, "-c", f"{begun}\n{program}", tmp_path],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for name, program in programs.items()
    }
    try:
        until(lambda: len(list(tmp_path.iterdir())) == len(programs))
        watch = Watch(tmp_path, 1e-6, hangs_after=10**9, stuck_after=10**9)

        def seen(name: str) -> Any:
            return watch._seen[tmp_path / f"worker-{running[name].pid}"]

        def differ() -> bool:
            watch.look()
            return bool(seen("sleeps").idle > 20 and seen("computes").stuck > 20)

        # Only the one that sleeps in its work makes neither steps nor use of a CPU.
        watch.look()
        until(differ)
        assert seen("idle").idle == 0 and seen("idle").stuck == 0
        watch.hangs_after = 20
        assert running["sleeps"].pid in watch.look()["hang"]
        watch.stuck_after = 20
        assert running["computes"].pid in watch.look()["hang"]
        running["sleeps"].kill()
        running["sleeps"].wait()
        assert running["sleeps"].pid not in watch.look()["hang"]
        assert not (tmp_path / f"worker-{running['sleeps'].pid}").exists()
    finally:
        for process in running.values():
            process.kill()
            process.wait()
