"""A module of PyTorch's as a network of the lab's: its sizes, its layers, and whether a scheme can draw it.

PyTorch is imported when the first of them is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from weightinit.activations import Activation, relu
from weightinit.nn import Network, Shape
from weightinit.nn.architectures import Form
from weightinit.nn.sites import Site
from weightinit.nn.weights import WeightSpec

if TYPE_CHECKING:
    from runner.torch.building import Recipe

# Memory of a training step over that of the layers' outputs: these, their nonlinearities, gradients of both, copies.
_COPIES = 6


@dataclass(frozen=True)
class _Memory:
    outputs: int

    def elements(self, samples: int) -> int:
        """Return about how many numbers a step on so many samples holds for each run."""
        return _COPIES * samples * self.outputs


@dataclass(frozen=True, eq=False)
class ModuleNetwork(Network):
    """A network whose layers are those of a module; ``recipe`` builds it, ``device`` is where it trains.

    ``specs``: its parameters in the library's layout, by the module's names; ``places``: its layers in the order of
    their calls, by the lab's names. No two of them are equal: the same options may build another module.
    """

    recipe: Recipe = field(kw_only=True)
    device: str = field(kw_only=True)
    specs: tuple[WeightSpec, ...] = field(kw_only=True)
    places: tuple[Site, ...] = field(kw_only=True)

    __eq__ = object.__eq__  # a network's own compares its layers, of which there are none here
    __hash__ = object.__hash__

    @property
    def out_shape(self) -> Shape:
        return self.recipe.leaving

    @property
    def takes_tokens(self) -> bool:
        return self.recipe.entering == "tokens"

    @cached_property
    def weights(self) -> tuple[WeightSpec, ...]:
        return self.specs

    @cached_property
    def activations(self) -> tuple[Activation, ...]:
        """None: the module's are its own."""
        return ()

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        return self.places

    @cached_property
    def shape(self) -> str:
        """Name and sizes for people: ``Net 64-10 (9,610 weights)``."""
        entering = "x".join(map(str, self.in_shape))
        return f"{self.recipe.called} {entering}-{self.recipe.outputs} ({self.parameters:,} weights)"

    @cached_property
    def multiplications(self) -> int:
        """Number of multiplications that the forward pass of one sample takes, about."""
        positions = {site.name: prod(site.shape[:-1]) for site in self.sites if site.weight is not None}
        weights = {site.name: prod(site.weight.shape) for site in self.sites if site.weight is not None}
        return sum(count * positions[name] for name, count in weights.items())

    @cached_property
    def memory(self) -> Any:
        return _Memory(sum(prod(site.shape) for site in self.sites))

    @property
    def jacobian_samples(self) -> int:
        """None: no Jacobian is measured."""
        return 0

    def require(self, scheme: Any) -> None:
        """Raise ValueError, with one sentence, for a scheme that can't draw the module."""
        from runner.torch.drawing import require

        require(scheme, self.recipe)


def module(
    inputs: int,
    outputs: int,
    activation: Activation,
    *,
    module: str,
    options: Mapping[str, Any] | None = None,
    input: str = "auto",
    device: str = "auto",
    dtype: str = "float32",
    form: Form | Mapping[str, Any] | None = None,
) -> ModuleNetwork:
    """Return the network of a person's own ``torch.nn.Module``, with one pass through it to know its layers.

    ``module``: its class or a function that builds it, as ``my.module:Net``, or a configuration class of transformers',
    as ``transformers:BertConfig``; ``options``: their arguments. ``input``: flat, image (channels first) or tokens;
    auto is tokens where the data has some, else flat. ``device``: cpu, cuda ...; auto is a GPU where there is one.

    Raises ValueError where PyTorch is missing, where the module can't be built, doesn't take the data or returns
    another shape than its targets'; TypeError where it is no module.
    """
    try:
        import torch
    except ImportError:
        raise ValueError(
            "architecture=torch needs PyTorch, which is not installed: pip install 'weightinit[torch]'."
        ) from None
    from runner.torch.building import Recipe, entering, located
    from runner.torch.tracing import check_order, traced

    if activation.name != relu().name:
        raise ValueError(
            f"activation={activation.name} has no say in architecture=torch, whose module has its own; leave it out, "
            "or make it one of architecture.options."
        )
    if not isinstance(module, str) or module == "???":
        raise ValueError("architecture.module needs the address of a module. Pass architecture.module=my.module:Net.")
    data = Form.of(form, inputs)
    located(module)
    recipe = Recipe(
        module, dict(options or {}), data, inputs, outputs, entering(input, data), getattr(torch, dtype)
    )  # fmt: skip
    specs, places = traced(recipe)
    if data.ahead:
        check_order(recipe)
    return ModuleNetwork(
        data.shape if data.vocabulary is not None else inputs,
        (),
        np.dtype(dtype),
        recipe=recipe,
        device=_device(device),
        specs=specs,
        places=places,
    )


def _device(asked: str) -> str:
    import torch

    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=asked)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"architecture.device must be auto, cpu or a device that is here; got {asked!r} "
            f"({str(error).partition(chr(10))[0]}). Pass architecture.device=auto."
        ) from error
    return asked


def require_of_the_lab(network: Network, asked: str, remedy: str) -> None:
    """Raise ValueError for a module of one's own where ``asked`` (``mode=forecast follows``) can't take one."""
    if isinstance(network, ModuleNetwork):
        raise ValueError(f"{asked} the lab's own networks; got architecture=torch. {remedy}")
