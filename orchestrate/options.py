"""The options that scripts share, and what they say when a person stops following a job."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NoReturn

from classifier import config, rule_settings
from classifier.search_space import OF_THE_JOB
from orchestrate import console, session, settings
from orchestrate.channels import Weights, add_weights_argument, parse_weights
from orchestrate.console import Console
from orchestrate.errors import InputError
from orchestrate.jobs import INPUT_MODES, Machine
from orchestrate.session import Session

DEFAULT_MAX_RUNTIME_S = 4 * 3600
# Around the following of a job: the command that comes back to it, its name, what stops it.
Guard = Callable[[str, str, Callable[[], object]], AbstractContextManager[None]]
# Hyperparameters that the scripts set themselves.
_OURS = tuple(f"--{name}" for name in OF_THE_JOB)


def unguarded(again: str, name: str, stop: Callable[[], object]) -> AbstractContextManager[None]:
    """For who interrupts nothing, or cleans up by themselves."""
    return nullcontext()


def parser(doc: str | None, failed: str = "", rules: bool = False, has_place: bool = True) -> Parser:
    """A script's parser: its docstring is the help; no abbreviations, so that new options break no command.

    `failed`: what exit code 1 means, where the script can end with it; `rules`: whether it can end with 3; `has_place`:
    whether it talks to the SageMaker API.
    """
    made = Parser(
        description=doc, epilog=_epilog(failed, rules), formatter_class=_Help,
        allow_abbrev=False, conflict_handler="resolve",
    )  # fmt: skip
    if has_place:
        session.add_arguments(made)
    made.add_argument("--verbose", action="store_true", help="tell each request to AWS, and where a bug of ours lies")
    return made


class _Help(argparse.RawDescriptionHelpFormatter):
    """`--max-runtime-s INT`, `--endpoint-instance-type TYPE`: where argparse would say the whole option again."""

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        if action.type in (int, float):
            return action.type.__name__.upper()  # as the hyperparameters have it
        return action.dest.rpartition("_")[2].upper()


class Parser(argparse.ArgumentParser):
    """Tells what is wrong in one sentence, where argparse's own puts forty lines of usage before it; takes what is not
    given from the settings."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._settings: dict[str, tuple[str, str]] = {}

    def add_setting(self, flag: str, key: str, default: str, what: str) -> None:
        """An option that is `key` of the settings where it is not given, and `default` where those do not say it."""
        action = self.add_argument(flag, help=f"{what} (default: {key} of the settings, else {default})")
        self._settings[action.dest] = (key, default)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's. Raises InputError: the settings cannot be read."""
        found, rest = super().parse_known_args(args, namespace)
        missing = {dest: asked for dest, asked in self._settings.items() if getattr(found, dest) is None}
        known = settings.read() if missing else settings.Settings()
        for dest, (key, default) in missing.items():
            setattr(found, dest, known.get(key) or default)
        found.not_given = frozenset(missing)
        return found, rest

    def error(self, message: str) -> NoReturn:
        """Exit code 2, as for all that is given wrong."""
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def _epilog(failed: str, rules: bool) -> str:
    codes = ["0 done"]
    codes += [f"1 {failed}"] if failed else []
    codes += ["2 something given is wrong, or AWS refuses"]
    codes += ["3 the training ended well and a rule marked as an error fired"] if rules else []
    codes += ["70 a bug of ours", "130 Ctrl-C", "143 SIGTERM"]
    told = textwrap.fill(f"Exit codes: {'; '.join(codes)}.", 120)
    return f"{told}\nSettings are KENNEL_* variables and kennel.toml: python orchestrate/doctor.py shows them."


def add_dry_run(made: argparse.ArgumentParser, what: str = "print the exact requests and send nothing") -> None:
    """--dry-run."""
    made.add_argument("--dry-run", action="store_true", help=what)


def add_yes(made: argparse.ArgumentParser, what: str = "do not ask before what costs money") -> None:
    """--yes."""
    made.add_argument("--yes", action="store_true", help=what)


def add_json(made: argparse.ArgumentParser) -> None:
    """--json."""
    made.add_argument("--json", action="store_true", help="the result as JSON on standard output")


def add_run(made: argparse.ArgumentParser) -> None:
    """--dry-run, --yes and --json."""
    add_dry_run(made)
    add_yes(made)
    add_json(made)


