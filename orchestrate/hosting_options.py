"""The options of deploy.py: how a model is to be hosted."""

from __future__ import annotations

import argparse
import re
from dataclasses import replace

from orchestrate import endpoints, storage
from orchestrate.errors import InputError
from orchestrate.hosting import Hosting, Scaling, Serverless
from orchestrate.options import Parser
from orchestrate.session import Session

# https://docs.aws.amazon.com/sagemaker/latest/dg/serverless-endpoints.html
MEMORIES_MB = (1024, 2048, 3072, 4096, 5120, 6144)
MOST_CONCURRENCY = 200
# What an instance is to have when --scale-target is not given: requests a minute; of an asynchronous endpoint those
# that wait, as in https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-autoscale.html. 400 is half of what
# the slowest model does on an ml.m5.large in float32 (docs/17-scale.md): nobody's endpoint is full before the alarm.
A_MINUTE, IN_LINE = 400.0, 5.0
ROLLOUTS = ("all-at-once", "canary", "linear", "rolling")


def add_arguments(parser: Parser) -> None:
    """What is hosted, on what, and how an endpoint that is there changes."""
    what = parser.add_argument_group("what")
    one = what.add_mutually_exclusive_group(required=True)
    one.add_argument("--from-training", metavar="NAME", help="a completed training job")
    one.add_argument("--artifact", metavar="URI", help="a model.tar.gz")
    one.add_argument(
        "--multi-model", metavar="URI", help="a folder of model.tar.gz files, loaded when they are asked for"
    )
    one.add_argument("--end-shadow", metavar="ENDPOINT", help="take the shadow away")
    what.add_argument("--name", help="of the endpoint, or of its new model (default: kennel-serve-DATE-TIME-XXXX)")

    parser.add_setting("--instance-type", "endpoint-instance-type", "ml.m5.large", "machine of an endpoint")
    on = parser.add_argument_group("on what")
    on.add_argument("--instances", type=int, help="machines (default: 1, or as many as the endpoint has)")
    on.add_argument(
        "--inference-ami", metavar="VERSION", help="InferenceAmiVersion of the host (default: by the instance type)"
    )
    on.add_argument("--scale", metavar="MIN:MAX", help="instances come and go with the requests")
    on.add_argument(
        "--scale-target", type=float,
        help=f"requests a minute for each instance (default: {A_MINUTE:g}), with --async requests that wait (default: "
             f"{IN_LINE:g})",
    )  # fmt: skip
    on.add_argument("--serverless", action="store_true", help="no instance: a price for each request instead")
    on.add_argument("--memory-mb", type=int, default=4096, help="with --serverless: memory (default: 4096)")
    on.add_argument("--concurrency", type=int, default=5, help="with --serverless: requests at a time (default: 5)")
    on.add_argument("--provisioned", type=int, default=0, help="with --serverless: of those, kept warm (default: 0)")
    on.add_argument(
        "--async", dest="asynchronous", action="store_true", help="requests wait in line; answers are files"
    )
    on.add_argument("--capture", type=int, metavar="PERCENT", help="keep that share of requests and answers as files")

    change = parser.add_argument_group("an endpoint that is there")
    there = change.add_mutually_exclusive_group()
    there.add_argument("--update", metavar="ENDPOINT", help="give it this model")
    there.add_argument("--shadow-of", metavar="ENDPOINT", help="show this model a copy of its requests")
    change.add_argument("--shadow-percent", type=int, default=100, help="of the requests (default: 100)")
    change.add_argument("--rollout", choices=ROLLOUTS, default="all-at-once", help="(default: all-at-once)")
    change.add_argument("--step-percent", type=int, default=50, help="of the capacity, for each step (default: 50)")
    change.add_argument("--wait-s", type=int, default=300, help="seconds between two steps (default: 300)")
    change.add_argument(
        "--alarm", action="append", default=[], metavar="NAME", help="a CloudWatch alarm that takes the change back"
    )
    parser.add_argument("--open", action="store_true", help="then open a page on which to try it")


