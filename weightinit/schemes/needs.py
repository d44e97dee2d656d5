"""Needs: what a scheme asks of a network, from a closed list; a scheme names its own in ``needs``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from weightinit.activations import Activation
from weightinit.fans import compute_fans
from weightinit.nn.layers import (
    AveragePooling,
    BatchNorm,
    Convolution,
    Dense,
    Dropout,
    Flatten,
    GlobalPooling,
    GroupNorm,
    Layer,
    LayerNorm,
    Nonlinearity,
    Sum,
)
from weightinit.nn.network import Network
from weightinit.nn.weights import WeightSpec

EVEN_TO = 1e-6  # relative error up to which phi(z) - phi(-z) counts as a multiple of z


class Need(NamedTuple):
    """``met``: whether a network has it; ``what``: its name in a sentence; ``lacking``: what a network without it is
    told, and how to mend it."""

    met: Callable[[Network], bool]
    what: str
    lacking: str


def require(scheme: object, network: Network) -> None:
    """Raise ValueError, with one sentence, for a network that lacks what a scheme needs."""
    for name in needs_of(scheme):
        need = NEEDS[name]
        if not need.met(network):
            raise ValueError(f"{name_of(scheme)} needs {need.what}; {need.lacking}")


def suits(scheme: object, network: Network) -> bool:
    """Return whether a network has all that a scheme needs."""
    return all(NEEDS[name].met(network) for name in needs_of(scheme))


def needs_of(scheme: object) -> Sequence[str]:
    """Return the names of what a scheme needs, keys of ``NEEDS``."""
    needs: Sequence[str] = getattr(scheme, "needs", ())
    return needs


def name_of(scheme: object) -> str:
    """Return a scheme's name in the lab, that of its class where it has none."""
    return getattr(scheme, "name", "") or type(scheme).__name__


def odd_part(activation: Activation) -> float | None:
    """Return c where phi(z) - phi(-z) = c z for all z; None for other activations."""
    z = np.array([1.0, 0.03, 0.4, 3.0, 20.0])
    ratio = (activation.phi(z) - activation.phi(-z)) / z
    return float(ratio[0]) if np.abs(ratio - ratio[0]).max() < EVEN_TO * abs(ratio[0]) else None


def _sums(network: Network) -> list[Sum]:
    return [step.layer for step in network.steps if isinstance(step.layer, Sum)]


def _has_part(network: Network, part: str) -> bool:
    return any(spec.part == part for spec in network.weights)


def _norms_end_branches(network: Network) -> bool:
    gains = [spec for spec in network.weights if spec.role == "gain" and spec.trained and spec.ends_branch]
    ended = {spec.branch.index for spec in gains if spec.branch is not None}
    return bool(_sums(network)) and len(ended) == len(_sums(network))


def _norms_behind_sums(network: Network) -> bool:
    """Whether a norm follows each sum, and nothing goes past the norm: that of a pre-norm block has a skip past it."""
    behind = [step.layer for before, step in pairwise(network.steps) if before.skip is not None]
    sums = {register for register, step in enumerate(network.steps, start=1) if step.skip is not None}
    passed = sums & {step.skip for step in network.steps}
    normed = all(isinstance(layer, LayerNorm | BatchNorm | GroupNorm) for layer in behind)
    return bool(_sums(network)) and normed and not passed


def _widens(spec: WeightSpec) -> bool:
    """Whether a kernel has at least as many filters as channels, all of which see all."""
    kernel = spec.part == "convolution" and spec.role == "weight"
    return not kernel or (spec.shape[-2] <= spec.shape[-1] and spec.fans == compute_fans(spec.shape))


def _chain(network: Network, allowed: tuple[type[Layer], ...]) -> bool:
    """Whether a network is layers of these kinds, with an activation between any two that have weights."""
    between = True
    for step in network.steps:
        if not isinstance(step.layer, allowed) or (weighs := bool(step.weights)) > between:
            return False
        between = isinstance(step.layer, Nonlinearity) or (between and not weighs)
    return len(network.activations) > 0


def _level_chain(network: Network) -> bool:
    """Whether sums keep the size of a signal, and all other layers may."""
    squares = [end.branch_scale**2 + end.skip_scale**2 for end in _sums(network) if not end.trained]
    level = len(squares) == len(_sums(network)) and all(abs(square - 1.0) < EVEN_TO for square in squares)
    allowed = (Dense, Convolution, Nonlinearity, Flatten, GlobalPooling, Sum)
    return level and all(isinstance(step.layer, allowed) for step in network.steps) and bool(network.activations)


