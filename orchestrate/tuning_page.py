"""The page of a search: one HTML file that needs nothing else, light or dark as the reader's system is."""

from __future__ import annotations

from pathlib import Path

from orchestrate import follow, importance, plot, pricing, storage, tuning_charts
from orchestrate.prices import Price
from orchestrate.search import OBJECTIVES
from orchestrate.session import Session
from orchestrate.tuned import Tuned

NAME = "tuning.html"


def write(session: Session, found: Tuned) -> None:
    """Writes the page beside best.json, and to this machine for the browser."""
    html = render(found, session.price(found.instance_type, pricing.TRAINING)).encode()
    session.storage.write(html, storage.join(found.folder, NAME))
    file = local_file(found)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(html)


def local_file(found: Tuned) -> Path:
    """Where the page is on this machine."""
    return Path("runs") / found.name / NAME


def render(found: Tuned, price: Price | None) -> str:
    """`price`: of the instance type; None where it is unknown."""
    import jinja2

    usd_per_hour = price.usd if price else None
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    templates.filters["short"] = follow.short
    other = next(name for name in OBJECTIVES if name != found.objective)
    curves = [
        tuning_charts.learning_curves(found.trials, found.best, metric, found.direction)
        for metric in (found.objective, other, "train:loss")
    ]
    axes, lines = tuning_charts.parallel_coordinates(found.trials, found.best, found.objective, found.direction)
    features_s = found.features.seconds if found.features else 0
    # One job is paid for as a whole, start-up and embedding included; trials are jobs of their own.
    trials_s = sum(trial.seconds or 0.0 for trial in found.trials)
    return templates.get_template("tuning_page.html.j2").render(
        found=found,
        by_trial=tuning_charts.objective_by_trial(found.trials, found.best, found.objective, found.direction),
        curves=[chart for chart in curves if chart],
        axes=axes, lines=lines, good=tuning_charts.goodness(found.trials, found.direction),
        shares=importance.of(found.trials), fewest=importance.FEWEST,
        names=sorted({name for trial in found.trials for name in trial.hyperparameters}),
        longest=max((trial.seconds or 0.0 for trial in found.trials), default=0.0) or 1.0,
        features_s=features_s, whole_s=found.seconds + features_s,
        usd_per_hour=usd_per_hour, basis=price.basis if price else "",
        whole_usd=None if usd_per_hour is None else
        ((found.seconds if found.in_one_job else trials_s) + features_s) / 3600 * usd_per_hour,
        failed=[trial for trial in found.trials if trial.failure],
        width=plot.WIDTH, height=plot.HEIGHT,
    )  # fmt: skip
