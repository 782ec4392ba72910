from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from conftest import ROOT


def test_the_page_and_its_picture_are_up_to_date() -> None:
    """Also fails where a module has become long and nobody says why."""
    code = (
        "import architecture as a; "
        "assert a.PAGE.read_text() == a.page(), 'run `make docs`'; "
        "assert a.PICTURE.read_text() == a.picture(a.graph()), 'run `make docs`'; "
        "assert all((a.ROOT / path).exists() for path in a.LARGE)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(ROOT) / "docs", check=True)
