"""Searches hyperparameters with a SageMaker tuning job and tells the best.

    python orchestrate/tune.py --image URI --data DIR|URI [--trials 8 --parallel 2]
    python orchestrate/tune.py --local --data DIR --range learning-rate=0.001:0.1:log --epochs 3
    python orchestrate/tune.py --local --data DIR --trials 100 --in-one-job

Hyperparameters given as options are the same in every trial; --range NAME=low:high, NAME=low:high:log or NAME=a,b,c
varies one. Without ranges: learning-rate 0.001 to 0.1 (log), batch-size 16, 32, 64, 128 or 256, epochs 2 to 10. The
features of a frozen backbone are computed once, by a job of its own that later searches use again.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

from orchestrate import (
    channels,
    console,
    features,
    follow,
    jobs,
    one_job,
    options,
    pricing,
    search,
    storage,
    tuned,
    tuning_page,
)
from orchestrate.channels import Weights
from orchestrate.errors import InputError
from orchestrate.jobs import Machine
from orchestrate.prices import FREE
from orchestrate.search import Search, Way
from orchestrate.session import Session, open_session
from orchestrate.tuned import Tuned

PLAIN = Way(cache_features="off")
NO_WEIGHTS = Weights()


def requests(
    session: Session, name: str, inputs: Mapping[str, str], fixed: Mapping[str, str], machine: Machine,
    space: Search, way: Way, key: features.Key | None,
) -> dict[str, Any]:  # fmt: skip
    """Operation -> request, of all that a search sends; `key`: of the features that it will compute."""
    found: dict[str, Any] = {}
    made = None
    if key and not way.in_one_job:
        made = features.Features(way.features or "")
        if not way.features:
            embed = jobs.unique_name("embed")
            found["CreateTrainingJob"] = features.request(session, embed, inputs, fixed, machine, key)
            made = features.Features(features.expected(session, embed, key))
    operation, request = _search_request(session, name, inputs, fixed, machine, space, way, made, key)
    return {**found, operation: request}


def tune(
    session: Session, out: console.Console, name: str, inputs: Mapping[str, str], fixed: Mapping[str, str],
    machine: Machine, space: Search, way: Way = PLAIN, weights: Weights = NO_WEIGHTS,
    guard: options.Guard = options.unguarded,
) -> Tuned:  # fmt: skip
    """Runs the search to its end; computes the features of a frozen backbone first where `way` says so.

    `inputs`: channel -> URI of the photographs and weights; `weights`: what is in the channel of that name; `guard`:
    what an interruption of the following means.

    Raises:
        InputError: features or a tuning job that were named do not fit; nothing was started.
        JobFailed: no trial gave a value of the objective.
    """
    check_parents(session, space)
    key = made = None
    if features.are_wanted(way, fixed, space):
        data = features.fingerprint_of(session, inputs)
        key = features.key_of(data, fixed, weights, session.require_image())
        if way.features:
            made = features.check(session, way.features, key)
        elif way.in_one_job:
            made = features.find(session, key)
            if made:
                out.say(f"features reused: {made.uri}")
        else:
            made = features.embed(session, out, inputs, fixed, machine, key, guard)
    elif way.cache_features == "auto" and search.is_frozen(fixed, space):
        first, *_ = search.features_differ_by(fixed, space)
        out.say(f"features are not kept between trials: --range {first}=... makes others in each")
    tuned.note(session, name, inputs, made)
    operation, request = _search_request(session, name, inputs, fixed, machine, space, way, made, key)
    jobs.create(session, operation, request)
    with _guarded(session, name, way.in_one_job, guard):
        where = "in one job" if way.in_one_job else f"{space.parallel} at a time"
        out.say(f"tuning job {name}: {space.trials} trials, {where}, {space.strategy} search for the best "
                f"{space.objective}" + (", on features" if key else ""))  # fmt: skip
        for varied in space.ranges:
            out.say(f"  {varied}")
        return _finish(session, out, name, way.in_one_job)


def attach(session: Session, out: console.Console, name: str, guard: options.Guard = options.unguarded) -> Tuned:
    """Follows a search that runs (or has ended), writes its best.json and its page."""
    is_one_job = _is_one_job(tuned.describe(session, name))
    with _guarded(session, name, is_one_job, guard):
        return _finish(session, out, name, is_one_job)


def check_parents(session: Session, space: Search) -> None:
    """Raises InputError for a --warm-start of something that is no tuning job, or of one that has not ended."""
    for name in space.warm_start:
        job = tuned.describe(session, name)
        if _is_one_job(job):
            raise InputError(f"--warm-start {name} is a search in one job, which SageMaker cannot learn from: name a "
                             f"search that ran a job a trial")  # fmt: skip
        status = job["HyperParameterTuningJobStatus"]
        if status not in follow.ENDED:
            raise InputError(f"--warm-start {name} is {status}: wait for its end with "
                             f"python orchestrate/tune.py {session.flags} --attach {name}")  # fmt: skip
        before = job["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]["MetricName"]
        if before != space.objective:
            raise InputError(f"--warm-start {name} searched by {before}, this search goes by {space.objective}: add "
                             f"--objective {before}")  # fmt: skip


def count_jobs(space: Search, way: Way, fixed: Mapping[str, str]) -> int:
    """How many training jobs a search may start."""
    if way.in_one_job:
        return 1
    return space.trials + (features.are_wanted(way, fixed, space) and not way.features)


def show(found: Tuned, out: console.Console) -> None:
    """The table, the best, where everything is."""
    tuned.show(found, out)
    out.say(f"page:       {tuning_page.local_file(found)}")


def command_line() -> options.Parser:
    """What can be given."""
    parser = options.parser(__doc__, failed="no trial gave a value of the objective")
    search.add_arguments(parser, trials=4)
    options.add_training(parser)
    parser.add_argument("--name", help="of the tuning job (default: kennel-tune-DATE-TIME-XXXX)")
    parser.add_argument("--attach", metavar="NAME", help="follow a search that was started before")
    options.add_run(parser)
    return parser


def main() -> None:
    """Parses, searches, prints."""
    args = command_line().parse_args()
    out = console.Console(args.json or args.dry_run)
    if args.attach:
        session = open_session(args)
        found = attach(session, out, args.attach, partial(options.goes_on, out, session))
    else:
        given, weights = options.hyperparameters(args)
        space, way, fixed = search.of(args, given)
        machine, data = options.machine(args), options.require_data(args)
        name = jobs.check_name(args.name or jobs.unique_name("tune"), longest=32)
        session = open_session(args, dry=args.dry_run)
        options.say_notes(out, session)
        session.require_image()
        session.require_role()
        price = session.price(machine.instance_type, pricing.TRAINING)
        count = count_jobs(space, way, fixed)
        out.say(pricing.of_jobs(price, machine, count))
        if price != FREE and not args.dry_run:
            console.confirm("Start the search?" if count == 1 else f"Start {count} training jobs?", args.yes)
        inputs = channels.publish(session, data, weights, send=not args.dry_run)
        if args.dry_run:
            key = dry_key(session, out, data, fixed, weights, space, way)
            print(jobs.printable(requests(session, name, inputs, fixed, machine, space, way, key)))
            return
        found = tune(session, out, name, inputs, fixed, machine, space, way, weights,
                     partial(options.goes_on, out, session))  # fmt: skip
    show(found, out)
    out.result(tuned.document(found))
    out.say(f"next: python orchestrate/train.py {session.flags} --from-tuning {found.name}")


def _guarded(session: Session, name: str, is_one_job: bool, guard: options.Guard) -> AbstractContextManager[None]:
    def stop() -> None:
        if is_one_job:
            follow.stop_training(session, name)
        else:
            session.client("sagemaker").stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)

    return guard(f"python orchestrate/tune.py {session.flags} --attach {name}", name, stop)


def _finish(session: Session, out: console.Console, name: str, is_one_job: bool) -> Tuned:
    found = one_job.follow_search(session, out, name) if is_one_job else _follow(session, out, name)
    tuning_page.write(session, found)
    return found


def _search_request(
    session: Session, name: str, inputs: Mapping[str, str], fixed: Mapping[str, str], machine: Machine, space: Search,
    way: Way, made: features.Features | None, key: features.Key | None,
) -> tuple[str, dict[str, Any]]:  # fmt: skip
    """(operation, request). With features the trials read them in place of the photographs; the weights' channel
    stays, since its file's name is compared with that of the features."""
    if made:
        kept = {channel: uri for channel, uri in inputs.items() if channel == "weights"}
        inputs = {"features": made.uri, **kept}
    if key:
        fixed = {**fixed, "data-fingerprint": key.data_fingerprint}
    if way.in_one_job:
        return "CreateTrainingJob", one_job.request(session, name, inputs, fixed, machine, space)
    image = session.require_image()
    return "CreateHyperParameterTuningJob", jobs.tuning(session, name, image, inputs, fixed, machine, space)


