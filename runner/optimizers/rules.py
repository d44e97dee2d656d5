"""Optimizers: hyperparameters of one run, and the update of a whole stack whose runs have their own.

The update is elementwise, so it runs over blocks of the parameter vectors small enough to stay in cache between its
passes. Hyperparameters that differ between runs are columns ``(runs, 1)``; those that decide *which* operations take
place belong to the stack's signature, so that a run does the same operations alone and among others.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from runner.optimizers.schedules import Schedule
from weightinit.arrays import Array, array_module

# Elements of a block: half a megabyte of float32. Blocks of 16 Ki elements take 1.3 times as long on SGD and 1.5 times
# on Adam (the calls cost more than the cache spares), and more calls means more turns of two threads at Python's lock.
BLOCK = 1 << 17


@dataclass(frozen=True, kw_only=True)
class Optimizer(ABC):
    """Hyperparameters that every optimizer has.

    ``learning_rate`` times the factor of ``schedule`` is the step size. ``weight_decay`` acts on the weights proper,
    not on biases. ``clip_norm``: the gradient of the whole network is scaled down to this norm where it is larger
    (Pascanu et al. 2013); None never clips.
    """

    learning_rate: float
    weight_decay: float = 0.0
    clip_norm: float | None = None
    schedule: str = "constant"
    warmup_steps: int = 0
    decay_every: int | None = None
    decay_factor: float = 0.1

    slots: ClassVar[int]
    numbers: ClassVar[tuple[str, ...]] = ("weight_decay",)

    def __post_init__(self) -> None:
        _check("learning_rate", self.learning_rate, above=0.0)
        _check("weight_decay", self.weight_decay, least=0.0)
        if self.clip_norm is not None:
            _check("clip_norm", self.clip_norm, above=0.0)
        _ = self.rate  # an invalid schedule raises here

    @property
    def rate(self) -> Schedule:
        """The schedule of the learning rate."""
        return Schedule(self.schedule, self.warmup_steps, self.decay_every, self.decay_factor)

    @property
    def signature(self) -> tuple[Any, ...]:
        """What must agree for two runs to share a stack: which operations an update is made of."""
        return (type(self).__name__, self.weight_decay > 0, self.clip_norm is not None)

    @classmethod
    def hyper(cls, own: Mapping[str, Array], rate: Array, step: int) -> dict[str, Array]:
        """What ``update`` needs at ``step``, by name, of the runs' ``numbers`` and rates: float64 (runs, 1)."""
        return {**own, "rate": rate}

    @classmethod
    @abstractmethod
    def update(cls, block: Block, hyper: Mapping[str, Array], signature: tuple[Any, ...]) -> None:
        """Changes ``block.weight`` by one step; ``block.gradient`` and ``block.scratch`` may be overwritten.

        ``hyper``: that of the block's runs, in its dtype.
        """


@dataclass(eq=False)
class Block:
    """Parts of the arrays (runs, parameters) of a stack: some runs, or some columns of one run."""

    runs: slice
    weight: Array
    gradient: Array
    kernel: slice
    state: tuple[Array, ...]
    scratch: Array
    scale: Array | None


@dataclass(frozen=True, kw_only=True)
class SGD(Optimizer):
    """Stochastic gradient descent, ``v = momentum v + g``, ``w -= rate v``.

    With ``nesterov`` ``w -= rate (g + momentum v)``. Polyak 1964; Sutskever et al. 2013, eq. 3-4, in the form PyTorch
    gives them. Weight decay is an L2 penalty.
    """

    momentum: float = 0.0
    nesterov: bool = False

    slots: ClassVar[int] = 1
    numbers: ClassVar[tuple[str, ...]] = ("weight_decay", "momentum")

    def __post_init__(self) -> None:
        super().__post_init__()
        _check("momentum", self.momentum, least=0.0, below=1.0)
        if self.nesterov and not self.momentum:
            raise ValueError("optimizer.nesterov=true needs a momentum above 0; got 0. Pass optimizer.momentum=0.9.")

    @property
    def signature(self) -> tuple[Any, ...]:
        return (*super().signature, self.momentum > 0, self.nesterov)

    @classmethod
    def update(cls, block: Block, hyper: Mapping[str, Array], signature: tuple[Any, ...]) -> None:
        xp = array_module(block.weight)
        _, decays, _, has_momentum, nesterov = signature
        change = block.gradient
        if decays:
            _decay(block, hyper["weight_decay"], into=change)
        if has_momentum:
            (velocity,) = block.state
            velocity *= hyper["momentum"]
            velocity += change
            if nesterov:
                change += xp.multiply(velocity, hyper["momentum"], out=block.scratch)
            else:
                change = velocity
        _descend(block, xp.multiply(change, hyper["rate"], out=block.scratch))


