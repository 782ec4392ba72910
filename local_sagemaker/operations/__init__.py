"""The operations of the API, one module a resource.

Each takes the platform and a checked call and gives the answer's members.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from local_sagemaker import runtime_protocol, validation
from local_sagemaker.operations import (
    endpoint_configs,
    endpoints,
    identity,
    logs,
    model_packages,
    models,
    roles,
    scaling,
    tags,
    training_jobs,
    transform_jobs,
    tuning_jobs,
)
from local_sagemaker.platform import Platform
from local_sagemaker.protocol import Call, unknown_operation
from local_sagemaker.support import Support

Handler = Callable[[Platform, Call], dict[str, Any]]

_SERVICES = {
    "sagemaker": (
        training_jobs,
        tuning_jobs,
        transform_jobs,
        models,
        model_packages,
        endpoint_configs,
        endpoints,
        tags,
    ),
    "application-autoscaling": (scaling,),
    "logs": (logs,),
    "sts": (identity,),
    "iam": (roles,),
}
HANDLERS: dict[tuple[str, str], Handler] = {
    (service, name): handler
    for service, modules in _SERVICES.items()
    for module in modules
    for name, handler in module.HANDLERS.items()
}
SUPPORT: dict[tuple[str, str], Support] = {
    (service, name): getattr(module, "SUPPORT", {}).get(name, Support())
    for service, modules in _SERVICES.items()
    for module in modules
    for name in module.HANDLERS
}
# SageMaker Runtime's operations are not calls: they carry a model's own bytes, and `invocations.py` answers them.
SUPPORT |= {(runtime_protocol.SERVICE, name): support for name, support in runtime_protocol.SUPPORT.items()}


def perform(platform: Platform, call: Call) -> dict[str, Any]:
    """Checks a call against botocore's model and answers it. Raises ApiError."""
    handler = HANDLERS.get((call.service, call.operation))
    if handler is None:
        raise unknown_operation(f"{call.service}:{call.operation}")
    validation.check(call.service, call.operation, call.parameters)
    call = replace(call, parameters=validation.without_nulls(call.parameters))
    SUPPORT[call.service, call.operation].check(call.parameters)
    return handler(platform, call)
