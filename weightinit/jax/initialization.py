"""Initialization of a pytree by a scheme or by rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from weightinit.arrays import Array
from weightinit.drawing import ByBase, InitializationReport, LawLike, TensorRule, plan
from weightinit.drawing.networks import resolved
from weightinit.jax.initializer import number_of
from weightinit.jax.translation import Leaf, leaves, translate

Rules: TypeAlias = LawLike | TensorRule | ByBase | Sequence[TensorRule | ByBase]


def initialize(tree: Any, rules: Rules, key: Any, *, strict: bool = True) -> tuple[Any, InitializationReport]:
    """Return a pytree like ``tree`` with its parameters drawn anew, and which law each got and by which rule.

    ``tree``: a module of Equinox or Flax NNX, variables of Flax linen, or any pytree; also of shapes, as
    ``jax.eval_shape`` returns. ``rules``: a scheme, by name with its options (``"he"``, ``"normal(std=0.02)"``) or as
    a rule of ``weightinit.schemes``, for all weights of layers; biases are then zero, or what the scheme makes them,
    gains of norms 1. Or a list of :func:`rule`, of which for each array the first that reaches it counts.

    Each array draws from a stream of its path below ``key``: the same bits whatever else the tree holds. Numbers are
    drawn in float64 and rounded once to the array's type. A rule without hits is an error while ``strict``. What no
    rule reaches is left and listed in ``report.kept``.

    Raises ValueError for an unknown scheme, rules without hits, a tree without arrays, shapes without values that no
    rule reaches; TypeError for what is no rule and for a key inside ``jit``.
    """
    record = translate(tree)
    found = leaves(tree)
    try:
        words = jax.random.key_data(key)
    except TypeError:
        raise TypeError(f"key must be one of JAX; got {type(key).__name__}. Pass jax.random.key(0).") from None
    if isinstance(words, jax.core.Tracer):
        raise TypeError("key must be known: initialize draws in NumPy. Call it outside jit, or pass initializer('he').")
    seed = number_of(words)
    given: list[Any] = list(rules) if isinstance(rules, list | tuple) else [rules]
    chosen = plan(record, [_bound(resolved(each, record), found) for each in given], strict=strict)
    if missing := [name for name in chosen.kept if record[name].read is None]:
        raise ValueError(f"{missing[0]} has no values to keep, and no rule reaches it. Add rule({missing[0]!r}, ...).")
    values, structure = jax.tree_util.tree_flatten(tree)
    drawn = {tensor.name: chosen.draw(tensor, seed) for tensor in record if tensor.name in chosen.chosen}
    for leaf in found:
        tensor = record[leaf.name]
        if tensor.name in drawn:
            values[leaf.place] = _rounded(drawn[tensor.name], leaf.value.dtype)
    report = InitializationReport(
        tuple(chosen.record(tensor) for tensor in record),
        tuple((str(each), count) for each, count in chosen.hits),
        (),
        seed,
    )
    return jax.tree_util.tree_unflatten(structure, values), report


def _rounded(values: Array, dtype: Any) -> Any:
    if jnp.issubdtype(dtype, jnp.complexfloating):
        values = values[..., 0] + 1j * values[..., 1]
    return jnp.asarray(np.asarray(values).astype(dtype))


def _bound(rule: TensorRule, found: list[Leaf]) -> TensorRule:
    """Bind a rule of a class to the arrays of its modules, subclasses included; in linen's dictionaries names tell."""
    kind = rule.selector
    if not isinstance(kind, type):
        return rule
    names = frozenset(leaf.name for leaf in found if isinstance(leaf.owner, kind))
    return replace(rule, bound=names) if names else rule
