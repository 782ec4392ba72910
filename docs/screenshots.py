"""Takes a picture of every page that the project makes, on a desktop and a phone, light and dark.

    make screenshots                              (needs chromium or google-chrome; takes some minutes on two cores)
    python docs/screenshots.py --publish          (after `make site`; also cuts those that the documentation shows)

The pages are made by the scripts themselves, on a local SageMaker, of generated photographs; nothing is mocked. The
pictures come to build/screenshots, with index.html, which shows them all and tells of each page what can be measured:
whether it is wider than the screen, text whose contrast is below WCAG's 4.5 (3 where it is large), errors of its
scripts.
"""

from __future__ import annotations

import html
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "screenshots"
SITE = ROOT / "build" / "site"
PATIENCE_MS = 120_000
SCREENS = {"desktop": (1280, 800), "phone": (390, 844)}
SCHEMES = ("light", "dark")
SMALL = ("--weights", "none", "--freeze-backbone", "false", "--image-size", "64")
# What docs/ shows: picture -> (which of these, how much of it from the top).
SHOWN = {
    "tuning": ("tuning.desktop.light", 1060),
    "report": ("report-good.desktop.light", 960),
    "try": ("try-answered.desktop.light", 830),
    "console": ("console-training-job.desktop.light", 1700),
}
# Text nodes whose colour is too close to what lies behind them; pictures and gradients are not looked through.
FAINT = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = colour => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].map(v => v / 255);
  };
  const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const light = c => [0.2126, 0.7152, 0.0722].reduce((sum, share, i) =>
    sum + share * (c[i] <= 0.03928 ? c[i] / 12.92 : ((c[i] + 0.055) / 1.055) ** 2.4), 0);
  const behind = element => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(rgba(getComputedStyle(e).backgroundColor));
    const dark = getComputedStyle(document.documentElement).colorScheme.includes("dark")
      && matchMedia("(prefers-color-scheme: dark)").matches;
    return layers.reverse().reduce((below, layer) => over(layer, below), dark ? [0.07, 0.07, 0.07, 1] : [1, 1, 1, 1]);
  };
  const found = new Set(), walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, element = node.parentElement;
    if (!node.data.trim() || element.closest("script, style, noscript, :disabled, [aria-hidden=true]")) continue;
    if (!element.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    const style = getComputedStyle(element), svg = element.closest("svg");
    const below = behind(svg?.parentElement ?? element);
    const colour = over(rgba(svg ? style.fill : style.color), below);
    const [a, b] = [light(colour), light(below)].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.6 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) found.add(`${ratio.toFixed(1)}: ${node.data.trim().slice(0, 40)}`);
  }
  return [...found].slice(0, 8);
}"""
WIDER = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@dataclass(frozen=True)
class Shot:
    """A page in one state. `enter`: what a reader does before it is looked at."""

    name: str
    address: str
    enter: Callable[[Page], object] = lambda page: None


@dataclass
class Camera:
    """`faults`: picture -> what was measured to be wrong with it."""

    browser: Browser
    faults: dict[str, list[str]] = field(default_factory=dict)

    def take(self, *shots: Shot) -> None:
        """Each on every screen, in both colour schemes."""
        for shot in shots:
            for screen in SCREENS:
                for scheme in SCHEMES:
                    self._take(shot, f"{shot.name}.{screen}.{scheme}.png", screen, scheme)

    def _take(self, shot: Shot, file: str, screen: str, scheme: Any) -> None:
        width, height = SCREENS[screen]
        is_phone = screen == "phone"
        page = self.browser.new_page(
            viewport={"width": width, "height": height}, color_scheme=scheme, is_mobile=is_phone, has_touch=is_phone
        )
        page.set_default_timeout(PATIENCE_MS)
        faults = self.faults.setdefault(file, [])
        page.on("pageerror", lambda error: faults.append(f"script: {error}"))
        page.goto(shot.address)
        shot.enter(page)
        page.wait_for_timeout(500)  # what fades in has done so
        if (wider := page.evaluate(WIDER)) > 0:
            faults.append(f"{wider} pixels wider than the screen")
        faults += [f"contrast {faint}" for faint in page.evaluate(FAINT)]
        page.screenshot(path=OUT / file, full_page=True)
        page.close()
        print(f"{file}{': ' if faults else ''}{'; '.join(faults)}", flush=True)


@dataclass(frozen=True)
class Kitchen:
    """Where the scripts run: `folder` has the data set and `runs/`."""

    folder: Path

    def run(self, script: str, *options: str, fails: bool = False) -> Any:
        """What it says with --json; nothing where it is to fail."""
        print(f"... {script} {' '.join(options)}", flush=True)
        done = subprocess.run(
            self._command(script, *options, "--json"), cwd=self.folder, capture_output=True, text=True
        )
        if (done.returncode != 0) != fails:
            sys.exit(f"{script} ended with {done.returncode}:\n{done.stderr}")
        return None if fails else json.loads(done.stdout)

    @contextmanager
    def running(self, script: str, *options: str) -> Iterator[subprocess.Popen[str]]:
        """While it runs."""
        # The page is for our browser, not for one that a desktop would open.
        environment = {**os.environ, "BROWSER": "true"}
        with subprocess.Popen(
            self._command(script, *options), cwd=self.folder, env=environment, text=True, stdout=subprocess.PIPE
        ) as process:
            try:
                yield process
            finally:
                process.terminate()

    def service(self) -> str:
        """The address of the local SageMaker."""
        done = subprocess.run(
            [sys.executable, "-m", "local_sagemaker", "status", "--json", "--state", "runs/.sagemaker"],
            cwd=self.folder, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return str(json.loads(done.stdout)["url"])

    def _command(self, script: str, *options: str) -> list[str]:
        return [sys.executable, str(ROOT / "orchestrate" / f"{script}.py"), *options]


def main() -> None:
    """Makes the pages in the order in which a person meets them."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # the server ends in any case
    shutil.rmtree(OUT, ignore_errors=True)
    kitchen = Kitchen(OUT / "work")
    kitchen.folder.mkdir(parents=True)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("error: neither chromium nor google-chrome is on PATH: install one of them")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        camera = Camera(browser)
        documentation(camera)
        try:
            jobs(camera, kitchen)
            endpoint(camera, kitchen)
            console(camera, kitchen)
        finally:
            kitchen.run("clean", "--local", "--all", "--yes")
            kitchen.run("clean", "--local", "--stop-server")
            shutil.rmtree(kitchen.folder)
        browser.close()
    if "--publish" in sys.argv:
        publish()
    (OUT / "index.html").write_text(sheet(camera.faults), encoding="utf-8")
    print(f"{len(camera.faults)} pictures, {sum(map(bool, camera.faults.values()))} with faults: {OUT / 'index.html'}")


