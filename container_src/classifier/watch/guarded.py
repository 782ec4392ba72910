"""An observer whose errors do not end the training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch

from classifier.steps import Step
from classifier.training import Epoch, Observer


class Guarded(Observer):
    """Passes on to `observer` until that fails; then `tell` gets a sentence, and it is left in peace."""

    def __init__(self, observer: Observer, tell: Callable[[str], None]) -> None:
        self._observer, self._tell, self._alive = observer, tell, True

    def on_start(self, network: torch.nn.Module, criterion: torch.nn.Module) -> None:
        self._pass(self._observer.on_start, network, criterion)

    def on_resume(self, history: Sequence[Epoch]) -> None:
        self._pass(self._observer.on_resume, history)

    def on_phase(self, phase: Literal["train", "eval"]) -> None:
        self._pass(self._observer.on_phase, phase)

    def on_step(self, step: Step) -> None:
        self._pass(self._observer.on_step, step)

    def on_epoch(self, epoch: Epoch) -> None:
        self._pass(self._observer.on_epoch, epoch)

    def _pass(self, event: Callable[..., None], *values: Any) -> None:
        if not self._alive:
            return
        try:
            event(*values)
        except Exception as error:  # of whatever is watched with: the training goes on
            self._alive = False
            name = type(self._observer).__name__.lower()
            self._tell(f"the {name} has ended with an error of its own ({type(error).__name__}: {error})")
