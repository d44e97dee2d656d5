"""Layer-sequential unit variance for a PyTorch model: each weight scaled to a batch, in the order of execution."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any

import torch
from torch import nn

from weightinit.drawing import Plan
from weightinit.schemes import LSUV
from weightinit.torch.samples import Sample, main_output


def scale_to(model: nn.Module, sample: Sample, plan: Plan, names: Collection[str], scheme: LSUV) -> tuple[str, ...]:
    """Divide weights in place by the std of what their modules make of a sample; return notes on what stays off.

    ``names``: of the tensors, drawn already. Each module is measured where it is first called, with the modules before
    it scaled. Buffers and random numbers are left as they were.

    Raises ValueError for a scheme that measures activations, and where the model doesn't take the sample.
    """
    if scheme.measure != "preactivation":
        raise ValueError(
            f"measure must be preactivation for a model of one's own; got {scheme.measure!r}. Pass LSUV()."
        )
    weights = [tensor for tensor in plan.model if tensor.name in names and len(tensor.laid_out) > 1]
    layers = {tensor.layer: tensor.name for tensor in weights}
    notes: dict[str, str] = {}
    met: set[str] = set()

    def scaled(layer: str, module: Any, args: Any, kwargs: Any, output: Any) -> Any:
        if layer in met:
            return output
        met.add(layer)
        for iteration in range(scheme.max_iterations + 1):
            y = main_output(output)
            if y is None:
                return output
            std = float(y.double().std(correction=0))
            if abs(std**2 - 1) < scheme.tolerance:
                return output
            if iteration == scheme.max_iterations or not 0 < std < float("inf"):
                notes[layer] = f"{layer}: the variance of its output is {std**2:.3g}, not 1."
                return output
            if "weight" in module._parameters:
                module.weight.div_(std)
            elif hasattr(module, "weight"):
                module.weight = module.weight / std
            else:
                notes[layer] = f"{layer}: not scaled, its parameters have names of their own."
                return output
            output = module.forward(*args, **kwargs)
        return output

    modules = dict(model.named_modules())
    kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
    hooks = [modules[layer].register_forward_hook(partial(scaled, layer), with_kwargs=True) for layer in layers]
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            sample.run(model)
            for name, buffer in model.named_buffers():
                buffer.copy_(kept[name])
    finally:
        for hook in hooks:
            hook.remove()
    missed = [name for layer, name in layers.items() if layer not in met]
    if missed:
        notes["missed"] = (
            f"Not scaled, since the sample doesn't call their modules by themselves: {', '.join(missed[:6])}"
            + (f" and {len(missed) - 6} more." if len(missed) > 6 else ".")
        )
    return tuple(notes.values())
