"""Runs the notebook beside this file and writes it back with what its cells showed.

    python examples/run.py
    python examples/run.py --set TRIALS=2 --output /tmp/short.ipynb

--set changes a setting for this run, in a cell of its own after the notebook's settings. A cell that fails ends it:
the last cell (clean-up) is run nevertheless, and nothing is written.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import nbformat
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = Path(__file__).resolve().with_name("train_and_deploy.ipynb")
_TEXTS = ("text/plain", "text/html")


def with_settings(notebook: NotebookNode, settings: list[str]) -> None:
    """Adds a cell with `settings` (lines of Python) after the one that is tagged `parameters`, as papermill does."""
    place = next(i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    cell = nbformat.v4.new_code_cell("\n".join(settings), metadata={"tags": ["injected-parameters"]})
    notebook.cells.insert(place + 1, cell)


def run(notebook: NotebookNode, folder: Path) -> None:
    """Runs every cell in `folder`, in one kernel of this Python.

    Raises:
        CellExecutionError: a cell failed; the last one was run after it, as it is on Ctrl-C.
    """
    # Otherwise whoever is on this machine could read what the cells say, and ipykernel warns of it.
    kernel = AsyncKernelManager(kernel_name="python3", transport_encryption="auto")
    client = NotebookClient(
        notebook, km=kernel, timeout=None, coalesce_streams=True, record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )  # fmt: skip
    client.reset_execution_trackers()
    code = [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    for i in code:
        notebook.cells[i].update(outputs=[], execution_count=None)
    with client.setup_kernel():
        # Ctrl-C is for the cell: it ends as one that failed, and the kernel stays for the last cell.
        process = kernel.provisioner
        assert isinstance(process, LocalProvisioner) and process.pid
        signal.signal(signal.SIGINT, partial(_interrupt, process.pid))
        for number, i in enumerate(code, 1):
            first = notebook.cells[i].source.partition("\n")[0]
            print(f"cell {number} of {len(code)}: {first} ...", flush=True)
            begin = time.monotonic()
            try:
                client.execute_cell(notebook.cells[i], i)
            except CellExecutionError:
                if i != code[-1]:
                    print("  it did not end well; the last cell cleans up", flush=True)
                    done = client.execute_cell(notebook.cells[code[-1]], code[-1])
                    print("".join(f"  {output.text}" for output in done.outputs if output.output_type == "stream"))
                raise
            print(f"  {time.monotonic() - begin:.0f} s", flush=True)


def _interrupt(kernel: int, *_: object) -> None:
    os.kill(kernel, signal.SIGINT)


def without_this_machine(notebook: NotebookNode) -> None:
    """What the cells printed, as it is in anybody's checkout: the notebook is published with it."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            for texts, kind in ((output, "text"), *((output.get("data", {}), kind) for kind in _TEXTS)):
                if kind in texts:
                    texts[kind] = texts[kind].replace(str(ROOT), "/home/you/kennel")


def main() -> int:
    """Parses, runs, writes. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="settings",
                        help="a setting for this run, in Python's words; repeatable")  # fmt: skip
    parser.add_argument("--output", type=Path, default=NOTEBOOK, metavar="FILE", help="default: the notebook itself")
    args = parser.parse_args()
    if args.settings and args.output == NOTEBOOK:
        parser.error("--set is for a run of your own: name its --output")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    if args.settings:
        with_settings(notebook, args.settings)
    try:
        run(notebook, NOTEBOOK.parent)
    except CellExecutionError as error:
        is_ctrl_c = error.ename == "KeyboardInterrupt"
        print(f"{'interrupted' if is_ctrl_c else error}\n{args.output} was not written", file=sys.stderr)
        return 130 if is_ctrl_c else 1
    without_this_machine(notebook)
    nbformat.write(notebook, args.output)
    print(f"{args.output}: {args.output.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
