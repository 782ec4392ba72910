"""Deletes the endpoints and models of this project and stops its running jobs: everything that costs, tagged
project=kennel.

    python orchestrate/clean.py                 (lists what there is)
    python orchestrate/clean.py NAME... | --all [--yes]
    python orchestrate/clean.py --local --stop-server

Records of ended jobs, their logs and the files that jobs wrote stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrate import console, endpoints, jobs, options
from orchestrate.errors import InputError
from orchestrate.session import Session, open_session


@dataclass(frozen=True)
class _Kind:
    """How SageMaker's list and stop or delete operations name one kind of thing."""

    list_: str
    summaries: str
    name: str
    arn: str
    stop: str = ""


# In the order in which they have to go.
_KINDS = {
    "tuning job": _Kind("list_hyper_parameter_tuning_jobs", "HyperParameterTuningJobSummaries",
                        "HyperParameterTuningJobName", "HyperParameterTuningJobArn", "stop_hyper_parameter_tuning_job"),
    "training job": _Kind("list_training_jobs", "TrainingJobSummaries", "TrainingJobName", "TrainingJobArn",
                          "stop_training_job"),
    "transform job": _Kind("list_transform_jobs", "TransformJobSummaries", "TransformJobName", "TransformJobArn",
                           "stop_transform_job"),
    "Endpoint": _Kind("list_endpoints", "Endpoints", "EndpointName", "EndpointArn"),
    "EndpointConfig": _Kind("list_endpoint_configs", "EndpointConfigs", "EndpointConfigName", "EndpointConfigArn"),
    "Model": _Kind("list_models", "Models", "ModelName", "ModelArn"),
}  # fmt: skip


@dataclass(frozen=True)
class Item:
    """Something that can be deleted, or a running job that can be stopped."""

    kind: str
    name: str

    @property
    def action(self) -> str:
        """delete or stop."""
        return "stop" if _KINDS[self.kind].stop else "delete"


def find(session: Session) -> list[Item]:
    """Everything of this project that can be cleaned, in the order in which it has to go.

    Through boto3: the SDK's iterators describe each thing on its own, whoever it belongs to.
    """
    client = session.client("sagemaker")
    found: list[Item] = []
    for kind, words in _KINDS.items():
        for summary in _summaries(client, words):
            # The trials of a search stop with it.
            if any(i.kind == "tuning job" and summary[words.name].startswith(f"{i.name}-") for i in found):
                continue
            if _is_ours(client, summary[words.arn]):
                found.append(Item(kind, summary[words.name]))
    return found


def clean(session: Session, items: Sequence[Item], out: console.Console) -> None:
    """Deletes or stops each; endpoints are gone when this returns, jobs take a while to stop."""
    client = session.client("sagemaker")
    for item in items:
        words = _KINDS[item.kind]
        if words.stop:
            getattr(client, words.stop)(**{words.name: item.name})
        else:
            endpoints.delete(session, item.kind, item.name)
        out.say(f"{item.action + 'd' if item.action == 'delete' else 'stopping'}: {item.kind} {item.name}")


def command_line() -> options.Parser:
    """What can be given."""
    parser = options.parser(__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--all", action="store_true", help="everything of this project")
    parser.add_argument("--stop-server", action="store_true", help="stop the server of this machine afterwards")
    options.add_run(parser)
    return parser


def main() -> None:
    """Parses, lists, asks, deletes."""
    args = command_line().parse_args()
    if args.all and args.names:
        raise InputError("give names or --all, not both")
    out = console.Console()
    session = open_session(args)
    items = find(session)
    chosen = items if args.all else _named(session, items, args.names)
    unknown = set(args.names) - {item.name for item in items}
    if unknown:
        raise InputError(f"nothing tagged project=kennel that can be deleted or stopped is named "
                         f"{', '.join(sorted(unknown))}: see python orchestrate/clean.py {session.flags}")  # fmt: skip
    shown = items if not args.names else chosen
    if shown:
        out.table(("what", "name", "cleaning would"), [(item.kind, item.name, item.action) for item in shown])
    elif not args.stop_server:
        out.say("nothing tagged project=kennel is there to delete or to stop")
    if chosen and not args.dry_run:
        console.confirm(f"Delete or stop these {len(chosen)}?", args.yes)
        clean(session, chosen, out)
    elif shown and not chosen and not args.stop_server:
        out.say(f"clean: python orchestrate/clean.py {session.flags} --all (or names)")
    if args.stop_server and not args.dry_run:
        out.say(session.stop_service())


def _named(session: Session, items: Sequence[Item], names: Sequence[str]) -> list[Item]:
    """Those of these names, and with an endpoint its configuration and its models, whatever they are called."""
    wanted = {(item.kind, item.name) for item in items if item.name in names}
    for item in items:
        if item.kind == "Endpoint" and item.name in names:
            wanted.update(endpoints.parts(session, item.name))
    return [item for item in items if (item.kind, item.name) in wanted]


def _summaries(client: Any, words: _Kind) -> Iterator[dict[str, Any]]:
    running = {"StatusEquals": "InProgress"} if words.stop else {}
    for page in client.get_paginator(words.list_).paginate(**running):
        yield from page[words.summaries]


def _is_ours(client: Any, arn: str) -> bool:
    pages = client.get_paginator("list_tags").paginate(ResourceArn=arn)
    return any(tag in jobs.TAGS for page in pages for tag in page["Tags"])


if __name__ == "__main__":
    console.run(main)
