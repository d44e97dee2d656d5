"""A pytree of arrays as the framework-free record of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import jax
import jax.numpy as jnp
import numpy as np

from weightinit.arrays import Array
from weightinit.jax.modules import uses
from weightinit.model import Buffer, Model, ModelTensor, blocks_of
from weightinit.uses import Use, in_parts

RUNNING: Final[Mapping[str, Literal["mean", "variance"]]] = {"mean": "mean", "var": "variance"}
"""Names of running statistics."""


@dataclass(frozen=True)
class Leaf:
    """An array of floating-point numbers in a pytree: its place among all leaves, and where it lies.

    ``owner``: the module or container that holds it at ``layer``, by ``own``, its last name. ``kind``: class of the
    module; in a dictionary of Flax linen its name without the number, where it is that of a
    class. ``shared``: whether it lies in a variable of NNX, which may stand in two places and stay one; of other trees
    one array in two places becomes two by the first update.
    """

    place: int
    layer: str
    own: str
    owner: Any
    kind: str
    value: Any
    shared: bool = False

    @property
    def name(self) -> str:
        """Path of the array."""
        return f"{self.layer}/{self.own}" if self.layer else self.own


def translate(tree: Any) -> Model:
    """Return the record of a pytree: of its arrays of floating-point numbers; it changes nothing.

    Of the variables of Flax linen the collection ``params`` counts, of a module of NNX its ``Param``.

    Raises ValueError for a tree without such arrays.
    """
    found = leaves(tree)
    if not found:
        raise ValueError(
            f"tree must hold arrays of floating-point numbers; got {type(tree).__name__} without any. Pass the model, "
            "or the variables that model.init returns."
        )
    beside: dict[str, dict[str, tuple[int, ...]]] = {}
    for leaf in found:
        beside.setdefault(leaf.layer, {})[leaf.own] = tuple(leaf.value.shape)
    known = {
        leaf.layer: uses(leaf.owner, leaf.kind, leaf.layer.rpartition("/")[2], beside[leaf.layer]) for leaf in found
    }
    tensors: dict[Any, ModelTensor] = {}
    for leaf in found:
        memory = id(leaf.value) if leaf.shared else ("", leaf.place)
        if memory in tensors:
            first = tensors[memory]
            tied = replace(
                first, also=(*first.also, leaf.name), used_as=(*first.used_as, known[leaf.layer][leaf.own].role)
            )
            tensors[memory] = tied
        else:
            tensors[memory] = _tensor(leaf, known[leaf.layer][leaf.own])
    blocks = blocks_of([tensor.name for tensor in tensors.values()])
    name = "pytree" if isinstance(tree, Mapping | list | tuple) else type(tree).__name__
    tensors_in_blocks = tuple(replace(each, block=blocks.get(each.name)) for each in tensors.values())
    return Model(name, tensors_in_blocks, buffers=tuple(_buffers(tree)))


def _buffers(tree: Any) -> Iterator[Buffer]:
    """Running statistics of Flax' batch norms: the collection ``batch_stats`` of linen, ``BatchStat`` of NNX."""
    for path, value in jax.tree_util.tree_flatten_with_path(tree)[0]:
        names, owner = [_text(key) for key in path], tree
        for key in path[:-1]:
            owner = _within(owner, key)
        of_nnx = _is_a(owner, "BatchStat")
        if (of_nnx or names[0] == "batch_stats") and isinstance(value, jax.Array | np.ndarray):
            names = names[:-1] if of_nnx else names[1:]
            yield Buffer("/".join(names), RUNNING.get(names[-1], ""), False, _reader(value))


def leaves(tree: Any) -> list[Leaf]:
    """Return the arrays of floating-point numbers of a pytree that are parameters."""
    found = []
    for place, (path, value) in enumerate(jax.tree_util.tree_flatten_with_path(tree)[0]):
        if not hasattr(value, "dtype") or not jnp.issubdtype(value.dtype, jnp.inexact):
            continue
        owners = [tree]
        for key in path[:-1]:
            owners.append(_within(owners[-1], key))
        names = [_text(key) for key in path]
        shared = _is_a(owners[-1], "Variable")
        if shared:  # of NNX, which holds its array in an attribute
            if not _is_a(owners[-1], "Param"):
                continue
            owners, names = owners[:-1], names[:-1]
        if isinstance(tree, Mapping) and "params" in tree:  # the collections of linen
            if names[0] != "params":
                continue
            names = names[1:]
        owner = owners[-1] if names else None
        own = names[-1] if names else "value"
        found.append(Leaf(place, "/".join(names[:-1]), own, owner, _kind(owner, names), value, shared))
    return found


def _within(owner: Any, key: Any) -> Any:
    """What lies in an object by a key of a path; nothing where keys don't say (a class flattened by numbers)."""
    try:
        if isinstance(key, jax.tree_util.GetAttrKey):
            return getattr(owner, key.name)
        return owner[getattr(key, "key", getattr(key, "idx", None))]
    except (AttributeError, IndexError, KeyError, TypeError):
        return None


def _text(key: Any) -> str:
    return str(getattr(key, "name", getattr(key, "key", getattr(key, "idx", key))))


def _is_a(value: Any, name: str) -> bool:
    """Whether a value is of one of NNX's classes of variables, which needn't be installed."""
    return any(each.__name__ == name and each.__module__.startswith("flax.") for each in type(value).__mro__)


def _kind(owner: Any, names: list[str]) -> str:
    if owner is not None and not isinstance(owner, Mapping | list | tuple):
        return type(owner).__name__
    module = names[-2] if len(names) > 1 else ""
    return module.rstrip("0123456789").rstrip("_") if module[:1].isupper() else ""


def _tensor(leaf: Leaf, use: Use) -> ModelTensor:
    shape = tuple(leaf.value.shape)
    if jnp.issubdtype(leaf.value.dtype, jnp.complexfloating):
        shape, use = (*shape, 2), in_parts(use)
    return use.tensor(
        leaf.name,
        shape,
        dtype=str(leaf.value.dtype),
        kind=leaf.kind,
        layer=leaf.layer,
        read=None if isinstance(leaf.value, jax.ShapeDtypeStruct) else _reader(leaf.value),
    )


def _reader(value: Any) -> Callable[[], Array]:
    def read() -> Array:
        array = np.asarray(value)
        if array.dtype.kind == "c":
            return np.stack([array.real, array.imag], -1)
        return array if array.dtype.kind == "f" else array.astype(np.float32)  # bfloat16 and smaller

    return read
