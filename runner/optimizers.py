"""Optimizers: hyperparameters of one run, and the update of a whole stack whose runs have their own.

The update is elementwise, so it runs over blocks of the parameter vectors small enough to stay in cache between its
passes. Hyperparameters that differ between runs are columns ``(runs, 1)``; those that decide *which* operations take
place belong to the stack's signature, so that a run does the same operations alone and among others.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from runner.schedules import Schedule
from weightinit.arrays import Array, array_module

# Elements of a block: five float32 arrays of it fit in a core's second-level cache with room to spare.
BLOCK = 16_384


@dataclass(frozen=True, kw_only=True)
class Optimizer(ABC):
    """Hyperparameters that every optimizer has.

    ``learning_rate`` times the factor of ``schedule`` is the step size. ``weight_decay`` acts on the weights proper, not on
    biases. ``clip_norm``: the gradient of the whole network is scaled down to this norm where it is larger (Pascanu et
    al. 2013); None never clips.
    """

    learning_rate: float
    weight_decay: float = 0.0
    clip_norm: float | None = None
    schedule: str = "constant"
    warmup_steps: int = 0
    decay_every: int | None = None
    decay_factor: float = 0.1

    slots: ClassVar[int]

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
    def column(cls, optimizers: Sequence[Optimizer], name: str, dtype: np.dtype[Any]) -> Array:
        """One hyperparameter of all runs (runs, 1), cast once from float64."""
        values = np.array([getattr(optimizer, name) for optimizer in optimizers], np.float64)
        return values.astype(dtype)[:, None]

    @classmethod
    @abstractmethod
    def update(cls, block: Block, step: int, rate: Array, hyper: dict[str, Array], signature: tuple[Any, ...]) -> None:
        """Changes ``block.weight`` by one step; ``block.gradient`` and ``block.scratch`` may be overwritten."""


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
    """Stochastic gradient descent, ``v = momentum v + g``, ``w -= rate v``; with ``nesterov`` ``w -= rate (g + momentum v)``.

    Polyak 1964; Sutskever et al. 2013, eq. 3-4, in the form PyTorch gives them. Weight decay is an L2 penalty.
    """

    momentum: float = 0.0
    nesterov: bool = False

    slots: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        _check("momentum", self.momentum, least=0.0, below=1.0)
        if self.nesterov and not self.momentum:
            raise ValueError("optimizer.nesterov=true needs a momentum above 0; got 0. Pass optimizer.momentum=0.9.")

    @property
    def signature(self) -> tuple[Any, ...]:
        return (*super().signature, self.momentum > 0, self.nesterov)

    @classmethod
    def update(cls, block: Block, step: int, rate: Array, hyper: dict[str, Array], signature: tuple[Any, ...]) -> None:
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
        _descend(block, xp.multiply(change, rate, out=block.scratch))


@dataclass(frozen=True, kw_only=True)
class Adam(Optimizer):
    """Adam (Kingma & Ba 2015, algorithm 1). Weight decay is an L2 penalty, as in the paper's successors' baseline."""

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    slots: ClassVar[int] = 2
    decoupled: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check("beta1", self.beta1, least=0.0, below=1.0)
        _check("beta2", self.beta2, least=0.0, below=1.0)
        _check("epsilon", self.epsilon, above=0.0)

    @classmethod
    def update(cls, block: Block, step: int, rate: Array, hyper: dict[str, Array], signature: tuple[Any, ...]) -> None:
        xp = array_module(block.weight)
        gradient, scratch, (mean, square) = block.gradient, block.scratch, block.state
        if signature[1] and cls.decoupled:
            _decay(block, hyper["weight_decay"] * rate, into=block.weight, sign=-1)
        elif signature[1]:
            _decay(block, hyper["weight_decay"], into=gradient)
        mean *= hyper["beta1"]
        mean += xp.multiply(gradient, hyper["one_minus_beta1"], out=scratch)
        square *= hyper["beta2"]
        gradient *= gradient
        square += xp.multiply(gradient, hyper["one_minus_beta2"], out=scratch)
        # The two corrections of the bias are folded into the step size and epsilon: two passes less over the block.
        root = np.sqrt(1.0 - hyper["beta2_float64"] ** (step + 1))
        step_size = (rate * (root / (1.0 - hyper["beta1_float64"] ** (step + 1)))).astype(rate.dtype)
        xp.sqrt(square, out=scratch)
        scratch += (hyper["epsilon_float64"] * root).astype(rate.dtype)
        xp.divide(mean, scratch, out=scratch)
        scratch *= step_size
        _descend(block, scratch)


@dataclass(frozen=True, kw_only=True)
class AdamW(Adam):
    """Adam with decoupled weight decay, ``w -= rate weight_decay w`` (Loshchilov & Hutter 2019, algorithm 2)."""

    decoupled: ClassVar[bool] = True


class Updater:
    """The optimizer of a stack: its state, and its runs' hyperparameters as columns."""

    def __init__(
        self, optimizers: Sequence[Optimizer], steps: int, weights: Array, gradient: Array, kernels: int,
        scale: Array | None = None,
    ) -> None:
        """``weights``, ``gradient``: (runs, parameters), of which the first ``kernels`` columns decay; ``scale``: what
        multiplies the learning rate of each parameter (runs, parameters), None for one."""
        self.optimizers, self.steps, self.kernels, self.scale = tuple(optimizers), steps, kernels, scale
        self.weights, self.gradient = weights, gradient
        self.kind, self.signature = type(optimizers[0]), optimizers[0].signature
        xp = array_module(weights)
        self.state = tuple(xp.zeros_like(weights) for _ in range(self.kind.slots))
        self._arrange()

    def step(self, step: int) -> None:
        """Changes the weights in place by the gradient at hand; the gradient is overwritten."""
        if self.signature[2]:
            self._clip()
        rate = self.rates[step]
        for block, hyper in self.blocks:
            self.kind.update(block, step, rate[block.runs], hyper, self.signature)

    def keep(self, runs: Array, weights: Array, gradient: Array) -> None:
        """Goes on with only ``runs`` (indices), whose vectors are now ``weights`` and ``gradient``."""
        self.optimizers = tuple(self.optimizers[run] for run in runs)
        self.state = tuple(state[runs] for state in self.state)
        self.scale = None if self.scale is None else self.scale[runs]
        self.weights, self.gradient = weights, gradient
        self._arrange()

    def _arrange(self) -> None:
        runs, size = self.weights.shape
        dtype = self.weights.dtype
        rates = [run.learning_rate * run.rate.factors(self.steps) for run in self.optimizers]
        self.rates = np.array(rates, np.float64).T.astype(dtype)[:, :, None]
        hyper = {
            field.name: self.kind.column(self.optimizers, field.name, dtype)
            for field in fields(self.kind)
            if isinstance(getattr(self.optimizers[0], field.name), float)
        }
        if issubclass(self.kind, Adam):
            wide = np.dtype(np.float64)
            for name in ("beta1", "beta2", "epsilon"):
                hyper[f"{name}_float64"] = self.kind.column(self.optimizers, name, wide)
            for name in ("beta1", "beta2"):
                hyper[f"one_minus_{name}"] = (1.0 - hyper[f"{name}_float64"]).astype(dtype)
        scratch = array_module(self.weights).empty(min(runs * size, max(BLOCK, min(size, BLOCK))), dtype)
        self.blocks = []
        for rows, columns in _tiles(runs, size):
            weight = self.weights[rows, columns]
            block = Block(
                rows,
                weight,
                self.gradient[rows, columns],
                slice(0, max(0, min(self.kernels, columns.stop) - columns.start)),
                tuple(state[rows, columns] for state in self.state),
                scratch[: weight.size].reshape(weight.shape),
                None if self.scale is None else self.scale[rows, columns],
            )
            self.blocks.append((block, {name: column[rows] for name, column in hyper.items()}))

    def _clip(self) -> None:
        """Scales each run's gradient down to its norm limit. Norms in float64; a gradient with NaN stays as it is."""
        limits = self.kind.column(self.optimizers, "clip_norm", np.dtype(np.float64))[:, 0]
        for run, limit in enumerate(limits):
            gradient = self.gradient[run]
            norm = math.sqrt(float(np.square(gradient, dtype=np.float64).sum()))
            if norm > limit:
                gradient *= gradient.dtype.type(limit / norm)


def _tiles(runs: int, size: int) -> list[tuple[slice, slice]]:
    """Blocks of at most BLOCK elements: several whole runs where they fit, else pieces of one run."""
    if size <= BLOCK:
        rows = BLOCK // size
        return [(slice(start, min(start + rows, runs)), slice(0, size)) for start in range(0, runs, rows)]
    cuts = [slice(start, min(start + BLOCK, size)) for start in range(0, size, BLOCK)]
    return [(slice(run, run + 1), cut) for run in range(runs) for cut in cuts]


def _decay(block: Block, factor: Array, *, into: Array, sign: int = 1) -> None:
    kernel = block.scratch[:, block.kernel]
    np.multiply(block.weight[:, block.kernel], factor, out=kernel)
    if sign > 0:
        into[:, block.kernel] += kernel
    else:
        into[:, block.kernel] -= kernel


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
