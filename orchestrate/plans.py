"""What a pipeline does, as its command line says it."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from orchestrate import inference_ami, options, prepare, ranges, search
from orchestrate.channels import Weights
from orchestrate.errors import InputError
from orchestrate.jobs import Machine
from orchestrate.search import Search, Way

# Labels that are asked for each photograph.
TOP_K = 5


@dataclass(frozen=True)
class Plan:
    """`data`: a data set that is ready; None takes `source` with its shares and seed."""

    data: str | None
    source: prepare.Source | None
    valid: float
    test: float
    seed: int
    drop_bad: bool
    fixed: dict[str, str]
    debug: str
    weights: Weights
    search: Search
    way: Way
    machine: Machine
    endpoint_type: str
    keep: bool


def of(args: argparse.Namespace) -> Plan:
    """Everything that can be wrong on the command line is found here, before anything starts."""
    from classifier.config import Config

    if bool(args.data) == bool(args.source):
        raise InputError("give either --data (a data set that is ready) or --source (what to make one of)")
    inference_ami.choose(args.endpoint_instance_type)
    given, weights = options.hyperparameters(args)
    seed = int(given.get("seed", 0))
    # Debugging concerns the one training; a hook in every trial would only slow the search.
    debug = given.pop("debug", "true")
    defaults = ranges.DEFAULTS if Config.parse(given).head_only else ranges.WHOLE_NETWORK
    space, way, fixed = search.of(args, given, defaults)
    return Plan(
        data=args.data, source=prepare.source_of(args, seed) if args.source else None,
        valid=args.valid, test=args.test, seed=seed, drop_bad=args.drop_bad,
        fixed=fixed, debug=debug, weights=weights,
        search=space, way=way, machine=options.machine(args),
        endpoint_type=args.endpoint_instance_type, keep=args.keep,
    )  # fmt: skip
