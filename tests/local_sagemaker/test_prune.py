"""What prune takes of a Docker engine: containers and networks of this state whose job runs no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from local_sagemaker.container import LABEL
from local_sagemaker.logs import LogStore
from local_sagemaker.prune import prune
from local_sagemaker.records import Records

pytestmark = pytest.mark.engine


def test_only_leftovers_of_this_state_go(docker_client: Any, tmp_path: Path) -> None:
    state = tmp_path / "state"
    records = Records(state)
    job = {"SecondaryStatus": "Training", "TrainingEndTime": 1.0}
    records.create("training-jobs", "runs", {**job, "TrainingJobName": "runs", "TrainingJobStatus": "InProgress"})
    records.create("training-jobs", "ended", {**job, "TrainingJobName": "ended", "TrainingJobStatus": "Completed"})
    records.create("endpoints", "serves", {"EndpointName": "serves", "EndpointStatus": "InService"})
    images = docker_client.images.list()
    if not images:
        pytest.skip("there is no image on this machine to make a container of")
    image = images[0].id
    places = {
        "runs": state / "training-jobs/runs/ml/algo-1",
        "ended": state / "training-jobs/ended/ml",
        "gone": state / "training-jobs/gone/ml",
        "serves": state / "endpoints/serves/AllTraffic/ml",
        "other": tmp_path / "another-state/training-jobs/gone/ml",
    }
    prefix = f"prune-{uuid4().hex[:8]}"
    try:
        for name, place in places.items():
            labels = {LABEL: str(place)}
            docker_client.containers.create(image, ["true"], name=f"{prefix}-{name}", labels=labels)
        docker_client.networks.create(f"{prefix}-net", labels={LABEL: str(places["gone"])})
        wanted = {
            ("training-jobs", "ended"),
            ("container", f"{prefix}-ended"),
            ("container", f"{prefix}-gone"),
            ("network", f"{prefix}-net"),
        }
        found = prune(records, LogStore(state / "logs"), state, 0, dry_run=True)
        assert {(item.kind, item.name) for item in found} == wanted
        assert len(docker_client.containers.list(all=True, filters={"name": prefix})) == 5
        prune(records, LogStore(state / "logs"), state, 0, dry_run=False)
        left = {container.name for container in docker_client.containers.list(all=True, filters={"name": prefix})}
        assert left == {f"{prefix}-runs", f"{prefix}-serves", f"{prefix}-other"}
        assert docker_client.networks.list(names=[f"{prefix}-net"]) == []
        assert records.find("training-jobs", "ended") is None
    finally:
        for container in docker_client.containers.list(all=True, filters={"name": prefix}):
            container.remove(force=True)
        for network in docker_client.networks.list(names=[f"{prefix}-net"]):
            network.remove()
