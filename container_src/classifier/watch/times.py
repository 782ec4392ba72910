"""Where a run's time went, and durations in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PARTS = ("wait", "copy", "forward", "backward", "optimizer")
SPANS = ("initialization", "evaluation", "checkpoint")


def spent(document: Mapping[str, Any]) -> dict[str, float]:
    """Seconds of each part of the steps and each kind of span, the mean of the ranks, and `other`: what is left of
    `total`. Where steps were thinned out those that are left stand for the rest."""
    ranks = document["ranks"]
    seconds = dict.fromkeys((*SPANS, *PARTS), 0.0)
    for rank in ranks:
        for name, took in zip(rank["spans"]["name"], rank["spans"]["seconds"], strict=True):
            seconds[name] = seconds.get(name, 0.0) + (took or 0.0) / len(ranks)
        for part in PARTS:
            seconds[part] += sum(filter(None, rank["steps"][f"{part}_s"])) * rank["steps_thinned"] / len(ranks)
    total = max(0.0, until(document) - document["began"])
    other = max(0.0, total - sum(seconds.values()))
    return {name: round(s, 6) for name, s in {**seconds, "other": other, "total": total}.items()}


def until(document: Mapping[str, Any]) -> float:
    """When the job ended, or the last that was seen of it; seconds since 1970."""
    if document["ended"] is not None:
        return float(document["ended"])
    seen = [document["began"]]
    for rank in document["ranks"]:
        steps, spans = rank["steps"], rank["spans"]
        seen += rank["samples"]["at"][-1:]
        seen += steps["began"][-1:]
        seen += [began + took for began, took in zip(spans["began"], spans["seconds"], strict=True) if took is not None]
    seen += [e["began"] + e["seconds"] for e in document["epochs"] if e["seconds"] is not None]
    return max(float(at) for at in seen if at is not None)


def words(seconds: float) -> str:
    """`2 min 5 s`."""
    if 0 < seconds < 0.0995:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    minutes = round(seconds / 60)
    return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")
