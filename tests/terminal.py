"""A program at a terminal: what a person sees of it, types, and interrupts."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# Far more than anything takes: a test ends by what it reads, not by the clock.
_LIMIT_S = 180
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass
class Terminal:
    """`told`: what was printed and no `until` has given yet. Colours are left out, white space is a single blank."""

    process: subprocess.Popen[bytes]
    leader: int
    told: str = ""

    def until(self, text: str, limit_s: float = _LIMIT_S) -> str:
        """Reads on until `text` was printed; gives what was printed until then and forgets it.

        Raises:
            TimeoutError: it was not in time; what came stays for the next call.
        """
        deadline = time.monotonic() + limit_s
        while text not in (told := " ".join(_ESCAPES.sub("", self.told).split())):
            if not select.select([self.leader], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"{text!r} was not told in {limit_s} s: {told[-2000:]}")
            try:
                self.told += os.read(self.leader, 4096).decode(errors="replace")
            except OSError:  # the other end is closed: nobody will tell it any more
                raise AssertionError(f"{text!r} was not told: {told[-2000:]}") from None
        before, _, self.told = told.partition(text)
        return before + text

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def interrupt_until(self, text: str) -> str:
        """Ctrl-C, and again where nothing comes of it, as a person does.

        A signal is lost on a Python that is on its way into read(2): it looks at signals before and after. Giving up
        the interpreter's lock, it may wait there for a thread to be scheduled, such as the spinner's.
        """
        while True:
            self.interrupt()
            try:
                return self.until(text, limit_s=20)
            except TimeoutError:
                continue

    def type(self, text: str) -> None:
        """Keys."""
        os.write(self.leader, text.encode())

    def end(self) -> int:
        """Waits for the exit code."""
        return self.process.wait(timeout=_LIMIT_S)


@contextmanager
def terminal(command: Sequence[object], folder: Path, environment: Mapping[str, str]) -> Iterator[Terminal]:
    """Runs `command` in `folder`; kills it where it is still there at the end."""
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [str(part) for part in command], cwd=folder, env={**environment, "TERM": "xterm"},
        stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
    ) as process:  # fmt: skip
        os.close(follower)  # so that the end of the process is the end of what is read
        try:
            yield Terminal(process, leader)
        finally:
            process.kill()
            os.close(leader)
