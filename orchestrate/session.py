"""Where the SageMaker API is, and who asks: the one place that knows whether that is AWS or this machine.

Everything else takes a `Session` and sends the same requests to whatever answers them.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrate import prices, request_log, settings
from orchestrate.console import NO_CREDENTIALS
from orchestrate.errors import InputError
from orchestrate.prices import FREE, Price
from orchestrate.storage import Storage, check_uri

# Stands for the caller's account and role where nobody has been asked: `--dry-run`, and this machine.
PLACEHOLDER_ACCOUNT = "000000000000"
PLACEHOLDER_ROLE = f"arn:aws:iam::{PLACEHOLDER_ACCOUNT}:role/kennel"
DEFAULT_REGION = "us-east-1"
# What has to be in order for requests to be answered.
THIS_MACHINE, AWS = "This machine", "AWS"
# Settings that are of AWS.
_OF_AWS = ("region", "role", "output", "image")
ROLE = re.compile(r"arn:aws[a-z-]*:iam::(\d{12}):role/.+")
_LOOPBACK_SERVICES = ("sagemaker", "sagemaker-runtime", "application-autoscaling", "logs", "sts")
_CONTAINER_BIN = Path(__file__).resolve().parent.parent / "container_src" / "bin"


@dataclass(frozen=True)
class Session:
    """The API and its surroundings, as every function of this package takes them."""

    boto: Any
    """boto3.Session; the SDK's resources take it too"""
    region: str
    role: str | None
    """ARN under which jobs and endpoints run; None where the caller has none of that kind"""
    root: str
    """URI under which everything is written"""
    image: str | None
    """container image when none is named"""
    storage: Storage
    poll_s: float
    """seconds between two looks at a running job"""
    price: Callable[[str, str], Price | None]
    """(instance type, one of `pricing`'s uses) -> what an hour costs, None where unknown"""
    flags: str
    """what to add to a command so that it talks to the same place"""
    leaves: tuple[str, ...] = ("data",)
    """kinds of what stays when jobs and endpoints have gone: data, images, logs"""
    notes: tuple[str, ...] = ()
    """what to tell before anything else"""
    started_service: bool = False
    stop_service: Callable[[], str] = field(default=lambda: "there is no server of ours to stop: AWS runs it")
    """stops what answers the API where that is a server of ours; says in one sentence what it did"""

    def client(self, service: str) -> Any:
        """The boto3 client of a service."""
        return self.boto.client(service, region_name=self.region)

    def require_image(self) -> str:
        """Raises InputError when no image was named and there is no default."""
        if not self.image:
            raise InputError(
                "--image is missing: give the URI of the image in ECR (ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME:TAG; "
                "also KENNEL_IMAGE or kennel.toml), or --local to run on this machine"
            )
        return self.image

    def require_role(self) -> str:
        """Raises InputError when jobs and endpoints would have no role to run under."""
        if not self.role:
            raise InputError(
                "you are no SageMaker execution role: name one with --role ARN or KENNEL_ROLE, or in kennel.toml "
                "(infra/ creates one)"
            )
        return self.role

    def close(self) -> None:
        """Stops the server if this session started it; a server that was there before stays."""
        if self.started_service:
            self.stop_service()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to run and where to write."""
    group = parser.add_argument_group("where it runs")
    group.add_argument("--local", action="store_true", help="send the requests to a SageMaker API on this machine")
    group.add_argument("--image", metavar="URI", help="container image (default: that of the settings; with --local "
                       "`process`: no container)")  # fmt: skip
    add_region(group)
    group.add_argument("--role", metavar="ARN",
                       help="role of jobs and endpoints (default: that of the settings, else your own)")  # fmt: skip
    group.add_argument("--output", metavar="URI", help="where everything is written (default: that of the settings, "
                       "else s3://sagemaker-REGION-ACCOUNT/kennel; with --local file://HERE/runs)")  # fmt: skip


def add_region(group: Any) -> None:
    """--region, of a parser or of a group of one."""
    group.add_argument("--region", help="AWS region (default: that of the settings, else of the AWS configuration)")


def places(args: argparse.Namespace) -> tuple[str, ...]:
    """THIS_MACHINE, and AWS where the command line's requests go there."""
    return (THIS_MACHINE,) if args.local else (THIS_MACHINE, AWS)


def without_effect(args: argparse.Namespace) -> tuple[str, ...]:
    """Settings that do not hold where the command line's requests go."""
    return _OF_AWS if args.local else ()


def open_session(args: argparse.Namespace, dry: bool = False) -> Session:
    """The session that the command line asks for. `dry`: nothing is contacted, started or needed.

    Raises:
        InputError: no credentials, no region, no role, or one that cannot be used.
    """
    # The SDK asks IAM about the role otherwise, which people may not be allowed to.
    os.environ.setdefault("SAGEMAKER_VALIDATE_ROLE", "false")
    # It tells each call as a warning. (The typed resources that we use send no telemetry.)
    logging.getLogger("sagemaker").setLevel(logging.ERROR)
    return _on_this_machine(args, dry) if args.local else _on_aws(args, dry)


