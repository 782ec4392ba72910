"""What the container's memory limit has to do with it when the server is not well."""

from __future__ import annotations

from classifier import events, machine

# The container with a ResNet on CPUs: benchmarks/faults.py. With less, Linux drops and reads again the libraries' code
# without end before it kills anything: the server neither starts nor ends.
LEAST_MB = 700


def tell() -> None:
    """Says so in the log where the container may use less than it takes."""
    if too_little := _too_little():
        events.say("memory", "error", what=too_little)


def hint() -> str:
    """What to add to a sentence about processes that do not come or that were killed; "" where it is not the memory."""
    killed = machine.processes_killed()
    if killed:
        return f"; the container reached its memory limit (oom_kill {killed}): give it more"
    too_little = _too_little()
    return f"; {too_little}" if too_little else ""


def _too_little() -> str:
    megabytes = machine.memory_mb()
    if megabytes is None or megabytes >= LEAST_MB:
        return ""
    return f"the container may use {megabytes} MB of memory and takes about {LEAST_MB} MB: give it more"
