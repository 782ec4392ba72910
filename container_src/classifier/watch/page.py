"""The page of a report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def render(document: Mapping[str, Any]) -> str:
    """One HTML file that needs nothing else."""
    import jinja2

    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return templates.get_template("report.html.j2").render(doc=document)
