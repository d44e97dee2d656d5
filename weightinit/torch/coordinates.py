"""The coordinate check of a PyTorch model: sizes of its layers' outputs and of their changes, over widths."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final

import torch
from torch import nn

from weightinit.branches import part_of
from weightinit.coordinate_check import CoordinateCheck, Kind, Measured
from weightinit.coordinate_check import coordinate_check as check
from weightinit.drawing.parametrized import growth_of
from weightinit.model import Model
from weightinit.same_law import first_seeds
from weightinit.torch.random_states import random_states, seed_all
from weightinit.torch.samples import LossLike, Objective, Sample, main_output, objective, sample_of
from weightinit.torch.translation import translate

RATE: Final = 1e-3
WHOLE: Final = "(model)"
"""Name of a model that holds weights itself."""


def coordinate_check(
    make_model: Callable[[int], nn.Module],
    sample: Any,
    loss: LossLike | None = None,
    *,
    widths: Sequence[int] = (32, 64, 128, 256),
    optimizer: Callable[[nn.Module], torch.optim.Optimizer] | None = None,
    seeds: int | Sequence[int] = 4,
    steps: int = 3,
    targets: Any = None,
) -> CoordinateCheck:
    """Return whether a model's layers, and what training changes of them, keep their size as the model widens.

    ``make_model(width)`` returns the model; ``sample`` and ``loss`` as of ``probe``, the same batch at each of
    ``steps`` steps. ``optimizer(model)`` returns the optimizer, with its groups of parameters, such as those of
    ``mup``; None is Adam with one rate for all. Layers with weights are measured; what grows between the narrowest and
    the widest model tells those of the input, the hidden ones and the output. Source: Yang et al. 2022 (Tensor
    Programs V), appendix D.1.

    Raises TypeError for what builds no model, ValueError for fewer than 3 widths or seeds, for models that differ in
    more than their width, and for a sample that they don't take.
    """
    if isinstance(make_model, nn.Module) or not callable(make_model):
        raise TypeError(
            f"make_model must be a function of the width; got {type(make_model).__name__}. Pass the function."
        )
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps must be a whole number from 1; got {steps!r}. Pass steps=3.")
    ordered = sorted(set(widths))
    measured: list[Measured] = []
    kinds: dict[str, Kind] = {}
    with random_states():
        for width in ordered:
            for seed in first_seeds(seeds):
                seed_all(seed)
                model = make_model(width)
                if not isinstance(model, nn.Module):
                    raise TypeError(f"make_model must return a torch.nn.Module; got {type(model).__name__}.")
                run = _Run(model, sample_of(model, sample, targets), loss, seed)
                found = list(run.sizes(optimizer or _adam, steps))
                measured += [Measured(width, seed, layer, step, value) for layer, step, value in found]
                if not kinds and width == ordered[-1]:
                    narrow, wide = translate(make_model(ordered[0])), translate(model)
                    _check_growth(narrow, wide, ordered)
                    kinds = _kinds(narrow, wide, run.layers)
    names: list[set[str]] = [{row.layer for row in measured if row.size == width} for width in ordered]
    if odd := set[str].union(*names) - set[str].intersection(*names):
        raise ValueError(f"models of all widths must have the same layers; {min(odd)} is not in all of them.")
    return check([row for row in measured if row.layer in kinds], kinds)


class _Run:
    """One model in its first steps, with its layers in the order in which they first run."""

    def __init__(self, model: nn.Module, sample: Sample, loss: LossLike | None, seed: int) -> None:
        self.model, self.sample, self.seed = model, sample, seed
        self.layers: list[str] = []
        self._outputs: dict[str, torch.Tensor] = {}
        self._objective: Objective = objective(self._forward(), sample, loss, seed)

    def sizes(
        self, optimizer: Callable[[nn.Module], torch.optim.Optimizer], steps: int
    ) -> Iterator[tuple[str, int, float]]:
        """Yield layer, step and size: rms of the layer's output at step 0, then of its change since."""
        self._watched()
        start = dict(self._outputs)
        yield from ((name, 0, _rms(value)) for name, value in start.items())
        updates = optimizer(self.model)
        for step in range(1, steps + 1):
            updates.zero_grad(set_to_none=True)
            self._objective.loss(self._forward()).backward()
            updates.step()
            self._watched()
            yield from ((name, step, _rms(value - start[name])) for name, value in self._outputs.items())

    def _forward(self) -> Any:
        seed_all(self.seed)
        with torch.enable_grad():
            return self.sample.run(self.model)

    def _watched(self) -> None:
        self._outputs = {}
        hooks = [
            module.register_forward_hook(partial(self._note, name or WHOLE))
            for name, module in self.model.named_modules()
            if any(p.dim() > 1 for p in module.parameters(recurse=False))
        ]
        try:
            with torch.no_grad():
                seed_all(self.seed)
                self.sample.run(self.model)
        finally:
            for hook in hooks:
                hook.remove()
        self.layers = list(self._outputs)

    def _note(self, name: str, module: nn.Module, args: Any, output: Any) -> None:
        y = main_output(output)
        if y is not None and name not in self._outputs:
            self._outputs[name] = y.detach().double()


def _check_growth(narrow: Model, wide: Model, widths: Sequence[int]) -> None:
    if {tensor.name: tensor.shape for tensor in narrow} == {tensor.name: tensor.shape for tensor in wide}:
        raise ValueError(
            f"make_model must widen the model; its parameters have the same shapes at width {widths[0]} and "
            f"{widths[-1]}. Pass the width on to its layers."
        )


def _kinds(narrow: Model, wide: Model, layers: Sequence[str]) -> dict[str, Kind]:
    """Return the kind of each layer by what grows of its weight; queries are told by their name."""
    theirs = {tensor.name: tensor for tensor in narrow}
    by_layer: dict[str, Kind] = {}
    for tensor in wide:
        if len(tensor.laid_out) > 1 and tensor.name in theirs:
            kind: Kind = growth_of(tensor, theirs[tensor.name]).position
            for name in (tensor.name, *tensor.also):
                layer = name.rpartition(".")[0] or WHOLE
                tied = layer != (tensor.layer or WHOLE) and tensor.role == "embedding"
                by_layer.setdefault(layer, "output" if tied else "query" if part_of(tensor) == "query" else kind)
    return {layer: by_layer[layer] for layer in layers if layer in by_layer}


def _adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=RATE)


def _rms(x: torch.Tensor) -> float:
    return float(x.square().mean().sqrt())
