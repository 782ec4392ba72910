"""SageMaker Debugger's open-source client, smdebug: losses recorded while training, read back for the report."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Literal

import torch

from classifier.training import Observer


class Debugger(Observer):
    """An observer of training that hooks smdebug into the network and the loss.

    `hook_file`: the JSON configuration that SageMaker leaves when the request has a `DebugHookConfig`; None records the
    losses every `save_interval` steps into `tensors`.
    """

    def __init__(self, tensors: Path, save_interval: int, hook_file: Path | None = None) -> None:
        smd = _smdebug()
        # smdebug builds half a hook on a directory that exists, as after a restart.
        shutil.rmtree(tensors, ignore_errors=True)
        if hook_file is not None:
            self.hook = smd.Hook.create_from_json_file(str(hook_file))
        else:
            self.hook = smd.Hook(
                out_dir=str(tensors),
                include_collections=["losses"],
                save_config=smd.SaveConfig(save_interval=save_interval),
            )
        self.tensors = Path(self.hook.out_dir)

    def on_start(self, network: torch.nn.Module, criterion: torch.nn.Module) -> None:
        self.hook.register_module(network)
        self.hook.register_loss(criterion)

    def on_phase(self, phase: Literal["train", "eval"]) -> None:
        modes = _smdebug().modes
        self.hook.set_mode(modes.TRAIN if phase == "train" else modes.EVAL)

    def close(self) -> bool:
        """Writes what is buffered; False when smdebug met an error of its own and has turned itself off."""
        from smdebug.core.utils import error_handling_agent

        self.hook.close()
        return not error_handling_agent.disable_smdebug

    def losses(self) -> dict[str, list[tuple[int, float]]]:
        """What was recorded, read back from the files: phase -> [(step, loss), ...]."""
        if not (self.tensors / "events").is_dir():
            return {}  # `create_trial` waits for ever on a directory without events
        smd = _smdebug()
        trial = smd.create_trial(str(self.tensors))
        series: dict[str, list[tuple[int, float]]] = {}
        for name in trial.tensor_names(collection="losses"):
            tensor = trial.tensor(name)
            for phase, mode in (("train", smd.modes.TRAIN), ("eval", smd.modes.EVAL)):
                for step in tensor.steps(mode=mode):
                    series.setdefault(phase, []).append((step, float(tensor.value(step, mode=mode).mean())))
        return series


def _smdebug() -> Any:
    # It logs a dozen lines of start-up at INFO and reads its level when it is imported; its warnings are worth reading.
    os.environ.setdefault("SMDEBUG_LOG_LEVEL", "WARNING")
    import smdebug.pytorch as smd

    return smd
