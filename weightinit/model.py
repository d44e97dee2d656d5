"""A model of any framework as named tensors: each with what its module knows of it.

Adapters (:mod:`weightinit.torch`) make the record; audits and initializers read it and know no framework.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np

from weightinit.arrays import Array
from weightinit.fans import Fans
from weightinit.laws import UNKNOWN, Law
from weightinit.nn.weights import Position, Role, WeightSpec

TensorRole: TypeAlias = Literal[
    "dense", "convolution", "embedding", "position", "recurrent", "bias", "gain", "lora_in", "lora_out", "parameter"
]
"""Roles of a tensor: ``position``: learned positions and tokens; ``gain``: the factor of a norm; ``lora_in`` and
``lora_out``: the two factors of a low-rank branch, the one beside the input first; ``parameter``: of unknown use."""

CORE_ROLES: Final[Mapping[TensorRole, Role]] = {"bias": "bias", "gain": "gain"}
"""Roles of the library's own networks by role of a tensor; all others are weights."""

INDEX: Final = re.compile(r"(?<![^./])\d+(?![^./])")
"""A part of a path that counts layers."""


class Part(NamedTuple):
    """One of several tensors that are packed into one: ``start`` to ``stop`` along its outputs."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True)
class Block:
    """Place of a tensor in a list of equal blocks: ``index`` of ``count``, from 0, in the list at ``path``."""

    path: str
    index: int
    count: int


@dataclass(frozen=True, eq=False)
class ModelTensor:
    """One parameter of a model.

    ``name``: its path, ``also``: other paths to the same memory (tied), ``used_as`` its roles there. ``shape``: as the
    framework has it, ``in_axes`` and ``out_axes`` its axes of inputs and outputs; all others belong to the kernel,
    ``stacked`` ones (experts) to none. ``kind``: class of the module, empty where a parameter stands alone; ``layer``:
    the module's path; ``holder``: class of the module around it, lists left out, empty where it is not known. ``fans``:
    true fans, of one group; a bias has those of the weight beside it, None where it shows none; an embedding's fan_in
    is 1. ``default``: the law that the module draws it from by itself. ``parts``: tensors that are packed into it.
    ``padding``: the row of an embedding that stands for no token. ``trained``: whether an optimizer may change it.
    ``read``: returns its values as the framework has them, in NumPy; None where there are none (a meta device).
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    role: TensorRole
    kind: str
    layer: str
    in_axes: tuple[int, ...]
    out_axes: tuple[int, ...]
    fans: Fans | None
    default: Law = UNKNOWN
    read: Callable[[], Array] | None = field(default=None, repr=False)
    groups: int = 1
    stacked: tuple[int, ...] = ()
    parts: tuple[Part, ...] = ()
    also: tuple[str, ...] = ()
    used_as: tuple[TensorRole, ...] = ()
    padding: int | None = None
    trained: bool = True
    parametrized: str = ""
    block: Block | None = None
    holder: str = ""

    @property
    def place(self) -> tuple[str, str]:
        """The path of the module around the layer, and the layer's name there, with its number in a list."""
        parts = self.layer.split(".")
        own = 2 if parts[-1].isdigit() else 1
        return ".".join(parts[:-own]), ".".join(parts[-own:])

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def pattern(self) -> str:
        """The name with ``*`` for each number that counts layers: equal for tensors of one use in all blocks."""
        return INDEX.sub("*", self.name)

    @property
    def core_role(self) -> Role:
        """The role that the library's own networks have for it: weight, bias or gain."""
        return CORE_ROLES.get(self.role, "weight")

    @property
    def order(self) -> tuple[int, ...]:
        """Axes in the order ``(*stacked, *kernel, *inputs, *outputs)``."""
        rest = [i for i in range(len(self.shape)) if i not in (*self.stacked, *self.in_axes, *self.out_axes)]
        return (*self.stacked, *rest, *self.in_axes, *self.out_axes)

    @property
    def laid_out(self) -> tuple[int, ...]:
        """Shape in the library's layout, ``(*kernel, fan_in, fan_out)``: stacked and kernel axes, inputs, outputs."""
        shape = [self.shape[axis] for axis in self.order]
        outputs = len(self.out_axes)
        inputs = len(self.in_axes)
        if outputs > 1:
            shape[-outputs:] = [math.prod(shape[-outputs:])]
        if inputs > 1:
            last = shape[-1:] if outputs else []
            shape = [*shape[: len(shape) - inputs - len(last)], math.prod(self.shape[i] for i in self.in_axes), *last]
        return tuple(shape)

    def to_layout(self, values: Array) -> Array:
        """Return values as the framework has them in the library's layout, without a copy where none is needed."""
        return values.transpose(self.order).reshape(self.laid_out)

    def from_layout(self, values: Array) -> Array:
        """Return values in the library's layout as the framework has them: the inverse of :meth:`to_layout`."""
        order = self.order
        moved = values.reshape([self.shape[axis] for axis in order])
        return np.ascontiguousarray(moved.transpose(np.argsort(order)) if order else moved)

    def spec(self, position: Position = "hidden") -> WeightSpec:
        """Return the record that schemes and laws of the library take; without fans those of a single element."""
        return WeightSpec(self.name, self.laid_out, self.fans or Fans(1, 1), self.core_role, position)

    def part(self, part: Part) -> WeightSpec:
        """Return the record of one of the tensors that are packed into this one."""
        count = part.stop - part.start
        shape = (*self.laid_out[:-1], count)
        fan_in, fan_out = self.fans or Fans(1, 1)
        fans = Fans(fan_in, fan_out * count // self.laid_out[-1])
        return WeightSpec(f"{self.name}[{part.name}]", shape, fans, self.core_role, "hidden")


@dataclass(frozen=True, eq=False)
class Buffer:
    """One array that a model holds and no optimizer changes: running statistics of a norm, masks, tables.

    ``role``: ``mean`` or ``variance`` of a norm's running statistics, empty for others. ``fresh``: whether no batch has
    changed them yet, as far as is known. ``read`` returns the values.
    """

    name: str
    role: Literal["mean", "variance", ""]
    fresh: bool
    read: Callable[[], Array] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Configuration:
    """Configuration of a part of a model, as plain values: of the module at ``path``, ``name`` in words."""

    path: str
    name: str
    values: Mapping[str, Any]

    @property
    def family(self) -> str:
        """The name that its library gives this kind of model (``gpt2``), if any."""
        return str(self.values.get("model_type") or "")

    def rules(self, name: str) -> bool:
        """Whether a tensor or module of this name lies in the part."""
        return not self.path or name == self.path or name.startswith((f"{self.path}.", f"{self.path}/"))


@dataclass(frozen=True, eq=False)
class Model:
    """A model: its ``tensors`` in order, each memory once, and its configuration as plain values, where it has one.

    ``name``: the model's class. ``family``: the name that its library gives this kind of model (``gpt2``), if any.
    ``parts``: configurations that parts of it have for themselves, outer ones first.
    """

    name: str
    tensors: tuple[ModelTensor, ...]
    config: Mapping[str, Any] = field(default_factory=dict)
    family: str = ""
    buffers: tuple[Buffer, ...] = ()
    parts: tuple[Configuration, ...] = ()

    def __iter__(self) -> Iterator[ModelTensor]:
        return iter(self.tensors)

    def __getitem__(self, name: str) -> ModelTensor:
        """The tensor of this name, or of this other name."""
        for tensor in self.tensors:
            if name == tensor.name or name in tensor.also:
                return tensor
        raise KeyError(f"name must be one of {', '.join(t.name for t in self.tensors)}; got {name!r}")

    @property
    def size(self) -> int:
        """Number of elements."""
        return sum(tensor.size for tensor in self.tensors)

    def configurations(self, *names: str) -> tuple[Configuration, ...]:
        """Return the configurations that rule all of the named tensors, the innermost first, the model's own last."""
        inner = [part for part in self.parts if all(part.rules(name) for name in names)]
        return (*reversed(inner), Configuration("", "config", self.config))

    def positions(self) -> dict[str, Position]:
        """Return the place of each layer: the first weights are ``input``, the last ones ``output``."""
        weights = [tensor.layer for tensor in self.tensors if tensor.core_role == "weight" and len(tensor.shape) > 1]
        places: dict[str, Position] = dict.fromkeys((tensor.layer for tensor in self.tensors), "hidden")
        if weights:
            places |= {weights[-1]: "output", weights[0]: "input"}
        return places

    def specs(self) -> tuple[WeightSpec, ...]:
        """Return the record of each tensor that schemes and laws of the library take."""
        places = self.positions()
        return tuple(tensor.spec(places[tensor.layer]) for tensor in self.tensors)


def blocks_of(names: Mapping[str, object] | list[str]) -> dict[str, Block]:
    """Return the place of each name in the outermost list of at least two blocks that it lies in.

    A list of blocks is a path whose next part counts: ``h`` of ``h.0.attn.weight``. Layers of a ``Sequential`` that
    hold parameters themselves (``0.weight``) are no blocks.
    """
    lists: dict[str, set[int]] = {}
    found: dict[str, list[tuple[str, int]]] = {}
    for name in names:
        for match in INDEX.finditer(name):
            path = name[: max(match.start() - 1, 0)]
            inside = name[match.end() + 1 :]
            if "." in inside or "/" in inside:
                lists.setdefault(path, set()).add(int(match[0]))
                found.setdefault(name, []).append((path, int(match[0])))
    result = {}
    for name, places in found.items():
        for path, index in places:
            if len(lists[path]) > 1:
                result[name] = Block(path, sorted(lists[path]).index(index), len(lists[path]))
                break
    return result
