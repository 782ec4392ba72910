"""Several processes for one training: started by torchrun through sagemaker-training, watched, and their end explained.

One process a GPU, or one on a CPU, on each of the job's hosts. What they share with the process that starts them is a
folder: it says when they are to stop, they say why they failed. No signal is passed on: one that comes before its
receiver handles it would end it, and torchrun takes SIGTERM for the end of everything.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path

from classifier import machine
from classifier.config import FEWEST, Config
from classifier.device import Device
from classifier.errors import InputError

FOLDER = "KENNEL_RANKS"
_STOP = "stop"
# What torchrun's account of a failure says of each process that a signal ended, in the order of its lines.
_KILLED = re.compile(r"rank\s*: (\d+) \(local_rank.*?\n\s*exitcode\s*: -(\d+) ")


class Stop(threading.Event):
    """Set where the process that has started this one was asked to end."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._file = folder / _STOP

    def is_set(self) -> bool:
        """Asks the disk's cache: a microsecond."""
        return self._file.exists()


def processes(config: Config, found: Device, hosts: int, on_features: bool) -> int:
    """Of a training on each of `hosts`.

    Raises:
        InputError: they are more than the GPUs, or too many for a batch.
    """
    gpus = len(found.gpus)
    if gpus and config.processes > gpus:
        raise InputError(f"processes={config.processes}, and the instance has {gpus} GPUs: set processes=0, which "
                         f"takes one for each, or fewer")  # fmt: skip
    # A step of a head on features takes microseconds: the processes would only wait for each other.
    count = config.processes or (1 if on_features else max(1, gpus))
    if config.batch_size < (fewest := FEWEST * count * hosts):
        raise InputError(f"batch-size={config.batch_size} is for all {count * hosts} processes together, and each "
                         f"needs {FEWEST} photographs of a batch: set batch-size={fewest} or more, or take fewer "
                         f"instances or processes")  # fmt: skip
    return count


def launch(count: int, stop: threading.Event) -> None:
    """Runs `count` processes (rank.py) on this host, as each of the job's hosts does, to their end.

    SIGTERM sets `stop`, and that of all of them.

    Raises:
        InputError: one of them failed; the reason is its own where it could tell it.
    """
    from sagemaker_training import environment, errors, process, torch_distributed

    env = environment.Environment()
    with tempfile.TemporaryDirectory(prefix="kennel-ranks-") as name:
        folder = Path(name)

        def end(*_: object) -> None:
            stop.set()
            (folder / _STOP).touch()

        before = signal.signal(signal.SIGTERM, end)
        if stop.is_set():
            end()
        # It looks for the script that torchrun starts where a user's would be.
        environment.code_dir = str(Path(__file__).parent)
        # Local SageMaker gives the hosts of each job addresses of their own on one machine, and torchrun's port is
        # open on all of them.
        torch_distributed.MASTER_PORT = str(20_000 + zlib.crc32("".join(env.hosts).encode()) % 12_000)
        # Of what the processes print it keeps what follows one of these names: torchrun's account of a failure.
        process._PYTHON_ERRORS_.append("ChildFailedError")
        os.environ.update(_surroundings(count, len(env.hosts), env.network_interface_name), **{FOLDER: name})
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # sagemaker-training prints their lines
        output = None
        try:
            # Not by `runner.get`: it knows of no hosts unless the SDK's own hyperparameters name them.
            torch_distributed.TorchDistributedRunner(
                "rank.py", [], {}, count, env.hosts[0], env.hosts, env.current_host, env.network_interface_name,
                env.current_instance_type,
            ).run(capture_error=True)  # fmt: skip
        except errors.ExecuteUserScriptError as error:
            output = str(error.output)
        finally:
            signal.signal(signal.SIGTERM, before)
        if reason := _reason(folder, output):
            raise InputError(reason)


def tell(folder: Path, rank: int, reason: str, is_own: bool) -> None:
    """Leaves a process' reason for its failure. `is_own`: it is not another one's failure that it noticed."""
    with contextlib.suppress(OSError):  # a full disk
        content = json.dumps({"at": time.time(), "reason": reason, "own": is_own})
        (folder / f"{rank}.json").write_text(content, encoding="utf-8")


def _surroundings(count: int, hosts: int, interface: str) -> dict[str, str]:
    """Environment variables of torchrun and of the processes."""
    found = {"GLOO_SOCKET_IFNAME": interface if hosts > 1 else "lo"}
    if hosts == 1:
        # A port of its own, and no host name to be looked up.
        found |= {"PET_STANDALONE": "1", "PET_LOCAL_ADDR": "127.0.0.1"}
    if count > 1 and "OMP_NUM_THREADS" not in os.environ:
        found["OMP_NUM_THREADS"] = str(max(1, machine.cpus() // count))
    return found


def _reason(folder: Path, output: str | None) -> str | None:
    """Why they failed, None where they did not. `output`: torchrun's account, if it failed."""
    told = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")]
    told.sort(key=lambda reason: (not reason["own"], reason["at"]))
    if told and told[0]["own"]:
        return str(told[0]["reason"])
    # SIGTERM is what torchrun ends the others with.
    killed = [found for found in _KILLED.findall(output or "") if int(found[1]) != signal.SIGTERM]
    if killed:
        rank, number = map(int, killed[0])
        name = signal.Signals(number).name
        why = ", most often because memory ran out: take a larger instance, or lower batch-size or workers"
        return f"process {rank} of the training was killed ({name}{why if number == signal.SIGKILL else ''})"
    if told:
        return str(told[0]["reason"])
    return None if output is None else "the processes of the training ended without a reason: see the log"
