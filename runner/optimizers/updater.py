"""Updater: applies the rule of an optimizer to the parameters of a stack.

An update is elementwise. It runs block by block, and a block stays in cache between the passes of the rule.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from runner.optimizers.rules import Block, Optimizer
from weightinit.arrays import Array, array_module

# Elements of a block: half a megabyte of float32. Blocks of 16 Ki elements take 1.3 times as long with SGD and 1.5
# times with Adam: their calls cost more than the cache saves, and two threads wait more often for Python's lock.
BLOCK = 1 << 17


class Updater:
    """Optimizer of a stack: its state, and the hyperparameters of its runs as columns."""

    def __init__(
        self,
        optimizers: Sequence[Optimizer],
        steps: int,
        weights: Array,
        gradient: Array,
        kernels: int,
        scale: Array | None = None,
    ) -> None:
        """Take over a stack's arrays.

        ``weights``, ``gradient``: (runs, parameters), of which the first ``kernels`` columns decay; ``scale``: factors
        of each parameter's learning rate (runs, parameters), None for 1.
        """
        self.optimizers, self.steps, self.kernels, self.scale = tuple(optimizers), steps, kernels, scale
        self.weights, self.gradient = weights, gradient
        self.kind, self.signature = type(optimizers[0]), optimizers[0].signature
        self.clips = self.signature.clips
        xp = array_module(weights)
        self.state = tuple(xp.zeros_like(weights) for _ in range(self.kind.slots))
        self._arrange()

    def step(self, step: int) -> None:
        """Change the weights in place by the current gradient, and overwrite the gradient."""
        dtype = self.weights.dtype
        hyper = {name: x.astype(dtype) for name, x in self.kind.hyper(self.columns, self.rates[step], step).items()}
        if self.clips:
            factor = self._clipping().astype(dtype)
        for block in self.blocks:
            if self.clips:
                block.gradient *= factor[block.runs]
            self.kind.update(block, {name: x[block.runs] for name, x in hyper.items()}, self.signature)

    def keep(self, runs: Array, weights: Array, gradient: Array) -> None:
        """Keep only ``runs`` (indices), whose vectors are now ``weights`` and ``gradient``."""
        self.optimizers = tuple(self.optimizers[run] for run in runs)
        self.state = tuple(state[runs] for state in self.state)
        self.scale = None if self.scale is None else self.scale[runs]
        self.weights, self.gradient = weights, gradient
        self._arrange()

    def _arrange(self) -> None:
        xp, (runs, size) = array_module(self.weights), self.weights.shape
        rates = [run.learning_rate * run.rate.factors(self.steps) for run in self.optimizers]
        self.rates = xp.asarray(rates, np.float64).T[:, :, None]
        self.columns = {name: self._column(name) for name in self.kind.numbers}
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
        """Return one hyperparameter of all runs (runs, 1), float64."""
        values = [getattr(optimizer, name) for optimizer in self.optimizers]
        column: Array = array_module(self.weights).asarray(values, np.float64)[:, None]
        return column

    def _clipping(self) -> Array:
        """Return the factor (runs, 1), float64, that limits each gradient's norm; 1 where the norm is NaN."""
        xp = array_module(self.weights)
        norm = xp.zeros_like(self.limits)
        for block in self.blocks:
            squares = self.squares[: block.gradient.size].reshape(block.gradient.shape)
            norm[block.runs] += xp.square(block.gradient, out=squares, dtype=np.float64).sum(axis=1, keepdims=True)
        xp.sqrt(norm, out=norm)
        factor: Array = xp.where(norm > self.limits, self.limits / norm, 1.0)
        return factor


def _tiles(runs: int, size: int) -> list[tuple[slice, slice]]:
    """Rows and columns of blocks of at most BLOCK elements: whole runs where they fit, else pieces of one run."""
    if size <= BLOCK:
        rows = BLOCK // size
        return [(slice(start, min(start + rows, runs)), slice(0, size)) for start in range(0, runs, rows)]
    cuts = [slice(start, min(start + BLOCK, size)) for start in range(0, size, BLOCK)]
    return [(slice(run, run + 1), cut) for run in range(runs) for cut in cuts]
