"""What a pipeline would do: each step's requests, exactly, and its commands. Nothing is sent or made.

What only an earlier step can know is named in its place, as `<best learning-rate>`.
"""

from __future__ import annotations

import shlex
from typing import Any

from orchestrate import asking, channels, console, deploy, jobs, prepare, storage, train, tune
from orchestrate.hosting import Hosting
from orchestrate.plans import TOP_K, Plan
from orchestrate.session import Session


def steps(session: Session, out: console.Console, plan: Plan) -> dict[str, Any]:
    """Step -> operation or `command` -> request.

    Raises:
        InputError: the data set that is ready is none, or no image or role is named.
    """
    image = session.require_image()
    search, training, endpoint = (jobs.unique_name(kind) for kind in ("tune", "train", "serve"))
    data, inputs = _inputs(session, plan)
    key = tune.dry_key(session, out, data, plan.fixed, plan.weights, plan.search, plan.way)
    found = {varied.name: f"<best {varied.name}>" for varied in plan.search.ranges}
    best = {**plan.fixed, **found, "debug": plan.debug}
    artifact = storage.join(session.root, training, "output", "model.tar.gz")
    placed = deploy.on_host(out, Hosting(plan.endpoint_type))
    told: dict[str, Any] = {
        "data set": {"inputs": inputs} if plan.data else {"command": _prepare(plan), "inputs": inputs},
        "tune": tune.requests(
            session, search, inputs, plan.fixed, plan.machine, plan.search, plan.way, key
        ),
        "train": {
            "CreateTrainingJob": train.request(
                session, training, image, inputs, best, plan.machine, managed=False
            )
        },
        "deploy": dict(deploy.requests(session, endpoint, image, artifact, placed)),
        "predict": {
            "InvokeEndpoint": {
                "EndpointName": endpoint, "ContentType": "<type of the photograph>", "Accept": asking.JSON,
                "CustomAttributes": f"top_k={TOP_K}", "Body": "<a photograph of each class>",
            }
        },
        "clean up": {
            f"Delete{kind}": {f"{kind}Name": endpoint} for kind in ("Endpoint", "EndpointConfig", "Model")
        },
    }  # fmt: skip
    if plan.keep:
        del told["clean up"]
    return told


def _inputs(session: Session, plan: Plan) -> tuple[str | None, dict[str, str]]:
    """(the data set, None where it is not there yet; channel -> URI)."""
    data = plan.data
    if plan.source:
        folder = prepare.default_folder(plan.source)
        if not folder.is_dir():
            return None, channels.to_come(session, folder, plan.weights)
        data = str(folder)
    assert data
    return data, channels.publish(session, data, plan.weights, send=False)


def _prepare(plan: Plan) -> str:
    """The command that makes the same data set by itself."""
    assert plan.source
    source, settings = plan.source, plan.source.settings
    words = ["python", "orchestrate/prepare.py", "--source", source.location]
    numbers = {"valid": f"{plan.valid:g}", "test": f"{plan.test:g}", "seed": str(plan.seed)}
    if source.location == "synthetic":
        numbers |= {"classes": str(settings.classes), "per-class": str(settings.per_class), "size": str(settings.size)}
    if source.resize:
        numbers["resize"] = str(source.resize)
    for name, value in numbers.items():
        words += [f"--{name}", value]
    words += ["--shards"] if source.shards else []
    words += ["--drop-bad"] if plan.drop_bad else []
    return shlex.join(words)
