"""Fetches and opens the report of a training job, or puts two side by side.

    python orchestrate/report.py NAME [NAME...]
    python orchestrate/report.py --compare A B

A name is that of a training job that has ended (however: also failed or stopped; a search's trial too), or a folder
with its report, such as runs/NAME/results. --compare writes one page and prints a table.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestrate import browser, compare, compare_page, console, follow, options, report_file, results
from orchestrate.errors import InputError
from orchestrate.report_file import Report
from orchestrate.session import Session, open_session


def fetch(session: Session, name: str) -> Report:
    """Fetches what an ended training job left to runs/NAME/results.

    Raises:
        InputError: there is no such job, it still runs, or it left no report.
    """
    job = _job(session, name)
    status = job.training_job_status
    if status not in follow.ENDED:
        raise InputError(f"training job {name} is {status}: its report comes when it ends; follow it with "
                         f"python orchestrate/train.py {session.flags} --attach {name}")  # fmt: skip
    results.fetch(session, job, Path("runs") / name / "results")
    report = report_file.find(Path("runs") / name / "results")
    if report is None:
        debug = (job.hyper_parameters or {}).get("debug", "false")
        why = "it ran with debug=false" if debug != "true" else f"it ended {status} before it could write one"
        raise InputError(f"training job {name} left no report: {why}")
    return report


def local(folder: Path) -> Report:
    """Raises InputError when there is none below it."""
    report = report_file.find(folder)
    if report is None:
        raise InputError(f"there is no {report_file.NAME} below {folder}: give the folder that train.py fetched, such "
                         f"as runs/NAME/results")  # fmt: skip
    return report


def show(report: Report, out: console.Console) -> None:
    """The summary, the rules that fired, where the page is."""
    out.headline(f"{report.job} ({report.document['status']})")
    for sentence in report.document["summary"]:
        out.say(sentence)
    first = report.document["first"]
    if first:
        out.say(f"change first: {first['advice']} (saves {first['saves']})")
    if report.fired:
        out.table(*report_file.table(report.fired))
    out.say(f"report: {report.path}")


def document(report: Report) -> dict[str, Any]:
    """What --json prints of one: what report.json says in short."""
    told = report.document
    short = {key: told[key] for key in ("job", "status", "reason", "summary", "first", "metrics", "missing")}
    return {**short, "findings": [asdict(f) for f in report.fired], "report": str(report.path)}


def command_line() -> options.Parser:
    """What can be given."""
    parser = options.parser(__doc__)
    parser.add_argument("names", nargs="+", metavar="NAME", help="training job, or folder with its report")
    parser.add_argument("--compare", action="store_true", help="put two of them side by side")
    browser.add_argument(parser)
    options.add_json(parser)
    return parser


def main() -> None:
    """Parses, fetches, shows."""
    args = command_line().parse_args()
    if args.compare and len(args.names) != 2:
        raise InputError(f"--compare takes two names, not {len(args.names)}")
    out = console.Console(args.json)
    reports = _all(args)
    if args.compare:
        found = compare.of(*reports)
        page = Path("runs") / f"compare-{found.a.job}-{found.b.job}.html"
        page.parent.mkdir(exist_ok=True)
        page.write_text(compare_page.render(found), "utf-8")
        compare_page.show(found, out)
        out.say(f"page: {page}")
        out.result({**compare.document(found), "page": str(page)})
        browser.show(page, args.open, out)
        return
    for report in reports:
        show(report, out)
        browser.show(report.path, args.open, out)
    out.result([document(report) for report in reports])


def _all(args: argparse.Namespace) -> list[Report]:
    session: Session | None = None
    found = []
    for name in args.names:
        if Path(name).is_dir():
            found.append(local(Path(name)))
        else:
            session = session or open_session(args)
            found.append(fetch(session, name))
    return found


def _job(session: Session, name: str) -> Any:
    """The SDK's TrainingJob. Raises InputError where there is none, with the best trial of a search of that name."""
    from botocore.exceptions import ClientError
    from sagemaker.core.resources import TrainingJob

    try:
        return TrainingJob.get(training_job_name=name, session=session.boto, region=session.region)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("ResourceNotFound", "ValidationException"):
            raise
    client = session.client("sagemaker")
    try:
        search = client.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("ResourceNotFound", "ValidationException"):
            raise
        raise InputError(f"there is no training job {name} in {session.region}, and no folder of that name") from None
    best = search.get("BestTrainingJob", {}).get("TrainingJobName")
    raise InputError(f"{name} is a search: name one of its training jobs"
                     + (f", such as its best, {best}" if best else ""))  # fmt: skip


if __name__ == "__main__":
    console.run(main)
