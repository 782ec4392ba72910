#!/usr/bin/env -S python3 -IS
"""A job that counts its data for as many epochs as it is told."""

import json
import signal
import sys
import time
from pathlib import Path

ML = Path("/opt/ml")
stopping: list[bool] = []
signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))


def fail(reason: str) -> None:
    (ML / "output" / "failure").write_text(reason)
    sys.exit(1)


hyperparameters = json.loads((ML / "input/config/hyperparameters.json").read_text())
channels = json.loads((ML / "input/config/inputdataconfig.json").read_text())
# Here a broken promise may be put.
if not channels:
    fail("no channel was given")
count = sum(1 for path in (ML / "input/data").rglob("*") if path.is_file())
for epoch in range(1, int(hyperparameters["epochs"]) + 1):
    print(f"epoch {epoch}", flush=True)
    time.sleep(0.1)
    if stopping:
        break
(ML / "model" / "count.json").write_text(json.dumps(count))
