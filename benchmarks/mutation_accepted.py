"""Mutants that may survive, by module and by the line that they make; each with the reason.

A mutant that behaves as the code does is equivalent: no test can tell them apart. The others are accepted.
"""

from __future__ import annotations

ACCEPTED: dict[str, dict[str, str]] = {}
