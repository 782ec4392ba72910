"""From 8,000 to 100 million photographs and from 1 to 10,000 requests a second: measured small, computed, simulated.

    python benchmarks/scale.py              # some five minutes; writes benchmarks/results/scale.md and docs/17-scale.md
    python benchmarks/scale.py --keep       # seconds: computes and simulates again, keeps what was measured

It asserts nothing. Measured is how time and memory of every step on a data set grow (scale_growth.py); computed are
hours, instances and dollars from rates whose source is told (scale_plan.py); simulated is autoscaling
(scale_traffic.py). Of docs/17-scale.md it replaces the tables between `<!-- scale.py: NAME -->` and `<!-- end -->`,
and beside it pictures/scale.svg.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "container_src")]

from benchmarks import conditions, scale_growth, scale_picture, scale_plan, scale_traffic  # noqa: E402
from benchmarks.scale_growth import Growth, Measured  # noqa: E402
from benchmarks.scale_picture import Panel, columns  # noqa: E402
from benchmarks.scale_plan import Rates  # noqa: E402
from orchestrate import prices  # noqa: E402

PAGE = ROOT / "docs" / "17-scale.md"
COUNTS = (1_000, 4_000, 16_000, 64_000)
LARGEST = scale_plan.PHOTOGRAPHS[-1]
# What is left of the 16 GiB of ml.m5.xlarge and ml.g5.xlarge beside the system, Python and torch.
MEMORY_GB = 12
SHARES, FACTORS, SEEDS, INSTANCES = (0.25, 0.5, 0.7, 0.9), (1.5, 2.0, 3.0, 5.0), 10, 4
_BLOCK = r"<!-- scale\.py: {} -->\n(.*?)<!-- end -->"


def block(name: str, table: str) -> str:
    """A table that can be found again."""
    return f"<!-- scale.py: {name} -->\n\n{table}\n<!-- end -->\n"


def blocks(text: str) -> dict[str, str]:
    """Name -> table, of all that are in a page."""
    return {name: found.strip() + "\n" for name, found in re.findall(_BLOCK.format(r"(\w+)"), text, re.DOTALL)}


def replaced(text: str, tables: dict[str, str]) -> str:
    """The page with these tables in place of those that it has by their names."""
    for name in blocks(text):
        text = re.sub(_BLOCK.format(name), lambda _, n=name: block(n, tables[n]).rstrip("\n"), text, flags=re.DOTALL)  # type: ignore[misc]
    return text


def growth(measured: Sequence[Measured]) -> str:
    """The table of the steps: measured, and how far it reaches."""
    steps, largest = dict.fromkeys(m.step for m in measured), max(m.photographs for m in measured)
    return conditions.table(
        ["step", f"{largest:,} take", "grows as n to the", "bytes a photograph", f"{LARGEST:,} take", "memory",
         f"{MEMORY_GB} GB hold"],
        [row(scale_growth.fit([m for m in measured if m.step == step])) for step in steps],
    )  # fmt: skip


def row(grown: Growth) -> list[str]:
    """One step."""
    return [
        grown.step, f"{grown.seconds:.2f} s", f"{grown.exponent:.2f}", f"{grown.each:.0f}",
        f"{grown.seconds_for(LARGEST) / 3600:.1f} h", f"{grown.each * LARGEST / 1e9:.0f} GB",
        f"{grown.fit_into(MEMORY_GB * 1e9) / 1e6:,.0f} million",
    ]  # fmt: skip


def rises(found: Rates, seeds: int) -> str:
    """The table of the simulation: failed requests, median over the seeds."""
    per_second, start = found["serve, fast"].value, int(found["start of an instance"].value)
    failed: dict[float, list[str]] = {share: [] for share in SHARES}
    for share, _, outcomes in scale_traffic.rises(per_second, INSTANCES, SHARES, FACTORS, seeds, start):
        shares = sorted(outcome.failed_share for outcome in outcomes)
        failed[share].append(f"{statistics.median(shares):.1%} ({shares[0]:.1%} to {shares[-1]:.1%})")
    return conditions.table(
        ["target, of the capacity", "costs", *(f"requests x {factor:g}" for factor in FACTORS)],
        [[f"{share:.0%}", f"x {1 / share:.1f}", *failed[share]] for share in SHARES],
    )


def starts(found: Rates, seeds: int) -> str:
    """The table of the same doubling and tripling, by the time that a new instance takes."""
    per_second = found["serve, fast"].value
    rows = []
    for seconds in (60, 180, 300, 480, 720):
        cells = [f"{seconds // 60} min"]
        for _, _, outcomes in scale_traffic.rises(per_second, INSTANCES, (0.7,), (2.0, 3.0), seeds, seconds):
            cells.append(f"{statistics.median(outcome.failed_share for outcome in outcomes):.1%}")
        rows.append(cells)
    return conditions.table(["a new instance answers after", "requests x 2", "requests x 3"], rows)


def computed(found: Rates, seeds: int) -> dict[str, str]:
    """Name -> table, of all that follows from the rates."""
    return {
        "rates": scale_plan.told(found),
        "data": scale_plan.data_set(found),
        "training": scale_plan.training(found),
        "streaming": scale_plan.streaming(found),
        "tuning": scale_plan.tuning(found),
        "serving": scale_plan.serving(found),
        "targets": scale_plan.targets(found),
        "rises": rises(found, seeds),
        "starts": starts(found, seeds),
    }


def picture(tables: dict[str, str]) -> str:
    """An SVG of what photographs and requests cost."""
    photographs, of_features = columns(tables["training"], {"features once, ml.g5.xlarge": "features, once"})
    _, of_searches = columns(tables["tuning"], {"on features, a job a trial": "search on features",
                                                "whole network": "search, whole network"})  # fmt: skip
    _, of_network = columns(
        tables["training"], {tables["training"].split(" | ")[4].partition(" |")[0]: "whole network"}
    )
    requests, of_endpoints = columns(tables["serving"], {
        "serverless": "serverless", "ml.m5.large, fp32": "ml.m5.large, fp32", "ml.m5.large, int8": "ml.m5.large, int8",
        "ml.g4dn.xlarge": "ml.g4dn.xlarge", "in batches": "in batches",
    })  # fmt: skip
    return scale_picture.draw([
        Panel("A training, a search", "photographs", photographs, {**of_features, **of_network, **of_searches}),
        Panel("A month of answers", "requests a second", requests, of_endpoints),
    ])  # fmt: skip


def page(conditions_of: str, tables: dict[str, str], seeds: int) -> str:
    """benchmarks/results/scale.md."""
    told = {
        "growth": ("Growth", f"Measured. {conditions_of}\n\nJPEGs of 96 x 72 pixels: what is beside the pixels; "
                   "S3 is a stand-in in memory. Memory is what Python allocates at the peak (tracemalloc), as a "
                   "slope over all sizes; hours are the largest size's in proportion."),
        "rates": ("The rates", "Whose word each is; `derived` and `assumed` say from what. Prices of instances: "
                  f"{prices.basis()}."),
        "data": ("A data set", "Computed."),
        "training": ("Training", "Computed. Features are ResNet-18's, one view, float16."),
        "streaming": ("Streaming", "Computed: that training of all of ResNet-18 with `--input-mode fastfile`."),
        "tuning": ("Tuning", f"Computed: {scale_plan.TRIALS} trials, each until its end, on demand."),
        "serving": ("Serving", f"Computed: ResNet-18 at {scale_plan.SHARE:.0%} of what they can do; USD a month."),
        "targets": ("Targets", "Computed: requests a minute for each instance."),
        "rises": ("A rise", f"Simulated (benchmarks/scale_traffic.py): {INSTANCES} instances at their target; within a "
                  "minute the requests become so many times as many; half an hour. Requests that get 503: median and "
                  f"range of {seeds} seeds. `costs`: instances, over those that would just do."),
        "starts": ("A start", "Simulated: the same at 70%, by the time that a new instance takes; medians."),
    }  # fmt: skip
    parts = ["# Scale\n\nWritten by `python benchmarks/scale.py`; [17](../../docs/17-scale.md) tells what it means.\n"]
    parts += [f"## {title}\n{text}\n\n{block(name, tables[name])}" for name, (title, text) in told.items()]
    return "\n".join(parts)


def main() -> None:
    """Measures unless told otherwise, computes, simulates, writes."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--counts", type=int, nargs="+", default=list(COUNTS), help="photographs to measure with")
    parser.add_argument("--keep", action="store_true", help="keep what was measured, as it stands in --out")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="of each simulation")
    parser.add_argument("--out", type=Path, default=conditions.RESULTS / "scale.md", help="where to write")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page whose tables are replaced")
    options = parser.parse_args()
    if options.keep:
        text = options.out.read_text("utf-8")
        measured_on, grown = text.partition("Measured. ")[2].partition("\n")[0], blocks(text)["growth"]
    else:
        measured_on = conditions.sentence("torch", "numpy")
        grown = growth(scale_growth.measure(options.counts, lambda step: print(step, flush=True)))
    found = scale_plan.rates()
    tables = {"growth": grown, **computed(found, options.seeds)}
    written = page(measured_on, tables, options.seeds)
    conditions.publish(written, options.out)
    options.page.write_text(replaced(options.page.read_text("utf-8"), tables), "utf-8")
    svg = options.page.parent / "pictures" / "scale.svg"
    svg.parent.mkdir(exist_ok=True)
    svg.write_text(picture(tables), "utf-8")


if __name__ == "__main__":
    main()
