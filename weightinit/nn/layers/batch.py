"""Batch norm: over samples and positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from weightinit.arrays import Array
from weightinit.laws import Law
from weightinit.nn.layers.base import Layer
from weightinit.nn.layers.batch_moments import Normalized
from weightinit.nn.layers.dense import folded, wide
from weightinit.nn.layers.norm import EPSILON, FIXED, NONE, affine, affine_gradients, apply_affine
from weightinit.nn.moments import Gradient, Moments, unknown_gradient, unknown_moments
from weightinit.nn.tape import Params, Shape, Slot, Tape, ones_for
from weightinit.nn.weights import StatisticSpec, WeightSpec

MOMENTUM = 0.9


@dataclass(frozen=True)
class BatchNorm(Layer):
    """``gain (x - mean) / sqrt(variance + 1e-5) + bias`` of a unit over samples and positions (Ioffe & Szegedy 2015).

    In training the statistics are those of the batch, and a running mean of them (momentum .9) is kept for evaluation.
    ``trained``: whether gain and bias are.
    """

    name: str
    units: int
    trained: bool = True

    @property
    def weights(self) -> tuple[WeightSpec, ...]:
        return affine(self.name, self.units, bias=True, trained=self.trained)

    @property
    def statistics(self) -> tuple[StatisticSpec, ...]:
        shape = (1, self.units)
        return StatisticSpec(f"{self.name}/mean", shape, 0.0), StatisticSpec(f"{self.name}/variance", shape, 1.0)

    def statistics_of(self, tape: Tape) -> dict[str, Array]:
        """Return mean and variance of the last batch by the names of the running ones."""
        scale = tape[self.name, "scale"]
        variance = 1.0 / (scale * scale) - scale.dtype.type(EPSILON)
        return {f"{self.name}/mean": tape[self.name, "mean"].copy(), f"{self.name}/variance": variance}

    def slots(self, entering: Shape) -> tuple[Slot, ...]:
        return (
            Slot(self.name, "preactivation", entering, gradient="shared"),
            Slot(self.name, "normalized", entering),
            Slot(self.name, "mean", (1, self.units), scope="run"),
            Slot(self.name, "scale", (1, self.units), scope="run"),
        )

    def forward(self, params: Params, x: Array, tape: Tape) -> Array:
        out = tape[self.name, "preactivation"]
        for runs in tape.blocks(out[0].size):
            self._normalize(x if len(x) == 1 else x[runs], tape, runs)
            apply_affine(self.name, params, tape, runs, bias=True)
        return out

    def _normalize(self, x: Array, tape: Tape, runs: slice) -> None:
        xp, rows, out = tape.xp, folded(x), tape[self.name, "preactivation"][runs]
        mean, scale = tape[self.name, "mean"][runs], tape[self.name, "scale"][runs]
        (normalized,) = wide(tape[self.name, "normalized"][runs])
        if tape.phase == "evaluate":
            mean[...] = tape.state[f"{self.name}/mean"][runs]
            scale[...] = tape.state[f"{self.name}/variance"][runs]
            xp.subtract(*wide(x, mean), out=normalized)
        else:
            share = mean.dtype.type(1.0 / rows.shape[1])
            ones = ones_for(tape, rows.shape[1])
            mean[...] = xp.matmul(ones, rows) * share
            xp.subtract(*wide(x, mean), out=normalized)
            xp.multiply(normalized, normalized, out=out.reshape(normalized.shape))
            xp.matmul(ones, folded(out), out=scale)
            scale *= share
            if tape.phase == "train":
                for name, values in (("mean", mean), ("variance", scale)):
                    running = tape.state[f"{self.name}/{name}"][runs]
                    running *= running.dtype.type(MOMENTUM)
                    running += values * values.dtype.type(1.0 - MOMENTUM)
        scale += scale.dtype.type(EPSILON)
        xp.sqrt(scale, out=scale)
        xp.divide(1.0, scale, out=scale)
        normalized *= wide(x, scale)[1]

    def backward(self, params: Params, d_output: Array, tape: Tape, *, into: Array | None) -> Array | None:
        for runs in tape.blocks(d_output[0].size):
            self._backward(params, d_output[runs], tape, runs, None if into is None else into[runs])
        return into

    def _backward(self, params: Params, d_output: Array, tape: Tape, runs: slice, into: Array | None) -> None:
        xp, d = tape.xp, folded(d_output)
        normalized = folded(tape[self.name, "normalized"][runs])
        product = xp.empty_like(d) if into is None else folded(into)
        affine_gradients(self.name, d, normalized, tape, product, runs, bias=True)
        if into is None:
            return
        d_x, factor = wide(into, params[f"{self.name}/gain"][runs] * tape[self.name, "scale"][runs])
        if tape.phase == "evaluate":
            into[...] = d_output
        else:
            share = d.dtype.type(1.0 / d.shape[1])
            along, level = (tape.gradient[f"{self.name}/{part}"][runs] * share for part in ("gain", "bias"))
            units, along, level = wide(tape[self.name, "normalized"][runs], along, level)
            xp.multiply(units, along, out=d_x)
            xp.subtract(*wide(d_output), d_x, out=d_x)
            d_x -= level
        d_x *= factor

    def expect(self, moments: Moments, laws: Mapping[str, Law]) -> Moments:
        """E[y y'] of each pair, for values of the batch that are Gaussian (``Normalized``)."""
        if moments.reason:
            return moments
        gain, bias = laws.get(f"{self.name}/gain", FIXED), laws.get(f"{self.name}/bias", NONE)
        found = Normalized.of(moments)
        if found is None:
            return unknown_moments(f"{self.name}: batch norm needs the correlation of the samples")
        share = gain.second_moment * found.variance / (found.variance + EPSILON)
        squares, pairs = (share * part + bias.second_moment for part in (found.squares, found.pairs))
        return Moments.uneven(squares, bias.mean, pairs)

    def expect_gradient(self, gradient: Gradient, moments: Moments, laws: Mapping[str, Law]) -> Gradient:
        """E[g_x g_x'] of each pair, for gradients of the outputs that are independent between samples."""
        if reason := gradient.reason or moments.reason:
            return unknown_gradient(reason)
        found = Normalized.of(moments, gradient)
        if found is None:
            return unknown_gradient(f"{self.name}: batch norm needs the correlation of the samples")
        if not (found.whole or gradient.held):
            return unknown_gradient(
                f"{self.name}: batch norm needs the correlation of all {len(found.squares)} samples, "
                f"and that of {len(found.pairs)} is followed where there are positions"
            )
        gain = laws.get(f"{self.name}/gain", FIXED).second_moment
        before = gradient.scaled(found.inverse) if gradient.held else found.gradient(gradient)
        return before.scaled(gain * found.variance / (found.variance + EPSILON))
