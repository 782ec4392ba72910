"""Trains once, profiled, and fetches the report.

    python orchestrate/train.py --image URI --data DIR|URI --learning-rate 0.003 --epochs 10
    python orchestrate/train.py --local --from-tuning NAME

--from-tuning takes the best hyperparameters of a tuning job, its image and its data; what is given as an option goes
before. The smdebug hook and the profiler are on; --debug false trains without.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from classifier.config import Config
from orchestrate import channels, console, follow, jobs, options, pricing, results, tuned
from orchestrate.jobs import Machine
from orchestrate.session import Session, open_session


@dataclass(frozen=True)
class Trained:
    """A finished job and what of it is on this machine."""

    training: follow.Training
    results: results.Results


def train(
    session: Session, out: console.Console, name: str, image: str, inputs: Mapping[str, str],
    hyperparameters: Mapping[str, str], machine: Machine,
) -> Trained:  # fmt: skip
    """Runs one training job to its end. `inputs`: channel -> URI.

    Raises:
        JobFailed: it ended Failed or Stopped.
    """
    request = jobs.training(session, jobs.check_name(name), image, inputs, hyperparameters, machine)
    jobs.create(session, "CreateTrainingJob", request)
    out.say(f"training job {name}: {options.told(hyperparameters)}")
    return attach(session, out, name)


def attach(session: Session, out: console.Console, name: str) -> Trained:
    """Follows a job that runs (or has ended), then fetches what it left to runs/NAME/results."""
    training = follow.training(session, name, out)
    return Trained(training, results.fetch(session, training, Path("runs") / name / "results"))


def following(session: Session, out: console.Console, name: str) -> AbstractContextManager[None]:
    """Around what follows a job: what Ctrl-C does to it."""
    again = f"python orchestrate/train.py {session.flags} --attach {name}"
    return options.goes_on(out, session, again, name, lambda: follow.stop_training(session, name))


def show(trained: Trained, out: console.Console) -> None:
    """The metrics, and where everything is."""
    out.say()
    out.say(" ".join(f"{name}={value:.4f}" for name, value in measured(trained).items()))
    out.say(f"seconds:  {trained.training.seconds}")
    out.say(f"report:   {trained.results.report or 'none (the job ran with --debug false)'}")
    out.say(f"artifact: {trained.training.artifact}")


def measured(trained: Trained) -> dict[str, float]:
    """The metrics that the artifact carries; of a container that writes none, those of the log."""
    return dict(trained.results.model.get("metrics") or trained.training.metrics)


def document(trained: Trained) -> dict[str, Any]:
    """What --json prints."""
    return {
        "training_job": trained.training.name,
        "metrics": measured(trained),
        "seconds": trained.training.seconds,
        "artifact": trained.training.artifact,
        "results": asdict(trained.results),
    }


def main() -> None:
    """Parses, trains, prints."""
    parser = options.parser(__doc__)
    options.add_training(parser)
    parser.add_argument("--from-tuning", metavar="NAME", help="a tuning job whose best hyperparameters are taken")
    parser.add_argument("--name", help="of the training job (default: kennel-train-DATE-TIME-XXXX)")
    parser.add_argument("--attach", metavar="NAME", help="follow a training job that was started before")
    options.add_run(parser)
    args = parser.parse_args()
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
        price = session.usd_per_hour(machine.instance_type)
        out.say(pricing.at_most(price, 1, machine.max_runtime_s / 3600, machine.instance_type))
        if price != 0 and not args.dry_run:
            console.confirm("Start the training job?", args.yes)
        image, inputs, hyperparameters = _job_of(session, args, given, weights)
        if args.dry_run:
            request = jobs.training(session, jobs.check_name(name), image, inputs, hyperparameters, machine)
            print(jobs.printable(request))
            return
        with following(session, out, name):
            trained = train(session, out, name, image, inputs, hyperparameters, machine)
    show(trained, out)
    out.result(document(trained))
    out.say(f"next: python orchestrate/deploy.py {session.flags} --from-training {trained.training.name}")


def _job_of(
    session: Session, args: argparse.Namespace, given: Mapping[str, str], weights: channels.Weights
) -> tuple[str, dict[str, str], dict[str, str]]:
    """(image, channel -> URI, hyperparameters), of the tuning job where the command line does not say otherwise."""
    best: dict[str, str] = {}
    inputs: dict[str, str] = {}
    image = args.image
    if args.from_tuning:
        best, tuned_image, inputs = tuned.best_of(session, args.from_tuning)
        image = image or tuned_image
    image = image or session.require_image()
    hyperparameters = {**best, "debug": "true", **given}
    Config.parse(hyperparameters)
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
