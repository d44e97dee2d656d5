"""Group norm: over positions and the channels of a group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from weightinit.arrays import Array
from weightinit.laws import Law
from weightinit.nn.layers.base import Layer
from weightinit.nn.layers.dense import folded, wide
from weightinit.nn.layers.norm import EPSILON, FIXED, NONE, affine, affine_gradients, apply_affine
from weightinit.nn.moments import Gradient, Moments, times, unknown_gradient, unknown_moments
from weightinit.nn.tape import Params, Shape, Slot, Tape
from weightinit.nn.weights import WeightSpec

FEWEST = 64  # values of a group from which its mean square counts as known


@dataclass(frozen=True)
class GroupNorm(Layer):
    """``gain (x - mean) / sqrt(variance + 1e-5) + bias`` over positions and channels of a group (Wu & He 2018).

    ``trained``: whether gain and bias are.
    """

    name: str
    units: int
    groups: int
    trained: bool = True

    def __post_init__(self) -> None:
        if self.units % self.groups:
            raise ValueError(f"{self.name}: groups must divide the {self.units} channels; got {self.groups}")

    @property
    def weights(self) -> tuple[WeightSpec, ...]:
        return affine(self.name, self.units, bias=True, trained=self.trained)

    def slots(self, entering: Shape) -> tuple[Slot, ...]:
        return (
            Slot(self.name, "preactivation", entering, gradient="shared"),
            Slot(self.name, "normalized", entering),
            Slot(self.name, "scale", (1, self.groups, 1)),
        )

    def _by_group(self, x: Array) -> Array:
        """Return ``x`` as (runs, batch, positions, groups, channels of a group)."""
        return x.reshape(*x.shape[:2], -1, self.groups, self.units // self.groups)

    def _average(self, x: Array, tape: Tape) -> Array:
        """Return the mean (runs, batch, 1, groups, 1) over positions and the channels of a group."""
        positions = x.shape[2]
        ones = tape.xp.full((1, positions), 1.0 / (positions * x.shape[-1]), x.dtype)
        rows = tape.xp.matmul(ones, x.reshape(*x.shape[:3], self.units))  # a sum over positions
        summed = rows.reshape(*x.shape[:2], self.groups, -1)
        column = tape.xp.ones((summed.shape[-1], 1), x.dtype)
        mean: Array = tape.xp.matmul(summed, column)[:, :, None]
        return mean

    def forward(self, params: Params, x: Array, tape: Tape) -> Array:
        xp, by_group = tape.xp, self._by_group(x)
        normalized, out = (self._by_group(tape[self.name, name]) for name in ("normalized", "preactivation"))
        scale = tape[self.name, "scale"][..., None, :, :, :].reshape(tape.runs, tape.batch, 1, self.groups, 1)
        xp.subtract(by_group, self._average(by_group, tape), out=normalized)
        xp.multiply(normalized, normalized, out=out)
        scale[...] = self._average(out, tape)
        scale += scale.dtype.type(EPSILON)
        xp.sqrt(scale, out=scale)
        xp.divide(1.0, scale, out=scale)
        normalized *= scale
        apply_affine(self.name, params, tape, slice(None), bias=True)
        return tape[self.name, "preactivation"]

    def backward(self, params: Params, d_output: Array, tape: Tape, *, into: Array | None) -> Array | None:
        xp, d, normalized = tape.xp, folded(d_output), tape[self.name, "normalized"]
        product = xp.empty_like(d) if into is None else folded(into)
        affine_gradients(self.name, d, folded(normalized), tape, product, slice(None), bias=True)
        if into is not None:
            d_wide, gain = wide(d_output, params[f"{self.name}/gain"])
            xp.multiply(d_wide, gain, out=into.reshape(d_wide.shape))
            by_group, units = self._by_group(into), self._by_group(normalized)
            level, along = self._average(by_group, tape), self._average(by_group * units, tape)
            by_group -= level
            by_group -= units * along
            by_group *= tape[self.name, "scale"].reshape(tape.runs, tape.batch, 1, self.groups, 1)
        return into

    def expect(self, moments: Moments, laws: Mapping[str, Law]) -> Moments:
        """E[y²] = 1 over the positions of a sample, where a group has many channels."""
        if moments.reason:
            return moments
        if self.units // self.groups < FEWEST:
            return unknown_moments(self._few)
        share, bias = self._factors(moments, laws)
        each = share if np.ndim(share) == 0 else share.reshape(-1, *[1] * (np.ndim(moments.q) - 1))
        squares = np.asarray(each * moments.q + bias.second_moment)
        if moments.squares is None:
            q = float(squares)
            return Moments(q, bias.mean, (share * moments.covariance + bias.second_moment) / q)
        pairs = np.asarray(moments.covariance)
        root = np.sqrt(share[: len(pairs)])
        sizes = np.multiply.outer(root, root)
        if pairs.ndim == 4:
            sizes = sizes[:, None, :, None]
        return Moments.uneven(squares, bias.mean, sizes * pairs + bias.second_moment)

    def expect_gradient(self, gradient: Gradient, moments: Moments, laws: Mapping[str, Law]) -> Gradient:
        """E[g_x²] = gain² E[g_y²] / variance of the sample."""
        if reason := gradient.reason or moments.reason:
            return unknown_gradient(reason)
        if self.units // self.groups < FEWEST:
            return unknown_gradient(self._few)
        share, _ = self._factors(moments, laws)
        if moments.squares is None:
            return gradient.scaled(float(share))
        each = share.reshape(-1, *[1] * (moments.squares.ndim - 1))
        pairs = np.asarray(moments.correlation)
        root = np.sqrt(share[: len(pairs)])
        sizes = np.multiply.outer(root, root)
        if pairs.ndim == 4:
            sizes = sizes[:, None, :, None]
        squares = np.broadcast_to(each * gradient.q, moments.squares.shape)
        return gradient.uneven(squares, times(sizes, gradient.covariance))

    @property
    def _few(self) -> str:
        return f"{self.name}: a group of fewer than {FEWEST} channels has no mean square that is known beforehand"

    def _factors(self, moments: Moments, laws: Mapping[str, Law]) -> tuple[Array, Law]:
        """Return by what each sample's mean square is multiplied, (samples,) where they differ, and the bias's law."""
        gain, bias = laws.get(f"{self.name}/gain", FIXED), laws.get(f"{self.name}/bias", NONE)
        q = np.asarray(moments.q, np.float64)
        size = q if q.ndim == 0 else q.reshape(len(q), -1).mean(1)
        return np.asarray(gain.second_moment / (size + EPSILON)), bias