NEEDS: Final[Mapping[str, Need]] = {
    "module": Need(
        lambda network: False,
        "a module of your own",
        "this network is the lab's. Use architecture=torch, or another scheme.",
    ),
    "branches": Need(
        lambda network: bool(_sums(network)),
        "residual branches",
        "this network has none. Use architecture=residual_mlp or resnet.",
    ),
    "trained_scales": Need(
        lambda network: bool(_sums(network)) and all(end.trained for end in _sums(network)),
        "a trained factor on each residual branch",
        "this network has none. Use architecture=residual_mlp or resnet, and architecture.trained_scale=true.",
    ),
    "unit_scales": Need(
        lambda network: bool(_sums(network)) and all(end.trained == "unit" for end in _sums(network)),
        "a trained factor for each unit of each residual branch",
        "this network has none. Use architecture=residual_mlp or resnet, and architecture.trained_scale=unit.",
    ),
    "branch_norms": Need(
        _norms_end_branches,
        "a norm at the end of each residual branch",
        "this network has none. Use architecture=resnet architecture.placement=post.",
    ),
    "one_width": Need(
        lambda network: network.width is not None,
        "one width",
        "this network has sizes of its own. Use architecture.width in place of a list, or scheme=spectral.",
    ),
    "no_norms": Need(
        lambda network: not _has_part(network, "norm"),
        "a network without norms",
        "this one has some. Pass architecture.norm=none.",
    ),
    "post_norms": Need(
        _norms_behind_sums,
        "a norm behind each sum of branch and skip",
        "this network has none. Use architecture=transformer architecture.placement=post.",
    ),
    "attention": Need(
        lambda network: _has_part(network, "query"),
        "attention",
        "this network has none. Use architecture=transformer.",
    ),
    "own_output": Need(
        lambda network: not getattr(network.steps[-1].layer, "tied", ""),
        "outputs with weights of their own",
        "this network has those of the embedding. Pass architecture.tied=false.",
    ),
    "convolutions": Need(
        lambda network: _has_part(network, "convolution"),
        "convolutions",
        "this network has none. Use architecture=cnn or resnet.",
    ),
    "no_convolutions": Need(
        lambda network: not _has_part(network, "convolution"),
        "dense weights alone",
        "this network has convolutions. Use scheme=zero.",
    ),
    "square_kernels": Need(
        lambda network: all(map(_widens, network.weights)),
        "at least as many filters as channels in each convolution",
        "this network has fewer in some. Pass architecture.widths that don't fall.",
    ),
    "mirrored_chain": Need(
        lambda network: _chain(
            network, (Dense, Convolution, Nonlinearity, Flatten, AveragePooling, GlobalPooling, Dropout)
        ),
        "layers in a plain chain",
        "this network has norms, branches or weights with no activation between. Use architecture=mlp, or cnn.",
    ),
    "mirrored_activation": Need(
        lambda network: all(odd_part(activation) for activation in network.activations),
        "an activation with phi(z) - phi(-z) = c z",
        "this network has another. Pass activation=relu, leaky_relu, gelu or silu.",
    ),
    "even_widths": Need(
        lambda network: all(
            spec.shape[-1] % 2 == 0 for spec in network.weights if spec.role == "weight" and spec.position != "output"
        ),
        "even widths",
        "this network has an odd one. Pass an even architecture.width.",
    ),
    "level_chain": Need(
        _level_chain,
        "a level chain of dense layers, convolutions and activations",
        "this network has norms, pooling or sums whose squared factors do not add up to 1. "
        "Use architecture=mlp, cnn with architecture.pools=0 and architecture.norm=none, or "
        "residual_mlp with architecture.branch_scale=0.6 architecture.skip_scale=0.8.",
    ),
    "leaky_relu": Need(
        lambda network: all(phi.name in ("relu", "leaky_relu", "tat_leaky_relu") for phi in network.activations),
        "relu or leaky_relu",
        "this network has another activation. Pass activation=leaky_relu.",
    ),
    "smooth": Need(
        lambda network: len(network.activations) == 1 and not network.activations[0].kinks,
        "one activation without kinks",
        "this network has another. Pass activation=tanh, gelu or softplus.",
    ),
}
"""Everything that a scheme may need, by name."""