def publish() -> None:
    """The pictures that docs/ shows."""
    for name, (file, height) in SHOWN.items():
        with Image.open(OUT / f"{file}.png") as picture:
            shown = picture.convert("RGB").crop((0, 0, picture.width, min(height, picture.height)))
        shown.save(ROOT / "docs" / "pictures" / f"{name}.webp", quality=80, method=6)


def documentation(camera: Camera) -> None:
    """The front page, and one that is a table."""
    pages = {"site-front": "index.html", "site-table": "docs/hyperparameters.html"}
    camera.take(*(Shot(name, (SITE / page).as_uri()) for name, page in pages.items()))


def jobs(camera: Camera, kitchen: Kitchen) -> None:
    """A search of which a trial fails, a training that does well, one that rules complain of, one that runs."""
    made = kitchen.run("prepare", "--source", "synthetic", "--classes", "8", "--per-class", "60", "--size", "96")
    data = ("--local", "--data", made["data"])
    # The worst of these diverge: a trial that fails is to be seen too.
    kitchen.run("tune", *data, *SMALL, "--name", "search", "--trials", "8", "--parallel", "2", "--strategy", "random",
                "--seed", "1", "--optimizer", "sgd", "--range", "learning-rate=0.001:10:log", "--range", "epochs=2:3",
                "--range", "weight-decay=0.001:1:log", "--range", "batch-size=16,32")  # fmt: skip
    camera.take(Shot("tuning", (kitchen.folder / "runs" / "search" / "tuning.html").as_uri()))
    trainings = {
        "good": ("--learning-rate", "0.001", "--epochs", "8", "--batch-size", "16"),
        "poor": ("--learning-rate", "10", "--optimizer", "sgd", "--epochs", "2", "--batch-size", "64"),
    }
    for name, options in trainings.items():
        kitchen.run("train", *data, *SMALL, "--name", name, "--seed", "1", *options)
        camera.take(Shot(f"report-{name}", report(kitchen, name).as_uri()))
    compared = kitchen.run("report", "--local", "--compare", "good", "poor")
    camera.take(Shot("compare", (kitchen.folder / compared["page"]).as_uri()))
    kitchen.run("train", *data, *SMALL, "--name", "failed", "--optimizer", "sgd", "--learning-rate", "10",
                "--weight-decay", "1", "--batch-size", "16", "--epochs", "1", fails=True)  # fmt: skip
    camera.take(Shot("report-failed", report(kitchen, "failed").as_uri()))


def report(kitchen: Kitchen, name: str) -> Path:
    """The page of a job that has ended."""
    (found,) = (kitchen.folder / "runs" / name / "results").rglob("report.html")
    return found


