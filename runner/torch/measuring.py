"""Readings of a run: what its layers passed on, sent back and hold, as the library's statistics take them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from runner.torch.observing import Observer, names
from runner.torch.stack import Stack, Tensors
from weightinit.arrays import Array
from weightinit.laws import UNKNOWN, Law
from weightinit.model import ModelTensor
from weightinit.torch.translation import translate


class Readings:
    """Takes readings of a stack's runs, one by one; ``propagated``: whether gradients are followed from layer to layer.

    Layers go by the lab's names. Arrays are in the library's layout, units last, with an axis of one run before all.
    """

    def __init__(self, stack: Stack, loss: Callable[..., torch.Tensor], propagated: bool) -> None:
        self.stack, self.loss, self.propagated = stack, loss, propagated
        self.tensors: dict[str, ModelTensor] = {}
        for tensor in translate(stack.module):
            if tensor.core_role == "weight" and not tensor.stacked:
                self.tensors |= dict.fromkeys((tensor.name, *tensor.also), tensor)

    def of(
        self,
        run: int,
        x: torch.Tensor,
        y: torch.Tensor,
        *,
        flat: torch.Tensor | None = None,
        update: torch.Tensor | None = None,
        laws: Mapping[str, Law] | None = None,
    ) -> dict[str, dict[str, Any]]:
        """Return the readings of each layer by the names of their quantities, from a pass without noise.

        ``x``, ``y``: a batch of the run; ``flat``: weights (runs, parameters) in place of those at hand, ``update``:
        their change; ``laws``: by parameter.
        """
        stack = self.stack
        stack.phase("probe")
        leaves = {name: w[run].detach().requires_grad_() for name, w in stack.weights(flat).items()}
        fixed = {name: values[run].clone() for name, values in stack.fixed.items()}
        with torch.enable_grad(), Observer(stack.module, len(x)) as observer:
            output = stack.one(leaves, fixed, x)
        with torch.enable_grad():
            loss = self.loss(output[None], y[None]).sum()
        gradients = dict(
            zip(leaves, torch.autograd.grad(loss, list(leaves.values()), allow_unused=True), strict=True)
        )  # fmt: skip
        changes = {} if update is None else {name: w[run] for name, w in stack.weights(update).items()}
        called = names(observer.seen)
        result = {}
        for path, place in observer.seen.items():
            found: dict[str, Any] = {}
            for name, values in (
                ("activation", place.output if place.activation is None else place.activation),
                ("preactivation", place.output if place.weight else None),
                ("slope", place.slope),
                ("backward", place.backward),
                ("propagated", place.backward if self.propagated else None),
                ("tokens", place.output if not place.weight and place.output.dim() == 3 else None),
            ):
                if values is not None:
                    found[name] = _array(values.movedim(place.units, -1))
            if (tensor := self.tensors.get(place.weight)) is not None:
                found |= self._weight(tensor, leaves, fixed, gradients, changes)
                if laws is not None:
                    found["laws"] = (laws.get(tensor.name, UNKNOWN),)
            result[called[path]] = found
        return result

    def _weight(
        self, tensor: ModelTensor, leaves: Tensors, fixed: Tensors, gradients: Mapping[str, Any], changes: Tensors
    ) -> dict[str, Array]:
        found = {"weight": leaves.get(tensor.name, fixed.get(tensor.name))}
        found |= {"gradient": gradients.get(tensor.name), "update": changes.get(tensor.name)}
        return {
            name: tensor.to_layout(_array(values)[0])[None] for name, values in found.items() if values is not None
        }  # fmt: skip


def _array(values: torch.Tensor) -> Array:
    """Return the values of one run as an array (1, ...)."""
    array: Array = values.detach().cpu().numpy()[None]
    return array
