"""Every operation of S3 that is answered here, and what of its parameters is."""

from __future__ import annotations

from local_sagemaker.arns import ACCOUNT
from local_sagemaker.errors import ApiError
from local_sagemaker.s3 import buckets, listings, multipart, objects, reading
from local_sagemaker.s3.service import S3, Asked, Given, Handler
from local_sagemaker.support import Support

_MODULES = (buckets, objects, reading, listings, multipart)
HANDLERS: dict[str, Handler] = {name: handler for module in _MODULES for name, handler in module.HANDLERS.items()}
SUPPORT: dict[str, Support] = {name: Support() for name in HANDLERS} | {
    name: support for module in _MODULES for name, support in module.SUPPORT.items()
}


def perform(s3: S3, asked: Asked) -> Given:
    """Answers a request. Raises ApiError."""
    handler = HANDLERS[asked.operation]
    for owner in ("ExpectedBucketOwner", "ExpectedSourceBucketOwner"):
        if asked.parameters.get(owner, ACCOUNT) != ACCOUNT:
            raise ApiError("AccessDenied", "Access Denied", 403)
    try:
        SUPPORT[asked.operation].check(asked.parameters)
    except ApiError as error:
        raise ApiError("NotImplemented", error.message, 501) from None
    return handler(s3, asked)


def check_known(operation: str) -> None:
    """Raises ApiError for an operation that S3 has and that is not answered here."""
    if operation not in HANDLERS:
        message = f"local SageMaker does not do s3:{operation}; its documentation lists what it does."
        raise ApiError("NotImplemented", message, 501)
