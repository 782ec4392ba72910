"""SageMaker's own Debugger and profiler beside ours, for accounts that still have them: --managed-debugger.

The members of CreateTrainingJob are those of
docs.aws.amazon.com/sagemaker/latest/dg/debugger-built-in-rules-api.CLI.html; the service is closed to new customers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from classifier import rule_settings
from classifier.config import Config
from orchestrate.errors import InputError
from orchestrate.session import Session

HELP = (
    "add SageMaker's own Debugger hook, rules and profiler to the job; only accounts that used them before "
    "30 July 2026 have them"
)
# The built-in rules that work on what our hook records, and the collection that each needs. (ClassImbalance and
# Confusion want the labels and the predictions of every batch.)
_RULES = {
    "LossNotDecreasing": "losses", "Overfit": "losses", "Overtraining": "losses", "VanishingGradient": "gradients",
    "ExplodingTensor": "gradients", "WeightUpdateRatio": "weights", "UnchangedTensor": "weights",
    "PoorWeightInitialization": "relu", "DeadRelu": "relu",
}  # fmt: skip
# Runs every rule of the profiler and writes its report.
_PROFILER_RULE = "ProfilerReport"
_COLLECTIONS = {"relu": ("relu_output", {"include_regex": ".*relu_output"})}
# The service's own; it records whole tensors.
_SAVE_INTERVAL = 500
_PROFILING_INTERVAL_MS = 500


def members(session: Session, hyperparameters: Mapping[str, str]) -> dict[str, Any]:
    """What CreateTrainingJob needs besides: the hook with the collections of the job, rules, profiler.

    Raises:
        InputError: AWS names no account of the rules' image for the region.
    """
    config = Config.parse(hyperparameters)
    settings = rule_settings.parse(config.rules, config.stop_on)
    collections = rule_settings.collections(config.collections)
    image = _image(session.region)
    interval = {"save_interval": str(config.save_interval or _SAVE_INTERVAL)}

    def rule(name: str) -> dict[str, Any]:
        return {"RuleConfigurationName": name, "RuleEvaluatorImage": image, "RuleParameters": {"rule_to_invoke": name}}

    named = [_COLLECTIONS.get(name, (name, {})) for name in collections]
    return {
        "DebugHookConfig": {
            "S3OutputPath": session.root,
            "HookParameters": interval,
            "CollectionConfigurations": [
                {"CollectionName": name, "CollectionParameters": {**parameters, **interval}}
                for name, parameters in named
            ],
        },
        "DebugRuleConfigurations": [
            rule(name) for name, needed in _RULES.items()
            if needed in collections and settings.rules[name].severity != "off"
        ],
        # Without ProfilingParameters: the profiling of a framework's operations needs PyTorch before 2.0.
        "ProfilerConfig": {"S3OutputPath": session.root, "ProfilingIntervalInMilliseconds": _PROFILING_INTERVAL_MS},
        "ProfilerRuleConfigurations": [rule(_PROFILER_RULE)],
    }  # fmt: skip


@contextmanager
def explaining() -> Iterator[None]:
    """Around a request with these members: its refusal is told as what it most likely is.

    Raises:
        InputError: SageMaker refused it and named Debugger or the profiler.
    """
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        answer = error.response.get("Error", {})
        message = str(answer.get("Message", ""))
        # With which words SageMaker refuses is nowhere documented: what names the service is taken for it.
        if not any(word in message.lower() for word in ("debug", "profil")):
            raise
        raise InputError(f"SageMaker refused --managed-debugger ({answer.get('Code')}: {message}): Debugger and its "
                         f"profiler are closed to accounts that did not use them before 30 July 2026. Leave the option "
                         f"out: the image records, judges and reports by itself") from None  # fmt: skip


def _image(region: str) -> str:
    from sagemaker.core import image_uris

    try:
        return str(image_uris.retrieve("debugger", region))
    except ValueError as error:
        raise InputError(f"--managed-debugger: {error} Or leave the option out.") from None
