"""The exceptions that end a script with one sentence. `InputError` (exit 2) is the container's own."""

from __future__ import annotations

from classifier.errors import InputError

__all__ = ["InputError", "JobFailed"]


class JobFailed(Exception):
    """SageMaker ran what was asked for and it ended Failed or Stopped; the message holds its reason (exit 1)."""