@dataclass(frozen=True, kw_only=True)
class Adam(Optimizer):
    """Adam (Kingma & Ba 2015, algorithm 1). Weight decay is an L2 penalty, as in the paper's successors' baseline."""

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    slots: ClassVar[int] = 2
    numbers: ClassVar[tuple[str, ...]] = ("weight_decay", "beta1", "beta2", "epsilon")
    decoupled: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check("beta1", self.beta1, least=0.0, below=1.0)
        _check("beta2", self.beta2, least=0.0, below=1.0)
        _check("epsilon", self.epsilon, above=0.0)

    @classmethod
    def hyper(cls, own: Mapping[str, Array], rate: Array, step: int) -> dict[str, Array]:
        # The moments are kept as sums, m / (1 - beta1) and v / (1 - beta2). What turns them into means, and both
        # corrections of the bias, are folded into the step size and epsilon: four passes less over the weights.
        beta1, beta2 = own["beta1"], own["beta2"]
        root = np.sqrt((1.0 - beta2 ** (step + 1)) / (1.0 - beta2))
        return {
            **own,
            "weight_decay": own["weight_decay"] * rate if cls.decoupled else own["weight_decay"],
            "rate": rate * root * (1.0 - beta1) / (1.0 - beta1 ** (step + 1)),
            "epsilon": own["epsilon"] * root,
        }

    @classmethod
    def update(cls, block: Block, hyper: Mapping[str, Array], signature: tuple[Any, ...]) -> None:
        xp = array_module(block.weight)
        gradient, scratch, (mean, square) = block.gradient, block.scratch, block.state
        if signature[1]:
            into, sign = (block.weight, -1) if cls.decoupled else (gradient, 1)
            _decay(block, hyper["weight_decay"], into=into, sign=sign)
        mean *= hyper["beta1"]
        mean += gradient
        square *= hyper["beta2"]
        gradient *= gradient
        square += gradient
        xp.sqrt(square, out=scratch)
        scratch += hyper["epsilon"]
        xp.divide(mean, scratch, out=scratch)
        scratch *= hyper["rate"]
        _descend(block, scratch)


@dataclass(frozen=True, kw_only=True)
class AdamW(Adam):
    """Adam with decoupled weight decay, ``w -= rate weight_decay w`` (Loshchilov & Hutter 2019, algorithm 2)."""

    decoupled: ClassVar[bool] = True


