"""The probe of a PyTorch model: forward and backward passes and a first step, on copies of it."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from weightinit.model import blocks_of
from weightinit.probing import Draw, FirstStep, Place, ProbeReport, Reading, alike, backward_norm, read, report, slopes
from weightinit.torch.activations import ACTIVATIONS, CUT
from weightinit.torch.random_states import random_states, seed_all
from weightinit.torch.redraw import redraw_
from weightinit.torch.samples import LossLike, Objective, Sample, main_output, objective, sample_of
from weightinit.torch.translation import to_numpy

RATE: Final = 1e-3
CHANNELS_FIRST: Final = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm)
"""Modules whose output has its units on axis 1."""

STEPS: Final = 4
"""Steps after which a parameter without a gradient is stuck: one for each zero start that lies behind another."""

SAME: Final = 1e-4
"""Share of the largest element by which the gradients of equal rows may differ: by rounding."""

_NORM: Final = re.compile(r"(Layer|Batch|Group|Instance|RMS)Norm")


def probe(
    model: nn.Module | Callable[[], nn.Module],
    sample: Any,
    loss: LossLike | None = None,
    *,
    targets: Any = None,
    draws: int = 5,
    seed: int = 0,
    optimizer: Callable[..., torch.optim.Optimizer] | None = None,
) -> ProbeReport:
    """Return what a model does to signal and gradient at initialization, over ``draws`` initializations.

    ``model``: a module, measured as it is and in fresh draws of its own laws (each unit's weights in another order); or
    a function that builds one, called once for each draw. ``sample``: a tensor, a tuple of arguments or a dict of
    keyword arguments, of 16 samples or more; a pair is input and targets where the model takes one argument. ``loss``:
    ``loss(output, targets)``, or ``loss(output)`` without targets, a mean over samples; None takes the model's own, or
    a cross entropy of random classes. ``optimizer``: a function of the parameters that returns one, for the first step;
    None is Adam with a rate of 1e-3.

    Nothing is left of it in the model: parameters, gradients, buffers, modes and the states of random numbers stay.

    Raises TypeError for what is no model, ValueError for a sample it doesn't take, a loss that isn't a scalar, and a
    model that can't be copied.
    """
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 1:
        raise ValueError(f"draws must be a whole number from 1; got {draws!r}. Pass draws=5.")
    passes: list[_Pass] = []
    step = None
    with random_states():
        for each in _models(model, sample, draws, seed):
            passes.append(_Pass(each, sample_of(each, sample, targets), loss, seed))
            if len(passes) == 1:
                step = passes[0].first_step(optimizer or _adam)
            passes[-1].let_go()
    first = passes[0]
    built = not isinstance(model, nn.Module)
    shuffled = "" if draws == 1 else ", then each unit's weights in another order, which keeps their law"
    return report(
        [place for place in first.places.values() if all(place.name in each.readings for each in passes)],
        [Draw(each.readings, each.loss, each.ignorant, each.gradients) for each in passes],
        step,
        nats=first.objective.nats,
        source="built by the function given, a seed for each" if built else f"the weights as they are{shuffled}",
        judged_by=first.objective.words,
        unused=first.unused,
    )


class _Pass(TorchFunctionMode):
    """One forward and backward pass of a model that may be changed, with what it showed."""

    def __init__(self, model: nn.Module, sample: Sample, loss: LossLike | None, seed: int) -> None:
        super().__init__()
        self.model, self.sample, self.seed = model, sample, seed
        self.places: dict[str, Place] = {}
        self.readings: dict[str, Reading] = {}
        self._under_way: list[str] = []
        self._entering: dict[str, float] = {}
        self._functions: dict[Any, str] = {}
        self._channels_first = False
        self._slopes: dict[str, tuple[torch.Tensor, bool, bool]] = {}
        hooks = list(self._hooks())
        try:
            with self, torch.enable_grad():
                output = self._forward()
            self.objective: Objective = objective(output, sample, loss, seed)
            value = self.objective.loss(output)
            self.loss = _number(self.objective.expected(output))
            self.ignorant = self.objective.ignorant(output)
            if value.requires_grad:
                value.backward()
        finally:
            for hook in hooks:
                hook.remove()
            self._functions.clear()
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.unused = tuple(name for name, p in trained.items() if p.grad is None)
        self.gradients = {name: _rms(p.grad) for name, p in trained.items() if p.grad is not None}

    def let_go(self) -> None:
        """Drop the model."""
        del self.model

    def first_step(self, optimizer: Callable[..., torch.optim.Optimizer]) -> FirstStep | None:
        """Return a first step by the gradients at hand, and whose gradients are zero before and after a few."""
        trained = {name: p for name, p in self.model.named_parameters() if p.grad is not None}
        if not trained:
            return None
        try:
            steps = optimizer(list(trained.values()))
            defaults = steps.defaults
        except (TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"optimizer must be a function of the parameters that returns a torch optimizer; it raised "
                f"{type(error).__name__}: {error}. Pass optimizer=lambda p: torch.optim.SGD(p, lr=0.1)."
            ) from error
        before = {name: p.detach().clone() for name, p in trained.items()}
        steps.step()
        sizes = {name: _rms(values) for name, values in before.items()}
        updates = {name: _rms(p.detach() - before[name]) / sizes[name] for name, p in trained.items() if sizes[name]}
        stuck = [name for name in trained if self.gradients[name] == 0]
        equal = [name for name, values in before.items() if _equal_rows(values, 0.0)]
        equal = [name for name in equal if _equal_rows(trained[name].grad, SAME)]
        output = self._backward(steps)
        loss = _number(self.objective.expected(output))
        for further in range(STEPS):
            stuck = [name for name in stuck if (g := trained[name].grad) is not None and not g.any()]
            equal = [name for name in equal if name not in stuck and _equal_rows(trained[name].grad, SAME)]
            if not (stuck or equal) or further == STEPS - 1:
                break
            steps.step()
            self._backward(steps)
        name = f"{type(steps).__name__}(lr={defaults.get('lr', np.nan):g})"
        return FirstStep(name, loss, updates, tuple(stuck), tuple(equal))

    def _backward(self, steps: torch.optim.Optimizer) -> Any:
        """Return the model's output, with new gradients in the place of the old ones."""
        steps.zero_grad(set_to_none=True)
        with torch.enable_grad():
            output = self._forward()
        value = self.objective.loss(output)
        if value.requires_grad and value.isfinite():
            value.backward()
        return output

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = ACTIVATIONS.get(function)
        if name is not None and self._under_way and args and isinstance(args[0], torch.Tensor):
            self._slope(function, name, args, kwargs or {})
        return function(*args, **(kwargs or {}))

    def _forward(self) -> Any:
        seed_all(self.seed)
        return self.sample.run(self.model)

    def _hooks(self) -> Iterator[Any]:
        chain_of = {f"{b.path}.{_index(name, b.path)}".lstrip("."): b.path for name, b in self._blocks().items()}
        for name, module in self.model.named_modules():
            yield module.register_forward_pre_hook(partial(self._enter, name, name in chain_of))
            yield module.register_forward_hook(partial(self._leave, name, chain_of.get(name)))

    def _blocks(self) -> dict[str, Any]:
        return blocks_of([name for name, _ in self.model.named_parameters()])

    def _enter(self, name: str, block: bool, module: nn.Module, args: Any) -> None:
        self._under_way.append(name)
        if block and name not in self._entering and args and isinstance(x := args[0], torch.Tensor) and x.dim() == 3:
            self._entering[name] = alike(to_numpy(x)) if x.shape[1] > 1 and bool(x.isfinite().all()) else np.nan

    def _leave(self, name: str, chain: str | None, module: nn.Module, args: Any, output: Any) -> None:
        self._under_way.pop()
        own = list(module.parameters(recurse=False))
        if own:
            self._channels_first = isinstance(module, CHANNELS_FIRST)
        y = main_output(output)
        if y is None or not y.is_floating_point() or not y.numel() or not y.dim() or name in self.places:
            return
        kind = type(module).__name__
        weighted = any(p.dim() > 1 for p in own) and not isinstance(module, nn.Embedding | nn.EmbeddingBag)
        norm = bool(_NORM.search(kind)) and (module.training or not isinstance(module, nn.modules.batchnorm._NormBase))
        after = self._after(name, y) if weighted else ()
        self.places[name] = Place(name, kind, weighted, "(blocks)" if chain == "" else chain or "", norm, after)
        reading = read(to_numpy(y), channels_first=self._channels_first, positions=chain is not None)
        reading.entering = self._entering.get(name, np.nan)
        if name in self._slopes:
            slope, first, cut = self._slopes.pop(name)
            reading.slopes = slopes(to_numpy(slope), channels_first=first, cut=cut)
        self.readings[name] = reading
        if y.requires_grad:
            y.register_hook(partial(self._back, name))

    def _after(self, name: str, y: torch.Tensor) -> tuple[str, ...]:
        """Return the layers that a layer's signal passed last before it, and take its output for the next ones."""
        found, seen, ahead = [], set(), [y.grad_fn]
        while ahead:
            function = ahead.pop()
            if function in self._functions:
                found.append(self._functions[function])
            elif function is not None and function not in seen:
                seen.add(function)
                ahead += [each for each, _ in function.next_functions]
        if y.grad_fn is not None:
            self._functions[y.grad_fn] = name
        return tuple(found)

    def _back(self, name: str, gradient: torch.Tensor) -> None:
        self.readings[name].backward = backward_norm(to_numpy(gradient))

    def _slope(self, function: Any, name: str, args: Any, kwargs: Any) -> None:
        """Note the slope of an activation function, by the module in which it runs."""
        place, z = self._under_way[-1], args[0]
        if place in self._slopes or not z.is_floating_point() or not z.numel() or z.dim() < 2:
            return
        with torch.enable_grad():
            z = z.detach().clone().requires_grad_()
            y = function(z.clone(), *args[1:], **kwargs)
            (slope,) = torch.autograd.grad(y.sum(), z)
        self._slopes[place] = slope, self._channels_first, name in CUT


def _models(model: Any, sample: Any, draws: int, seed: int) -> Iterator[nn.Module]:
    """Yield models that may be changed: copies with fresh draws, or what a function builds."""
    if isinstance(model, nn.Module):
        if any(p.is_meta for p in model.parameters()):
            raise ValueError(
                "model must hold values; got parameters on the meta device. Materialize it first, by "
                "initialize_(model.to_empty(device='cpu'), ...)."
            )
        if any(isinstance(p, nn.UninitializedParameter) for p in model.parameters()):
            model = _copy(model)
            with torch.no_grad():
                sample_of(model, sample, None).run(model)
        for draw in range(draws):
            copied = _copy(model)
            if draw:
                redraw_(copied, torch.Generator().manual_seed(seed + draw))
            yield copied
        return
    if not callable(model):
        raise TypeError(
            f"model must be a torch.nn.Module or a function that builds one; got {type(model).__name__}. Pass the "
            "model itself."
        )
    for draw in range(draws):
        seed_all(seed + draw)
        built = model()
        if not isinstance(built, nn.Module):
            raise TypeError(f"the function must build a torch.nn.Module; got {type(built).__name__}.")
        yield built


def _copy(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise ValueError(
            f"the probe works on a copy, and this model can't be copied: {error}. Pass a function that builds it."
        ) from error


def _adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=RATE)


def _index(name: str, path: str) -> str:
    """Return the number of the block of ``path`` that a parameter lies in."""
    return name[len(path) :].lstrip(".").partition(".")[0]


def _number(value: torch.Tensor) -> float:
    return float(value.detach())


def _equal_rows(x: torch.Tensor | None, within: float) -> bool:
    """Whether all vectors along the last axis are equal, within a share of the largest element."""
    if x is None or x.dim() < 2 or x.shape[-1] < 2 or x.numel() == x.shape[-1]:
        return False
    rows = x.detach().reshape(-1, x.shape[-1])
    return bool((rows - rows[0]).abs().max() <= within * rows.abs().max())


def _rms(x: torch.Tensor) -> float:
    return float(x.double().square().mean().sqrt()) if x.numel() else 0.0
