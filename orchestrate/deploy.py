"""Puts a trained model behind a real-time endpoint.

    python orchestrate/deploy.py --from-training NAME [--instance-type ml.m5.large]
    python orchestrate/deploy.py --local --artifact file:///DIR/model.tar.gz

The model, the endpoint configuration and the endpoint share one name. When the endpoint does not come into service,
the reason and the end of its log are told and all three are deleted again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass

from orchestrate import console, follow, inference_ami, jobs, options, pricing
from orchestrate.errors import InputError, JobFailed
from orchestrate.inference_ami import Host
from orchestrate.session import Session, open_session

ENDPOINT_LOGS = "/aws/sagemaker/Endpoints"
_TAIL = 20


@dataclass(frozen=True)
class Deployed:
    """An endpoint in service."""

    endpoint: str
    artifact: str
    image: str
    instance_type: str
    seconds: float


def deploy(
    session: Session, out: console.Console, name: str, image: str, artifact: str, instance_type: str,
    ami: str | None = None,
) -> Deployed:  # fmt: skip
    """Creates model, configuration and endpoint, and waits until it is in service.

    `ami`: InferenceAmiVersion of the host; None chooses by the instance type.

    Raises:
        InputError: the image cannot use such an instance, or SageMaker has no such AMI.
        JobFailed: it is not in service; what was created is deleted again, also on Ctrl-C.
    """
    begin = time.monotonic()
    host = inference_ami.choose(instance_type, ami)
    if host.note:
        out.say(host.note)
    with ExitStack() as half_made:
        for operation, request in requests(session, name, image, artifact, instance_type, host):
            jobs.create(session, operation, request)
            half_made.callback(delete, session, operation.removeprefix("Create"), name)
        _wait(session, out, name)
        half_made.pop_all()
    return Deployed(name, artifact, image, instance_type, time.monotonic() - begin)


def requests(
    session: Session, name: str, image: str, artifact: str, instance_type: str, host: Host
) -> list[tuple[str, dict[str, object]]]:
    """(operation, request), in the order in which they are sent."""
    jobs.check_name(name)
    return [
        ("CreateModel", jobs.model(session, name, image, artifact)),
        ("CreateEndpointConfig", jobs.endpoint_config(name, instance_type, host.ami)),
        ("CreateEndpoint", jobs.endpoint(name)),
    ]


def undeploy(session: Session, name: str) -> None:
    """Deletes the endpoint, the configuration and the model of that name."""
    for kind in ("Endpoint", "EndpointConfig", "Model"):
        delete(session, kind, name)


def delete(session: Session, kind: str, name: str) -> None:
    """Deletes a `Model`, `EndpointConfig` or `Endpoint` and returns when it is gone; one that is not there is fine."""
    client = session.client("sagemaker")
    parameter = {f"{kind}Name": name}
    snake = {"Model": "model", "EndpointConfig": "endpoint_config", "Endpoint": "endpoint"}[kind]
    if not _found(lambda: getattr(client, f"delete_{snake}")(**parameter)):
        return
    while _found(lambda: getattr(client, f"describe_{snake}")(**parameter)):
        time.sleep(session.poll_s)


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


def main() -> None:
    """Parses, deploys, prints."""
    parser = options.parser(__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--from-training", metavar="NAME", help="a completed training job")
    what.add_argument("--artifact", metavar="URI", help="a model.tar.gz")
    parser.add_argument("--name", help="of the endpoint (default: kennel-DATE-TIME-XXXX)")
    parser.add_argument("--instance-type", default="ml.m5.large", help="(default: ml.m5.large)")
    parser.add_argument(
        "--inference-ami", metavar="VERSION", help="InferenceAmiVersion of the host (default: by the instance type)"
    )
    options.add_run(parser)
    args = parser.parse_args()
    host = inference_ami.choose(args.instance_type, args.inference_ami)
    out = console.Console(args.json or args.dry_run)
    name = args.name or jobs.unique_name("serve")
    session = open_session(args, dry=args.dry_run and not args.from_training)
    options.say_notes(out, session)
    if args.from_training:
        image, artifact = of_training(session, args.from_training)
        image = args.image or image
    else:
        image, artifact = session.require_image(), args.artifact
    session.require_role()
    price = session.usd_per_hour(args.instance_type)
    out.say(pricing.by_the_hour(price, args.instance_type))
    if args.dry_run:
        if host.note:
            out.say(host.note)
        print(jobs.printable(dict(requests(session, name, image, artifact, args.instance_type, host))))
        return
    if price != 0:
        console.confirm("Start the endpoint?", args.yes)
    deployed = deploy(session, out, name, image, artifact, args.instance_type, args.inference_ami)
    out.say(f"endpoint {deployed.endpoint} is in service after {deployed.seconds:.0f} s")
    out.say(f"ask it:    python orchestrate/predict.py {session.flags} --endpoint {deployed.endpoint} PHOTOGRAPH")
    out.say(f"delete it: python orchestrate/clean.py {session.flags} {deployed.endpoint}")
    out.result(asdict(deployed))


def _wait(session: Session, out: console.Console, name: str) -> None:
    from sagemaker.core.resources import Endpoint

    begin = time.monotonic()
    endpoint = Endpoint.get(endpoint_name=name, session=session.boto, region=session.region)
    out.say(f"endpoint {name}: {endpoint.endpoint_status}")
    with out.progress(f"{name}: {endpoint.endpoint_status}") as show:
        while endpoint.endpoint_status not in ("InService", "Failed"):
            time.sleep(session.poll_s)
            endpoint.refresh()
            show(f"{name}: {endpoint.endpoint_status}, {time.monotonic() - begin:.0f} s")
    if endpoint.endpoint_status == "Failed":
        for line in follow.LogReader(session, f"{ENDPOINT_LOGS}/{name}", f"{jobs.VARIANT}/").read()[-_TAIL:]:
            out.say(f"  {line}")
        raise JobFailed(f"endpoint {name} ended Failed: {endpoint.failure_reason}; it was deleted again")


def _found(call: Callable[[], object]) -> bool:
    """False when SageMaker says that there is no such thing."""
    from botocore.exceptions import ClientError

    try:
        call()
    except ClientError as error:
        if "could not find" in str(error).lower():
            return False
        raise
    return True


if __name__ == "__main__":
    console.run(main)
