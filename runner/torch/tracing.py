"""Parameters and layers of a module, known from one pass without memory where that is possible."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from runner.torch.building import Recipe
from runner.torch.observing import Observer, Seen, names
from weightinit.nn.sites import Site
from weightinit.nn.weights import WeightSpec
from weightinit.torch.errors import raised
from weightinit.torch.random_states import random_states
from weightinit.torch.samples import Sample, main_output
from weightinit.torch.translation import translate

_BATCH = 3


@contextmanager
def on_meta() -> Iterator[None]:
    """Build modules without memory inside."""
    with torch.device("meta"):
        yield


def traced(recipe: Recipe) -> tuple[tuple[WeightSpec, ...], tuple[Site, ...]]:
    """Return a module's parameters and the layers that a batch passes, in order.

    Raises ValueError where the module can't be built, doesn't take the data, or returns another shape than wanted.
    """
    try:
        with on_meta():
            return _traced(recipe, "meta")
    except Exception:  # a module may look at values, or read arrays: it is then built and called for good
        with random_states():
            return _traced(recipe, "cpu")


def check_order(recipe: Recipe) -> None:
    """Raise ValueError for a module whose outputs depend on the tokens behind, where it shall say what follows."""
    with random_states(), torch.no_grad():
        module = recipe.build().eval()
        tokens = torch.arange(recipe.inputs)[None] % (recipe.form.vocabulary or 2)
        other = tokens.clone()
        other[:, -1] += 1 - 2 * (other[:, -1] > 0)
        seen = [main_output(module(x)) for x in (tokens, other)]
        before, after = (output[:, :-1] for output in seen if output is not None)
    if not torch.allclose(before, after, rtol=1e-4, atol=1e-6 * float(before.abs().max())):
        raise ValueError(
            "the data's targets are the tokens that follow, and this module looks at them: the output for a token "
            f"changes with a later one in {recipe.address}. Mask what lies ahead, or pass data=copying."
        )


def _traced(recipe: Recipe, device: str) -> tuple[tuple[WeightSpec, ...], tuple[Site, ...]]:
    module = recipe.build()
    trained = [p for p in module.parameters() if p.requires_grad]
    if not trained:
        raise ValueError(f"architecture.module={recipe.address} must have trained parameters; it has none.")
    record = translate(module)
    numbers = torch.zeros((_BATCH, recipe.inputs), dtype=recipe.dtype, device=device)
    x = recipe.arranged(numbers)
    with torch.no_grad(), Observer(module, len(x)) as observer:
        output = _passed(recipe, module, x)
    recipe.check(output, x)
    specs = {name: spec for t, spec in zip(record, record.specs(), strict=True) for name in (t.name, *t.also)}
    own = tuple(specs[tensor.name] for tensor in record)
    called = names(observer.seen)
    return own, tuple(_site(place, called[path], specs) for path, place in observer.seen.items())


def _passed(recipe: Recipe, module: nn.Module, x: torch.Tensor) -> Any:
    try:
        return Sample((x,)).run(module)
    except ValueError as error:
        cause = error.__cause__ or error
        raise ValueError(
            f"architecture.module={recipe.address} must take a batch of {tuple(x.shape)} ({recipe.entering}); it "
            f"raised {raised(cause)}. Pass architecture.input=flat, image or tokens as it wants, or other "
            "architecture.options."
        ) from error


def _site(place: Seen, name: str, specs: dict[str, WeightSpec]) -> Site:
    weight = specs.get(place.weight)
    weight = weight if weight is not None and weight.role == "weight" else None
    shape = tuple(place.output.movedim(place.units, -1).shape[1:])
    return Site(name, weight, bool(place.weight), None, not place.weight, shape)
