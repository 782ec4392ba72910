"""The command line: `python -m local_sagemaker up | down | status | logs NAME`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from local_sagemaker import daemon
from local_sagemaker.settings import Settings, default_state


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    state: Path = (options.state or default_state()).absolute()
    try:
        return int(options.run(options, state))
    except daemon.DaemonError as error:
        print(error, file=sys.stderr)
        return 2


def _up(options: argparse.Namespace, state: Path) -> int:
    path: Path | None = options.process_path.absolute() if options.process_path else None
    if path and not path.is_dir():
        raise daemon.DaemonError(
            f"--process-path {path} is not a directory: name the one that holds `train` and `serve`."
        )
    settings = Settings(state, path, options.training_stop_s, options.endpoint_stop_s)
    if options.background:
        print(daemon.banner(daemon.start(settings, options.port)))
    else:
        daemon.serve(settings, options.port)
    return 0


def _down(options: argparse.Namespace, state: Path) -> int:
    print("local SageMaker has ended." if daemon.stop(state) else f"No server runs on {state}.")
    return 0


def _status(options: argparse.Namespace, state: Path) -> int:
    url = daemon.running_url(state)
    if url is None:
        print(f"No server runs on {state}; start one with `python -m local_sagemaker up`.")
        return 1
    from local_sagemaker.overview import overview

    print(daemon.banner(url))
    for line in overview(state):
        print(line)
    return 0


def _logs(options: argparse.Namespace, state: Path) -> int:
    from local_sagemaker.overview import log_lines

    lines = log_lines(state, options.name)
    if lines is None:
        print(f"There is no log of a training job or an endpoint named {options.name} in {state}.", file=sys.stderr)
        return 2
    for line in lines:
        print(line)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m local_sagemaker",
        description="The SageMaker API on this machine: jobs and endpoints run in Docker or in processes.",
    )
    commands = parser.add_subparsers(required=True, metavar="up | down | status | logs")

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
    command("down", _down, "end the server, its jobs and its endpoints")
    command("status", _status, "say whether a server runs and what it has")
    command("logs", _logs, "print the log of a training job or an endpoint").add_argument("name", metavar="NAME")
    return parser


if __name__ == "__main__":
    sys.exit(main())
