"""The command line: `python -m local_sagemaker up | down | status | logs NAME | interrupt NAME | prune`."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import time
from pathlib import Path

from local_sagemaker import daemon
from local_sagemaker.settings import Settings, cpus, default_state

FOLLOW_S = 0.5  # between two looks of `logs --follow`
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    state: Path = (options.state or default_state()).absolute()
    try:
        code = int(options.run(options, state))
        sys.stdout.flush()  # here, where a reader that has gone away is no error
        return code
    except BrokenPipeError:  # of `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except daemon.DaemonError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _up(options: argparse.Namespace, state: Path) -> int:
    path: Path | None = options.process_path.absolute() if options.process_path else None
    if path and not path.is_dir():
        raise daemon.DaemonError(
            f"--process-path {path} is not a directory: name the one that holds `train` and `serve`."
        )
    if options.max_parallel_jobs < 1:
        raise daemon.DaemonError(f"--max-parallel-jobs must be at least 1, not {options.max_parallel_jobs}.")
    settings = Settings(
        state, path, options.training_stop_s, options.endpoint_stop_s, max_parallel=options.max_parallel_jobs
    )
    if options.background:
        print(daemon.banner(daemon.start(settings, options.port)))
    else:
        daemon.serve(settings, options.port)
    return 0


def _down(options: argparse.Namespace, state: Path) -> int:
    print("local SageMaker has ended." if daemon.stop(state) else f"No server runs on {state}.")
    return 0


def _status(options: argparse.Namespace, state: Path) -> int:
    from local_sagemaker import report

    url = daemon.running_url(state)
    if options.json:
        print(json.dumps({"url": url, "state": str(state), **report.as_json(state)}, indent=1))
    else:
        print(daemon.banner(url) if url else f"No server runs on {state}; start one with `local_sagemaker up`.")
        report.table(state, options.all)
    return 0 if url else 1


def _logs(options: argparse.Namespace, state: Path) -> int:
    from local_sagemaker.overview import last_lines, log_streams

    streams = log_streams(state, options.name)
    if not streams:
        print(f"There is no log of a job or an endpoint named {options.name} in {state}.", file=sys.stderr)
        return 2
    ends: dict[str, int] = {}
    try:
        while True:
            # Whether it has ended is asked before what it printed: so the last lines are not missed.
            goes_on = options.follow and daemon.running_url(state) is not None and _runs(state, options.name)
            for line in last_lines(state, log_streams(state, options.name), options.tail, ends):
                print(line)
            sys.stdout.flush()
            if not goes_on:
                return 0
            time.sleep(FOLLOW_S)
    except BrokenPipeError:  # `logs NAME | head`
        sys.stderr.close()
        return 0


def _runs(state: Path, name: str) -> bool:
    from local_sagemaker.overview import KINDS, row
    from local_sagemaker.records import Records

    records = Records(state)
    found = [(kind, records.find(kind.folder, name)) for kind in KINDS.values()]
    return any(record is not None and row(kind, record).ended is None for kind, record in found)


def _interrupt(options: argparse.Namespace, state: Path) -> int:
    from local_sagemaker import remote

    remote.post(_url(state), f"/local/interrupt/{options.name}", {"away_s": options.away_s})
    print(f"The spot instance of {options.name} is being taken away; the job starts again from its checkpoints.")
    return 0


def _prune(options: argparse.Namespace, state: Path) -> int:
    from local_sagemaker import report

    age_s = _seconds(options.older_than)
    found = report.prune(state, daemon.running_url(state), age_s, dry_run=True)
    if not found:
        print("There is nothing to remove.")
        return 0
    report.leftovers(found, "would be removed" if options.dry_run else "will be removed")
    if options.dry_run:
        return 0
    if not options.yes:
        if not sys.stdin.isatty():
            raise daemon.DaemonError("Nothing was removed: nobody can be asked here; say --yes to remove it.")
        if input("Remove it? [y/N] ").strip().lower() not in ("y", "yes"):
            print("Nothing was removed.")
            return 1
    report.leftovers(report.prune(state, daemon.running_url(state), age_s, dry_run=False), "removed")
    return 0


def _url(state: Path) -> str:
    url = daemon.running_url(state)
    if url is None:
        raise daemon.DaemonError(f"No server runs on {state}; start one with `local_sagemaker up`.")
    return url


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+)([smhdw])", text)
    if not found:
        raise daemon.DaemonError(f"--older-than {text} is no age: write a number and s, m, h, d or w, as in 7d.")
    return int(found.group(1)) * _UNITS[found.group(2)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="local_sagemaker",
        description="The SageMaker API on this machine: jobs and endpoints run in Docker or in processes.",
    )
    commands = parser.add_subparsers(required=True, metavar="up | down | status | logs | interrupt | prune")

    def command(name: str, run: object, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.add_argument(
            "--state",
            type=Path,
            metavar="DIR",
            help="where records and logs are (default: LOCAL_SAGEMAKER_STATE, else the user's state directory)",
        )
        added.set_defaults(run=run)
        return added

    up = command("up", _up, "start the server")
    up.add_argument(
        "--port",
        type=int,
        default=daemon.DEFAULT_PORT,
        help="port of 127.0.0.1; 0 takes a free one (default: %(default)s)",
    )
    up.add_argument(
        "--process-path",
        type=Path,
        metavar="DIR",
        help="where the executables train and serve of the image 'process' are (default: PATH)",
    )
    up.add_argument("--background", action="store_true", help="return when the server answers")
    up.add_argument(
        "--training-stop-s",
        type=float,
        default=Settings.training_stop_s,
        metavar="S",
        help="seconds from SIGTERM to SIGKILL of a training job (default: %(default)s)",
    )
    up.add_argument(
        "--endpoint-stop-s",
        type=float,
        default=Settings.endpoint_stop_s,
        metavar="S",
        help="the same of an endpoint (default: %(default)s)",
    )
    up.add_argument(
        "--max-parallel-jobs",
        type=int,
        default=cpus(),
        metavar="N",
        help="training jobs of tuning jobs that run at once (default: %(default)s, the CPUs of this machine)",
    )
    command("down", _down, "end the server, its jobs and its endpoints")
    status = command("status", _status, "say whether a server runs and what it has")
    status.add_argument("--json", action="store_true", help="everything, for programs")
    status.add_argument("--all", action="store_true", help="every job, trials too, not only the newest")
    logs = command("logs", _logs, "print the log of a job or an endpoint")
    logs.add_argument("name", metavar="NAME")
    logs.add_argument("--follow", "-f", action="store_true", help="go on until it ends")
    logs.add_argument("--tail", type=int, metavar="N", help="begin with the last N lines of each stream")
    interrupt = command("interrupt", _interrupt, "take the spot instance of a training job away")
    interrupt.add_argument("name", metavar="NAME")
    interrupt.add_argument("--away-s", type=float, default=0, metavar="S", help="keep it away for at least S seconds")
    prune = command("prune", _prune, "remove the records, logs and leftovers of jobs that have ended")
    prune.add_argument(
        "--older-than", default="0s", metavar="AGE", help="only of jobs that ended so long ago, as in 7d"
    )
    prune.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    prune.add_argument("--yes", "-y", action="store_true", help="do not ask")
    return parser


if __name__ == "__main__":
    sys.exit(main())
