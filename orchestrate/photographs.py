"""Photographs by what a person calls them: a file, a folder, an address, or `-` for standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from classifier.fingerprint import EXTENSIONS
from orchestrate.asking import MOST_BYTES
from orchestrate.errors import InputError

_TIMEOUT_S = 30


def read(given: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of each; of a folder those below it, in order.

    Raises:
        InputError: there is no such thing, or it cannot be fetched.
    """
    for name in given:
        path = Path(name)
        if name == "-":
            yield "standard input", sys.stdin.buffer.read(MOST_BYTES + 1)
        elif name.startswith(("http://", "https://")):
            yield name, _fetch(name)
        elif path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in EXTENSIONS and p.is_file())
            if not found:
                raise InputError(f"{path}: there is no photograph in this folder ({', '.join(EXTENSIONS)})")
            yield from ((str(p), p.read_bytes()) for p in found)
        elif path.is_file():
            yield name, path.read_bytes()
        else:
            raise InputError(f"{path}: there is no such file")


def _fetch(address: str) -> bytes:
    """Raises InputError: it does not answer with something that could be sent on."""
    import requests

    try:
        with requests.get(address, timeout=_TIMEOUT_S, stream=True) as answer:
            if answer.status_code != 200:
                raise InputError(f"{address} answers {answer.status_code} {answer.reason}: give another address")
            data = b""
            for chunk in answer.iter_content(1 << 16):
                data += chunk
                if len(data) > MOST_BYTES:
                    raise InputError(f"{address} has more than {MOST_BYTES:,} bytes: an endpoint takes no more")
            return data
    except requests.Timeout:
        raise InputError(f"{address} cannot be fetched: no answer within {_TIMEOUT_S} s; try it in a browser") from None
    except requests.ConnectionError:
        raise InputError(f"{address} cannot be fetched: nothing answers there; try it in a browser") from None
    except requests.RequestException as error:
        raise InputError(f"{address} cannot be fetched: {error}") from None
