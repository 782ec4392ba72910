"""The private /opt/ml of one host of a training job, as SageMaker lays it out.

Source: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo.html. All values in the
configuration files are strings, as there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_sagemaker.errors import JobError
from local_sagemaker.records import Record, write_json
from local_sagemaker.runners import Hosts

FAILURE_LIMIT = 1024  # characters of /opt/ml/output/failure that reach the failure reason
OPT_ML = "/opt/ml/"


@dataclass(frozen=True)
class Group:
    """Hosts of one instance type."""

    name: str
    instance_type: str
    count: int


def groups(resources: dict[str, Any]) -> list[Group]:
    """The instance groups of a ResourceConfig; one where it names an instance type only."""
    if "InstanceGroups" in resources:
        return [
            Group(group["InstanceGroupName"], group["InstanceType"], group["InstanceCount"])
            for group in resources["InstanceGroups"]
        ]
    return [Group("homogeneousCluster", resources["InstanceType"], resources.get("InstanceCount", 1))]


def host_count(job: Record) -> int:
    return sum(group.count for group in groups(job["ResourceConfig"]))


def group_of(job: Record, number: int) -> Group:
    """The group of a job's host, counted from 0."""
    return [group for group in groups(job["ResourceConfig"]) for _ in range(group.count)][number]


def lay_out(base: Path, job: Record, hosts: Hosts, number: int) -> None:
    """Makes the directories and the configuration files of one host, counted from 0."""
    for name in ("input/config", "input/data", "model", "output/data", "checkpoints", "code"):
        (base / name).mkdir(parents=True, exist_ok=True)
    _write(base, "hyperparameters", job.get("HyperParameters", {}))
    _write(base, "resourceconfig", _resources(job, hosts, number))
    _write(
        base,
        "inputdataconfig",
        {channel["ChannelName"]: _channel(job, channel) for channel in job.get("InputDataConfig", [])},
    )
    for member in ("DebugHookConfig", "ProfilerConfig"):
        if member in job:
            _write(base, member.lower(), job[member])


def failure(base: Path) -> str:
    """What the container left in /opt/ml/output/failure; empty where it left nothing."""
    path = produced(base, "output/failure")
    if not path.is_file():
        return ""
    with path.open(errors="replace") as stream:
        return stream.read(FAILURE_LIMIT).strip()


def produced(base: Path, name: str) -> Path:
    """A place below /opt/ml that the container may have written.

    Raises JobError for one that a link has led elsewhere: what a container sees there is not what this machine has.
    """
    path = base / name
    for part in [path, *path.parents]:
        if part == base:
            break
        if part.is_symlink():
            raise JobError(
                f"ClientError: Artifact upload failed: {OPT_ML}{part.relative_to(base)} is a symbolic link; "
                "leave the directories of /opt/ml where they are."
            )
    return path


def below(path: str) -> str:
    """`below("/opt/ml/checkpoints/")` -> `checkpoints`."""
    return path.removeprefix(OPT_ML).strip("/")


def _write(base: Path, name: str, value: Any) -> None:
    (base / "input" / "config" / f"{name}.json").write_text(json.dumps(value, indent=1))


def rewrite_profiler(base: Path, config: dict[str, Any]) -> None:
    """The file that a profiler inside the container watches while it trains."""
    write_json(base / "input" / "config" / "profilerconfig.json", config)


def _resources(job: Record, hosts: Hosts, number: int) -> dict[str, Any]:
    names = iter(hosts.names)
    described = [
        {
            "instance_group_name": group.name,
            "instance_type": group.instance_type,
            "hosts": [next(names) for _ in range(group.count)],
        }
        for group in groups(job["ResourceConfig"])
    ]
    own = group_of(job, number)
    return {
        "current_host": hosts.names[number],
        "current_instance_type": own.instance_type,
        "current_group_name": own.name,
        "hosts": list(hosts.names),
        "instance_groups": described,
        "network_interface_name": hosts.interface,
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
