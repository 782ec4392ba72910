"""benchmarks/scale.py measures, computes and simulates, and docs/17-scale.md tells what it wrote."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import scale, scale_growth, scale_plan, scale_traffic
from benchmarks.scale_growth import Measured
from benchmarks.scale_traffic import Fleet, simulate, step
from conftest import ROOT
from orchestrate import deploy, prepare, train, transform, tune

PAGE, RESULTS = ROOT / "docs" / "17-scale.md", ROOT / "benchmarks" / "results" / "scale.md"
PARSERS = {
    module.__name__.rpartition(".")[2]: module.command_line() for module in (deploy, prepare, train, transform, tune)
}


def test_every_step_is_measured_and_the_page_gets_its_tables(tmp_path: Path) -> None:
    page, out = tmp_path / "page.md", tmp_path / "scale.md"
    page.write_text(
        "# A page\n<!-- scale.py: growth -->\nstale\n<!-- end -->\nprose\n<!-- scale.py: data -->\n<!-- end -->\n"
    )
    program = [sys.executable, str(ROOT / "benchmarks" / "scale.py"), "--out", str(out), "--page", str(page)]
    subprocess.run([*program, "--counts", "40", "80", "--seeds", "1"], check=True, stdout=subprocess.DEVNULL)
    written = scale.blocks(out.read_text())
    rows = [
        line for line in written["growth"].splitlines() if line.startswith(("| prepare", "| upload", "| tune", "| job"))
    ]
    assert len(rows) == 9 and written["growth"].startswith("| step | 80 take |")
    assert scale.blocks(page.read_text()) == {name: written[name] for name in ("growth", "data")}
    assert "prose" in page.read_text() and "stale" not in page.read_text()
    subprocess.run([*program, "--keep", "--seeds", "1"], check=True, stdout=subprocess.DEVNULL)
    assert scale.blocks(out.read_text()) == written


def test_the_page_tells_what_was_written() -> None:
    written = scale.blocks(RESULTS.read_text())
    for name, table in scale.blocks(PAGE.read_text()).items():
        assert table == written[name], f"{name}: python benchmarks/scale.py --keep"


def test_what_is_computed_follows_from_the_rates_beside_it() -> None:
    text = RESULTS.read_text()
    written, found = scale.blocks(text), scale_plan.parsed(text)
    for name in ("data", "training", "streaming", "tuning", "serving", "targets"):
        make = scale_plan.data_set if name == "data" else getattr(scale_plan, name)
        assert make(found) == written[name], f"{name}: python benchmarks/scale.py --keep"
    assert set(found) == set(scale_plan.rates())


def test_every_command_of_the_page_can_be_given() -> None:
    commands = re.findall(r"^python orchestrate/(?:.*\\\n)*.*", PAGE.read_text(), re.MULTILINE)
    assert len(commands) > 10
    for command in commands:
        script, *words = re.sub(r" #.*|\\\n", "", command).split()[1:]
        PARSERS[Path(script).stem].parse_args(words)


def test_a_line_is_found_through_what_was_measured() -> None:
    points = [Measured("step", n, n * 0.002, 5000 + 300 * n) for n in (1000, 4000, 16000)]
    grown = scale_growth.fit(points)
    assert grown.exponent == pytest.approx(1) and grown.each == pytest.approx(300)
    assert grown.seconds_for(1e8) == pytest.approx(200_000) and grown.fit_into(3e9) == pytest.approx(1e7)


def test_a_fleet_at_half_of_its_capacity_carries_a_doubling_and_one_at_ninety_percent_does_not() -> None:
    half, full = (Fleet(100, 100 * 60 * share, 4, 80, start_s=480) for share in (0.5, 0.9))
    carried = simulate(half, step(4 * 50, 1.9), 1800, seed=0)
    assert carried.failed == 0 and carried.instances == 8
    lost = simulate(full, step(4 * 90, 2), 1800, seed=0)
    # Without a new instance for 12 of the 25 minutes that are left, 360 of 720 requests a second find no room.
    assert 0.1 < lost.failed_share < 0.25 and lost.instances == 9
    assert lost.longest_wait_s == pytest.approx(1.0)


def test_the_alarm_needs_three_minutes_that_are_known() -> None:
    assert scale_traffic.wanted([(6000, 1)] * 2, 3000) == 0
    assert scale_traffic.wanted([(6000, 1), (2000, 1), (6000, 1)], 3000) == 0
    assert scale_traffic.wanted([(6000, 1)] * 3, 3000) == 2
