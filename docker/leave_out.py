"""Deletes from a site-packages directory what left-out.txt names, and prints what that saved, in MB.

    python3 docker/leave_out.py SITE_PACKAGES

Standard library only: it runs in the image's builder.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

PATTERNS = Path(__file__).with_name("left-out.txt")


def size(path: Path) -> int:
    """Bytes of a file, or of the files below a directory."""
    if path.is_dir() and not path.is_symlink():
        return sum(size(item) for item in path.iterdir())
    return path.lstat().st_size


def leave_out(root: Path, patterns: list[str]) -> list[tuple[str, int]]:
    """Deletes what the patterns match below `root`; (pattern, bytes) of each. `!` before one keeps what it matches."""
    kept = {path: path.read_bytes() for text in patterns if text[0] == "!" for path in root.glob(text[1:])}
    saved = []
    for pattern in (text for text in patterns if text[0] != "!"):
        freed = 0
        for path in list(root.glob(pattern)):
            if not path.exists() and not path.is_symlink():
                continue  # it was below another match
            freed += size(path)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        saved.append((pattern, freed))
    for path, content in kept.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return saved


def main() -> None:
    """Prints a line for each pattern."""
    lines = [line.strip() for line in PATTERNS.read_text().splitlines()]
    for pattern, freed in leave_out(Path(sys.argv[1]), [line for line in lines if line and line[0] != "#"]):
        print(f"left out {freed / 1e6:7.1f} MB  {pattern}")


if __name__ == "__main__":
    main()
