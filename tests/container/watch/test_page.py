"""The report's page: whole, small, harmless; and in a headless Chromium, alive."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from classifier.watch import report

from . import runs

HOSTILE = """<script>window.hacked=1</script><img src=x onerror="window.hacked=1">'"--></title>"""
SECTIONS = [
    "Where the time went", "Learning curves", "Rules", "Step timeline", "The machine", "Operators",
    "Weights and gradients over time", "Classes", "The run", "What is missing",
]  # fmt: skip
SIX_MB = 6_000_000
PATIENCE_MS = 60_000


def hostile() -> dict[str, object]:
    """Every text that a stranger writes is an attack."""
    told = runs.finding("StepOutlier", fired=2, advice=HOSTILE, what=HOSTILE, source=HOSTILE)
    rank = runs.rank()
    rank.host, rank.missing, rank.traces = HOSTILE, [HOSTILE], [HOSTILE]
    return runs.document(
        classes_named=[HOSTILE, "b", *(f"{i:03}.Breed_{i}" for i in range(20))], job=HOSTILE, status="failed",
        reason=HOSTILE, ranks=[rank, runs.rank(1)], epochs=runs.epochs(5, 22), findings=[told],
        tensors=runs.tensors([HOSTILE, "gradient/fc"], 5), hyperparameters={"model": HOSTILE, HOSTILE: "1"},
        versions={HOSTILE: HOSTILE}, hardware={"device": HOSTILE}, dataset={HOSTILE: 1}, losses={"train": [(1, 1.0)]},
        mistakes=[{"picture": runs.picture(16), "photograph": HOSTILE, "label": HOSTILE, "called": HOSTILE,
                   "probability": 0.5}],
    )  # fmt: skip


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page without a network, which must not write an error to its console."""
    page = browser.new_page(viewport={"width": 1200, "height": 900}, offline=True)
    page.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    page.close()
    assert said == []


def test_a_day_fits_into_six_megabytes(tmp_path: Path, page: Page) -> None:
    path = report.write(tmp_path, runs.day_long())
    assert path.stat().st_size < SIX_MB
    page.goto(path.as_uri())
    expect(page.locator("#window")).to_contain_text("24 h 0 min")
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_page_needs_nothing_and_runs_nothing_of_strangers(tmp_path: Path, page: Page) -> None:
    path = report.write(tmp_path, hostile())
    html = path.read_text()
    assert "<script>window" not in html and "<img src=x" not in html
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)|url\(|@import""", html), "nothing is loaded from elsewhere"
    page.goto(path.as_uri())
    expect(page.locator(".banner.failed")).to_contain_text("window.hacked=1")
    expect(page.locator("#window")).to_contain_text("steps 1 to 100")
    page.locator("#matrix").hover()
    expect(page.locator("#cell")).to_contain_text(" of ")
    page.locator("#tensor").select_option(index=1)
    for details in page.locator("details").all():
        details.locator("summary").click()
    assert page.evaluate("window.hacked") is None
    assert page.locator("main img:not(.mistakes img):not(.static):not(.static img)").count() == 0


def test_the_timeline_zooms_by_mouse_and_keyboard(tmp_path: Path, page: Page) -> None:
    page.goto(report.write(tmp_path, runs.document(ranks=[runs.rank(), runs.rank(1)])).as_uri())
    window, steps = page.locator("#window"), page.locator("#steps")
    whole = "0 s to 55 s, steps 1 to 100"
    expect(window).to_have_text(whole)
    steps.scroll_into_view_if_needed()
    box = steps.bounding_box()
    assert box
    page.mouse.move(box["x"] + 400, box["y"] + 60)
    expect(page.locator("#tip")).to_contain_text("wait for data")
    page.mouse.down()
    page.mouse.move(box["x"] + 600, box["y"] + 60, steps=3)
    page.mouse.up()
    expect(window).not_to_have_text(whole)
    dragged = window.text_content()
    for key, after in (("+", None), ("0", whole), ("ArrowUp", None), ("ArrowRight", None), ("Home", whole)):
        before = window.text_content()
        steps.press(key)
        expect(window).not_to_have_text(before or "")
        if after:
            expect(window).to_have_text(after)
    page.mouse.move(box["x"] + 500, box["y"] + 60)
    page.mouse.wheel(0, -300)  # the timeline has the focus
    expect(window).not_to_have_text(whole)
    assert dragged
    # The charts of the machine go along, and a firing is found.
    assert "scale(1 1)" not in (page.locator("#machine .moved").first.get_attribute("transform") or "scale(1 1)")
    page.get_by_role("button", name="whole run").click()
    expect(window).to_have_text(whole)
    page.locator("#rule-StepOutlier summary").click()
    page.locator("#rule-StepOutlier").get_by_role("button", name="show").first.click()
    expect(window).not_to_have_text(whole)