def check(args: argparse.Namespace) -> Hosting:
    """What the options ask for, as far as it can be told without the API.

    Raises:
        InputError: options that contradict each other, or a value that SageMaker does not take.
    """
    if args.serverless:
        given = [flag for flag, value in (("--scale", args.scale), ("--async", args.asynchronous),
                                          ("--multi-model", args.multi_model), ("--shadow-of", args.shadow_of),
                                          ("--instances", args.instances), ("--capture", args.capture))
                 if value]  # fmt: skip
        if given:
            raise InputError(f"--serverless and {given[0]} do not go together: a serverless endpoint has no instances, "
                             f"one model, and keeps no requests")  # fmt: skip
        if args.memory_mb not in MEMORIES_MB:
            raise InputError(f"--memory-mb {args.memory_mb} must be one of {', '.join(map(str, MEMORIES_MB))}")
        if not 1 <= args.concurrency <= MOST_CONCURRENCY:
            raise InputError(f"--concurrency {args.concurrency} must be between 1 and {MOST_CONCURRENCY}")
        if not 0 <= args.provisioned <= args.concurrency:
            raise InputError(f"--provisioned {args.provisioned} must be between 0 and --concurrency {args.concurrency}")
    for flag, value, low, high in (
        ("--instances", args.instances, 1, None), ("--capture", args.capture, 1, 100),
        ("--shadow-percent", args.shadow_percent, 1, 100), ("--step-percent", args.step_percent, 5, 50),
        ("--wait-s", args.wait_s, 0, 3600),
    ):  # fmt: skip
        if value is not None and not (low <= value and (high is None or value <= high)):
            raise InputError(f"{flag} {value} must be {f'between {low} and {high}' if high else f'at least {low}'}")
    for flag, value in (("--update", args.update), ("--shadow-of", args.shadow_of)):
        if value and (args.multi_model or args.end_shadow):
            raise InputError(f"{flag} takes one model: give --from-training or --artifact")
        if value and args.scale:
            raise InputError(f"{flag} and --scale do not go together: an endpoint keeps its scaling")
    if args.asynchronous and (args.multi_model or args.shadow_of):
        raise InputError("an asynchronous endpoint has one model: leave out --async, or the other one")
    if not args.update and (args.alarm or args.rollout != "all-at-once"):
        raise InputError("--rollout and --alarm are for an endpoint that is there: add --update ENDPOINT")
    serverless = Serverless(args.memory_mb, args.concurrency, args.provisioned) if args.serverless else None
    scaling = _scaling(args.scale, args.scale_target, args.asynchronous) if args.scale else None
    return Hosting(
        args.instance_type, max(args.instances or 1, scaling.low if scaling else 1), args.inference_ami, serverless,
        scaling,
    )  # fmt: skip


def asks_the_api(args: argparse.Namespace) -> bool:
    """Whether the requests depend on something that only the API knows."""
    return bool(args.from_training or args.update or args.shadow_of or args.end_shadow)


def place(asked: Hosting, args: argparse.Namespace, session: Session, endpoint: str) -> Hosting:
    """Where answers and captured requests go; of an endpoint that is to change, on what it is, unless asked otherwise.

    Raises:
        InputError: there is no such endpoint, it cannot become what is asked for, or the model's URI is none.
    """
    if uri := args.artifact or args.multi_model:
        storage.check_uri(uri)
    folder = storage.join(session.root, "endpoints", endpoint)
    if args.asynchronous:
        asked = replace(asked, asynchronous=folder)
    if args.capture:
        asked = replace(asked, capture=storage.join(folder, "captured"), capture_percent=args.capture)
    return _as_it_is(asked, args, session) if args.update else asked


def waking(asked: Hosting) -> str | None:
    """What is to be known of an endpoint that may have no instance."""
    if asked.scaling is None or asked.scaling.low > 0 or asked.scaling.target < 1:
        return None
    return (f"note: without an instance, requests wait until there are more than {asked.scaling.target:g}; "
            f"--scale-target 0.5 lets the first one start an instance")  # fmt: skip


def _as_it_is(asked: Hosting, args: argparse.Namespace, session: Session) -> Hosting:
    variant = endpoints.config_of(session, args.update)["ProductionVariants"][0]
    size = variant.get("ServerlessConfig")
    if asked.serverless and not size:
        raise InputError(f"the endpoint {args.update} has instances, and SageMaker makes none of them serverless: "
                         f"leave out --update for a new endpoint, or --serverless")  # fmt: skip
    if "instance_type" in args.not_given:
        if size and not asked.serverless:
            kept = Serverless(size["MemorySizeInMB"], size["MaxConcurrency"], size.get("ProvisionedConcurrency", 0))
            asked = replace(asked, serverless=kept)
        elif not size:
            asked = replace(asked, instance_type=variant["InstanceType"])
    if asked.serverless:
        if args.rollout == "rolling":
            raise InputError(f"--rollout rolling is for instances, and the endpoint {args.update} is serverless: "
                             f"choose another rollout")  # fmt: skip
    elif args.instances is None:
        variants = endpoints.describe(session, args.update).get("ProductionVariants", [])
        count = max([v.get("DesiredInstanceCount") or 1 for v in variants], default=1)
        asked = replace(asked, instances=count)
    return asked


def _scaling(text: str, target: float | None, asynchronous: bool) -> Scaling:
    found = re.fullmatch(r"(\d+):(\d+)", text)
    if not found or not int(found[1]) <= int(found[2]) or int(found[2]) < 1:
        raise InputError(f"--scale {text!r} must be MIN:MAX, as 1:4")
    if int(found[1]) == 0 and not asynchronous:
        raise InputError("--scale from 0 is for --async alone: another endpoint cannot answer without an instance")
    if target is None:
        target = IN_LINE if asynchronous else A_MINUTE
    if not target > 0:
        raise InputError(f"--scale-target {target:g} must be more than 0")
    return Scaling(int(found[1]), int(found[2]), target)
