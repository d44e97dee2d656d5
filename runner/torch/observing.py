"""Observation of a module: outputs of its layers and blocks, their activations, and the gradients behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from weightinit.model import blocks_of
from weightinit.torch.activations import ACTIVATIONS
from weightinit.torch.modules import NORMS
from weightinit.torch.probing import CHANNELS_FIRST
from weightinit.torch.samples import main_output


@dataclass(eq=False)
class Seen:
    """One layer or block at ``path``, as a pass showed it.

    ``output``: what leaves the layer (batch, ...), before a nonlinearity; ``activation``: what leaves its nonlinearity,
    ``slope`` that one's derivative there, both None without one; ``backward``: the gradient of the loss with respect to
    the output. ``weight``: name of its weight, empty for a block. ``units``: axis of the units.
    """

    path: str
    weight: str
    units: int
    output: torch.Tensor
    activation: torch.Tensor | None = None
    slope: torch.Tensor | None = None
    backward: torch.Tensor | None = None


@dataclass(eq=False)
class Observer(TorchFunctionMode):
    """A context in which a pass of ``model`` is observed, with ``batch`` samples; each layer's first call counts.

    What enters the first of a list of blocks goes by the path of the list and ``entering``.
    """

    model: nn.Module
    batch: int
    seen: dict[str, Seen] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()
        # Layers by the identity of the tensor that they passed on; the tensors are kept, so that none takes its place.
        self._passed: dict[int, tuple[str, torch.Tensor]] = {}

    def __enter__(self) -> Observer:
        blocks = _blocks(self.model)
        self._hooks = []
        for path, module in self.model.named_modules():
            own = [name for name, p in module.named_parameters(recurse=False) if p.dim() > 1]
            if own or path in blocks:
                weight = f"{path}.{own[0]}".lstrip(".") if own else ""
                self._hooks.append(module.register_forward_hook(partial(self._leave, path, weight)))
            if path in blocks:
                enter = partial(self._enter, f"{path.rpartition('.')[0]}.entering".lstrip("."))
                self._hooks.append(module.register_forward_pre_hook(enter, with_kwargs=True))
            elif isinstance(module, NORMS):
                self._hooks.append(module.register_forward_hook(self._pass_on))
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for hook in self._hooks:
            hook.remove()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        path, _ = self._passed.get(id(args[0]), ("", None)) if args else ("", None)
        if function not in ACTIVATIONS or not path or self.seen[path].activation is not None:
            return function(*args, **kwargs)
        place = self.seen[path]
        z = args[0].detach().clone()
        result = function(*args, **kwargs)
        place.activation = result.detach().clone()
        if z.device.type != "meta":
            with torch.enable_grad():
                y = function((z := z.requires_grad_()).clone(), *args[1:], **kwargs)
                (place.slope,) = torch.autograd.grad(y.sum(), z)
        return result

    def _enter(self, path: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        self._see(path, "", module, main_output((*args, *kwargs.values())))

    def _leave(self, path: str, weight: str, module: nn.Module, args: Any, output: Any) -> None:
        self._see(path, weight, module, main_output(output))

    def _see(self, path: str, weight: str, module: nn.Module, y: torch.Tensor | None) -> None:
        if y is None or path in self.seen or not y.is_floating_point() or y.dim() < 2 or len(y) != self.batch:
            return
        first = isinstance(module, CHANNELS_FIRST) or (not weight and y.dim() == 4)
        place = self.seen[path] = Seen(path, weight, 1 if first else -1, y.detach().clone())
        if weight:
            self._passed[id(y)] = path, y
        if y.requires_grad:
            y.register_hook(partial(setattr, place, "backward"))

    def _pass_on(self, module: nn.Module, args: Any, output: torch.Tensor) -> None:
        """Take what leaves a norm for what its layer passes on."""
        if args and id(args[0]) in self._passed:
            self._passed[id(output)] = self._passed[id(args[0])][0], output


def names(seen: Mapping[str, Seen]) -> dict[str, str]:
    """Return the lab's name of each layer by path: parts joined by slashes; ``output`` for the last with weights."""
    last = next((path for path, place in reversed(list(seen.items())) if place.weight), None)
    return {path: "output" if path == last else path.replace(".", "/") or "module" for path in seen}


def _blocks(model: nn.Module) -> set[str]:
    """Return the paths of the blocks of a model's list of blocks."""
    found = set()
    for name, block in blocks_of([name for name, _ in model.named_parameters()]).items():
        rest = name[len(block.path) :].lstrip(".")
        found.add(f"{block.path}.{rest.partition('.')[0]}".lstrip("."))
    return found
