"""One row in one mode, in a process of its own; the last line is the result as JSON.

python -m benchmarks.local_modes_probes MODE ROW      # with the environment that ../local_modes.py sets
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time

from benchmarks.local_modes_probes.rows import ROWS, WORK, Missing


def main() -> None:
    mode = importlib.import_module(f"benchmarks.local_modes_probes.{sys.argv[1]}").Mode()
    if sys.argv[2] == "--describe":
        print(mode.describe(sys.argv[3])["TrainingJobStatus"])
        return
    (WORK / "data").mkdir(exist_ok=True)
    (WORK / "data" / "photograph").write_text("woof\n")
    begin = time.perf_counter()
    try:
        said, is_done = ROWS[sys.argv[2]](mode), True
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        kind = "" if isinstance(error, Missing) else f"{type(error).__name__}: "
        said, is_done = kind + (lines[0] if lines else ""), False
    result = {"done": is_done, "seconds": time.perf_counter() - begin, "said": said}
    print("\n" + json.dumps(result), flush=True)
    os._exit(0)  # an SDK's thread that follows an endpoint's log would hold this process as long as the endpoint runs


if __name__ == "__main__":
    main()