def aws(args: argparse.Namespace) -> Any:
    """boto3.Session of the region that an option or a setting names, else of the AWS configuration's.

    Raises:
        InputError: there is no such profile, or settings cannot be read.
    """
    import boto3
    from botocore.exceptions import ProfileNotFound

    try:
        boto = boto3.Session(region_name=args.region or settings.read().get("region"))
    except ProfileNotFound as error:
        raise InputError(f"{error}: set AWS_PROFILE to one of ~/.aws/config, or unset it") from None
    if args.verbose:
        request_log.watch(boto)
    return boto


def _on_aws(args: argparse.Namespace, dry: bool) -> Session:
    set_ = settings.read()
    output = args.output or set_.get("output")
    root = check_uri(output) if output else None
    boto = aws(args)
    region = boto.region_name or (DEFAULT_REGION if dry else None)
    if region is None:
        raise InputError("no AWS region is configured: add --region, for example --region us-east-1")
    role = args.role or set_.get("role")
    if role and not ROLE.fullmatch(role):
        source = "" if args.role else set_.source("role")
        raise InputError(
            f"the role {role!r}{source} is no role's ARN: it looks like arn:aws:iam::123456789012:role/NAME"
        )
    notes: tuple[str, ...] = ()
    if dry:
        found = ROLE.fullmatch(role) if role else None
        account = found[1] if found else PLACEHOLDER_ACCOUNT
        if not role:
            role = PLACEHOLDER_ROLE
            notes = (f"account {PLACEHOLDER_ACCOUNT} and {PLACEHOLDER_ROLE} stand for yours: a dry run asks nobody",)
    else:
        if boto.get_credentials() is None:
            raise InputError(NO_CREDENTIALS)
        caller = boto.client("sts", region_name=region).get_caller_identity()
        account = caller["Account"]
        role = role or callers_role(caller["Arn"])
    return Session(
        boto=boto,
        region=region,
        role=role,
        root=root or f"s3://sagemaker-{region}-{account}/kennel",
        image=args.image or set_.get("image"),
        storage=Storage(lambda: boto.client("s3", region_name=region)),
        poll_s=5.0,
        price=prices.of(region, None if dry else lambda: boto),
        flags=f"--region {region}" + _repeat(args),
        leaves=("data", "images", "logs"),
        notes=notes,
    )


def callers_role(caller: str) -> str | None:
    """The execution role behind `arn:aws:sts::ACCOUNT:assumed-role/NAME/SESSION`, as notebooks on SageMaker have it."""
    found = re.fullmatch(r"arn:(aws[a-z-]*):sts::(\d{12}):assumed-role/(AmazonSageMaker-ExecutionRole[^/]*)/.*", caller)
    if not found:
        return None
    return f"arn:{found[1]}:iam::{found[2]}:role/service-role/{found[3]}"


def _repeat(args: argparse.Namespace) -> str:
    return f" --output {args.output}" if args.output else ""


def service_state() -> Path:
    """Where the server of this machine keeps what it knows."""
    return Path(os.environ.get("LOCAL_SAGEMAKER_STATE") or Path.cwd() / "runs" / ".sagemaker").absolute()


def running_service() -> str | None:
    """The URL of the server of this machine, None when none runs."""
    from local_sagemaker import daemon

    return daemon.running_url(service_state())


def _on_this_machine(args: argparse.Namespace, dry: bool) -> Session:
    import boto3
    from botocore.config import Config

    from local_sagemaker import daemon

    runs = Path.cwd() / "runs"
    state = service_state()
    # Where the executables `train` and `serve` are that run without a container.
    executables = Path(os.environ.get("LOCAL_SAGEMAKER_PROCESS_PATH") or _CONTAINER_BIN)
    running = None if dry else daemon.running_url(state)
    try:
        url = "http://127.0.0.1" if dry else daemon.ensure(state, executables)
    except daemon.DaemonError as error:
        raise InputError(f"the local SageMaker server cannot be used: {error}") from None

    class LoopbackSession(boto3.Session):  # type: ignore[misc]
        """Sends what the local server answers there, past any proxy, whichever way a client is made from it."""

        def client(self, service_name: str, *positional: Any, **options: Any) -> Any:
            if service_name in _LOOPBACK_SERVICES:
                options["endpoint_url"] = url
                options["config"] = (options.get("config") or Config()).merge(Config(proxies={}))
            return super().client(service_name, *positional, **options)

    def stop() -> str:
        if not daemon.stop(state):
            return f"no local SageMaker server runs on {state}"
        return f"the local SageMaker server of {state} is stopped, with its jobs and endpoints"

    region = args.region or DEFAULT_REGION
    boto = LoopbackSession(aws_access_key_id="local", aws_secret_access_key="local", region_name=region)
    if args.verbose:
        request_log.watch(boto)
    return Session(
        boto=boto,
        region=region,
        role=args.role or PLACEHOLDER_ROLE,
        root=check_uri(args.output) if args.output else runs.as_uri(),
        image=args.image or "process",
        # Data may lie on S3 all the same: then it is read with the caller's own credentials.
        storage=Storage(lambda: boto3.Session().client("s3")),
        poll_s=0.5,
        price=lambda instance_type, use: FREE,
        flags="--local" + _repeat(args),
        started_service=running is None and not dry,
        stop_service=stop,
    )
