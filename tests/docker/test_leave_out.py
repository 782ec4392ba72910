from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from conftest import ROOT


def test_a_pattern_deletes_and_an_exception_keeps(tmp_path: Path) -> None:
    for name in ("numpy/_core/tests/_natype.py", "numpy/_core/tests/test_a.py", "torch/include/a.h", "torch/b.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("woof")
    script = [sys.executable, str(ROOT / "docker" / "leave_out.py"), str(tmp_path)]
    printed = subprocess.run(script, check=True, capture_output=True, text=True).stdout
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"numpy/_core/tests/_natype.py", "torch/b.py"}
    assert "**/include" in printed
