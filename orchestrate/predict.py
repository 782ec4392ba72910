"""Asks an endpoint what photographs show.

    python orchestrate/predict.py --endpoint NAME PHOTOGRAPH... [--top-k 3] [--picture answers.jpg]
    python orchestrate/predict.py --endpoint NAME FOLDER --csv answers.csv
    python orchestrate/predict.py --endpoint NAME https://example.com/dog.jpg --map map.png
    python orchestrate/predict.py --endpoint NAME --page

A PHOTOGRAPH is a file, a folder, an address or `-` for standard input. --picture draws the answers onto the
photographs, --map draws where on the one photograph the model found its first answer. --page opens a page on this
machine onto which photographs are dropped. An asynchronous endpoint is asked by files, which are told.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrate import asking, console, options, photographs
from orchestrate.asking import Endpoint
from orchestrate.errors import InputError
from orchestrate.session import Session, open_session

_BAR = 24
# Photographs that are drawn into one picture.
_MOST_DRAWN = 100


@dataclass(frozen=True)
class Prediction:
    """`labels`: (class, probability), the most probable first. `data`: the photograph's bytes."""

    photograph: str
    labels: tuple[tuple[str, float], ...]
    data: bytes = field(repr=False, default=b"", compare=False)


def predict(
    session: Session, endpoint: str, given: Sequence[str | Path], top_k: int = 5, model: str | None = None
) -> list[Prediction]:
    """One request a photograph.

    Raises:
        InputError: a photograph cannot be read or sent, or the container says that it is none.
        JobFailed: the container failed.
    """
    return list(each(asking.connect(session, endpoint, model), photographs.read([str(name) for name in given]), top_k))


def each(endpoint: Endpoint, found: Iterable[tuple[str, bytes]], top_k: int) -> Iterator[Prediction]:
    """As `predict`, one after the other."""
    for name, data in found:
        told = json.loads(endpoint.ask(name, data, f"top_k={top_k}"))["predictions"]
        yield Prediction(name, tuple((p["label"], float(p["probability"])) for p in told), data)


def draw(predictions: Sequence[Prediction], target: Path) -> None:
    """The photographs with their labels and probabilities, as one picture."""
    from orchestrate import pictures

    pictures.annotate([(p.data, p.labels) for p in predictions[:_MOST_DRAWN]], target)


def write_csv(predictions: Sequence[Prediction], target: Path) -> None:
    """A row a photograph: `photograph,label,probability,label_2,probability_2,...`."""
    most = max(len(p.labels) for p in predictions)
    ranks = ["", *(f"_{n}" for n in range(2, most + 1))]
    with target.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["photograph", *(f"{column}{rank}" for rank in ranks for column in ("label", "probability"))])
        for p in predictions:
            rows.writerow([p.photograph, *(cell for label, share in p.labels for cell in (label, f"{share:.6f}"))])


def show(predictions: Sequence[Prediction], out: console.Console) -> None:
    """Label, bar and probability."""
    width = max(len(label) for p in predictions for label, _ in p.labels)
    for prediction in predictions:
        out.say(prediction.photograph, style="bold")
        for label, probability in prediction.labels:
            bar = "█" * round(probability * _BAR)
            out.say(f"  {label:<{width}}  {bar:<{_BAR}}  {probability:6.1%}")


def document(predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """What --json prints."""
    return [{"photograph": p.photograph, "labels": p.labels} for p in predictions]


def command_line() -> options.Parser:
    """What can be given."""
    parser = options.parser(__doc__, failed="the container failed")
    parser.add_argument("photographs", nargs="*", metavar="PHOTOGRAPH", help="a file, a folder, an address, or -")
    parser.add_argument("--endpoint", required=True, metavar="NAME", help="the endpoint to ask")
    parser.add_argument("--model", metavar="FILE", help="which model of a multi-model endpoint")
    parser.add_argument("--top-k", type=int, default=5, help="labels for each photograph (default: 5)")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the answers onto the photographs")
    parser.add_argument(
        "--map", type=Path, metavar="FILE", help="draw where the first answer was found (one photograph)"
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="the answers as a table")
    parser.add_argument("--page", action="store_true", help="open a page on which to try the endpoint")
    options.add_json(parser)
    return parser


def main() -> None:
    """Parses, asks, prints."""
    args = command_line().parse_args()
    if args.top_k < 1:
        raise InputError(f"--top-k {args.top_k} must be at least 1")
    if bool(args.photographs) == args.page:
        raise InputError("give either photographs or --page")
    for flag, target, kinds in (("--picture", args.picture, (".jpg", ".jpeg", ".png")), ("--map", args.map, (".png",))):
        if target and target.suffix.lower() not in kinds:
            raise InputError(f"{flag} {target} must end in {' or '.join(kinds)}")
    out = console.Console(args.json)
    session = open_session(args)
    endpoint = asking.connect(session, args.endpoint, args.model)
    if args.page:
        from orchestrate import try_page

        try_page.serve(endpoint, out)
        return
    predictions, refused = _ask_all(endpoint, args, out)
    show(predictions, out)
    if args.picture:
        draw(predictions, args.picture)
        more = f" (the first {_MOST_DRAWN} of {len(predictions)})" if len(predictions) > _MOST_DRAWN else ""
        out.say(f"picture: {args.picture}{more}")
    if args.csv:
        write_csv(predictions, args.csv)
        out.say(f"table: {args.csv}")
    if args.map:
        if len(predictions) != 1:
            raise InputError(f"--map draws one photograph, and {len(predictions)} were given")
        one = predictions[0]
        args.map.write_bytes(endpoint.ask(one.photograph, one.data, "explain=top", asking.PNG))
        out.say(f"map: {args.map}")
    out.result(document(predictions))
    if refused:
        raise InputError(f"{refused} of {refused + len(predictions)} photographs have no answer, for the reasons "
                         f"above; the others have theirs")  # fmt: skip


def _ask_all(endpoint: Endpoint, args: argparse.Namespace, out: console.Console) -> tuple[list[Prediction], int]:
    """(answers, photographs without one): of several, one that the container refuses does not cost the others.

    Raises:
        InputError: there is no answer at all.
        JobFailed: the container failed.
    """
    predictions: list[Prediction] = []
    refused: list[InputError] = []
    with out.progress(f"{args.endpoint}") as progress:
        for photograph in photographs.read(args.photographs):
            try:
                predictions += each(endpoint, [photograph], args.top_k)
            except InputError as error:
                refused.append(error)
            progress(f"{args.endpoint}: {len(predictions)} photographs")
    if not predictions:
        raise refused[0]
    for why in refused:
        out.say(f"no answer: {why}")
    return predictions, len(refused)


if __name__ == "__main__":
    console.run(main)
