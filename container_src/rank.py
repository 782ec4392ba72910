"""What torchrun starts: one of the processes that train a network together.

It reads the job's files as the process does that has launched it, and ends with it.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

import launching
import train
from classifier import device
from classifier.errors import InputError


class Ended(BaseException):
    """torchrun ends this process, because another one has failed."""


def main() -> int:
    """The exit code: 0 also of a failure that all processes share, for then torchrun has nothing to add."""

    def end(*_: object) -> None:
        raise Ended("another process of the training has failed, see the log")

    signal.signal(signal.SIGTERM, end)
    folder, rank = Path(os.environ[launching.FOLDER]), int(os.environ["RANK"])
    config, job = train.asked(launching.Stop(folder))
    from classifier import distributed, precision

    try:
        compute = precision.choose(device.find("train"), train.is_watched(config, job), int(os.environ["LOCAL_RANK"]))
        ranks = distributed.join(compute.device)
        failed = False
        try:
            train.train(config, job, compute, ranks)
        except InputError as error:
            launching.tell(folder, rank, str(error), is_own=True)
            failed = True
        is_shared = ranks.part_together(failed)
        return 1 if failed and not is_shared else 0
    except Ended:
        return 1
    except Exception as error:
        reason = re.sub(r"^\[.*?\] ", "", " ".join(str(error).split()))  # without the line of gloo's source
        lost = distributed.is_lost(error)
        launching.tell(folder, rank, f"process {rank} lost the others: {reason}" if lost else
                       f"{type(error).__name__}: {reason}", is_own=not lost)  # fmt: skip
        if not lost:
            raise
        return 1


if __name__ == "__main__":
    sys.exit(main())
