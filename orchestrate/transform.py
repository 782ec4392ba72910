"""Predicts every photograph of a folder in a batch transform job, and makes one table of the answers.

    python orchestrate/transform.py --from-training NAME --data DIR|URI [--csv answers.csv]
    python orchestrate/transform.py --from-training NAME --data s3://BUCKET/LIST.manifest

--data is a folder, or a manifest: JSON, `[{"prefix": "s3://BUCKET/FOLDER/"}, "a.jpg", ...]`. No endpoint is needed: the
instances are there for as long as the job runs. Each photograph is one row of the table:
`photograph,label,probability,label_2,probability_2,...`; the answers themselves stay where the job wrote them.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrate import (
    console,
    deploy,
    endpoints,
    follow,
    hosting,
    inference_ami,
    jobs,
    options,
    predict,
    pricing,
    storage,
)
from orchestrate.errors import InputError, JobFailed
from orchestrate.predict import Prediction
from orchestrate.prices import FREE
from orchestrate.session import Session, open_session

LOGS = "/aws/sagemaker/TransformJobs"
_OUT = ".out"
_TAIL = 20
_READERS = 16
# Requests at a time that each instance gets.
_CONCURRENT = 8
_MOST_MB = 6


@dataclass(frozen=True)
class Batch:
    """What is predicted, and on what. `data`: URI of a folder or of a manifest; `output`: URI of the answers."""

    data: str
    output: str
    instance_type: str
    instances: int = 1

    @property
    def is_manifest(self) -> bool:
        """By its name: `.manifest` or `.json`."""
        return self.data.endswith((".manifest", ".json"))


@dataclass(frozen=True)
class Transformed:
    """A batch that has ended. `failure`: why it failed, though the photographs in `predictions` have their answers."""

    job: str
    output: str
    predictions: list[Prediction]
    failure: str | None = None


def transform(
    session: Session, out: console.Console, name: str, image: str, artifact: str, batch: Batch
) -> Transformed:
    """Runs the job to its end.

    Raises:
        JobFailed: it failed or was stopped before the first answer; with the end of its log.
    """
    (_, model), (_, job) = requests(session, name, image, artifact, batch)
    jobs.create(session, "CreateModel", model)
    with ExitStack() as half_made:
        half_made.callback(endpoints.delete, session, "Model", name)
        jobs.create(session, "CreateTransformJob", job)
        half_made.pop_all()
    return attach(session, out, name)


def requests(
    session: Session, name: str, image: str, artifact: str, batch: Batch
) -> list[tuple[str, dict[str, Any]]]:  # fmt: skip
    """(operation, request), in the order in which they are sent."""
    host = inference_ami.of_transform(batch.instance_type)
    resources: dict[str, Any] = {"InstanceType": batch.instance_type, "InstanceCount": batch.instances}
    source = {"S3DataType": "ManifestFile" if batch.is_manifest else "S3Prefix", "S3Uri": batch.data}
    return [
        ("CreateModel", hosting.model(session, jobs.check_name(name), image, artifact)),
        (
            "CreateTransformJob",
            {
                "TransformJobName": name,
                "ModelName": name,
                "MaxConcurrentTransforms": _CONCURRENT,
                "MaxPayloadInMB": _MOST_MB,
                "TransformInput": {"DataSource": {"S3DataSource": source}, "ContentType": "application/x-image"},
                "TransformOutput": {"S3OutputPath": batch.output, "Accept": "application/json"},
                "TransformResources": resources | ({"TransformAmiVersion": host} if host else {}),
                "Tags": jobs.TAGS,
            },
        ),
    ]


def attach(session: Session, out: console.Console, name: str) -> Transformed:
    """Follows a job that runs, or has ended, and reads its answers; the model, which only it needed, is deleted.

    A job that goes on without us, after Ctrl-C, keeps its model until it is attached to again, or cleaned.

    A job that failed because of one photograph has the answers on the others.

    Raises:
        JobFailed: it failed or was stopped before the first answer; with the end of its log.
    """
    client = session.client("sagemaker")
    begin = time.monotonic()
    status: dict[str, Any] = client.describe_transform_job(TransformJobName=name)
    output = status["TransformOutput"]["S3OutputPath"]
    out.say(f"transform job {name}: answers go to {output}")
    with out.progress(name) as show:
        while status["TransformJobStatus"] in ("InProgress", "Stopping"):
            show(f"{name}: {sum(1 for _ in _answers(session, output))} answers, {time.monotonic() - begin:.0f} s")
            time.sleep(session.poll_s)
            status = client.describe_transform_job(TransformJobName=name)
    if status["ModelName"] == name:
        endpoints.delete(session, "Model", name)
    if status["TransformJobStatus"] != "Completed":
        for line in follow.LogReader(session, LOGS, f"{name}/").read()[-_TAIL:]:
            out.say(f"  {line}")
        why = f"transform job {name} ended {status['TransformJobStatus']}: {status.get('FailureReason')}"
        if (answered := _read(session, output)) == []:
            raise JobFailed(why)
        return Transformed(name, output, answered, why)
    return Transformed(name, output, _read(session, output))


def following(session: Session, out: console.Console, name: str) -> AbstractContextManager[None]:
    """Around what follows a job: what Ctrl-C does to it."""
    again = f"python orchestrate/transform.py {session.flags} --attach {name}"

    def stop() -> None:
        session.client("sagemaker").stop_transform_job(TransformJobName=name)

    return options.goes_on(out, session, again, name, stop)


def command_line() -> options.Parser:
    """What can be given."""
    parser = options.parser(__doc__, failed="the job failed or was stopped")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--from-training", metavar="NAME", help="a completed training job")
    what.add_argument("--artifact", metavar="URI", help="a model.tar.gz")
    what.add_argument("--attach", metavar="NAME", help="follow a transform job that was started before")
    parser.add_argument("--data", metavar="DIR|URI", help="the photographs, or a manifest of them")
    parser.add_argument("--name", help="of the job (default: kennel-batch-DATE-TIME-XXXX)")
    parser.add_setting("--instance-type", "instance-type", "ml.m5.xlarge", "machine of a job")
    parser.add_argument("--instances", type=int, default=1, help="machines that share the photographs (default: 1)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="the table (default: runs/NAME/answers.csv)")
    options.add_run(parser)
    return parser


def main() -> None:
    """Parses, runs, prints."""
    args = command_line().parse_args()
    if args.instances < 1:
        raise InputError(f"--instances {args.instances} must be at least 1")
    if not args.data and not args.attach:
        raise InputError("--data is missing: give a folder of photographs, or the URI of one or of a manifest")
    out = console.Console(args.json or args.dry_run)
    session = open_session(args, dry=args.dry_run and not args.from_training)
    options.say_notes(out, session)
    name = args.attach or args.name or jobs.unique_name("batch")
    if args.attach:
        with following(session, out, name):
            done = attach(session, out, name)
    else:
        session.require_role()
        if args.from_training:
            image, artifact = deploy.of_training(session, args.from_training)
            image = args.image or image
        else:
            image, artifact = session.require_image(), args.artifact
        price = session.price(args.instance_type, pricing.TRANSFORM)
        out.say(pricing.by_the_hour(price, args.instance_type, args.instances, "until the job ends"))
        data = _published(session, args.data, name, not args.dry_run)
        batch = Batch(data, storage.join(session.root, name, "answers"), args.instance_type, args.instances)
        if args.dry_run:
            print(jobs.printable(dict(requests(session, name, image, artifact, batch))))
            return
        if price != FREE:
            console.confirm("Start the transform job?", args.yes)
        with following(session, out, name):
            done = transform(session, out, name, image, artifact, batch)
    table = args.csv or Path("runs") / name / "answers.csv"
    table.parent.mkdir(parents=True, exist_ok=True)
    predict.write_csv(done.predictions, table)
    out.table(("label", "photographs"), Counter(p.labels[0][0] for p in done.predictions).most_common())
    out.say(f"{len(done.predictions)} photographs: {table}")
    out.result({"job": name, "answers": done.output, "table": table, "photographs": len(done.predictions)})
    if done.failure:
        raise JobFailed(f"{done.failure} The table has the others")


def _published(session: Session, data: str, name: str, send: bool) -> str:
    """The URI of a folder or manifest; of a folder of this machine with other files in it, of a manifest of its
    photographs, for one thing that is none would fail the job.

    Raises:
        InputError: there is nothing.
    """
    from classifier.fingerprint import EXTENSIONS

    if storage.is_uri(data):
        uri = storage.check_uri(data)
        if send and not session.storage.has_any(uri) and session.storage.size(uri) is None:
            raise InputError(f"there is nothing at {uri}")
        return uri
    path = Path(data)
    if path.is_file():
        uri = storage.join(session.root, name, path.name)
        if send:
            session.storage.upload(path, uri)
        return uri
    if not path.is_dir():
        raise InputError(f"{path}: there is no such folder or manifest")
    files = sorted(p for p in path.rglob("*") if p.is_file())
    found = [p for p in files if p.suffix.lower() in EXTENSIONS]
    if not found:
        raise InputError(f"{path}: there is no photograph in this folder ({', '.join(EXTENSIONS)})")
    uri = session.storage.publish(path, storage.join(session.root, name, "photographs"), send)
    if found == files:
        return uri
    relative = (p.relative_to(path).as_posix() for p in found)
    manifest = storage.join(session.root, name, "photographs.manifest")
    if send:
        session.storage.write(json.dumps([{"prefix": f"{uri}/"}, *relative]).encode(), manifest)
    return manifest


def _answers(session: Session, output: str) -> Iterator[str]:
    return (name for name, _ in session.storage.list(output) if name.endswith(_OUT))


def _read(session: Session, output: str) -> list[Prediction]:
    """In the order of the photographs' names. Raises JobFailed: an answer is none of ours."""

    def one(name: str) -> Prediction:
        text = session.storage.read(storage.child(output, name))
        try:
            told = json.loads(text)["predictions"]
            return Prediction(name.removesuffix(_OUT), tuple((p["label"], float(p["probability"])) for p in told))
        except (ValueError, KeyError, TypeError):
            raise JobFailed(f"{storage.join(output, name)} holds no predictions: {text[:200]!r}") from None

    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(one, sorted(_answers(session, output))))


if __name__ == "__main__":
    console.run(main)