def endpoint(camera: Camera, kitchen: Kitchen) -> None:
    """The try page with nothing, an answer, a bad file and a gone endpoint; the pictures; a batch for the console."""
    data = next((kitchen.folder / "runs" / "data").iterdir()) / "test"
    photographs = [next(folder.iterdir()) for folder in sorted(data.iterdir())]
    text = kitchen.folder / "notes.txt"
    text.write_text("no photograph")
    kitchen.run("deploy", "--local", "--from-training", "good", "--name", "rex")
    asked = ("--local", "--endpoint", "rex")
    kitchen.run("predict", *asked, "--picture", str(OUT / "predictions.png"), *map(str, photographs[:6]))
    kitchen.run("predict", *asked, "--map", str(OUT / "map.png"), str(photographs[0]))
    kitchen.run("transform", "--local", "--from-training", "good", "--data", str(data), "--name", "batch")

    def drop(*files: Path) -> Callable[[Page], None]:
        def enter(page: Page) -> None:
            for count, file in enumerate(files, 1):
                page.set_input_files("input", file)
                page.locator("figure:has(li, .bad)").nth(count - 1).wait_for()

        return enter

    def answered(page: Page) -> None:
        drop(*photographs[:3])(page)
        page.locator("figure").nth(1).get_by_role("button").click()
        page.wait_for_selector("button[aria-pressed=true]")

    with kitchen.running("predict", *asked, "--page") as process:
        assert process.stdout
        address = next(word for line in process.stdout for word in line.split() if word.startswith("http://"))
        camera.take(Shot("try-empty", address), Shot("try-answered", address, answered),
                    Shot("try-bad-file", address, drop(text)))  # fmt: skip
        kitchen.run("clean", "--local", "--yes", "rex")
        camera.take(Shot("try-endpoint-gone", address, drop(photographs[0])))
    kitchen.run("deploy", "--local", "--from-training", "good", "--name", "rex")


def console(camera: Camera, kitchen: Kitchen) -> None:
    """The local SageMaker's own pages, the last of them with a job that runs, and that job's report so far."""
    url = kitchen.service()

    def page(name: str, path: str, text: str) -> Shot:
        return Shot(
            f"console-{name}",
            f"{url}/#/{path}",
            lambda page: page.get_by_text(text).locator("visible=true").first.wait_for(),
        )

    camera.take(
        page("front", "", "search"), page("tuning-job", "tuning-jobs/search", "Trials"),
        page("training-job", "training-jobs/good", "epoch 8/8"), page("failed", "training-jobs/failed", "Failed"),
        page("endpoint", "endpoints/rex", "InService"), page("transform", "transform-jobs/batch", "Completed"),
        page("list", "training-jobs", "failed"), page("unknown", "training-jobs/nobody", "nobody"),
    )  # fmt: skip
    data = str(next((kitchen.folder / "runs" / "data").iterdir()))
    with kitchen.running(
        "train", "--local", "--data", data, *SMALL, "--name", "running", "--epochs", "1000"
    ) as process:
        assert process.stdout
        next(line for line in process.stdout if "epoch 3/" in line)
        camera.take(page("running", "training-jobs/running", "InProgress"))
        (found,) = (kitchen.folder / "runs" / ".sagemaker").rglob("running*/**/report.html")
        camera.take(Shot("report-running", found.as_uri()))


def sheet(faults: dict[str, list[str]]) -> str:
    """All of them on one page, a row each page."""
    rows: dict[str, list[str]] = {}
    for file, wrong in faults.items():
        rows.setdefault(file.partition(".")[0], []).append(
            f'<figure><a href="{file}"><img src="{file}" alt="" loading="lazy"></a>'
            f"<figcaption>{' '.join(file.split('.')[1:3])}"
            + "".join(f"<br><b>{html.escape(fault)}</b>" for fault in wrong) + "</figcaption></figure>"
        )  # fmt: skip
    pictures = "".join(
        f'<figure><a href="{f}"><img src="{f}" alt=""></a></figure>' for f in ("predictions.png", "map.png")
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Every page</title><style>'
        "body { font: 14px/1.4 system-ui, sans-serif; margin: 2rem; background: #8a919c; }"
        "div { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0; max-width: 420px; }"
        "img { max-width: 420px; max-height: 560px; object-fit: cover; object-position: top; } b { color: #8f0d0d; }"
        "</style><h1>Every page</h1>"
        + "".join(f"<h2>{name}</h2><div>{''.join(row)}</div>" for name, row in rows.items())
        + f"<h2>predict --picture, --map</h2><div>{pictures}</div></html>\n"
    )


if __name__ == "__main__":
    main()
