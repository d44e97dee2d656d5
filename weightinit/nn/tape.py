"""Tape: the work memory of a stack of runs, and the dicts of arrays that layers read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from weightinit.arrays import Array

Shape: TypeAlias = tuple[int, ...]
Params: TypeAlias = Mapping[str, Array]
State: TypeAlias = Mapping[str, Array]
Phase: TypeAlias = Literal["train", "probe", "evaluate"]
Key: TypeAlias = tuple[str, str]
BLOCK = 1 << 16  # elements of an array of which several fit in the cache of a core


class Slot(NamedTuple):
    """Memory that a layer asks for.

    ``path`` and ``quantity`` are its key in the tape; what is called ``preactivation`` or ``activation`` is measured.
    ``shape``: of one sample with scope ``sample``, of one run with scope ``run``; memory of scope ``scratch`` has this
    shape whatever the batch, is shared by all layers and holds nothing between their calls. ``gradient``, of a layer's
    output: in memory of its ``own``, so that it can be measured, or in memory ``shared`` with others. ``dtype``: None
    for the network's.
    """

    path: str
    quantity: str
    shape: Shape
    scope: Literal["sample", "run", "scratch"] = "sample"
    gradient: Literal["own", "shared"] = "own"
    dtype: type[Any] | None = None


class Helpers(Protocol):
    """Threads that work beside the caller's."""

    def do(self, work: Callable[[], None]) -> None:
        """Have ``work`` done by the end of ``wait``."""

    def wait(self) -> None:
        """Return when everything is done."""


@dataclass(eq=False)
class Tape:
    """Work memory of one stack, allocated once and reused at every step.

    ``arrays``: by path and quantity, ``(runs, batch, *shape)``; the gradient of the loss with respect to an array has
    the quantity ``d_...``. ``gradients``: those of the outputs of the network's steps, in order, some of which share
    memory; ``spare``: memory for one more; ``scratch``: memory for some samples of one run at a time, by name.
    ``input`` refers to what entered a layer. By weight: ``gradient``, views into ``flat_gradient`` ``(runs,
    parameters)``, empty where only the gradients of inputs are asked for. ``ones`` is ``(1, 1, batch)``; ``xp`` is the
    module of the arrays.

    A forward pass leaves its ``state`` and ``phase`` here. ``step``: number of the training step, for layers that draw
    noise. ``helpers``: threads for gradients of weights, which nothing else in a backward pass waits for where each
    array is written by one step.
    """

    runs: int
    batch: int
    xp: ModuleType
    flat_gradient: Array
    gradient: dict[str, Array]
    ones: Array
    arrays: dict[Key, Array] = field(default_factory=dict)
    gradients: list[Array] = field(default_factory=list)
    spare: Array | None = None
    scratch: dict[str, Array] = field(default_factory=dict)
    input: dict[Key, Array] = field(default_factory=dict)
    state: State = field(default_factory=dict)
    phase: Phase = "train"
    step: int = 0
    helpers: Helpers | None = None

    def __getitem__(self, key: Key) -> Array:
        return self.arrays[key]

    @property
    def d_output(self) -> Array:
        """Gradient of the loss with respect to the network's output."""
        return self.gradients[-1]

    @property
    def preactivation(self) -> dict[str, Array]:
        """Pre-activations by layer."""
        return self._by_path("preactivation")

    @property
    def activation(self) -> dict[str, Array]:
        """Activations by layer."""
        return self._by_path("activation")

    @property
    def d_preactivation(self) -> dict[str, Array]:
        """Gradients with respect to the pre-activations, by layer."""
        return self._by_path("d_preactivation")

    def _by_path(self, quantity: str) -> dict[str, Array]:
        return {path: array for (path, name), array in self.arrays.items() if name == quantity}

    def keep_gradient(self, weight: str, left: Array, right: Array, runs: slice = slice(None)) -> None:
        """Write ``left @ right`` as the gradient of a weight, where gradients of weights are asked for, of ``runs``."""
        if weight in self.gradient:
            self.xp.matmul(left, right, out=self.gradient[weight][runs])

    def blocks(self, elements: int) -> Iterator[slice]:
        """Yield slices of the runs, of which several arrays of so many ``elements`` a run fit in a core's cache."""
        count = max(1, BLOCK // max(1, elements))
        for start in range(0, self.runs, count):
            yield slice(start, start + count)

    def aside(self, work: Callable[[], None]) -> None:
        """Do ``work``, or have it done by the end of the backward pass."""
        if self.helpers is None:
            work()
        else:
            self.helpers.do(work)

    def spare_like(self, array: Array) -> Array:
        """Return memory of the shape of ``array`` that is free until the next step."""
        assert self.spare is not None
        return self.spare[: array.size].reshape(array.shape)

    def constant(self, name: str, default: float, array: Array) -> Any:
        """Return a constant of each run in a shape that multiplies ``array``; ``default`` where the state has none."""
        values = self.state.get(name)
        if values is None:
            return array.dtype.type(default)
        return values.reshape(-1, *[1] * (array.ndim - 1))

    def keep(self, smaller: Tape, runs: Array) -> None:
        """Copy the current step of ``runs`` (indices) to a tape for so many runs."""
        smaller.flat_gradient[...] = self.flat_gradient[runs]
        for key, array in self.arrays.items():
            if len(array) == self.runs and key in smaller.arrays:
                smaller.arrays[key][...] = array[runs]
        smaller.input |= {key: array[runs] for key, array in self.input.items() if len(array) == self.runs}
        smaller.step, smaller.phase = self.step, self.phase


def ones_for(tape: Tape, samples: int) -> Array:
    """Return ones (1, 1, samples), kept for the next call."""
    if samples == tape.batch:
        return tape.ones
    key = ("", f"ones/{samples}")
    if key not in tape.input:
        tape.input[key] = tape.xp.ones((1, 1, samples), tape.ones.dtype)
    return tape.input[key]
