"""Updater: applies the rule of an optimizer to the parameters of a stack.

An update is elementwise. It runs block by block: weights of one scale, that stay in cache between the passes of the
rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np

from runner.optimizers.rules import Block, Optimizer
from weightinit.arrays import Array, array_module
from weightinit.nn import tape

# Elements of a block of one run, half a megabyte of float32, and of a block of several runs. Smaller ones save no time:
# their calls cost more than the cache saves, and two threads wait more often for Python's lock. The norm of a gradient
# is summed block by block of its run, so that another ``BLOCK`` changes its bits.
BLOCK, SEVERAL = 1 << 17, 1 << 16


class Scale(NamedTuple):
    """Scales of the parameters in some ``columns``, float64 (runs, 1): of their ``update`` and of their ``gradient``.

    Both are relative to the base sizes of the network, as ``weightinit.schemes.Initialized`` has them.
    """

    columns: slice
    update: Array
    gradient: Array


class Helpers(tape.Helpers, Protocol):
    """So many threads that work beside the caller's."""

    @property
    def count(self) -> int:
        """Number of the threads."""


class Updater:
    """Optimizer of a stack: its state, and the hyperparameters of its runs as columns."""

    def __init__(
        self,
        optimizers: Sequence[Optimizer],
        steps: int,
        weights: Array,
        gradient: Array,
        kernels: int,
        scales: Sequence[Scale] = (),
        helpers: Helpers | None = None,
    ) -> None:
        """Take over a stack's arrays.

        ``weights``, ``gradient``: (runs, parameters), of which the first ``kernels`` columns decay; ``scales``: of all
        columns in order, none where every scale is 1; ``helpers``: threads that update some of the blocks.
        """
        ones = np.ones((len(weights), 1))
        self.scales = tuple(scales) or (Scale(slice(0, weights.shape[1]), ones, ones),)
        self.optimizers, self.steps, self.kernels, self.helpers = tuple(optimizers), steps, kernels, helpers
        self.weights, self.gradient = weights, gradient
        self.kind, self.signature = type(optimizers[0]), optimizers[0].signature
        self.clips = self.signature.clips
        xp = array_module(weights)
        self.state = tuple(xp.zeros_like(weights) for _ in range(self.kind.slots))
        self._arrange()

    def step(self, step: int) -> None:
        """Change the weights in place by the current gradient, and overwrite the gradient."""
        dtype = self.weights.dtype
        factor = self._clipping().astype(dtype) if self.clips else None
        by_scale = [
            {
                name: cast[name] if x is numbers.get(name) else x.astype(dtype)
                for name, x in self.kind.hyper(numbers, self.rates[step] * rate, step).items()
            }
            for (numbers, rate), cast in zip(self.scaled, self.cast, strict=True)
        ]
        own, *others = self.lanes
        for lane in others:
            assert self.helpers is not None
            self.helpers.do(partial(self._change, lane, by_scale, factor))
        self._change(own, by_scale, factor)
        if others and self.helpers is not None:
            self.helpers.wait()

    def _change(
        self, blocks: Sequence[tuple[Block, int]], by_scale: Sequence[Mapping[str, Array]], factor: Array | None
    ) -> None:
        for block, place in blocks:
            if factor is not None:
                block.gradient *= factor[block.runs]
            hyper = by_scale[place]
            if len(self.tiles) > 1:
                hyper = {name: x[block.runs] for name, x in hyper.items()}
            self.kind.update(block, hyper, self.signature)

    def keep(self, runs: Array, weights: Array, gradient: Array) -> None:
        """Keep only ``runs`` (indices), whose vectors are now ``weights`` and ``gradient``."""
        self.optimizers = tuple(self.optimizers[run] for run in runs)
        self.state = tuple(state[runs] for state in self.state)
        self.scales = tuple(Scale(columns, update[runs], by[runs]) for columns, update, by in self.scales)
        self.weights, self.gradient = weights, gradient
        self._arrange()

    def _arrange(self) -> None:
        xp, (runs, size) = array_module(self.weights), self.weights.shape
        rates = [run.learning_rate * run.rate.factors(self.steps) for run in self.optimizers]
        self.rates = xp.asarray(rates, np.float64).T[:, :, None]
        columns = {name: self._column(name) for name in self.kind.numbers}
        self.scaled = [
            self.kind.scaled(columns, xp.asarray(scale.update), xp.asarray(scale.gradient)) for scale in self.scales
        ]
        # What stays the same from step to step is cast once.
        self.cast = [{name: x.astype(self.weights.dtype) for name, x in numbers.items()} for numbers, _ in self.scaled]
        threads = 1 if self.helpers is None else 1 + self.helpers.count
        scratches = [xp.empty(min(runs * size, BLOCK), self.weights.dtype) for _ in range(threads)]
        self.tiles = []
        blocks: list[tuple[Block, int]] = []
        for rows, whole in _tiles(runs, size):
            # The norm of the gradient is summed tile by tile: the scales of other runs must not change its bits.
            self.tiles.append((rows, self.gradient[rows, whole]))
            for place, scale in enumerate(self.scales):
                part = slice(max(whole.start, scale.columns.start), min(whole.stop, scale.columns.stop))
                if part.start >= part.stop:
                    continue
                weight = self.weights[rows, part]
                block = Block(
                    rows,
                    weight,
                    self.gradient[rows, part],
                    slice(0, max(0, min(self.kernels, part.stop) - part.start)),
                    tuple(state[rows, part] for state in self.state),
                    scratches[len(blocks) % threads][: weight.size].reshape(weight.shape),
                )
                blocks.append((block, place))
        # Blocks of one thread share scratch memory.
        self.lanes = [blocks[lane::threads] for lane in range(min(threads, len(blocks)))]
        if self.clips:
            self.limits, self.squares = self._column("clip_norm"), xp.empty(len(scratches[0]))

    def _column(self, name: str) -> Array:
        """Return one hyperparameter of all runs (runs, 1), float64."""
        values = [getattr(optimizer, name) for optimizer in self.optimizers]
        column: Array = array_module(self.weights).asarray(values, np.float64)[:, None]
        return column

    def _clipping(self) -> Array:
        """Return the factor (runs, 1), float64, that limits each gradient's norm; 1 where the norm is NaN."""
        xp = array_module(self.weights)
        norm = xp.zeros_like(self.limits)
        for rows, gradient in self.tiles:
            squares = self.squares[: gradient.size].reshape(gradient.shape)
            norm[rows] += xp.square(gradient, out=squares, dtype=np.float64).sum(axis=1, keepdims=True)
        xp.sqrt(norm, out=norm)
        factor: Array = xp.where(norm > self.limits, self.limits / norm, 1.0)
        return factor


def _tiles(runs: int, size: int) -> list[tuple[slice, slice]]:
    """Rows and columns of blocks: several whole runs, one run, or pieces of one run."""
    if size <= BLOCK:
        rows = max(1, SEVERAL // size)
        return [(slice(start, min(start + rows, runs)), slice(0, size)) for start in range(0, runs, rows)]
    cuts = [slice(start, min(start + BLOCK, size)) for start in range(0, size, BLOCK)]
    return [(slice(run, run + 1), cut) for run in range(runs) for cut in cuts]
