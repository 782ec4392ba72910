"""The private /opt/ml of a training job, as SageMaker lays it out.

Source: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo.html. All values in the
configuration files are strings, as there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from local_sagemaker import storage
from local_sagemaker.errors import JobError
from local_sagemaker.records import Record
from local_sagemaker.runners import PROCESS_IMAGE, Mount

FAILURE_LIMIT = 1024  # characters of /opt/ml/output/failure that reach the failure reason


def lay_out(base: Path, job: Record) -> None:
    """Makes the directories and the configuration files."""
    for name in ("input/config", "input/data", "model", "output/data", "checkpoints", "code"):
        (base / name).mkdir(parents=True, exist_ok=True)
    _write(base, "hyperparameters", job.get("HyperParameters", {}))
    _write(base, "resourceconfig", _resources(job))
    _write(
        base,
        "inputdataconfig",
        {channel["ChannelName"]: _channel(job, channel) for channel in job.get("InputDataConfig", [])},
    )
    for member in ("DebugHookConfig", "ProfilerConfig"):
        if member in job:
            _write(base, member.lower(), job[member])


def inputs(base: Path, job: Record, region: str) -> tuple[Mount, ...]:
    """Brings the channels: a directory of this machine is mounted, what lies in S3 is copied. Raises JobError."""
    mounts = []
    for channel in job.get("InputDataConfig", []):
        name, uri = channel["ChannelName"], channel["DataSource"]["S3DataSource"]["S3Uri"]
        target = f"input/data/{name}"
        source = storage.local_path(uri)
        if source is None:
            (base / target).mkdir(parents=True)
            storage.download(uri, base / target, region)
        elif source.is_dir():
            mounts.append(Mount(source, target))
        elif source.is_file():
            mounts.append(Mount(source, f"{target}/{source.name}"))
        else:
            raise JobError(f"ClientError: Data download failed: {uri} of channel '{name}' does not exist.")
    return tuple(mounts)


def failure(base: Path) -> str:
    """What the container left in /opt/ml/output/failure; empty where it left nothing."""
    path = base / "output" / "failure"
    return path.read_text(errors="replace")[:FAILURE_LIMIT].strip() if path.is_file() else ""


def _write(base: Path, name: str, value: Any) -> None:
    (base / "input" / "config" / f"{name}.json").write_text(json.dumps(value, indent=1))


def _resources(job: Record) -> dict[str, Any]:
    instance_type = job["ResourceConfig"]["InstanceType"]
    return {
        "current_host": "algo-1",
        "current_instance_type": instance_type,
        "current_group_name": "homogeneousCluster",
        "hosts": ["algo-1"],
        "instance_groups": [
            {"instance_group_name": "homogeneousCluster", "instance_type": instance_type, "hosts": ["algo-1"]}
        ],
        "network_interface_name": "lo" if job["AlgorithmSpecification"]["TrainingImage"] == PROCESS_IMAGE else "eth0",
    }


def _channel(job: Record, channel: dict[str, Any]) -> dict[str, str]:
    described = {
        "TrainingInputMode": channel.get("InputMode", job["AlgorithmSpecification"]["TrainingInputMode"]),
        "S3DistributionType": channel["DataSource"]["S3DataSource"].get("S3DataDistributionType", "FullyReplicated"),
        "RecordWrapperType": channel.get("RecordWrapperType", "None"),
    }
    if "ContentType" in channel:
        described["ContentType"] = channel["ContentType"]
    return described
