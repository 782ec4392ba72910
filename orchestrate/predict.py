"""Asks an endpoint what photographs show.

python orchestrate/predict.py --endpoint NAME PHOTOGRAPH... [--top-k 3] [--picture out.jpg]
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrate import console, options
from orchestrate.errors import InputError, JobFailed
from orchestrate.session import Session, open_session

# botocore's model of InvokeEndpoint; SageMaker refuses larger bodies.
MOST_BYTES = 6_291_456
_TYPES = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG": "image/png"}
_ANY_TYPE = "application/x-image"
_BAR = 24


@dataclass(frozen=True)
class Prediction:
    """`labels`: (class, probability), the most probable first."""

    photograph: str
    labels: tuple[tuple[str, float], ...]


def predict(session: Session, endpoint: str, photographs: Sequence[Path], top_k: int = 5) -> list[Prediction]:
    """One request a photograph.

    Raises:
        InputError: a file cannot be read or sent, or the container says that it is no photograph.
        JobFailed: the container failed.
    """
    # Through boto3: the SDK's Endpoint.invoke sends the same request after an import of three seconds.
    runtime = session.client("sagemaker-runtime")
    return [Prediction(str(path), _ask(runtime, endpoint, path, top_k)) for path in photographs]


def draw(predictions: Sequence[Prediction], target: Path) -> None:
    """The photographs with their labels and probabilities, as one picture."""
    from orchestrate import pictures

    pictures.annotate([(Path(p.photograph).read_bytes(), p.labels) for p in predictions], target)


def show(predictions: Sequence[Prediction], out: console.Console) -> None:
    """Label, bar and probability."""
    width = max(len(label) for p in predictions for label, _ in p.labels)
    for prediction in predictions:
        out.say(prediction.photograph, style="bold")
        for label, probability in prediction.labels:
            bar = "█" * round(probability * _BAR)
            out.say(f"  {label:<{width}}  {bar:<{_BAR}}  {probability:6.1%}")


def main() -> None:
    """Parses, asks, prints."""
    parser = options.parser(__doc__)
    parser.add_argument("photographs", nargs="+", type=Path, metavar="PHOTOGRAPH")
    parser.add_argument("--endpoint", required=True, metavar="NAME")
    parser.add_argument("--top-k", type=int, default=5, help="labels for each photograph (default: 5)")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the answers onto the photographs")
    parser.add_argument("--json", action="store_true", help="the result as JSON on standard output")
    args = parser.parse_args()
    if args.top_k < 1:
        raise InputError(f"--top-k {args.top_k} must be at least 1")
    out = console.Console(args.json)
    predictions = predict(open_session(args), args.endpoint, args.photographs, args.top_k)
    show(predictions, out)
    if args.picture:
        draw(predictions, args.picture)
        out.say(f"picture: {args.picture}")
    out.result([asdict(prediction) for prediction in predictions])


def _ask(runtime: Any, endpoint: str, path: Path, top_k: int) -> tuple[tuple[str, float], ...]:
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    body = path.read_bytes()
    if not 0 < len(body) <= MOST_BYTES:
        raise InputError(f"{path} has {len(body):,} bytes: an endpoint takes 1 to {MOST_BYTES:,}; give a smaller one")
    try:
        answer = runtime.invoke_endpoint(
            EndpointName=endpoint, Body=body, Accept="application/json", CustomAttributes=f"top_k={top_k}",
            ContentType=next((kind for magic, kind in _TYPES.items() if body.startswith(magic)), _ANY_TYPE),
        )  # fmt: skip
    except runtime.exceptions.ModelError as error:
        status, message = error.response.get("OriginalStatusCode", 0), error.response.get("OriginalMessage", "")
        why = _sentence(message) or str(error)
        if 400 <= status < 500:
            raise InputError(f"{path}: {why}") from None
        raise JobFailed(f"{path}: the container answered {status}: {why}") from None
    predictions = json.loads(answer["Body"].read())["predictions"]
    return tuple((p["label"], float(p["probability"])) for p in predictions)


def _sentence(message: str) -> str:
    """Of the container's `{"error": "..."}`; the message itself when another container answered."""
    try:
        return str(json.loads(message)["error"])
    except (ValueError, KeyError, TypeError):
        return message


if __name__ == "__main__":
    console.run(main)
