"""Stack of a module's runs: their weights, and the way of the data through all of them at once or one by one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, Literal

import torch
from torch import nn
from torch.func import functional_call, vmap

from runner.torch.building import Recipe
from weightinit.torch.errors import first_line
from weightinit.torch.samples import main_output
from weightinit.torch.translation import translate

Phase = Literal["train", "probe", "evaluate"]
Tensors = dict[str, torch.Tensor]
# Relative difference of losses and gradients up to which runs in a stack count as the same runs one by one.
CLOSE = 1e-3
_NOISE = (nn.modules.dropout._DropoutNd,)


class Stack:
    """Runs of one module.

    ``flat``: trained weights (runs, parameters), those that decay first (``kernels`` columns); ``gradient``: of the
    same shape; ``fixed``: frozen parameters and running statistics (runs, *shape) by name. ``together``: whether
    ``torch.func`` sends all runs through the module at once.
    """

    def __init__(self, recipe: Recipe, modules: Sequence[nn.Module], device: str) -> None:
        self.recipe, self.device = recipe, torch.device(device)
        self.module = modules[0].to(self.device)
        trained = {name: p for name, p in self.module.named_parameters() if p.requires_grad}
        decays = {tensor.name for tensor in translate(self.module) if tensor.core_role == "weight"}
        order = sorted(trained, key=lambda name: name not in decays)
        self.columns: dict[str, slice] = {}
        start = 0
        for name in order:
            self.columns[name] = slice(start, start := start + trained[name].numel())
        self.kernels = sum(prod(trained[name].shape) for name in order if name in decays)
        self.shapes = {name: tuple(trained[name].shape) for name in order}
        held = [dict(module.named_parameters()) for module in modules]
        flat = [torch.cat([each[name].detach().flatten() for name in order]) for each in held]
        self.flat = torch.stack(flat).to(self.device)
        self.gradient = torch.zeros_like(self.flat)
        fixed = [
            {name: p.detach() for name, p in each.items() if name not in trained} | dict(module.named_buffers())
            for each, module in zip(held, modules, strict=True)
        ]
        self.fixed: Tensors = {name: torch.stack([each[name] for each in fixed]).to(self.device) for name in fixed[0]}
        self.together = len(modules) > 1

    def __len__(self) -> int:
        return len(self.flat)

    def weights(self, flat: torch.Tensor | None = None) -> Tensors:
        """Return the trained weights (runs, *shape) by name, as views of parameter vectors."""
        vectors = self.flat if flat is None else flat
        return {
            name: vectors[:, place].unflatten(1, self.shapes[name] or (1,)).reshape(len(vectors), *self.shapes[name])
            for name, place in self.columns.items()
        }

    def keep(self, runs: Sequence[int]) -> None:
        """Keep these runs alone."""
        places = torch.as_tensor(runs, device=self.device)
        self.flat, self.gradient = self.flat[places], self.gradient[places]
        self.fixed = {name: values[places] for name, values in self.fixed.items()}

    def gradients(self, x: torch.Tensor, y: torch.Tensor, loss: Callable[..., torch.Tensor]) -> torch.Tensor:
        """Return the losses (runs,) of a batch, and write the gradients; ``x`` (runs, batch, features)."""
        self.phase("train")
        parts = [slice(0, len(self))] if self.together else [slice(run, run + 1) for run in range(len(self))]
        losses = []
        for part in parts:
            leaves = {name: w[part].detach().requires_grad_() for name, w in self.weights().items()}
            fixed = {name: values[part] for name, values in self.fixed.items()}
            found = loss(self.pass_through(leaves, fixed, x[part]), y[part])
            gradients = torch.autograd.grad(found.sum(), list(leaves.values()), allow_unused=True)
            for name, gradient in zip(leaves, gradients, strict=True):
                into = self.gradient[part, self.columns[name]]
                into.copy_(torch.zeros_like(into) if gradient is None else gradient.reshape(into.shape))
            losses.append(found.detach())
        return torch.cat(losses)

    def outputs(self, runs: slice, x: torch.Tensor) -> torch.Tensor:
        """Return the outputs (runs, samples, ...) of shared samples ``x`` (samples, features), without noise."""
        self.phase("evaluate")
        weights = {name: values[runs] for name, values in self.weights().items()}
        fixed = {name: values[runs] for name, values in self.fixed.items()}
        with torch.no_grad():
            count = len(self.flat[runs])
            return self.pass_through(weights, fixed, x.expand(count, *x.shape))

    def pass_through(self, weights: Tensors, fixed: Tensors, x: torch.Tensor) -> torch.Tensor:
        """Return the outputs (runs, batch, ...) of runs with these weights, as the module's phase has it."""
        if len(x) > 1 and self.together:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
                return vmap(self.one, randomness="different")(weights, fixed, x)
        ones = range(len(x))
        return torch.stack(
            [self.one({n: w[i] for n, w in weights.items()}, {n: b[i] for n, b in fixed.items()}, x[i]) for i in ones]
        )

    def one(self, weights: Mapping[str, torch.Tensor], fixed: Mapping[str, torch.Tensor], x: torch.Tensor) -> Any:
        """Return the output (batch, ...) of one run."""
        return main_output(functional_call(self.module, {**weights, **fixed}, (self.recipe.arranged(x),)))

    def phase(self, phase: Phase) -> None:
        """Set the module for training, for a probe (statistics of the batch, no noise) or for an evaluation."""
        self.module.train(phase != "evaluate")
        if phase == "probe":
            for module in self.module.modules():
                if isinstance(module, _NOISE):
                    module.eval()

    def settle(self, x: torch.Tensor, y: torch.Tensor, loss: Callable[..., torch.Tensor]) -> str:
        """Find out by a batch whether the runs can be stacked; return why not, empty where they can or are alone."""
        if not self.together:
            return ""
        try:
            reason = self._differs(x, y, loss)
        except Exception as error:
            reason = first_line(error)
        self.together = not reason
        return reason

    def _differs(self, x: torch.Tensor, y: torch.Tensor, loss: Callable[..., torch.Tensor]) -> str:
        found = []
        for self.together in (True, False):
            kept = {name: values.clone() for name, values in self.fixed.items()}
            self.phase("probe")
            leaves = {name: w.detach().requires_grad_() for name, w in self.weights().items()}
            losses = loss(self.pass_through(leaves, self.fixed, x), y)
            gradients = torch.autograd.grad(losses.sum(), list(leaves.values()), allow_unused=True)
            sizes = [torch.zeros(len(x)) if g is None else g.flatten(1).double().norm(dim=1).cpu() for g in gradients]
            found.append(torch.stack([losses.detach().double().cpu(), *sizes]))
            self.fixed = kept
        stacked, alone = found
        near = torch.isclose(
            stacked, alone, rtol=CLOSE, atol=CLOSE * float(alone.nan_to_num(0, 0, 0).abs().max()), equal_nan=True
        )
        return "" if bool(near.all()) else "its losses or gradients differ in a stack"
