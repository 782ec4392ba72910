"""What a notebook shows of the scripts' functions: plain lines, tables as tables, one line of progress, small pictures.

`orchestrate.console` is for terminals: in a notebook rich would make a block of HTML of every line.
"""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import pandas
from botocore.exceptions import BotoCoreError, ClientError
from IPython.core.getipython import get_ipython
from IPython.core.interactiveshell import InteractiveShell
from IPython.display import Image, Pretty, display
from PIL import Image as Pictures

from orchestrate.console import Console
from orchestrate.errors import InputError, JobFailed, RuleFired

# optuna imports tqdm, which asks a notebook for widgets that nothing here shows.
warnings.filterwarnings("ignore", "IProgress not found")


class NotebookConsole(Console):
    """The console that the functions of `orchestrate` take, for the output of a cell."""

    def say(self, text: str = "", style: str | None = None) -> None:
        """One line (or several) as it is; styles are for terminals."""
        print(text)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """HTML, and text where that is not shown."""
        cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
        frame = pandas.DataFrame(cells, columns=list(columns))
        with pandas.option_context("display.max_colwidth", None):
            html, text = frame.to_html(index=False, border=0), frame.to_string(index=False)
        display({"text/html": html, "text/plain": text}, raw=True)

    @contextmanager
    def progress(self, text: str) -> Iterator[Callable[[str], None]]:
        """A line that the yielded function changes; what it says last stays."""
        line = display(Pretty(text), display_id=True)
        assert line is not None
        yield lambda now: line.update(Pretty(now))

    @property
    def is_live(self) -> bool:
        """Lines that were printed in a cell stay as they are."""
        return False


def errors_as_sentences() -> None:
    """What ends a script with one sentence ends a cell with it; a bug keeps its traceback."""

    def tell(
        shell: InteractiveShell, kind: type[BaseException], error: BaseException, where: TracebackType,
        tb_offset: int | None = None,
    ) -> None:  # fmt: skip
        print(f"{kind.__name__}: {error}", file=sys.stderr)

    shell = get_ipython()
    assert shell is not None
    shell.set_custom_exc((InputError, JobFailed, RuleFired, BotoCoreError, ClientError), tell)


def picture(file: Path, width: int = 640) -> None:
    """A picture, at most so many pixels wide: a notebook holds its pictures as text, a third larger than they are."""
    image = Pictures.open(file).convert("RGB")
    image.thumbnail((width, 4 * width))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=80)
    display(Image(data.getvalue(), format="jpeg"))
