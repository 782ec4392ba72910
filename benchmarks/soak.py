"""Many requests on one server: whether its memory stays flat and nothing fails.

    python benchmarks/soak.py                  # 100,000 requests of 16 clients
    python benchmarks/soak.py --requests 5000

A model of random weights: what it says does not matter here. Memory is the proportional set size of all processes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "container_src"), str(ROOT / "tests")]

from benchmarks import conditions, load, servers  # noqa: E402
from contract_serving import write_artifact  # noqa: E402

_READINGS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument("--out", type=Path, default=conditions.RESULTS / "soak.md")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        photographs = _photographs()
        classes = [f"{n:03}" for n in range(133)]
        server = servers.kennel(write_artifact(folder / "base" / "model", classes, crop=args.image_size))
        readings: list[tuple[int, float, float]] = []
        with servers.running(server, folder / "server", photographs[0]) as running:
            load.run(running.url, [server.body(p) for p in photographs], args.clients, requests=500)
            began = time.monotonic()
            each = max(1, args.requests // _READINGS)

            def after(done: int) -> None:
                if done % each == 0:
                    readings.append((done, time.monotonic() - began, running.memory_mb()))
                    print(f"{done:,} requests, {readings[-1][1]:.0f} s, {readings[-1][2]:.0f} MB", flush=True)

            bodies = [server.body(photograph) for photograph in photographs]
            found = load.run(running.url, bodies, args.clients, requests=args.requests, after=after)
        text = (
            f"# Soak\n\nWritten by `python benchmarks/soak.py`. {conditions.sentence('openvino')}\n\n"
            f"{args.requests:,} requests of {args.clients} clients with {len(photographs)} photographs in turn, "
            f"ResNet-18 at {args.image_size} pixels: {found.per_second:.0f}/s, p50 {found.percentile_ms(50):.0f}, p99 "
            f"{found.percentile_ms(99):.0f} ms, {sum(found.errors.values())} errors {found.errors or ''}\n\n"
            + conditions.table(("requests", "seconds", "memory, MB"),
                               [(f"{n:,}", f"{s:.0f}", f"{mb:.0f}") for n, s, mb in readings])
        )  # fmt: skip
        conditions.publish(text, args.out)


def _photographs() -> list[bytes]:
    shared = sorted((ROOT.parent / "shared" / "dogs" / "test").glob("*/*.jp*g"))
    if shared:
        return [path.read_bytes() for path in shared[:100]]
    import numpy as np

    from photographs import jpeg

    return [jpeg(n / 100, np.random.default_rng(n)) for n in range(100)]


if __name__ == "__main__":
    main()
