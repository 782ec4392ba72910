"""All rules. Imports smdebug and with it torch; what only reads findings needs `classifier.watch.rules.rule` alone."""

from __future__ import annotations

from classifier.rule_settings import RULES
from classifier.watch.rules import epoch_rules, machine_rules, step_rules, tensor_rules
from classifier.watch.rules.rule import Rule

_KNOWN: tuple[type[Rule], ...] = (
    *epoch_rules.RULES, *tensor_rules.RULES, *step_rules.RULES, *machine_rules.RULES,
)  # fmt: skip
# In the order of the catalogue.
ALL: tuple[type[Rule], ...] = tuple(sorted(_KNOWN, key=lambda rule: list(RULES).index(rule.__name__)))