def add_training(made: Parser) -> None:
    """The data, the hyperparameters and the machine of a training job."""
    made.add_argument("--data", metavar="DIR|URI", help="data set with train/, valid/ and test/")
    made.add_setting("--instance-type", "instance-type", "ml.m5.xlarge", "machine of a job")
    made.add_argument(
        "--max-runtime-s", type=int, default=DEFAULT_MAX_RUNTIME_S,
        help=f"seconds after which a job is stopped (default: {DEFAULT_MAX_RUNTIME_S})",
    )  # fmt: skip
    made.add_argument(
        "--volume-gb", type=int, default=Machine.volume_gb, metavar="GB",
        help="disk of a job's instance, on which its photographs must find room (default: "
             f"{Machine.volume_gb}); types with a disk of their own, as ml.g5, have that one",
    )  # fmt: skip
    made.add_argument(
        "--input-mode", choices=tuple(INPUT_MODES), default="file",
        help="file copies the photographs to the instance first; fastfile reads them from S3 as they are needed, best "
             "from shards (default: file)",
    )  # fmt: skip
    group = made.add_argument_group("hyperparameters")
    config.add_arguments(_Without(group, _OURS))  # type: ignore[arg-type]  # add_argument is all that is used
    add_weights_argument(made)


class _Without:
    """Takes options for a parser's group and leaves out some."""

    def __init__(self, group: Any, names: tuple[str, ...]) -> None:
        self._group, self._names = group, names

    def add_argument(self, flag: str, **settings: Any) -> None:
        if flag not in self._names:
            self._group.add_argument(flag, **settings)


def hyperparameters(args: argparse.Namespace) -> tuple[dict[str, str], Weights]:
    """Those given, checked, and the weights to go with them.

    Raises:
        InputError: an unknown or unfit value, or weights that cannot be used.
    """
    given = config.given(args)
    weights = parse_weights(given.pop("weights", None), given.get("model", config.Config.model))
    if weights.hyperparameter:
        given["weights"] = weights.hyperparameter
    parsed = config.Config.parse(given)
    rule_settings.parse(parsed.rules, parsed.stop_on)
    rule_settings.collections(parsed.collections)
    return given, weights


def machine(args: argparse.Namespace) -> Machine:
    """Raises InputError when a job would have no time."""
    if args.max_runtime_s < 1:
        raise InputError(f"--max-runtime-s {args.max_runtime_s} must be at least 1")
    instances = getattr(args, "instances", 1)
    if instances < 1:
        raise InputError(f"--instances {instances} must be at least 1")
    if args.volume_gb < 1:
        raise InputError(f"--volume-gb {args.volume_gb} must be at least 1")
    # No script has the options of all the rest.
    return Machine(
        args.instance_type, args.max_runtime_s, getattr(args, "spot", False), getattr(args, "keep_alive", 0), instances,
        args.volume_gb, INPUT_MODES[args.input_mode],
    )  # fmt: skip


def require_data(args: argparse.Namespace) -> str:
    """Raises InputError when --data is missing."""
    if not args.data:
        raise InputError("--data is missing: give a folder or URI with train/, valid/ and test/; "
                         "python orchestrate/prepare.py makes one")  # fmt: skip
    return str(args.data)


@contextmanager
def goes_on(out: Console, found: Session, again: str, name: str, stop: Callable[[], object]) -> Iterator[None]:
    """Ctrl-C ends the following. On a terminal it asks whether the job is to end too; elsewhere the job goes on.

    `again`: the command that comes back to it. A second Ctrl-C leaves without an answer: the job goes on.
    """
    try:
        yield
    except KeyboardInterrupt:
        try:
            out.say()
            is_over = sys.stdin.isatty() and console.ask(f"Stop {name}? (No: it goes on without you.)")
        except KeyboardInterrupt:
            out.say()
            is_over = False
        if is_over:
            stop()
            out.say(f"{name} is being stopped; what has ended of it stays: {again}")
        else:
            out.say(f"{name} goes on. Follow it again: {again}")
            out.say(f"Stop it:         python orchestrate/clean.py {found.flags} {name}")
        raise


def say_notes(out: Console, found: Session) -> None:
    """What the session wants to be known."""
    for note in found.notes:
        out.say(f"note: {note}")
    if found.started_service:
        out.say("a server was started on this machine and stays for the next command; "
                f"stop it: python orchestrate/clean.py {found.flags} --stop-server")  # fmt: skip


def told(values: Mapping[str, str]) -> str:
    """`learning-rate=0.01 epochs=5`."""
    return " ".join(f"{name}={value}" for name, value in sorted(values.items()))
