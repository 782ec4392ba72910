"""A training's state on disk, so that a run that was interrupted goes on where it was.

A checkpoint is whole or not there: it is written beside its name, synced, and put in its place. It begins with the
SHA-256 of all the rest. Two files take turns, so that the newest but one is there should the newest be damaged, and so
that a copy of the folder that forgets nothing (S3) does not grow. Reading one runs no code of its author.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from classifier.atomic import replacing

_RUN = "run.json"
_FORMAT = b"kennel-checkpoint/1"


class Checkpoints:
    """Those of one run, in a folder of their own below `root`.

    `run`: all that its result depends on, by name; a checkpoint of another run is not taken up. One is due every
    `steps` steps and when `minutes` have passed since the last; 0 is never. `tell` gets a sentence where there is
    something to know; one is written within a `span`. A disk that is full ends nothing.
    """

    def __init__(
        self,
        root: Path,
        run: Mapping[str, str],
        steps: int,
        minutes: float,
        tell: Callable[[str], None] = lambda _: None,
        span: Callable[[str], contextlib.AbstractContextManager[None]] = lambda name: contextlib.nullcontext(),
    ) -> None:
        self._run, self._steps, self._seconds, self._tell, self._span = dict(run), steps, minutes * 60, tell, span
        self._digest = hashlib.sha256(json.dumps(self._run, sort_keys=True).encode()).hexdigest()
        self._root, self.folder = root, root / self._digest[:16]
        self._files = (self.folder / "0.pt", self.folder / "1.pt")
        self._next = 0
        self._saved_at = time.monotonic()
        self._failed = False

    def load(self) -> dict[str, Any] | None:
        """The newest one that is whole, its tensors on the CPU; None where there is none."""
        self._tell_of_others()
        for stray in self.folder.glob("*.writing"):  # of a process that was killed
            stray.unlink()
        there = [(_step_of(path), number, path) for number, path in enumerate(self._files) if path.exists()]
        damaged: list[str] = []
        for step, number, path in sorted(there, reverse=True):
            content = self._content(path)
            if content is None:
                damaged.append("one" if step == math.inf else f"the one of step {step}")
                continue
            self._tell(f"checkpoint: {_but(damaged)}going on after step {step}")
            self._next = 1 - number
            return dict(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
        if damaged:
            self._tell(f"checkpoint: {_but(damaged)}there is no other, and training begins anew")
        return None

    def due(self, step: int) -> bool:
        """Whether one is to be saved after this step."""
        if self._steps and step % self._steps == 0:
            return True
        return self._seconds > 0 and time.monotonic() - self._saved_at >= self._seconds

    def save(self, step: int, state: Mapping[str, Any]) -> bool:
        """Takes the place of the older of the two. False: it could not be written, which is told once."""
        with self._span("checkpoint"):
            try:
                self._write(self._files[self._next], step, state)
            except OSError as error:
                if not self._failed:
                    self._tell(f"checkpoint: step {step} could not be saved ({error.strerror or error}); training goes "
                               f"on, and an interruption now loses what came after the last one that was")  # fmt: skip
                self._failed = True
                return False
            finally:
                self._saved_at = time.monotonic()
        self._next = 1 - self._next
        return True

    def remove(self) -> None:
        """This run is over; another one of the same name is not to be mistaken for it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, path: Path, step: int, state: Mapping[str, Any]) -> None:
        # In memory first: the disk's errors come as they are, and not through torch's writer.
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / _RUN).exists():
            with replacing(self.folder / _RUN) as file:
                file.write_text(json.dumps(self._run, indent=1) + "\n", encoding="utf-8")
        with replacing(path) as writing, writing.open("wb") as stream:
            stream.write(b"%s %d %s\n" % (_FORMAT, step, self._checksum(step, buffer.getbuffer()).encode()))
            stream.write(buffer.getbuffer())
            stream.flush()
            os.fsync(stream.fileno())

    def _content(self, path: Path) -> bytes | None:
        """What follows the first line; None where that says otherwise."""
        try:
            with path.open("rb") as stream:
                name, step, checksum = stream.readline(256).split()
                content = stream.read()
            whole = name == _FORMAT and checksum.decode() == self._checksum(int(step), content)
        except (OSError, ValueError):
            return None
        return content if whole else None

    def _checksum(self, step: int, content: bytes | memoryview) -> str:
        # Of the run as well: a file that was put into the folder of another one is none of its checkpoints.
        digest = hashlib.sha256(f"{self._digest} {step} ".encode())
        digest.update(content)
        return digest.hexdigest()

    def _tell_of_others(self) -> None:
        """One line on what lies beside and is of another run: the one that differs in the least."""
        differences = []
        for path in self._root.glob(f"*/{_RUN}"):
            if path.parent == self.folder:
                continue
            try:
                other = json.loads(path.read_text(encoding="utf-8"))
                names = sorted(name for name in {*self._run, *other} if other.get(name) != self._run.get(name))
                differences.append([f"{name}: {other.get(name)} there, {self._run.get(name)} here" for name in names])
            except (OSError, ValueError, AttributeError):
                continue  # that of another run, whatever it is
        if differences:
            least = min(differences, key=len)
            more = f" and {len(least) - 3} more" if least[3:] else ""
            self._tell(f"checkpoint: those of {'another run' if len(differences) == 1 else 'other runs'} are not taken "
                       f"up ({'; '.join(least[:3])}{more})")  # fmt: skip


def _step_of(path: Path) -> float:
    """As the first line has it; infinite where there is no such line: it may have been the newest."""
    try:
        with path.open("rb") as stream:
            return int(stream.readline(256).split()[1])
    except (OSError, ValueError, IndexError):
        return math.inf


def _but(damaged: list[str]) -> str:
    return f"{' and '.join(damaged)} {'is' if len(damaged) == 1 else 'are'} damaged and not used; " if damaged else ""
