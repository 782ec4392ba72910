"""What of AWS's requests is done here, what is taken without effect, and what is refused: said once, for the server
that refuses by it and for the page that lists it.

A path names a member of a request as `A.B.C`, through lists and maps as if they were not there, and stands for all that
is below it; `A.B=VALUE` names one value of it. A member that no path names is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from local_sagemaker import errors


@dataclass(frozen=True)
class Support:
    """Of one operation: the paths whose values change nothing here, those that are refused, and those that are done by
    being shown again or handed on to the container, because AWS does no more with them either."""

    without_effect: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    def check(self, parameters: dict[str, Any]) -> None:
        """Raises ApiError for the first refused path that a request gives."""
        for path in self.refused:
            members, _, wanted = path.partition("=")
            for value in _values(parameters, members.split(".")):
                if not wanted or value == wanted:
                    raise errors.not_done_here(path.replace("=", " "))


def _values(value: Any, members: list[str]) -> Iterator[Any]:
    """What a request gives at a path; nothing where it says `null`, `false` or an empty list."""
    if isinstance(value, list):
        for item in value:
            yield from _values(item, members)
    elif not members:
        if value not in (None, False, {}):
            yield value
    elif isinstance(value, dict) and members[0] in value:
        yield from _values(value[members[0]], members[1:])
