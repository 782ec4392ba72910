"""Puts a trained model behind an endpoint, or gives an endpoint another model.

    python orchestrate/deploy.py --from-training NAME [--instance-type ml.m5.large] [--scale 1:4]
    python orchestrate/deploy.py --from-training NAME --serverless | --async
    python orchestrate/deploy.py --multi-model s3://BUCKET/MODELS
    python orchestrate/deploy.py --from-training NAME --update ENDPOINT --rollout canary --alarm NAME
    python orchestrate/deploy.py --from-training NAME --shadow-of ENDPOINT
    python orchestrate/deploy.py --end-shadow ENDPOINT
    python orchestrate/deploy.py --local --artifact file:///DIR/model.tar.gz --open

A new endpoint, its configuration and its model share one name. When it does not come into service, the reason and the
end of its log are told and all three are deleted again; an endpoint that is to change goes back to what it had.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from orchestrate import console, endpoints, follow, hosting, hosting_options, inference_ami, jobs, options, pricing
from orchestrate.errors import InputError
from orchestrate.hosting import Hosting, Rollout
from orchestrate.prices import FREE
from orchestrate.session import Session, open_session


@dataclass(frozen=True)
class Deployed:
    """An endpoint in service."""

    endpoint: str
    artifact: str
    image: str
    instance_type: str
    seconds: float


Requests = list[tuple[str, dict[str, Any]]]


def deploy(
    session: Session, out: console.Console, name: str, image: str, artifact: str, asked: Hosting,
    several: bool = False,
) -> Deployed:  # fmt: skip
    """Creates model, configuration and endpoint, and waits until it is in service.

    `several`: `artifact` is the URI of a folder of models.

    Raises:
        InputError: the image cannot use such an instance, or SageMaker has no such AMI.
        JobFailed: it is not in service; what was created is deleted again, also on Ctrl-C.
    """
    sent = requests(session, name, image, artifact, on_host(out, asked), several)
    return send(session, out, name, sent, kind_of(asked))


def send(
    session: Session, out: console.Console, name: str, sent: Requests, kind: str, is_there: bool = False
) -> Deployed:  # fmt: skip
    """Sends the requests of one of the functions below, and waits until the endpoint answers as they say.

    `kind`: as `kind_of` says it; `is_there`: they change an endpoint.

    Raises:
        JobFailed: it does not; what was created is deleted again, also on Ctrl-C.
    """
    begin = time.monotonic()
    if is_there:
        for resource, part in endpoints.change(session, out, name, sent):
            out.say(f"deleted, as nothing uses it any more: {resource} {part}")
    else:
        endpoints.create(session, out, name, sent)
    # An endpoint that loses its shadow gets no model: it goes on with the one that it has.
    model = dict(sent).get("CreateModel", {"PrimaryContainer": {"ModelDataUrl": "", "Image": ""}})["PrimaryContainer"]
    return Deployed(name, model["ModelDataUrl"], model["Image"], kind, time.monotonic() - begin)


def on_host(out: console.Console, asked: Hosting) -> Hosting:
    """With the AMI that the instance type needs, which is told.

    Raises:
        InputError: the image cannot use such an instance, or SageMaker has no such AMI.
    """
    if asked.serverless:
        return asked
    host = inference_ami.choose(asked.instance_type, asked.ami)
    if host.note:
        out.say(host.note)
    return replace(asked, ami=host.ami)


def requests(
    session: Session, name: str, image: str, artifact: str, placed: Hosting, several: bool = False
) -> Requests:  # fmt: skip
    """(operation, request) of a new endpoint, in the order in which they are sent."""
    jobs.check_name(name)
    return [
        ("CreateModel", hosting.model(session, name, image, artifact, several)),
        ("CreateEndpointConfig", hosting.endpoint_config(name, placed)),
        ("CreateEndpoint", hosting.endpoint(name)),
        *hosting.scaling(name, placed),
    ]


def update_requests(
    session: Session, endpoint: str, image: str, artifact: str, placed: Hosting, rollout: Rollout, name: str
) -> Requests:  # fmt: skip
    """(operation, request) that give an endpoint another model, called `name`; what it keeps of requests stays."""
    now = endpoints.config_of(session, endpoint)
    return [
        ("CreateModel", hosting.model(session, jobs.check_name(name), image, artifact)),
        ("CreateEndpointConfig", {**hosting.again(name, now), **hosting.endpoint_config(name, placed)}),
        ("UpdateEndpoint", hosting.update(endpoint, name, rollout)),
    ]


def shadow_requests(
    session: Session, endpoint: str, image: str, artifact: str, placed: Hosting, percent: int, name: str
) -> Requests:  # fmt: skip
    """(operation, request) that put a model, called `name`, into an endpoint's shadow."""
    config = hosting.with_shadow(name, endpoints.config_of(session, endpoint), name, placed, percent)
    return [
        ("CreateModel", hosting.model(session, jobs.check_name(name), image, artifact)),
        ("CreateEndpointConfig", config),
        ("UpdateEndpoint", hosting.update(endpoint, name, Rollout(wait_s=0))),
    ]


