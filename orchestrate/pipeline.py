"""All of it: data set -> search -> profiled training -> endpoint -> predictions -> clean-up.

    python orchestrate/pipeline.py --local --source synthetic --weights none --freeze-backbone false --image-size 64
    python orchestrate/pipeline.py --image URI --data DIR|URI --yes

--data takes a data set that is ready, --source makes one as prepare.py does. Hyperparameters given as options hold for
every trial and the training; the search finds the others, in tune.py's ranges or, with --freeze-backbone false, in
those of a whole network: learning-rate 0.0003 to 0.01 (log), batch-size 16, 32 or 64, epochs 4 to 10. With --local the
server on this machine ends with the pipeline if the pipeline started it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from orchestrate import (
    channels,
    console,
    deploy,
    jobs,
    options,
    plans,
    predict,
    prepare,
    pricing,
    rehearsal,
    search,
    sharding,
    storage,
    train,
    tune,
    tuned,
)
from orchestrate.hosting import Hosting
from orchestrate.prices import FREE
from orchestrate.session import Session, open_session
from orchestrate.tuned import Tuned

_STEPS = 6


@dataclass
class Outcome:
    """What a finished pipeline leaves; `seconds` by step."""

    data: str = ""
    tuned: Tuned | None = None
    trained: train.Trained | None = None
    endpoint: str = ""
    predictions: list[predict.Prediction] = field(default_factory=list)
    correct: int = 0
    picture: Path | None = None
    seconds: dict[str, float] = field(default_factory=dict)


def pipeline(session: Session, plan: plans.Plan, out: console.Console) -> Outcome:
    """Runs every step.

    Raises:
        InputError: the data or a setting cannot be used.
        JobFailed: a job or the endpoint failed; the endpoint is deleted.
        RuleFired: a rule marked as an error fired in the training; nothing was deployed.
    """
    outcome = Outcome()
    step = _Steps(out, outcome.seconds)
    image = session.require_image()
    with ExitStack() as at_the_end:
        with step("data set"):
            outcome.data = _data(session, plan, out)
            inputs = channels.publish(session, outcome.data, plan.weights)
        with step("tune"):
            name = jobs.unique_name("tune")
            outcome.tuned = tune.tune(
                session, out, name, inputs, plan.fixed, plan.machine, plan.search, plan.way, plan.weights
            )  # fmt: skip
            tune.show(outcome.tuned, out)
        with step("train, profiled, with the best hyperparameters"):
            best = {**outcome.tuned.hyperparameters, "debug": plan.debug}
            name = jobs.unique_name("train")
            outcome.trained = train.train(session, out, name, image, inputs, best, plan.machine)
            train.show(outcome.trained, out)
            train.check_rules(outcome.trained)
        with step("deploy"):
            name = jobs.unique_name("serve")
            deployed = deploy.deploy(
                session, out, name, image, outcome.trained.training.artifact, Hosting(plan.endpoint_type)
            )  # fmt: skip
            outcome.endpoint = name
            if not plan.keep:
                at_the_end.callback(deploy.undeploy, session, name)
            out.say(f"endpoint {name} is in service after {deployed.seconds:.0f} s")
        with step("predict a photograph of each class"):
            samples = _samples(session, outcome.data, Path("runs") / outcome.trained.training.name / "photographs")
            outcome.predictions = predict.predict(session, name, list(samples.values()), plans.TOP_K)
            told = [p.labels[0][0] for p in outcome.predictions]
            outcome.correct = sum(label == answer for label, answer in zip(samples, told, strict=True))
            predict.show([_first(p) for p in outcome.predictions], out)
            outcome.picture = Path("runs") / outcome.trained.training.name / "predictions.jpg"
            predict.draw(outcome.predictions, outcome.picture)
            out.say(f"{outcome.correct} of {len(samples)} right")
        with step("clean up"):
            if plan.keep:
                out.say(f"endpoint {name} is kept: python orchestrate/clean.py {session.flags} {name} deletes it")
            at_the_end.close()
            if not plan.keep:
                out.say(f"endpoint {name}, its configuration and its model are deleted")
    return outcome


def show(outcome: Outcome, out: console.Console) -> None:
    """The summary."""
    assert outcome.trained and outcome.tuned
    out.headline("Summary")
    out.say(train.told(outcome.trained))
    out.say(f"best of {len(outcome.tuned.trials)} trials: {options.told(outcome.tuned.best.hyperparameters)}")
    out.say(f"report:   {outcome.trained.results.report or 'none (--debug false)'}")
    out.say(f"artifact: {outcome.trained.training.artifact}")
    out.say(f"picture:  {outcome.picture} ({outcome.correct} of {len(outcome.predictions)} right)")
    rows = [(name, f"{seconds:.0f} s") for name, seconds in outcome.seconds.items()]
    out.table(("step", "time"), [*rows, ("all", f"{sum(outcome.seconds.values()):.0f} s")])


class _Steps:
    """Numbers the steps, tells them apart and times them."""

    def __init__(self, out: console.Console, seconds: dict[str, float]) -> None:
        self._out, self._seconds = out, seconds

    @contextmanager
    def __call__(self, title: str) -> Iterator[None]:
        self._out.headline(f"[{len(self._seconds) + 1}/{_STEPS}] {title}")
        begin = time.monotonic()
        yield
        self._seconds[title] = time.monotonic() - begin


def _data(session: Session, plan: plans.Plan, out: console.Console) -> str:
    """The folder or URI of a data set that was checked where it can be."""
    if plan.data and storage.is_uri(plan.data):
        out.say(f"{plan.data}: its photographs are checked by the jobs that read them")
        return plan.data
    if plan.data:
        prepared = prepare.inspect(Path(plan.data), out)
    else:
        assert plan.source
        folder = prepare.default_folder(plan.source)
        prepared = prepare.prepare(plan.source, folder, out, plan.valid, plan.test, plan.seed, plan.drop_bad)
    prepare.show(prepared, out)
    out.say(f"data set: {prepared.folder}")
    return str(prepared.folder)


def _samples(session: Session, data: str, folder: Path) -> dict[str, Path]:
    """Class -> a photograph of it out of test/ (out of valid/ where there is no test/), on this machine."""
    from classifier.fingerprint import EXTENSIONS

    base = data if storage.is_uri(data) else Path(data).resolve().as_uri()
    for split in ("test", "valid"):
        first: dict[str, str] = {}
        if sharding.are_there(session.storage, storage.join(base, split)):
            return sharding.samples(session.storage, storage.join(base, split), folder)
        for name, _ in sorted(session.storage.list(storage.join(base, split))):
            label, _, rest = name.partition("/")
            if rest and rest.lower().endswith(EXTENSIONS):
                first.setdefault(label, name)
        if first:
            break
    photographs = {label: folder / f"{label}{Path(name).suffix}" for label, name in first.items()}
    for label, name in first.items():
        session.storage.download(storage.child(storage.join(base, split), name), photographs[label])
    return photographs


def _first(prediction: predict.Prediction) -> predict.Prediction:
    return replace(prediction, labels=prediction.labels[:1])


def command_line() -> options.Parser:
    """What can be given."""
    parser = options.parser(__doc__, failed="a job or the endpoint failed", rules=True)
    prepare.add_source_arguments(parser)
    search.add_arguments(parser, trials=4)
    options.add_training(parser)
    parser.add_setting(
        "--endpoint-instance-type", "endpoint-instance-type", "ml.m5.large", "machine of the endpoint"
    )  # fmt: skip
    parser.add_argument("--keep", action="store_true", help="leave the endpoint in service at the end")
    options.add_dry_run(parser, "print the exact requests and commands of each step and send nothing")
    options.add_yes(parser)
    options.add_json(parser)
    return parser


def main() -> None:
    """Parses, runs, prints."""
    args = command_line().parse_args()
    out = console.Console(args.json or args.dry_run)
    plan = plans.of(args)
    session = open_session(args, dry=args.dry_run)
    options.say_notes(out, session)
    keep_server = False
    try:
        session.require_image()
        session.require_role()
        price = session.price(plan.machine.instance_type, pricing.TRAINING)
        count = tune.count_jobs(plan.search, plan.way, plan.fixed) + 1
        out.say(pricing.of_jobs(price, plan.machine, count))
        price_of_endpoint = session.price(plan.endpoint_type, pricing.HOSTING)
        out.say("endpoint " + pricing.by_the_hour(price_of_endpoint, plan.endpoint_type))
        if args.dry_run:
            print(jobs.printable(rehearsal.steps(session, out, plan)))
            return
        if price != FREE:
            console.confirm(f"Start {count} training jobs and an endpoint?", args.yes)
        outcome = pipeline(session, plan, out)
        show(outcome, out)
        out.result(_document(outcome))
        keep_server = plan.keep
    except KeyboardInterrupt:
        out.say(f"\njobs that run: python orchestrate/clean.py {session.flags} lists and stops them")
        raise
    finally:
        if not keep_server:
            session.close()


def _document(outcome: Outcome) -> dict[str, Any]:
    assert outcome.trained and outcome.tuned
    return {
        "data": outcome.data,
        "tuning": tuned.document(outcome.tuned),
        "training": train.document(outcome.trained),
        "predictions": predict.document(outcome.predictions),
        "picture": outcome.picture,
        "seconds": outcome.seconds,
    }


if __name__ == "__main__":
    console.run(main)
