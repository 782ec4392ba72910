"""The training half of SageMaker's container contract: the files of a job, and the two ways to run `train` on them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from conftest import ROOT

# Pictures of 32 pixels are too little work for two threads: waiting for each other costs more than it brings.
QUIET = {"OMP_NUM_THREADS": "1"}


def lay_out(root: Path, channels: Iterable[str], hyperparameters: Mapping[str, str], interface: str = "eth0") -> None:
    """Makes of `root` the /opt/ml of a job in File mode on one machine, as the platform does before it starts it.

    The files are those of https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html;
    the groups of instances are what the platform writes beyond that page.
    """
    for directory in ("input/config", "input/data", "model", "output/data", "checkpoints"):
        (root / directory).mkdir(parents=True, exist_ok=True)
    for name in channels:
        (root / "input" / "data" / name).mkdir(exist_ok=True)
    group = {"instance_group_name": "homogeneousCluster", "instance_type": "ml.m5.xlarge", "hosts": ["algo-1"]}
    files: dict[str, Mapping[str, object]] = {
        "hyperparameters": hyperparameters,
        "inputdataconfig": {
            name: {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated", "RecordWrapperType": "None"}
            for name in channels
        },
        "resourceconfig": {
            "current_host": "algo-1",
            "current_instance_type": "ml.m5.xlarge",
            "current_group_name": "homogeneousCluster",
            "hosts": ["algo-1"],
            "instance_groups": [group],
            "network_interface_name": interface,
        },
    }
    for name, values in files.items():
        (root / "input" / "config" / f"{name}.json").write_text(json.dumps(dict(values)))


@dataclass
class Job:
    """A private /opt/ml. `channels`: name -> directory, mounted or linked as the platform does."""

    root: Path
    channels: Mapping[str, Path]
    image: str | None = None

    def write(self, hyperparameters: Mapping[str, str]) -> None:
        """Lays out what the platform lays out before it starts the container."""
        lay_out(self.root, self.channels, hyperparameters, "eth0" if self.image else "lo")

    def start(self) -> subprocess.Popen[str]:
        """`train`, as a container of `image`, or as a process when there is none."""
        if self.image is None:
            for name, path in self.channels.items():
                (self.root / "input" / "data" / name).rmdir()
                (self.root / "input" / "data" / name).symlink_to(path)
            environment = {
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "HOME": str(self.root),
                "SAGEMAKER_BASE_DIR": str(self.root),
                **QUIET,
            }
            command = [str(ROOT / "container_src" / "bin" / "train")]
        else:
            self.container = f"kennel-test-{uuid.uuid4().hex[:8]}"
            environment = dict(os.environ)
            mounts = [f"-v={self.root}:/opt/ml"]
            mounts += [f"-v={path}:/opt/ml/input/data/{name}:ro" for name, path in self.channels.items()]
            command = [
                "docker",
                "run",
                "--rm",
                f"--name={self.container}",
                "--network=none",
                *mounts,
                self.image,
                "train",
            ]
        return subprocess.Popen(
            command, env=environment, cwd=self.root, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def terminate(self, process: subprocess.Popen[str]) -> None:
        """SIGTERM to the container's process 1, as the platform stops a job."""
        if self.image is None:
            process.terminate()
        else:
            subprocess.run(["docker", "kill", "--signal=TERM", self.container], check=True, capture_output=True)

    def run(self, hyperparameters: Mapping[str, str]) -> tuple[int, str]:
        """(exit code, log) of a job that runs to its end."""
        self.write(hyperparameters)
        process = self.start()
        log, _ = process.communicate(timeout=900)
        return process.returncode, log

    def failure(self) -> str:
        """What the platform would show as the reason of the failure."""
        return (self.root / "output" / "failure").read_text()
