"""Prints the part of requirements.lock that is needed for one extra of pyproject.toml, hashes and all.

    python3 requirements/locked.py --extra container     # the image's packages
    python3 requirements/locked.py --extra container --without pip 'nvidia-*'
    python3 requirements/locked.py --package uv          # one package, without what it needs

The lock is one file for host, container and CI, so that a package has one version everywhere; this reads which package
needs which from the `# via` comments that `uv pip compile` writes. Standard library only: it runs before anything is
installed.
"""

from __future__ import annotations

import argparse
import re
import sys
from fnmatch import fnmatch
from pathlib import Path

HERE = Path(__file__).parent


def blocks(lock: str) -> dict[str, list[str]]:
    """Package name -> its blocks: the pinned line with its hashes and comments. Two where a marker tells them apart."""
    found: dict[str, list[str]] = {}
    for block in re.split(r"\n(?=\S)", lock.strip()):
        found.setdefault(block.split("==", 1)[0], []).append(block)
    return found


def needed(lock: str, direct: set[str]) -> set[str]:
    """`direct` and everything that the lock says is there because of them."""
    because = {name: set(re.findall(r"#(?: via)?\s+([A-Za-z0-9._-]+)", "\n".join(texts)))
               for name, texts in blocks(lock).items()}  # fmt: skip
    names = set(direct)
    while more := {name for name, parents in because.items() if parents & names} - names:
        names |= more
    return names


def extra(pyproject: str, name: str) -> set[str]:
    """The names that an extra lists. Python 3.10 has no TOML reader, and this list needs none."""
    body = re.search(rf"^{name} = \[(.*?)^\]", pyproject, re.S | re.M)
    if body is None:
        raise SystemExit(f"error: pyproject.toml has no extra {name!r}")
    return {item.lower().replace("_", "-") for item in re.findall(r'^\s*"([A-Za-z0-9._-]+)', body[1], re.M)}


def main() -> None:
    """Prints the selected blocks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--extra")
    which.add_argument("--package")
    parser.add_argument("--without", nargs="+", default=[], metavar="PATTERN", help="packages to leave out")
    arguments = parser.parse_args()
    lock = (HERE / "requirements.lock").read_text()
    if arguments.package:
        names = {arguments.package}
    else:
        names = needed(lock, extra((HERE.parent / "pyproject.toml").read_text(), arguments.extra))
    names = {name for name in names if not any(fnmatch(name, pattern) for pattern in arguments.without)}
    known = blocks(lock)
    if missing := names - known.keys():
        raise SystemExit(f"error: not in requirements.lock: {', '.join(sorted(missing))}; run `make lock`")
    sys.stdout.write("\n".join(text for name in sorted(names) for text in known[name]) + "\n")


if __name__ == "__main__":
    main()
