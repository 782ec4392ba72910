"""The exceptions that end a script with one sentence. `InputError` (exit 2) is the container's own."""

from __future__ import annotations

from classifier.errors import InputError

__all__ = ["InputError", "JobFailed", "RuleFired"]


class JobFailed(Exception):
    """SageMaker ran what was asked for and it ended Failed or Stopped; the message holds its reason (exit 1)."""


class RuleFired(Exception):
    """A job ended well and a rule that is marked as an error fired in it; the message says what it saw (exit 3)."""
