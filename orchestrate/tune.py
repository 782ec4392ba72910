"""Searches hyperparameters with a SageMaker tuning job and tells the best.

    python orchestrate/tune.py --image URI --data DIR|URI [--trials 8 --parallel 2]
    python orchestrate/tune.py --local --data DIR --range learning-rate=0.001:0.1:log --epochs 3

Hyperparameters given as options are the same in every trial; --range NAME=low:high, NAME=low:high:log or NAME=a,b,c
varies one. Without ranges: learning-rate 0.001 to 0.1 (log), batch-size 16, 32, 64 or 128, epochs 2 to 10.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrate import channels, console, follow, jobs, options, pricing, ranges, storage
from orchestrate.errors import InputError
from orchestrate.jobs import Machine
from orchestrate.ranges import Range
from orchestrate.session import Session, open_session


@dataclass(frozen=True)
class Search:
    """What is varied, towards what, and for how long. `strategy`: bayesian or random."""

    ranges: tuple[Range, ...]
    trials: int = 4
    parallel: int = 1
    objective: str = "valid:accuracy"
    strategy: str = "bayesian"
    seed: int = 0


@dataclass(frozen=True)
class Tuned:
    """`hyperparameters`: all of the best trial, those that were fixed included; `best`: a URI of the same as JSON."""

    name: str
    objective: str
    trials: tuple[follow.Trial, ...]
    best: follow.Trial
    hyperparameters: dict[str, str]
    best_json: str


def check(search: Search) -> Search:
    """Raises InputError for numbers that SageMaker would refuse."""
    if not 1 <= search.trials <= 750:
        raise InputError(f"--trials {search.trials} must be between 1 and 750")
    if not 1 <= search.parallel <= min(search.trials, 100):
        raise InputError(f"--parallel {search.parallel} must be between 1 and the number of trials ({search.trials})")
    return search


def request(
    session: Session, name: str, inputs: Mapping[str, str], fixed: Mapping[str, str], machine: Machine, search: Search
) -> dict[str, Any]:
    """CreateHyperParameterTuningJob. `inputs`: channel -> URI."""
    return jobs.tuning(
        session, jobs.check_name(name, longest=32), session.require_image(), inputs, fixed, machine, search.ranges,
        search.objective, search.strategy, search.trials, search.parallel, search.seed,
    )  # fmt: skip


def tune(
    session: Session, out: console.Console, name: str, inputs: Mapping[str, str], fixed: Mapping[str, str],
    machine: Machine, search: Search,
) -> Tuned:  # fmt: skip
    """Runs the search to its end.

    Raises:
        JobFailed: no trial gave a value of the objective.
    """
    jobs.create(session, "CreateHyperParameterTuningJob", request(session, name, inputs, fixed, machine, search))
    out.say(f"tuning job {name}: {search.trials} trials, {search.parallel} at a time, {search.strategy} search for "
            f"the best {search.objective}")  # fmt: skip
    for varied in search.ranges:
        out.say(f"  {varied}")
    return attach(session, out, name)


def attach(session: Session, out: console.Console, name: str) -> Tuned:
    """Follows a search that runs (or has ended) and writes its best.json."""
    job, found = follow.tuning(session, name, out)
    goal = job.hyper_parameter_tuning_job_config.hyper_parameter_tuning_job_objective
    best = follow.best(found, goal.type)
    assert best is not None
    tuned = Tuned(
        name, goal.metric_name, tuple(found), best, {**_static(job), **best.hyperparameters},
        storage.join(job.training_job_definition.output_data_config.s3_output_path, "best.json"),
    )  # fmt: skip
    session.storage.write(json.dumps(document(tuned), indent=2).encode(), tuned.best_json)
    return tuned


def best_of(session: Session, name: str) -> tuple[dict[str, str], str, dict[str, str]]:
    """Of a tuning job's best trial: all hyperparameters, the image, channel -> URI.

    Raises:
        InputError: it has no best trial (yet).
    """
    from sagemaker.core.resources import HyperParameterTuningJob

    job = HyperParameterTuningJob.get(hyper_parameter_tuning_job_name=name, session=session.boto, region=session.region)
    if not job.best_training_job:
        raise InputError(f"the tuning job {name} is {job.hyper_parameter_tuning_job_status} and has no best trial: "
                         f"wait for it with python orchestrate/tune.py {session.flags} --attach {name}")  # fmt: skip
    definition = job.training_job_definition
    inputs = {c.channel_name: c.data_source.s3_data_source.s3_uri for c in definition.input_data_config}
    chosen = {**_static(job), **job.best_training_job.tuned_hyper_parameters}
    return chosen, definition.algorithm_specification.training_image, inputs


def document(tuned: Tuned) -> dict[str, Any]:
    """best.json, and what --json prints."""
    return {
        "tuning_job": tuned.name,
        "objective": tuned.objective,
        "best": {"training_job": tuned.best.name, "objective": tuned.best.objective,
                 "hyperparameters": tuned.hyperparameters},
        "trials": [asdict(trial) for trial in tuned.trials],
    }  # fmt: skip


def show(tuned: Tuned, out: console.Console) -> None:
    """The table of the trials and the best of them."""
    names = sorted({name for trial in tuned.trials for name in trial.hyperparameters})
    rows = [
        (trial.number, f"{trial.objective:.4f}" if trial.objective is not None else "-",
         *(follow.short(trial.hyperparameters.get(name, "-")) for name in names),
         f"{trial.seconds:.0f}" if trial.seconds is not None else "-",
         trial.status + (" (best)" if trial == tuned.best else ""))
        for trial in tuned.trials
    ]  # fmt: skip
    out.table(("trial", tuned.objective, *names, "seconds", "status"), rows)
    out.say(f"best: {tuned.objective}={tuned.best.objective:.4f} with {options.told(tuned.best.hyperparameters)}")
    out.say(f"written to {tuned.best_json}")


def add_search_arguments(parser: argparse.ArgumentParser, trials: int) -> None:
    """The ranges and the limits."""
    group = parser.add_argument_group("search")
    group.add_argument("--trials", type=int, default=trials, help=f"training jobs in all (default: {trials})")
    group.add_argument("--parallel", type=int, default=1, help="training jobs at a time (default: 1)")
    group.add_argument(
        "--range", action="append", default=[], metavar="NAME=...", dest="ranges",
        help="NAME=low:high, NAME=low:high:log or NAME=a,b,c; once for each hyperparameter",
    )  # fmt: skip
    group.add_argument("--objective", choices=list(jobs.OBJECTIVES), default="valid:accuracy",
                       help="metric to search by (default: valid:accuracy)")  # fmt: skip
    group.add_argument("--strategy", choices=["bayesian", "random"], default="bayesian", help="(default: bayesian)")


def search_of(args: argparse.Namespace, fixed: Mapping[str, str], defaults: Sequence[str] = ranges.DEFAULTS) -> Search:
    """The search that the command line asks for; `--seed` fixes it as it fixes training."""
    return check(Search(
        ranges.choose(args.ranges, fixed, defaults), args.trials, args.parallel, args.objective, args.strategy,
        int(fixed.get("seed", 0)),
    ))  # fmt: skip


def main() -> None:
    """Parses, searches, prints."""
    parser = options.parser(__doc__)
    add_search_arguments(parser, trials=4)
    options.add_training(parser)
    parser.add_argument("--name", help="of the tuning job (default: kennel-tune-DATE-TIME-XXXX)")
    parser.add_argument("--attach", metavar="NAME", help="follow a tuning job that was started before")
    options.add_run(parser)
    args = parser.parse_args()
    out = console.Console(args.json or args.dry_run)
    if args.attach:
        session = open_session(args)
        with options.goes_on(out, session, "tune.py", args.attach):
            tuned = attach(session, out, args.attach)
    else:
        fixed, weights = options.hyperparameters(args)
        search, machine = search_of(args, fixed), options.machine(args)
        data, name = options.require_data(args), args.name or jobs.unique_name("tune")
        session = open_session(args, dry=args.dry_run)
        options.say_notes(out, session)
        session.require_image()
        session.require_role()
        price = session.usd_per_hour(machine.instance_type)
        out.say(pricing.at_most(price, search.trials, machine.max_runtime_s / 3600, machine.instance_type))
        if price != 0 and not args.dry_run:
            console.confirm(f"Start {search.trials} training jobs?", args.yes)
        inputs = channels.publish(session, data, weights, send=not args.dry_run)
        if args.dry_run:
            print(jobs.printable(request(session, name, inputs, fixed, machine, search)))
            return
        with options.goes_on(out, session, "tune.py", name):
            tuned = tune(session, out, name, inputs, fixed, machine, search)
    show(tuned, out)
    out.result(document(tuned))
    out.say(f"next: python orchestrate/train.py {session.flags} --from-tuning {tuned.name}")


def _static(job: Any) -> dict[str, str]:
    """The hyperparameters of every trial, less those of SageMaker's own (`_tuning_objective_metric`)."""
    static = job.training_job_definition.static_hyper_parameters or {}
    return {name: value for name, value in static.items() if not name.startswith("_")}


if __name__ == "__main__":
    console.run(main)
