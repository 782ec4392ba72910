"""Ending every process below this one, orphans included, as process 1 of a container must."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import time

import psutil

# SageMaker sends SIGKILL 30 s after SIGTERM and Docker 10 s; multi-model-server takes 2 to 4 s to end.
PATIENCE_S = 8.0
PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Makes this process the parent of descendants whose parent died, as PID 1 of a container is anyway (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap() -> set[int]:
    """Collects children that have ended, adopted ones included; returns their process ids."""
    ended = set()
    with contextlib.suppress(ChildProcessError):
        while pid := os.waitpid(-1, os.WNOHANG)[0]:
            ended.add(pid)
    return ended


def stop_descendants(patience_s: float = PATIENCE_S) -> None:
    """Ends every process below this one: asks first, and kills what is left when the patience is over."""
    deadline = time.monotonic() + patience_s
    asked: set[int] = set()
    while descendants := psutil.Process().children(recursive=True):
        overdue = time.monotonic() > deadline
        for process in descendants:
            with contextlib.suppress(psutil.NoSuchProcess):
                if overdue:
                    process.kill()
                elif process.pid not in asked:
                    process.terminate()
                    asked.add(process.pid)
        time.sleep(0.1)
        reap()
