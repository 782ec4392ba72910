"""Lists what there is of this project and what it costs a month, stops its jobs, deletes what it has made.

    python orchestrate/clean.py                             (lists everything)
    python orchestrate/clean.py NAME... | --all [--yes]     (jobs, endpoints)
    python orchestrate/clean.py --what data,images NAME... | --all
    python orchestrate/clean.py --local --stop-server

Kinds: jobs that run (stopped), endpoints with their configurations and models, data (the folders below --output, or in
runs/), images (of the repository), logs (of endpoints). Jobs and endpoints are found by their tag project=kennel. Data,
images and logs are deleted only where --what names them. Records of ended jobs stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrate import clean_storage, console, endpoints, jobs, options, prices, pricing
from orchestrate.clean_storage import Stored
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


JOBS, ENDPOINTS = "jobs", "endpoints"
KINDS = (JOBS, ENDPOINTS, "data", "images", "logs")


@dataclass(frozen=True)
class Item:
    """Something that can be deleted, or a running job that can be stopped."""

    kind: str
    name: str

    @property
    def action(self) -> str:
        """delete or stop."""
        return "stop" if _KINDS[self.kind].stop else "delete"

    @property
    def group(self) -> str:
        """Which of KINDS."""
        return JOBS if _KINDS[self.kind].stop else ENDPOINTS

    @property
    def request(self) -> tuple[str, dict[str, Any]]:
        """(operation, request) that cleans it."""
        words = _KINDS[self.kind]
        what = words.name.removesuffix("Name")
        return ("Stop" if words.stop else "Delete") + what, {words.name: self.name}


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


def cost(session: Session, item: Item) -> float | None:
    """USD a month of an endpoint that stays as it is; 0 of what is paid by the request, None where it is unknown."""
    if item.kind != "Endpoint":
        return 0.0
    counts = {v["VariantName"]: v.get("CurrentInstanceCount") or v.get("DesiredInstanceCount") or 0
              for v in endpoints.describe(session, item.name).get("ProductionVariants", [])}  # fmt: skip
    try:
        config = endpoints.config_of(session, item.name)
    except InputError:  # somebody deleted it
        return None
    usd = 0.0
    for variant in [*config["ProductionVariants"], *config.get("ShadowProductionVariants", [])]:
        if "InstanceType" in variant:
            price = session.price(variant["InstanceType"], pricing.HOSTING)
            if price is None:
                return None
            count = counts.get(variant["VariantName"], variant.get("InitialInstanceCount", 1))
            usd += price.usd * count * pricing.HOURS_A_MONTH
    return usd


def command_line() -> options.Parser:
    """What can be given."""
    parser = options.parser(__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="to stop or delete; an endpoint goes with its parts")
    parser.add_argument("--all", action="store_true", help="everything of these kinds")
    parser.add_argument("--what", metavar="KIND,...", help=f"of {', '.join(KINDS)} (default: lists all of them, and "
                        f"deletes {JOBS} and {ENDPOINTS})")  # fmt: skip
    parser.add_setting("--repository", "repository", "kennel", "where the images are")
    parser.add_argument("--stop-server", action="store_true", help="stop the server of this machine afterwards")
    options.add_dry_run(parser, "print the requests that would delete or stop, and send none of them")
    options.add_yes(parser, "do not ask before something is deleted or stopped")
    options.add_json(parser)
    return parser


def main() -> None:
    """Parses, lists, asks, deletes."""
    args = command_line().parse_args()
    if args.all and args.names:
        raise InputError("give names or --all, not both")
    named_kinds = _kinds(args.what)
    out = console.Console(args.json or args.dry_run)
    session = open_session(args)
    kinds = named_kinds or (JOBS, ENDPOINTS, *session.leaves)
    with out.progress("looking what is there"):
        items = [item for item in find(session) if item.group in kinds] if {JOBS, ENDPOINTS} & set(kinds) else []
        wanted = tuple(kind for kind in session.leaves if kind in kinds)
        stored, notes = clean_storage.find(session, args.repository, wanted)
        costs = {item: cost(session, item) for item in items}
    chosen, away = _chosen(session, args.names, args.all, items, stored, named_kinds)
    _show(session, items, stored, named_kinds, costs, out)
    for note in notes:
        out.say(f"note: {note}")
    if not items and not stored and not args.stop_server:
        out.say("nothing of this project is there to delete or to stop")
    going = [item.name for item in chosen] + [one.name for one in away]
    if args.dry_run:
        requests = [item.request for item in chosen]
        requests += [clean_storage.request(session, one, args.repository) for one in away]
        print(jobs.printable([{operation: request} for operation, request in requests]))
        return
    if going:
        for_good = f", {len(away)} of them stored, which is gone for good" if away else ""
        console.confirm(f"Delete or stop these {len(going)}{for_good}: {_listed(going)}?", args.yes)
        clean(session, chosen, out)
        for one in away:
            clean_storage.delete(session, one, args.repository)
            out.say(f"deleted: {one.kind} {one.label or one.name}")
    elif (items or stored) and not args.stop_server and not args.names and not args.all:
        out.say(f"clean: python orchestrate/clean.py {session.flags} --all (or names; --what data for what is stored)")
    if args.stop_server:
        out.say(session.stop_service())
    out.result({
        "found": [{"kind": i.kind, "name": i.name, "usd_a_month": costs[i]} for i in items]
        + [{"kind": s.kind, "name": s.name, "bytes": s.bytes, "usd_a_month": s.usd_a_month} for s in stored],
        "notes": notes, "cleaned": going,
    })  # fmt: skip


def _kinds(text: str | None) -> tuple[str, ...]:
    """Raises InputError: there is no such kind."""
    given = tuple(kind.strip() for kind in (text or "").split(",") if kind.strip())
    for kind in given:
        if kind not in KINDS:
            raise InputError(f"--what {kind}: there are {', '.join(KINDS)}")
    return given


def _chosen(
    session: Session, names: Sequence[str], everything: bool, items: Sequence[Item], stored: Sequence[Stored],
    named_kinds: Sequence[str],
) -> tuple[list[Item], list[Stored]]:  # fmt: skip
    """What is to go. Raises InputError: there is no such thing, or it is stored and its kind was not named."""
    deletable = [one for one in stored if one.kind in named_kinds]
    if everything:
        return list(items), deletable
    for name in names:
        if any(name in (i.name for i in group) for group in (items, deletable)):
            continue
        other = next((one for one in stored if one.name == name), None)
        if other:
            raise InputError(f"{name} is stored, and what is stored goes only where its kind is named: add --what "
                             f"{other.kind}")  # fmt: skip
        raise InputError(f"nothing of this project that can be deleted or stopped is named {name}: see "
                         f"python orchestrate/clean.py {session.flags}")  # fmt: skip
    return _named(session, items, names), [one for one in deletable if one.name in names]


def _show(
    session: Session, items: Sequence[Item], stored: Sequence[Stored], named_kinds: Sequence[str],
    costs: Mapping[Item, float | None], out: console.Console,
) -> None:  # fmt: skip
    """The table, and what it comes to in a month."""
    rows: list[tuple[str, ...]] = [
        (item.kind, item.name, "", "unknown" if costs[item] is None else _usd(costs[item] or 0), item.action)
        for item in items
    ]
    rows += [(s.kind, (s.label and f"{s.name} {s.label}") or s.name, _size(s.bytes), _usd(s.usd_a_month),
              "delete" if s.kind in named_kinds else f"keep, without --what {s.kind}") for s in stored]  # fmt: skip
    if not rows:
        return
    out.table(("what", "name", "size", "USD a month", "cleaning would"), rows)
    whole = sum(usd or 0 for usd in costs.values()) + sum(one.usd_a_month for one in stored)
    if whole:
        out.say(f"together about {_usd(whole)} USD a month; what is stored at {prices.basis(session.region)}")


def _usd(usd: float) -> str:
    return "" if not usd else f"{usd:.2f}" if usd >= 0.01 else "< 0.01"


def _size(size: int) -> str:
    unit, name = (1e9, "GB") if size >= 1e9 else (1e6, "MB") if size >= 1e6 else (1e3, "kB")
    return f"{size / unit:.1f} {name}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


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
