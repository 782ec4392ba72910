"""What every kind of resource has in common: it is found, described and listed from its records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from local_sagemaker import listing
from local_sagemaker.errors import ApiError
from local_sagemaker.platform import Platform
from local_sagemaker.protocol import Call
from local_sagemaker.records import Record
from local_sagemaker.validation import operation_model, project


@dataclass(frozen=True)
class Resource:
    """One kind of resource.

    `kind`: of its records; `name` and `status`: the members that hold a record's name and status; `summaries`: the
    member of the List operation's answer; `missing`: the refusal for a name that is not there, from name and region;
    `order`: what the List operation sorts by, and how, when it is not told.
    """

    kind: str
    name: str
    summaries: str
    missing: Callable[[str, str], ApiError]
    status: str | None = None
    order: tuple[str, str] = ("CreationTime", "Descending")

    def find(self, platform: Platform, name: str, region: str) -> Record:
        """A copy of the record. Raises ApiError."""
        record = platform.records.find(self.kind, name)
        if record is None:
            raise self.missing(name, region)
        return record

    def describe(self, platform: Platform, call: Call) -> dict[str, Any]:
        """Answers the Describe operation."""
        record = self.find(platform, call.parameters[self.name], call.region)
        return project(record, operation_model(call.service, call.operation).output_shape)

    def list_(self, platform: Platform, call: Call) -> dict[str, Any]:
        """Answers the List operation."""
        return self.listed(platform.records.all(self.kind), call)

    def listed(self, records: list[Record], call: Call) -> dict[str, Any]:
        """Answers a List operation from these records."""
        chosen, token = listing.select(records, call.parameters, self.name, self.status, self.order)
        shape = operation_model(call.service, call.operation).output_shape.members[self.summaries].member
        shown = [project(record, shape) for record in chosen]
        return {self.summaries: shown, **({"NextToken": token} if token else {})}
