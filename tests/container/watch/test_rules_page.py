from __future__ import annotations

from pathlib import Path

from classifier.rule_settings import reference

ROOT = Path(__file__).resolve().parents[3]


def test_the_page_of_the_rules_is_up_to_date() -> None:
    assert (ROOT / "docs" / "rules.md").read_text() == reference(), "run `make docs`"