def test_tables_are_sorted_and_curves_tell_their_values(tmp_path: Path, page: Page) -> None:
    matrix = [[3, 1, 0], [2, 2, 0], [0, 0, 4]]
    page.goto(report.write(tmp_path, runs.document(matrix=matrix)).as_uri())
    classes = page.locator("#classes + .card table")
    recall = classes.get_by_role("button", name="recall")
    firsts = classes.locator("tbody tr td:first-child")
    recall.click()
    expect(firsts).to_have_text(["003.Breed_3", "001.Breed_1", "002.Breed_2"])
    recall.press("Enter")
    expect(firsts).to_have_text(["002.Breed_2", "001.Breed_1", "003.Breed_3"])
    expect(classes.locator('th[aria-sort="ascending"]')).to_have_text("recall")
    loss = page.locator("#curves svg[role=img]").first
    loss.focus()
    loss.press("ArrowRight")
    loss.press("ArrowRight")
    expect(page.locator("#tip")).to_contain_text("epoch 2\ntrain:loss: 1.5\nvalid:loss: 1.7", use_inner_text=True)


@pytest.mark.parametrize(
    ("status", "said"),
    [("running", "had not ended"), ("failed", "it burnt"), ("stopped", "stopped before its end")],
)
def test_a_run_that_did_not_complete_says_so(tmp_path: Path, page: Page, status: str, said: str) -> None:
    bare: dict[str, Any] = {
        "epochs": [],
        "ranks": [],
        "findings": [],
        "tensors": {},
        "losses": {},
        "metrics": {},
        "kept_epoch": None,
    }
    path = report.write(
        tmp_path, runs.document(status=status, reason="it burnt" if status == "failed" else None, **bare)
    )
    page.goto(path.as_uri())
    banner = page.locator(f".banner.{status}")
    expect(banner).to_contain_text(said)
    assert banner.evaluate("element => element.getBoundingClientRect().bottom < innerHeight")
    expect(page.locator("#timeline")).to_contain_text("No step was recorded")


def test_themes_paper_and_no_script(tmp_path: Path, page: Page, browser: Browser) -> None:
    path = report.write(tmp_path, runs.document(classes=30))
    page.goto(path.as_uri())
    lightness = "Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])"
    for scheme, expected in (("light", 255), ("dark", 20)):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        assert page.evaluate(lightness) == expected
    pdf = page.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True, tagged=True, outline=True)
    headings = re.findall(rb"/Title \(([^)]*)\)", pdf)
    assert [section for section in SECTIONS if section.encode() not in headings] == []
    # What the browser prints: everything is open, and the pictures stand where canvases were.
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(lightness) == 255
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    for there, hidden in (("#timeline .static svg", "#steps"), ("#machine .heat img", "#machine canvas"),
                          ("img.matrix", "#matrix")):  # fmt: skip
        expect(page.locator(there).first).to_be_visible()
        expect(page.locator(hidden).first).to_be_hidden()
    plain = browser.new_page(java_script_enabled=False)
    plain.goto(path.as_uri())
    for there in (
        "#timeline .static svg",
        "#machine .heat img",
        "img.matrix",
        "#curves .line",
        "#tensors .static .line",
    ):
        expect(plain.locator(there).first).to_be_visible()
    plain.close()
