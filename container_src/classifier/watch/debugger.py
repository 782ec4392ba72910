"""smdebug at work: tensors of the steps that are recorded, to its files and to the rules."""

from __future__ import annotations

import atexit
import functools
import math
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from classifier.steps import Step
from classifier.training import Observer
from classifier.watch import hook_config
from classifier.watch.live_trial import LiveTrial
from classifier.watch.recording_times import Sparingly
from classifier.watch.rules.tensor_rules import ACTIVE, UPDATE
from classifier.watch.smdebug_client import error_handling_agent, match_inc, smd

# Values of an activation that are looked at in one step; of large ones the first photographs' alone.
_ACTIVATIONS = 1 << 19
# More points of a loss are thinned out by two, as many as that there are.
_LOSSES = 20_000
_DRAWN = ("gradients", "weights", "biases", "relu")


class Debugger(Observer):
    """An observer of training. `recorded` is called with the global step of `trial` whenever a step has been recorded.

    `tensors`: where they go, unless `hook_file` says otherwise, SageMaker Debugger's JSON file. `save_interval`: steps
    between two recorded ones; 0 leaves it to `Sparingly`.

    smdebug is attached to the network at the steps alone that are recorded, and costs nothing at the others. Nothing
    that it does ends the training: what goes wrong is a sentence in `missing`.

    Raises:
        InputError: the hook file cannot be used.
    """

    def __init__(
        self, tensors: Path, save_interval: int, collections: Sequence[str], hook_file: Path | None = None,
        recorded: Callable[[int], None] = lambda step: None,
    ) -> None:  # fmt: skip
        self.missing: list[str] = []
        self.recorded_steps: set[int] = set()
        self._recorded, self._by_file = recorded, hook_file is not None
        self._interval, self._sparingly = save_interval, Sparingly()
        # smdebug builds half a hook on a directory that exists, as after a restart.
        shutil.rmtree(tensors, ignore_errors=True)
        self._hook = (
            hook_config.of_file(hook_file)
            if hook_file
            else hook_config.own(tensors, [name for name in collections if name != "relu"])
        )
        self._relus = not hook_file and "relu" in collections
        self._has_relus = False
        atexit.unregister(self._hook._cleanup)
        self.directory = Path(self._hook.out_dir)
        self.trial = LiveTrial(self._hook.get_collections)
        self._hook.seen = self.trial.add
        self._losses: dict[str, dict[int, list[float]]] = {}
        self._phase: Literal["train", "eval"] = "train"
        self._passes = {"train": 0, "eval": 0}
        self._first_of_phase = True
        self._alive, self._open = True, False
        self._handles: list[Any] = []
        self._before: list[torch.Tensor] = []
        self._epoch = 1

    def losses(self) -> dict[str, list[tuple[int, float]]]:
        """train, eval -> [(optimizer steps done, mean loss of the batches recorded then), ...]."""
        return {
            phase: [(step, math.fsum(losses) / len(losses)) for step, losses in points.items()]
            for phase, points in self._losses.items()
        }

    def tensors(self) -> dict[str, dict[str, Any]]:
        """Tensor -> collection, steps, min, max, mean and std over time; as lists of at most 400."""
        return dict(self.trial.series)

    def unseen(self, collection: str) -> str:
        """Why there is nothing of that collection; empty where there is no such reason."""
        if self.missing:
            return self.missing[0]
        if collection == "relu" and self._relus:
            return "" if self._has_relus else "the network that is trained has no ReLU"
        recorded = any(c.name == collection for c in self._hook._collections_to_save)
        return "" if recorded else f"the collection {collection} is not recorded"

    def on_start(self, network: torch.nn.Module, criterion: torch.nn.Module) -> None:
        self._network, self._criterion = network, criterion
        # As smdebug's own `register_module` names them.
        for name, module in network.named_modules():
            module._module_name = name
        for whole in (network, criterion):
            whole._module_name = type(whole).__name__  # type: ignore[assignment]
        self._layers = [
            (f"{type(network).__name__}_{name}", parameter) for name, parameter in network.named_parameters()
            if parameter.requires_grad
        ]  # fmt: skip
        self._activations_change = next(iter(network.parameters())).requires_grad
        self._has_relus = self._relus and hook_config.add_relus(self._hook, network)
        self._gate = network.register_forward_pre_hook(self._before_forward)
        self._guarded(self._hook._prepare_collections)
        self._sparingly = Sparingly()

    def on_phase(self, phase: Literal["train", "eval"]) -> None:
        self._end()
        self._phase, self._first_of_phase = phase, True
        if self._alive:
            self._hook.set_mode(smd.modes.TRAIN if phase == "train" else smd.modes.EVAL)

    def on_step(self, step: Step) -> None:
        self._epoch = step.epoch
        if self._open and self._phase == "train" and step.number >= self._passes["train"]:
            self._end()

    def close(self) -> None:
        """Writes what is open."""
        if hasattr(self, "_gate"):
            self._gate.remove()
        self._end()
        if self._alive:
            self._guarded(self._hook.close)

    def _before_forward(self, network: torch.nn.Module, inputs: Any) -> None:
        # On a GPU the host is told of a step when it has long begun the next: then this is where it has ended.
        self._end()
        number, self._passes[self._phase] = self._passes[self._phase], self._passes[self._phase] + 1
        if self._alive and self._due(number):
            self._guarded(functools.partial(self._begin, network, inputs, number))
        self._first_of_phase = False

    def _due(self, number: int) -> bool:
        if self._by_file:
            hook = self._hook
            return any(c.save_config.should_save_step(hook.mode, number) for c in hook._collections_to_save)
        if self._interval:
            return number % self._interval == 0
        return self._first_of_phase if self._phase == "eval" else self._sparingly.due(number)

    def _begin(self, network: torch.nn.Module, inputs: Any, number: int) -> None:
        hook, total = self._hook, sum(self._passes.values()) - 1
        # It counts the steps that it sees, and sees those alone that are recorded.
        hook.step, hook.mode_steps[hook.mode] = total - 1, number - 1
        self.trial.begin(total, hook.mode, number)
        self.trial.at, self.trial.epoch = time.time(), self._epoch
        self._open = True
        hook.forward_pre_hook(network, inputs)
        for module in (*self._watched(), self._criterion):
            self._handles.append(module.register_forward_hook(self._after_forward))
        if self._phase == "train":
            self.recorded_steps.add(number + 1)
            self._before = [parameter.detach().clone() for _, parameter in self._matrices()]

    def _matrices(self) -> list[tuple[str, torch.nn.Parameter]]:
        recorded = any(collection.name == "weights" for collection in self._hook._collections_to_save)
        return (
            [(name, p) for name, p in self._learning() if p.ndim > 1 and name.endswith(".weight")] if recorded else []
        )

    def _learning(self) -> list[tuple[str, torch.nn.Parameter]]:
        """Without those of a backbone that learns in later epochs."""
        return [(name, parameter) for name, parameter in self._layers if parameter.requires_grad]

    def _watched(self) -> list[torch.nn.Module]:
        """The modules whose inputs or outputs are in a collection."""
        if self._phase == "eval" and not self._by_file:
            return []
        if not self._activations_change and self._hook.exported_collections and not self._by_file:
            return []
        patterns = [p for collection in self._hook._collections_to_save for p in collection.include_regex]
        return [
            module for name, module in self._network.named_modules()
            if any(match_inc(f"{name}{suffix}_0", patterns) for suffix in ("_input", "_output"))
        ]  # fmt: skip

    def _after_forward(self, module: torch.nn.Module, inputs: Any, output: Any) -> None:
        if self._open:
            self._guarded(functools.partial(self._save_output, module, inputs, output))

    def _save_output(self, module: torch.nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(module, torch.nn.ReLU):
            output = output.detach()
            if not self._by_file:
                output = output[: max(1, _ACTIVATIONS * len(output) // output.numel())]
            name = str(module._module_name)
            count = self._hook.written_tensor_name_for_step.get(f"{name}_output_", 0)
            others = [dimension for dimension in range(output.ndim) if dimension != 1]
            active = (output > 0).float().mean(dim=others)
            self._save(f"{name}{ACTIVE}{count}", active)
        self._hook.forward_hook(module, inputs, output)

    def _save(self, name: str, value: torch.Tensor) -> None:
        self._hook._write_raw_tensor_simple(name, value)

    def _end(self) -> None:
        if self._open:
            self._open = False
            self._guarded(self._finish)

    def _finish(self) -> None:
        hook = self._hook
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        step = hook.step
        if self._phase == "train":
            for name, parameter in self._learning():
                hook.backward_hook(name)(parameter.grad)
            self._save_updates()
        for name in self.trial.tensor_names(collection="losses"):
            loss = float(self.trial.tensor(name).value(step).mean())
            points = self._losses.setdefault(self._phase, {})
            points.setdefault(self._passes["train"], []).append(loss)
            for step_number in list(points)[1::2] if len(points) > _LOSSES else ():
                del points[step_number]
        hook._close_writers()
        if not hook.exported_collections:
            hook.export_collections()
            hook.exported_collections = True
        if self._phase == "train":
            self.trial.keep(self._passes["train"], [c.name for c in hook._collections_to_save if c.name in _DRAWN])
            self._recorded(step)

    def _save_updates(self) -> None:
        matrices = self._matrices()
        if matrices:
            after = [parameter.detach() for _, parameter in matrices]
            updates = torch._foreach_norm(torch._foreach_sub(after, self._before))
            norms = torch.stack((torch.stack(updates), torch.stack(torch._foreach_norm(self._before)))).cpu()
            for (name, _), pair in zip(matrices, norms.T, strict=True):
                self._save(UPDATE + name.removesuffix(".weight"), pair)
            self._before = []

    def _guarded(self, act: Callable[[], Any]) -> None:
        began = time.perf_counter()
        try:
            if error_handling_agent.disable_smdebug:
                raise RuntimeError("it met an error of its own and turned itself off")
            act()
        except Exception as error:  # the disk's, smdebug's and those of whatever tensor it is given: training goes on
            self._give_up(error)
        if self._phase == "train":
            self._sparingly.cost(time.perf_counter() - began, self._open)

    def _give_up(self, error: Exception) -> None:
        self._alive = self._open = False
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._before = []
        self._hook.writer = None
        last = max((series["steps"][-1] for series in self.trial.series.values()), default=0)
        what = f"tensors after step {last} are missing" if last else "tensors are missing"
        if isinstance(error, OSError) and error.strerror:
            self.missing.append(f"{what}: {error.strerror} ({self.directory})")
        else:
            reason = " ".join(str(error).split()) or type(error).__name__
            self.missing.append(f"{what}: smdebug failed ({reason})")
