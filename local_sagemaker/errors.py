"""What the API answers when it refuses: an error code, one sentence, an HTTP status."""

from __future__ import annotations

from typing import Any

REASON_LIMIT = 1024  # characters of a FailureReason


class ApiError(Exception):
    """A refusal that goes to the client as AWS would send it."""

    def __init__(self, code: str, message: str, status: int = 400, **members: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.members = members


def validation(message: str) -> ApiError:
    return ApiError("ValidationException", message)


def not_done_here(what: str) -> ApiError:
    """For what AWS takes and this server would otherwise silently ignore."""
    return validation(f"local SageMaker does not do {what}: leave it out, or send this request to AWS.")


def in_use(message: str) -> ApiError:
    return ApiError("ResourceInUse", message)


def not_found(message: str) -> ApiError:
    return ApiError("ResourceNotFound", message)


def limit_exceeded(message: str) -> ApiError:
    return ApiError("ResourceLimitExceeded", message)


def rejected(noun: str, status: str, hint: str = "") -> ApiError:
    """For what cannot be asked of a job in its present status."""
    return validation(f"The request was rejected because the {noun} is in status {status}{hint}.")


def too_many_instances(instance_type: str, usage: str, most: int, count: int, hint: str = "") -> ApiError:
    """AWS's refusal of more instances than an account may have; `most` is what one machine is to run."""
    return limit_exceeded(
        f"The account-level service limit '{instance_type} for {usage} usage' is {most} Instances, with current "
        f"utilization of 0 Instances and a request delta of {count} Instances. Local SageMaker is one machine{hint}."
    )


class JobError(Exception):
    """A job cannot go on; the sentence becomes its FailureReason, so it names the cause and what to do."""