class Updater:
    """The optimizer of a stack: its state, and its runs' hyperparameters as columns."""

    def __init__(
        self,
        optimizers: Sequence[Optimizer],
        steps: int,
        weights: Array,
        gradient: Array,
        kernels: int,
        scale: Array | None = None,
    ) -> None:
        """``weights``, ``gradient``: (runs, parameters), of which the first ``kernels`` columns decay; ``scale``: what
        multiplies the learning rate of each parameter (runs, parameters), None for one."""
        self.optimizers, self.steps, self.kernels, self.scale = tuple(optimizers), steps, kernels, scale
        self.weights, self.gradient = weights, gradient
        self.kind, self.signature = type(optimizers[0]), optimizers[0].signature
        self.clips = self.signature[2]
        xp = array_module(weights)
        self.state = tuple(xp.zeros_like(weights) for _ in range(self.kind.slots))
        self._arrange()

    def step(self, step: int) -> None:
        """Changes the weights in place by the gradient at hand; the gradient is overwritten."""
        dtype = self.weights.dtype
        hyper = {name: x.astype(dtype) for name, x in self.kind.hyper(self.own, self.rates[step], step).items()}
        if self.clips:
            factor = self._clipping().astype(dtype)
        for block in self.blocks:
            if self.clips:
                block.gradient *= factor[block.runs]
            self.kind.update(block, {name: x[block.runs] for name, x in hyper.items()}, self.signature)

    def keep(self, runs: Array, weights: Array, gradient: Array) -> None:
        """Goes on with only ``runs`` (indices), whose vectors are now ``weights`` and ``gradient``."""
        self.optimizers = tuple(self.optimizers[run] for run in runs)
        self.state = tuple(state[runs] for state in self.state)
        self.scale = None if self.scale is None else self.scale[runs]
        self.weights, self.gradient = weights, gradient
        self._arrange()

    def _arrange(self) -> None:
        xp, (runs, size) = array_module(self.weights), self.weights.shape
        rates = [run.learning_rate * run.rate.factors(self.steps) for run in self.optimizers]
        self.rates = xp.asarray(rates, np.float64).T[:, :, None]
        self.own = {name: self._column(name) for name in self.kind.numbers}
        scratch = xp.empty(min(runs * size, BLOCK), self.weights.dtype)
        self.blocks = []
        for rows, columns in _tiles(runs, size):
            weight = self.weights[rows, columns]
            self.blocks.append(
                Block(
                    rows,
                    weight,
                    self.gradient[rows, columns],
                    slice(0, max(0, min(self.kernels, columns.stop) - columns.start)),
                    tuple(state[rows, columns] for state in self.state),
                    scratch[: weight.size].reshape(weight.shape),
                    None if self.scale is None else self.scale[rows, columns],
                )
            )
        if self.clips:
            self.limits, self.squares = self._column("clip_norm"), xp.empty(len(scratch))

    def _column(self, name: str) -> Array:
        """One hyperparameter of all runs (runs, 1) in float64."""
        values = [getattr(optimizer, name) for optimizer in self.optimizers]
        column: Array = array_module(self.weights).asarray(values, np.float64)[:, None]
        return column

    def _clipping(self) -> Array:
        """What scales each run's gradient down to its norm limit (runs, 1), in float64; one where its norm is NaN."""
        xp = array_module(self.weights)
        norm = xp.zeros_like(self.limits)
        for block in self.blocks:
            squares = self.squares[: block.gradient.size].reshape(block.gradient.shape)
            norm[block.runs] += xp.square(block.gradient, out=squares, dtype=np.float64).sum(axis=1, keepdims=True)
        xp.sqrt(norm, out=norm)
        factor: Array = xp.where(norm > self.limits, self.limits / norm, 1.0)
        return factor


def _tiles(runs: int, size: int) -> list[tuple[slice, slice]]:
    """Blocks of at most BLOCK elements: several whole runs where they fit, else pieces of one run."""
    if size <= BLOCK:
        rows = BLOCK // size
        return [(slice(start, min(start + rows, runs)), slice(0, size)) for start in range(0, runs, rows)]
    cuts = [slice(start, min(start + BLOCK, size)) for start in range(0, size, BLOCK)]
    return [(slice(run, run + 1), cut) for run in range(runs) for cut in cuts]


def _decay(block: Block, factor: Array, *, into: Array, sign: int = 1) -> None:
    xp, into = array_module(into), into[:, block.kernel]
    decay = xp.multiply(block.weight[:, block.kernel], factor, out=block.scratch[:, block.kernel])
    (xp.add if sign > 0 else xp.subtract)(into, decay, out=into)


def _descend(block: Block, change: Array) -> None:
    if block.scale is not None:
        change *= block.scale
    block.weight -= change


def _check(
    name: str, value: float, *, least: float | None = None, above: float | None = None, below: float | None = None
) -> None:
    bounds = (("at least", least), ("above", above), ("below", below))
    wants = " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    fits = number and (least is None or value >= least) and (above is None or value > above)
    if not (fits and (below is None or value < below)):
        raise ValueError(
            f"optimizer.{name} must be a finite number {wants}; got {value!r}. "
            f"Pass optimizer.{name}= with such a number."
        )
