"""What smdebug is to record: from our hyperparameters, or from the file that SageMaker Debugger leaves."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from classifier.errors import InputError
from classifier.rule_settings import COLLECTIONS
from classifier.watch.hook import REDUCTIONS, Hook
from classifier.watch.smdebug_client import error_handling_agent, smd

_OPT_ML = "/opt/ml"
_OF_SMDEBUG = ("all", "default", "weights", "biases", "gradients", "losses")


def own(directory: Path, collections: Sequence[str]) -> Hook:
    """Reductions of everything at each step that it is asked for; in the phase EVAL the losses alone."""
    reductions = smd.ReductionConfig(reductions=list(REDUCTIONS))
    hook = _made(
        lambda: Hook(
            out_dir=str(directory), include_collections=list(collections), save_config=smd.SaveConfig(save_interval=1),
            reduction_config=reductions,
        )
    )  # fmt: skip
    for name in collections:
        if name != "losses":
            _not_in_evaluation(hook.get_collection(name))
    hook.get_collection("gradients").reduction_config = smd.ReductionConfig(
        reductions=list(REDUCTIONS), abs_reductions=["mean"]
    )
    return hook


def add_relus(hook: Hook, network: torch.nn.Module) -> bool:
    """The collection `relu`: the activations of all there are; whether there are any."""
    names = [name for name, module in network.named_modules() if isinstance(module, torch.nn.ReLU)]
    if names:
        hook.include_collections.append("relu")
        hook.get_collection("relu").include([f"^{re.escape(name)}_output_" for name in names])
        _not_in_evaluation(hook.get_collection("relu"))
    return bool(names)


def _not_in_evaluation(collection: Any) -> None:
    collection.save_config = smd.SaveConfig({smd.modes.EVAL: smd.SaveConfigMode(save_interval=1, end_step=0)})


def of_file(file: Path) -> Hook:
    """debughookconfig.json, https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DebugHookConfig.html

    It lies in input/config of /opt/ml, or of the directory that stands for it where a job is a process.

    Raises:
        InputError: it is no JSON or asks for what there is not; or it names a directory that holds another run's
            tensors.
    """
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file} is not JSON ({error}): {_REPAIR}") from None
    if not isinstance(values, dict):
        raise InputError(f"{file} is no JSON object: {_REPAIR}")
    for entry in values.get("CollectionConfigurations") or []:
        _check_collection(file, entry)
    directory = _below(file.parents[2], str(values.get("LocalPath") or f"{_OPT_ML}/output/tensors"))
    if (directory / "index").exists():
        raise InputError(f"{directory}, the LocalPath of {file}, holds the tensors of another run: move them away or "
                         f"give another directory")  # fmt: skip
    try:
        with tempfile.NamedTemporaryFile("w", suffix=".json") as resolved:
            json.dump({**values, "LocalPath": str(directory)}, resolved)
            resolved.flush()
            hook = _made(lambda: Hook.create_from_json_file(resolved.name))
        hook._prepare_collections()
    except Exception as error:  # smdebug's and Python's own, of many kinds
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{file} cannot be used ({reason}): {_REPAIR}") from None
    return hook


_REPAIR = "repair the DebugHookConfig of the request, or leave it out and set debug=true"


def _below(base: Path, path: str) -> Path:
    """The place in `base` of a path below /opt/ml; any other as it is."""
    place = Path(path)
    return base / place.relative_to(_OPT_ML) if place.is_relative_to(_OPT_ML) else place


def _check_collection(file: Path, entry: Any) -> None:
    name = entry.get("CollectionName") if isinstance(entry, dict) else None
    if not isinstance(name, str):
        raise InputError(f"{file} has a collection without CollectionName: {_REPAIR}")
    parameters = entry.get("CollectionParameters") or {}
    if name not in _OF_SMDEBUG and not (isinstance(parameters, dict) and parameters.get("include_regex")):
        raise InputError(f"{file} asks for the collection {name!r}, which is unknown: take one of "
                         f"{', '.join(c for c in _OF_SMDEBUG if c in (*COLLECTIONS, 'all'))}, or give it an "
                         f"include_regex")  # fmt: skip


def _made(make: Any) -> Hook:
    # An error before this hook turned smdebug off for the whole process.
    error_handling_agent.disable_smdebug = False
    hook: Hook = make()
    if error_handling_agent.disable_smdebug:
        raise RuntimeError("smdebug met an error of its own and turned itself off")
    # Its thread would wait for ever when the disk is full; Kennel writes event files of its own for TensorBoard.
    hook.tensorboard_dir = None
    return hook
