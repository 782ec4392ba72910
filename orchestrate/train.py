"""Trains once, profiled, and fetches the report.

    python orchestrate/train.py --image URI --data DIR|URI --learning-rate 0.003 --epochs 10
    python orchestrate/train.py --local --from-tuning NAME

--from-tuning takes the best hyperparameters of a tuning job, its image and its data; what is given as an option goes
before. Tensors, times and the machine are recorded and judged by rules while it trains; --debug false trains without.
--rules sets the rules (`Overfit:ratio=0.2;DeadRelu:off;LossNotDecreasing:error`), --stop-on ends the job when one
fires. The report comes to runs/NAME/results, also of a job that failed or was stopped. --spot trains on a spot
instance: where it is taken away, the job goes on from its last checkpoint on the next one. --instances N trains on N
of them at once, with the same batch size in all and so to the same result.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrate import (
    best_trial,
    browser,
    channels,
    console,
    follow,
    jobs,
    live,
    managed_debugger,
    options,
    pricing,
    report_file,
    results,
)
from orchestrate.errors import InputError, JobFailed, RuleFired
from orchestrate.jobs import Machine
from orchestrate.prices import FREE
from orchestrate.report_file import Finding
from orchestrate.session import Session, open_session


@dataclass(frozen=True)
class Trained:
    """A finished job and what of it is on this machine. `findings`: of the rules that fired, errors first."""

    training: follow.Training
    results: results.Results
    findings: tuple[Finding, ...]


def train(
    session: Session, out: console.Console, name: str, image: str, inputs: Mapping[str, str],
    hyperparameters: Mapping[str, str], machine: Machine, managed: bool = False,
) -> Trained:  # fmt: skip
    """Runs one training job to its end. `inputs`: channel -> URI; `managed`: with SageMaker's own Debugger.

    Raises:
        InputError: SageMaker's own Debugger is not to be had.
        JobFailed: it ended Failed or Stopped.
    """
    sent = request(session, name, image, inputs, hyperparameters, machine, managed)
    with managed_debugger.explaining() if managed else nullcontext():
        jobs.create(session, "CreateTrainingJob", sent)
    out.say(f"training job {name}: {options.told(hyperparameters)}")
    return attach(session, out, name)


def request(
    session: Session, name: str, image: str, inputs: Mapping[str, str], hyperparameters: Mapping[str, str],
    machine: Machine, managed: bool,
) -> dict[str, Any]:  # fmt: skip
    """CreateTrainingJob, exactly as it is sent."""
    made = jobs.training(session, jobs.check_name(name), image, inputs, hyperparameters, machine)
    return {**made, **managed_debugger.members(session, hyperparameters)} if managed else made


def attach(session: Session, out: console.Console, name: str) -> Trained:
    """Shows a job that runs (or has ended), then fetches what it left to runs/NAME/results.

    Raises:
        JobFailed: it ended Failed or Stopped; the message names the report, if it left one.
    """
    job, progress = live.training(session, name, out)
    left = results.fetch(session, job, Path("runs") / name / "results")
    report = report_file.find(left.folder)
    # A container that writes no report.json tells its findings in the log alone.
    findings = (
        report.fired if report else [Finding(t.rule, t.severity, 0, 1, t.text, "") for t in progress.findings.values()]
    )
    if findings:
        out.say()
        out.table(*report_file.table(findings))
    try:
        return Trained(follow.finished(job), left, tuple(findings))
    except JobFailed as error:
        raise JobFailed(f"{error}" + (f"; its report: {left.report}" if left.report else "")) from None


def check_rules(trained: Trained) -> None:
    """Raises RuleFired when a rule that is marked as an error fired."""
    errors = [f for f in trained.findings if f.severity == "error"]
    if errors:
        raise RuleFired(f"training job {trained.training.name} ended well, and {errors[0]}"
                        + (f" (and {len(errors) - 1} other errors)" if errors[1:] else ""))  # fmt: skip


def following(session: Session, out: console.Console, name: str) -> AbstractContextManager[None]:
    """Around what follows a job: what Ctrl-C does to it."""
    again = f"python orchestrate/train.py {session.flags} --attach {name}"

    def stop() -> None:
        follow.stop_training(session, name)
        out.say(f"its report, once it has ended: python orchestrate/report.py {session.flags} {name}")

    return options.goes_on(out, session, again, name, stop)


def show(trained: Trained, out: console.Console) -> None:
    """The metrics, and where everything is."""
    out.say()
    out.say(told(trained))
    out.say(f"seconds:  {trained.training.seconds}")
    out.say(f"report:   {trained.results.report or 'none (the job ran with --debug false)'}")
    out.say(f"artifact: {trained.training.artifact}")


def measured(trained: Trained) -> dict[str, float]:
    """The metrics that the artifact carries; of a container that writes none, those of the log."""
    return dict(trained.results.model.get("metrics") or trained.training.metrics)


def told(trained: Trained) -> str:
    """The metrics in one line; those of a training that diverged in powers of ten."""
    return " ".join(f"{name}={value:{'.4f' if value < 1e4 else '.3g'}}" for name, value in measured(trained).items())


def document(trained: Trained) -> dict[str, Any]:
    """What --json prints."""
    return {
        "training_job": trained.training.name,
        "metrics": measured(trained),
        "seconds": trained.training.seconds,
        "artifact": trained.training.artifact,
        "findings": [asdict(finding) for finding in trained.findings],
        "results": asdict(trained.results),
    }


def command_line() -> options.Parser:
    """What can be given."""
    parser = options.parser(
        __doc__, failed="the job failed, was stopped, or was ended by a rule of --stop-on", rules=True
    )
    options.add_training(parser)
    parser.add_argument("--from-tuning", metavar="NAME", help="a tuning job whose best hyperparameters are taken")
    parser.add_argument("--name", help="of the training job (default: kennel-train-DATE-TIME-XXXX)")
    parser.add_argument(
        "--spot", action="store_true",
        help="a spot instance: cheaper, and may be taken away, after which the job goes on from its last checkpoint",
    )  # fmt: skip
    parser.add_argument(
        "--instances", type=int, default=1,
        help="machines that train one model together, each with its part of every batch (default: 1)",
    )  # fmt: skip
    parser.add_argument("--attach", metavar="NAME", help="follow a training job that was started before")
    parser.add_argument("--managed-debugger", action="store_true", help=managed_debugger.HELP)
    browser.add_argument(parser)
    options.add_run(parser)
    return parser


def main() -> None:
    """Parses, trains, prints."""
    args = command_line().parse_args()
    out = console.Console(args.json or args.dry_run)
    if args.attach:
        session = open_session(args)
        with following(session, out, args.attach):
            trained = attach(session, out, args.attach)
    else:
        given, weights = options.hyperparameters(args)
        machine, name = options.machine(args), args.name or jobs.unique_name("train")
        if not args.from_tuning:
            options.require_data(args)
        # A tuning job's best is only known to the API, so that a dry run has to ask it too.
        session = open_session(args, dry=args.dry_run and not args.from_tuning)
        options.say_notes(out, session)
        session.require_role()
        price = session.price(machine.instance_type, pricing.TRAINING)
        out.say(pricing.of_jobs(price, machine))
        if price != FREE and not args.dry_run:
            console.confirm("Start the training job?", args.yes)
        image, inputs, hyperparameters = _job_of(session, args, given, weights)
        if args.dry_run:
            sent = request(session, name, image, inputs, hyperparameters, machine, args.managed_debugger)
            print(jobs.printable(sent))
            return
        with following(session, out, name):
            trained = train(session, out, name, image, inputs, hyperparameters, machine, args.managed_debugger)
    show(trained, out)
    out.result(document(trained))
    if trained.results.report:
        browser.show(trained.results.report, args.open, out)
    check_rules(trained)
    out.say(f"next: python orchestrate/deploy.py {session.flags} --from-training {trained.training.name}")


def _job_of(
    session: Session, args: argparse.Namespace, given: Mapping[str, str], weights: channels.Weights
) -> tuple[str, dict[str, str], dict[str, str]]:
    """(image, channel -> URI, hyperparameters), of the tuning job where the command line does not say otherwise."""
    from classifier.config import Config

    best: dict[str, str] = {}
    inputs: dict[str, str] = {}
    image = args.image
    if args.from_tuning:
        best, tuned_image, inputs = best_trial.of(session, args.from_tuning)
        image = image or tuned_image
    image = image or session.require_image()
    hyperparameters = {**best, "debug": "true", **given}
    config = Config.parse(hyperparameters)
    if (config.rules or config.stop_on) and not (config.debug or args.managed_debugger):
        raise InputError("--rules and --stop-on are for a job that is watched, which --debug false is not: leave that "
                         "option out, or these")  # fmt: skip
    send = not args.dry_run
    if args.data:
        # The tuning job's other inputs (weights) stay, its splits do not mix with those of another data set.
        others = {channel: uri for channel, uri in inputs.items() if channel not in channels.SPLITS}
        inputs = others | channels.publish(session, args.data, weights, send)
    else:
        inputs |= channels.publish_weights(session, weights, send)
    return image, inputs, hyperparameters


if __name__ == "__main__":
    console.run(main)
