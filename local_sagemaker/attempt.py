"""One start of a training job: its hosts, each with a fresh /opt/ml, from their layout to what they leave.

A job has one attempt unless it is interrupted or tried again.
"""

from __future__ import annotations

import queue
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from local_sagemaker import archive, channels, contract, storage
from local_sagemaker.checkpoints import Checkpoints
from local_sagemaker.errors import REASON_LIMIT
from local_sagemaker.logs import LAST_LINES, LogWriter
from local_sagemaker.records import Record
from local_sagemaker.runners import Hosts, Mount, Runner, Running, Work

SILENT = "it printed nothing and left no /opt/ml/output/failure"


@dataclass
class _Host:
    number: int  # counted from 0
    base: Path  # its private /opt/ml
    checkpoints: Checkpoints
    mounts: tuple[Mount, ...] = ()
    running: Running | None = None
    last_lines: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"algo-{self.number + 1}"


class Attempt:
    """The hosts of one job."""

    def __init__(self, job: Record, base: Path, region: str, hosts: Hosts) -> None:
        self._job = job
        self._region = region
        self._names = hosts
        self._base = base
        bases = [base / f"algo-{number + 1}" for number in range(len(hosts.names))]
        self._hosts = [_Host(n, place, Checkpoints(place, job, region)) for n, place in enumerate(bases)]
        self._ends: queue.Queue[tuple[_Host, int]] = queue.Queue()
        self._waiting = 0
        self._failed: tuple[_Host, int] | None = None

    def prepare(self) -> None:
        """Lays out each host's /opt/ml, brings channels and checkpoints. Raises JobError."""
        for host in self._hosts:
            contract.lay_out(host.base, self._job, self._names, host.number)
            brought = channels.bring(host.base, self._job, self._region, host.number)
            host.mounts = brought + host.checkpoints.restore()

    def start(self, runner: Runner, open_log: Callable[[str], LogWriter]) -> None:
        """Starts every host; `open_log` gives the log of a host's name. Raises RunnerError."""
        for host in self._hosts:
            writer = open_log(host.name)
            try:
                host.running = runner.start(self._work(host), writer.write)
            except BaseException:
                writer.close()
                raise
            self._waiting += 1
            threading.Thread(target=self._watch, args=(host, host.running, writer), daemon=True).start()

    def wait(self, timeout_s: float | None, grace_s: float) -> bool:
        """Whether every host has ended within the time. When one fails, the others are ended too, with this grace."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while self._waiting:
            try:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                host, code = self._ends.get(timeout=left)
            except queue.Empty:
                return False
            self._waiting -= 1
            if code != 0 and self._failed is None:
                self._failed = host, code
                self.stop(grace_s)
        return True

    def stop(self, grace_s: float) -> None:
        """SIGTERM to every host that runs, SIGKILL after the grace."""
        for host in self._hosts:
            if host.running and host.running.wait(0) is None:
                host.running.stop(grace_s)

    @property
    def code(self) -> int:
        """The exit code of the first host that failed; 0 when none did."""
        return self._failed[1] if self._failed else 0

    def failure(self) -> str:
        """The FailureReason of the host that failed first: its failure file, else its last lines. Raises JobError."""
        assert self._failed
        host, code = self._failed
        head = "AlgorithmError: " if len(self._hosts) == 1 else f"AlgorithmError: {host.name}: "
        tail = f", exit code: {code}"
        text = contract.failure(host.base) or " | ".join(host.last_lines) or SILENT
        return head + text[: REASON_LIMIT - len(head) - len(tail)] + tail

    def keep_checkpoints(self) -> None:
        """Sends what has not been sent yet. Raises JobError."""
        for host in self._hosts:
            host.checkpoints.finish()

    def upload(self, with_model: bool) -> None:
        """Brings the artifacts to their place: the hosts' directories as one, the first host's files first.

        Raises JobError.
        """
        prefix = storage.join(self._job["OutputDataConfig"]["S3OutputPath"], self._job["TrainingJobName"], "output")
        outputs = self._produced("output/data")
        if any(directory.is_dir() and any(directory.iterdir()) for directory in outputs):
            self._pack(outputs, prefix, "output.tar.gz")
        if with_model and self._job["OutputDataConfig"].get("CompressionType") == "NONE":
            for name, path in archive.contents(self._produced("model")):
                if path.is_file():
                    storage.upload_file(path, storage.join(prefix, "model", name), self._region)
        elif with_model:
            self._pack(self._produced("model"), prefix, "model.tar.gz")
        for config, folder, default in (
            ("DebugHookConfig", "debug-output", "/opt/ml/output/tensors"),
            ("TensorBoardOutputConfig", "tensorboard-output", "/opt/ml/output/tensorboard"),
        ):
            if config not in self._job:
                continue
            target = storage.join(self._job[config]["S3OutputPath"], self._job["TrainingJobName"], folder)
            for directory in reversed(self._produced(contract.below(self._job[config].get("LocalPath", default)))):
                storage.upload_directory(directory, target, self._region)

    def rewrite_profiler(self, config: Record) -> None:
        for host in self._hosts:
            contract.rewrite_profiler(host.base, config)

    def close(self) -> None:
        """Ends what still runs and removes every private directory."""
        for host in self._hosts:
            host.checkpoints.close()
        self.stop(0)
        for host in self._hosts:
            if host.running:
                host.running.wait()
        shutil.rmtree(self._base, ignore_errors=True)

    def _watch(self, host: _Host, running: Running, writer: LogWriter) -> None:
        code = running.wait()
        writer.close()
        host.last_lines = writer.last[-LAST_LINES:]
        assert code is not None
        self._ends.put((host, code))

    def _work(self, host: _Host) -> Work:
        algorithm = self._job["AlgorithmSpecification"]
        return Work(
            name=self._job["TrainingJobName"],
            image=algorithm["TrainingImage"],
            verb="train",
            base=host.base,
            mounts=host.mounts,
            environment={
                **self._job.get("Environment", {}),
                "TRAINING_JOB_NAME": self._job["TrainingJobName"],
                "TRAINING_JOB_ARN": self._job["TrainingJobArn"],
                "AWS_REGION": self._region,
            },
            entrypoint=tuple(algorithm.get("ContainerEntrypoint", ())),
            arguments=tuple(algorithm.get("ContainerArguments", ())),
            isolated=self._job["EnableNetworkIsolation"],
            host=host.name,
            network=self._names.network,
        )

    def _produced(self, name: str) -> list[Path]:
        return [contract.produced(host.base, name) for host in self._hosts]

    def _pack(self, directories: list[Path], prefix: str, name: str) -> None:
        packed = self._base / name
        archive.pack(directories, packed)
        storage.upload_file(packed, storage.join(prefix, name), self._region)
