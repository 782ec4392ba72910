"""What people read: progress and tables on a terminal, plain lines elsewhere, and one sentence for an error.

With `--json` standard output carries the one JSON document and everything for people goes to standard error.
"""

from __future__ import annotations

import json
import os
import select
import shlex
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from orchestrate.errors import InputError, JobFailed, RuleFired

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.console import RenderableType
    from rich.live import Live


# Between two looks at whether Ctrl-C was pressed while nobody has answered.
_LOOK_S = 0.2


class Console:
    """Prints for people. `json_output`: keep standard output for the JSON document of `result`."""

    def __init__(self, json_output: bool = False) -> None:
        from rich.console import Console as RichConsole

        self._json = json_output
        stream = sys.stderr if json_output else sys.stdout
        # Elsewhere than on a terminal rich would cut lines at 80 columns, paths and log lines included.
        self._is_terminal = stream.isatty()
        width = None if self._is_terminal else 240
        self._rich: RichConsole = RichConsole(
            stderr=json_output, width=width, highlight=False, markup=False, emoji=False
        )

    def say(self, text: str = "", style: str | None = None) -> None:
        """One line (or several) as it is."""
        self._rich.print(text, style=style, soft_wrap=True)

    def marked(self, mark: str, style: str, text: str) -> None:
        """A line whose beginning is coloured."""
        from rich.text import Text

        self._rich.print(Text.assemble((mark, style), "  ", text), soft_wrap=True)

    def headline(self, text: str) -> None:
        """The beginning of a step."""
        self.say()
        self.say(text, style="bold")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Numbers stand on the right, text on the left."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        for i, column in enumerate(columns):
            is_number = bool(rows) and all(isinstance(row[i], (int, float)) for row in rows)
            table.add_column(Text(column), justify="right" if is_number else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(f"{cell:,}" if isinstance(cell, int) else str(cell)) for cell in row))
        self._rich.print(table)

    @contextmanager
    def progress(self, text: str) -> Iterator[Callable[[str], None]]:
        """A line with a spinner that the yielded function changes; nothing where no terminal shows it."""
        if not self._rich.is_terminal:
            yield lambda _: None
            return
        with self._rich.status(text) as status:
            yield status.update

    @property
    def is_live(self) -> bool:
        """Whether what was printed can be changed: a terminal, and not a dumb one."""
        return self._is_terminal and not self._rich.is_dumb_terminal

    def live(self, render: Callable[[], RenderableType]) -> Live:
        """A context: what `render` makes stays below everything that is said, drawn anew four times a second."""
        from rich.live import Live

        return Live(get_renderable=render, console=self._rich, transient=True, redirect_stderr=False)

    def result(self, document: Any) -> None:
        """The document for machines, when `--json` asked for it."""
        if self._json:
            print(json.dumps(document, indent=2, default=str), flush=True)


def confirm(question: str, yes: bool) -> None:
    """Returns when `yes` or the person at the terminal agrees.

    Raises:
        InputError: declined, or nobody is there to ask.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise InputError(f"{question} Nobody is at a terminal to answer: add --yes to agree")
    if not ask(question):
        raise InputError("nothing was started: the question was not answered with yes")


def ask(question: str) -> bool:
    """Whether the person at the terminal answers with yes."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    # A Ctrl-C that comes just before a read begins would go unnoticed until that read ends.
    while not select.select([sys.stdin], [], [], _LOOK_S)[0]:
        pass
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def run(main: Callable[[], None]) -> None:
    """Ends the process: 0, 1 for a failed job, 2 for something given wrong, 3 for a rule marked as an error that fired,
    70 for a bug of ours, 130 for Ctrl-C; errors as one sentence, a bug's traceback in a file or with --verbose."""
    # Like Ctrl-C, so that what has to be undone is undone, also when the terminal is closed.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # `nohup` goes on
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except InputError as error:
        _fail(str(error), 2)
    except JobFailed as error:
        _fail(str(error), 1)
    except RuleFired as error:
        _fail(str(error), 3)
    except BrokenPipeError:
        # Whoever read our output has left (`| head`); the interpreter's flush at exit would complain again.
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            _fail(f"{error.filename}: {error.strerror}", 2)
        if sentence := aws_sentence(error):
            _fail(sentence, 2)
        _fail(_bug(error), 70)


def _fail(sentence: str, code: int) -> NoReturn:
    in_colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    error = "\033[1;31merror:\033[0m" if in_colour else "error:"
    print(f"{error} {sentence}", file=sys.stderr, flush=True)
    sys.exit(code)


def _bug(error: Exception) -> str:
    """One sentence; the traceback is where --verbose asks for it, else in a file."""
    told = traceback.format_exc()
    what = f"a bug of Kennel's: {type(error).__name__}: {error}"
    if "--verbose" in sys.argv:
        print(told, end="", file=sys.stderr)
        return f"{what} (its traceback is above); please report it"
    with tempfile.NamedTemporaryFile("w", prefix="kennel-bug-", suffix=".txt", delete=False, encoding="utf-8") as file:
        file.write(f"{shlex.join(sys.argv)}\n{told}")
    return f"{what}; its traceback is in {file.name}: please report it"


def aws_sentence(error: Exception) -> str | None:
    """What AWS or the way to it has to say; None for anything else, which is a bug of ours."""
    if type(error).__module__.split(".")[0] not in ("botocore", "boto3", "s3transfer"):
        return None
    from botocore import exceptions as aws

    if isinstance(error, (aws.NoCredentialsError, aws.PartialCredentialsError, aws.ProfileNotFound)):
        return NO_CREDENTIALS
    if isinstance(error, aws.ClientError):
        answer = error.response.get("Error", {})
        return f"{error.operation_name} was refused ({answer.get('Code', '?')}): {answer.get('Message') or 'no reason'}"
    if isinstance(error, aws.EndpointConnectionError):
        return f"{error}; check the network and the region"
    return f"AWS could not be asked: {error}"


NO_CREDENTIALS = (
    "no AWS credentials were found: run `aws configure` (or set AWS_PROFILE), or add --local to run on this machine"
)
