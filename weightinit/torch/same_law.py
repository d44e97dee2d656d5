"""Two ways of building a PyTorch model, held against each other."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from weightinit.arrays import Array
from weightinit.model import Model
from weightinit.same_law import SameLaw, compare, first_seeds, values_of
from weightinit.torch.random_states import random_states, seed_all
from weightinit.torch.translation import translate


def same_law(
    build_a: Callable[..., Any],
    build_b: Callable[..., Any],
    seeds: int | Sequence[int] = 8,
    *,
    names: Mapping[str, str] | None = None,
    level: float = 1e-3,
) -> SameLaw:
    """Return whether two ways of building a model draw every tensor from the same law, and what differs.

    Each function is called once a seed, after all global generators were seeded with it, and given the seed if it takes
    an argument. It returns a module, a translated model of any framework, or arrays by name (``(*kernel, inputs,
    outputs)``). So an eager model is held against one of the meta device, code from before a change against code from
    after it, a port against its original. ``names``: names of b's tensors by those of a; without common names they go
    by order. ``level``: the chance that equal laws raise any difference.

    Raises TypeError for a function that returns something else, ValueError for fewer than 4 seeds.
    """
    for build in (build_a, build_b):
        if not callable(build) or isinstance(build, nn.Module):
            raise TypeError(
                f"same_law compares functions that build; got {type(build).__name__}. Pass lambda: Net() in its place."
            )
    with random_states():
        return compare(
            lambda seed: _built(build_a, seed),
            lambda seed: _built(build_b, seed),
            first_seeds(seeds),
            names={other: own for own, other in (names or {}).items()},
            level=level,
        )


def _built(build: Callable[..., Any], seed: int) -> dict[str, Array]:
    seed_all(seed)
    with torch.no_grad():
        built = build(seed) if _takes_a_seed(build) else build()
    if isinstance(built, nn.Module):
        built = translate(built)
    if isinstance(built, Model):
        values = values_of(built)
        if len(values) < len(built.tensors):
            missing = next(tensor.name for tensor in built if tensor.read is None)
            raise ValueError(f"the model must hold values; {missing} is on the meta device. Materialize it first.")
        return {name: np.array(value) for name, value in values.items()}
    if isinstance(built, Mapping):
        return {name: np.asarray(value) for name, value in built.items()}
    raise TypeError(f"a function must return a module, a model or arrays by name; got {type(built).__name__}.")


def _takes_a_seed(build: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(build).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
