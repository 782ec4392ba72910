"""How many workers decode for the predictor, and how many images it takes into a forward pass: what each choice gives.

    python benchmarks/batching.py             # about eight minutes; prints, and writes benchmarks/results/batching.md

It measures and asserts nothing. A ResNet-18 at 224 pixels (its weights do not matter) answers a JPEG of 320 x 240
pixels over HTTP; closed loop of 1, 4, 16 and 64 clients, each on a connection that it keeps.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "container_src"), str(ROOT / "tests")]

import contract_serving as contract  # noqa: E402
from benchmarks import conditions, load  # noqa: E402
from contract_serving import Server  # noqa: E402
from photographs import jpeg  # noqa: E402

CLIENTS = (1, 4, 16, 64)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement")
    parser.add_argument("--engine", default="", help="KENNEL_ENGINE; the fastest unless given")
    arguments = parser.parse_args()
    cpus = psutil.cpu_count() or 1
    choices = [
        (cpus, 1),
        (2 * cpus, 4),
        (4 * cpus, 1),
        (4 * cpus, 4),
        (8 * cpus, 4),
        (8 * cpus, 8),
        (16 * cpus, 16),
    ]
    rows = []
    for workers, largest in choices:
        with tempfile.TemporaryDirectory() as directory:
            cells = measured(Path(directory), workers, largest, arguments.engine, arguments.seconds)
        rows.append([str(workers), str(largest), *cells])
        print(" | ".join(rows[-1]), flush=True)
    head = ["workers", "largest batch", *(f"{n} clients: per second, p50, p99 ms" for n in CLIENTS), "memory MB"]
    table = conditions.table(head, rows)
    conditions.publish(
        f"# Workers and batches\n\n`python benchmarks/batching.py --seconds {arguments.seconds:g}`. "
        f"{conditions.sentence('openvino')}\n\n{table}",
        conditions.RESULTS / "batching.md",
    )
    return 0


def measured(root: Path, workers: int, largest: int, engine: str, seconds: float) -> list[str]:
    contract.write_artifact(root / "model", crop=224)
    variables = {
        "SAGEMAKER_MODEL_SERVER_WORKERS": str(workers), "KENNEL_LARGEST_BATCH": str(largest), "KENNEL_ENGINE": engine,
    }  # fmt: skip
    server = Server(root, variables=variables).start()
    body = (jpeg(0.3, np.random.default_rng(0), (320, 240)), "image/jpeg")
    try:
        server.wait_for_ping(200)
        url = f"{server.url}/invocations"
        load.run(url, [body], 16, seconds=seconds / 4)  # Java compiles what is used
        cells = []
        for clients in CLIENTS:
            got = load.run(url, [body], clients, seconds=seconds)
            cells.append(f"{got.per_second:.0f}, {got.percentile_ms(50):.1f}, {got.percentile_ms(99):.1f}"
                         + (f", errors {got.errors}" if got.errors else ""))  # fmt: skip
        memory = sum(p.memory_full_info().pss for p in server.descendants()) / 1e6
        return [*cells, f"{memory:.0f}"]
    finally:
        server.stop()


if __name__ == "__main__":
    sys.exit(main())
