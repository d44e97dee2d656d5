"""Activation functions of PyTorch: which of them a model calls, and what the lab calls them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from weightinit import activations
from weightinit.activations import Activation
from weightinit.torch.samples import Sample

_NAMES: Final = (
    *("relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "tanh", "sigmoid", "hardtanh"),
    *("softplus", "softsign", "hardswish", "hardsigmoid", "threshold"),
)

ACTIVATIONS: Final[dict[Any, str]] = {
    getattr(space, name): base
    for space in (functional, torch, torch.Tensor)
    for base in _NAMES
    for name in (base, f"{base}_")
    if callable(getattr(space, name, None))
}
"""Names of activation functions, as modules and code call them."""

CUT: Final = ("relu", "relu6", "hardswish", "threshold")
"""Those that are zero over half of the line, so that half of their values pass no gradient by design."""

_OPTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "leaky_relu": {"negative_slope": "slope"},
    "elu": {"alpha": "alpha"},
}
"""Options of a function, and what the lab calls them."""


class Calls(TorchFunctionMode):
    """A context that notes the activation functions that are called, each with its options once."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[tuple[str, tuple[tuple[str, Any], ...]], None] = {}

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = ACTIVATIONS.get(function)
        if name is not None:
            self.found[name, tuple(sorted(_options(function, name, args, kwargs or {}).items()))] = None
        return function(*args, **(kwargs or {}))


def activations_of(model: nn.Module, sample: Sample | None = None) -> tuple[Activation, ...]:
    """Return the distinct activations of a model, those that a sample calls, else those of its modules.

    Raises ValueError for one that the lab has no name for.
    """
    with torch.no_grad(), Calls() as calls:
        if sample is not None:
            sample.run(model)
        else:
            for module in model.modules():
                if type(module).__module__ == "torch.nn.modules.activation" and not list(module.parameters()):
                    module(torch.zeros(2, 2))
    return tuple(dict.fromkeys(_named(name, dict(options)) for name, options in calls.found))


def activation_named(function: Any, name: str, call: Any) -> Activation:
    """Return the activation of one call, by its ``args`` and ``kwargs``; raise ValueError for an unknown one."""
    return _named(name, _options(function, name, call.args, call.kwargs))


def _named(name: str, options: dict[str, Any]) -> Activation:
    if name == "gelu" and options.pop("approximate", "none") == "tanh":
        name = "gelu_tanh"
    try:
        return activations.get(name, **options)
    except (ValueError, TypeError) as error:
        raise ValueError(f"the model calls {name}, which the lab has no theory of: {error}") from None


def _options(function: Any, name: str, args: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a call that change the function, by the lab's names."""
    try:
        bound = inspect.signature(function).bind(*args, **kwargs).arguments
    except (TypeError, ValueError):  # a function written in C
        bound = dict(kwargs)
    if name == "gelu":
        return {"approximate": bound["approximate"]} if "approximate" in bound else {}
    return {ours: float(bound[theirs]) for theirs, ours in _OPTIONS.get(name, {}).items() if theirs in bound}