def dry_key(
    session: Session, out: console.Console, data: str | None, fixed: Mapping[str, str], weights: Weights, space: Search,
    way: Way,
) -> features.Key | None:  # fmt: skip
    """The key of the features, where there are any; nothing but this machine is asked. `data`: None where the data set
    is not there yet."""
    if not features.are_wanted(way, fixed, space):
        return None
    if data is None or data.startswith("s3:"):
        why = "makes no data set" if data is None else "lists no bucket"
        out.say(f"note: a dry run {why}: zeros stand for the data's fingerprint and what follows from it")
        fingerprint = "0" * 64
    else:
        folder = storage.local_path(data) if storage.is_uri(data) else Path(data).resolve()
        fingerprint = features.fingerprint_of(session, {s: (folder / s).as_uri() for s in channels.SPLITS})
    return features.key_of(fingerprint, fixed, weights, session.require_image())


def _follow(session: Session, out: console.Console, name: str) -> Tuned:
    """The search with a job a trial."""
    job, found = follow.tuning(session, name, out)
    goal, definition = (
        job.hyper_parameter_tuning_job_config.hyper_parameter_tuning_job_objective,
        job.training_job_definition,
    )
    seconds = (job.hyper_parameter_tuning_end_time - job.creation_time).total_seconds()
    return tuned.of_trials(
        session, name, definition.output_data_config.s3_output_path, goal.metric_name, goal.type, found,
        definition.static_hyper_parameters or {}, seconds, definition.resource_config.instance_type, False,
    )  # fmt: skip


def _is_one_job(job: Mapping[str, Any]) -> bool:
    return "TrainingJobName" in job


if __name__ == "__main__":
    console.run(main)