def end_shadow_requests(session: Session, endpoint: str, name: str) -> Requests:
    """(operation, request) that take it away. Raises InputError: the endpoint has none."""
    now = endpoints.config_of(session, endpoint)
    if not now.get("ShadowProductionVariants"):
        raise InputError(f"the endpoint {endpoint} has no shadow: --shadow-of {endpoint} gives it one")
    return [
        ("CreateEndpointConfig", hosting.again(jobs.check_name(name), now)),
        ("UpdateEndpoint", hosting.update(endpoint, name, Rollout(wait_s=0))),
    ]


def undeploy(session: Session, name: str) -> None:
    """Deletes the endpoint, its configuration and its models."""
    endpoints.remove(session, name)


def of_training(session: Session, name: str) -> tuple[str, str]:
    """(image, artifact) of a training job.

    Raises:
        InputError: it has no artifact (yet).
    """
    from sagemaker.core.resources import TrainingJob

    job = TrainingJob.get(training_job_name=name, session=session.boto, region=session.region)
    if job.training_job_status != "Completed":
        raise InputError(f"the training job {name} is {job.training_job_status}: only a completed one can be deployed")
    return job.algorithm_specification.training_image, follow.finished(job).artifact


def kind_of(asked: Hosting) -> str:
    """`ml.m5.large`, or `serverless`."""
    return "serverless" if asked.serverless else asked.instance_type


def command_line() -> options.Parser:
    """What can be given."""
    parser = options.parser(__doc__, failed="the endpoint did not come into service, or was not changed")
    hosting_options.add_arguments(parser)
    options.add_run(parser)
    return parser


def main() -> None:
    """Parses, deploys, prints."""
    args = command_line().parse_args()
    asked = hosting_options.check(args)
    if not asked.serverless:
        inference_ami.choose(args.instance_type, args.inference_ami)
    out = console.Console(args.json or args.dry_run)
    session = open_session(args, dry=args.dry_run and not hosting_options.asks_the_api(args))
    options.say_notes(out, session)
    existing = args.update or args.shadow_of or args.end_shadow
    name = args.name or jobs.unique_name("serve")
    asked = hosting_options.place(asked, args, session, existing or name)
    sent = _requests(session, out, args, asked, name)
    price = session.price(asked.instance_type, pricing.HOSTING)
    if not args.end_shadow:
        out.say(pricing.of_hosting(price, asked))
    if note := hosting_options.waking(asked):
        out.say(note)
    if args.dry_run:
        print(jobs.printable(dict(sent)))
        return
    if price != FREE and not args.end_shadow:
        console.confirm("Change the endpoint?" if existing else "Start the endpoint?", args.yes)
    answering = existing or name
    deployed = send(session, out, answering, sent, kind_of(asked), is_there=bool(existing))
    out.say(f"endpoint {answering} {'has changed' if existing else 'is in service'} after {deployed.seconds:.0f} s")
    which = "--model FILE.tar.gz " if args.multi_model else ""
    out.say(f"ask it:    python orchestrate/predict.py {session.flags} --endpoint {answering} {which}PHOTOGRAPH")
    out.say(f"delete it: python orchestrate/clean.py {session.flags} {answering}")
    out.result(asdict(deployed))
    if args.open:
        from orchestrate import asking, try_page

        try_page.serve(asking.connect(session, answering), out)


def _requests(
    session: Session, out: console.Console, args: argparse.Namespace, asked: Hosting, name: str
) -> Requests:  # fmt: skip
    session.require_role()
    if args.end_shadow:
        return end_shadow_requests(session, args.end_shadow, name)
    placed = on_host(out, asked)
    if args.multi_model:
        return requests(session, name, session.require_image(), args.multi_model, placed, several=True)
    if args.from_training:
        image, artifact = of_training(session, args.from_training)
        image = args.image or image
    else:
        image, artifact = session.require_image(), args.artifact
    if args.update:
        rollout = Rollout(args.rollout, args.step_percent, args.wait_s, tuple(args.alarm))
        return update_requests(session, args.update, image, artifact, placed, rollout, name)
    if args.shadow_of:
        return shadow_requests(session, args.shadow_of, image, artifact, placed, args.shadow_percent, name)
    return requests(session, name, image, artifact, placed)


if __name__ == "__main__":
    console.run(main)
