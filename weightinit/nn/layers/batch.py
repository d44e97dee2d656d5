"""Norms over samples or positions: batch norm and group norm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from weightinit.arrays import Array
from weightinit.laws import Law
from weightinit.nn.layers.base import Layer
from weightinit.nn.layers.dense import folded, wide
from weightinit.nn.layers.norm import EPSILON, FIXED, NONE, affine, affine_gradients, apply_affine
from weightinit.nn.layers.positions import pairs_of
from weightinit.nn.moments import Gradient, Moments, times, unknown_gradient, unknown_moments
from weightinit.nn.tape import Params, Shape, Slot, Tape, ones_for
from weightinit.nn.weights import StatisticSpec, WeightSpec

MOMENTUM = 0.9
FEWEST = 64  # values of a group from which its mean square counts as known


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
        xp, rows, out = tape.xp, folded(x), tape[self.name, "preactivation"]
        mean, scale = tape[self.name, "mean"], tape[self.name, "scale"]
        (normalized,) = wide(tape[self.name, "normalized"])
        if tape.phase == "evaluate":
            mean[...] = tape.state[f"{self.name}/mean"]
            scale[...] = tape.state[f"{self.name}/variance"]
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
                    running = tape.state[f"{self.name}/{name}"]
                    running *= running.dtype.type(MOMENTUM)
                    running += values * values.dtype.type(1.0 - MOMENTUM)
        scale += scale.dtype.type(EPSILON)
        xp.sqrt(scale, out=scale)
        xp.divide(1.0, scale, out=scale)
        normalized *= wide(x, scale)[1]
        apply_affine(self.name, params, tape, bias=True)
        return out

    def backward(self, params: Params, d_output: Array, tape: Tape, *, into: Array | None) -> Array | None:
        xp, d = tape.xp, folded(d_output)
        normalized = folded(tape[self.name, "normalized"])
        product = xp.empty_like(d) if into is None else folded(into)
        affine_gradients(self.name, d, normalized, tape, product, bias=True)
        if into is not None:
            d_x, factor = wide(into, params[f"{self.name}/gain"] * tape[self.name, "scale"])
            if tape.phase == "evaluate":
                into[...] = d_output
            else:
                share = d.dtype.type(1.0 / d.shape[1])
                along, level = (tape.gradient[f"{self.name}/{part}"] * share for part in ("gain", "bias"))
                units, along, level = wide(tape[self.name, "normalized"], along, level)
                xp.multiply(units, along, out=d_x)
                xp.subtract(*wide(d_output), d_x, out=d_x)
                d_x -= level
            d_x *= factor
        return into

    def expect(self, moments: Moments, laws: Mapping[str, Law]) -> Moments:
        """E[y²] = 1 over the batch; the variance is E[x²] less the mean of E[x x'] over pairs (Yang et al. 2019)."""
        if moments.reason:
            return moments
        gain, bias = laws.get(f"{self.name}/gain", FIXED), laws.get(f"{self.name}/bias", NONE)
        found = _centred(moments)
        if found is None:
            return unknown_moments(f"{self.name}: batch norm needs the correlation of the samples")
        squares, pairs, variance, _ = found
        share = gain.second_moment / (variance + EPSILON)
        squares, pairs = share * squares + bias.second_moment, share * pairs + bias.second_moment
        if moments.squares is None:
            q = float(np.mean(squares))
            return Moments(q, bias.mean, pairs / q, 0.0)
        return Moments.uneven(squares, bias.mean, pairs, 0.0)

    def expect_gradient(self, gradient: Gradient, moments: Moments, laws: Mapping[str, Law]) -> Gradient:
        """E[g_x²] = gain² E[1 / variance] E[g_y²]; the variance of a unit scatters where samples are few or alike.

        Gradients of different samples count as independent.
        """
        if reason := gradient.reason or moments.reason:
            return unknown_gradient(reason)
        found = _centred(moments)
        if found is None:
            return unknown_gradient(f"{self.name}: batch norm needs the correlation of the samples")
        _, centred, variance, inverse = found
        gain = laws.get(f"{self.name}/gain", FIXED).second_moment
        samples = len(centred) if moments.squares is None else len(moments.squares)
        return gradient.scaled(gain * inverse * _left(gradient, centred / variance, samples))


def _centred(moments: Moments) -> tuple[Array, Array, float, float] | None:
    """Return what subtracting the mean over samples and positions leaves: squares, pairs, variance, and a mean inverse.

    The last is E[1 / variance of a unit]. None without pairs.
    """
    pairs = np.asarray(moments.covariance)
    if pairs.ndim == 0 or np.isnan(pairs).any():
        return None
    few = len(pairs)
    positions = 1 if pairs.ndim == 2 else pairs.shape[1]
    flat = pairs.reshape(few * positions, few * positions)
    samples = few if moments.squares is None else len(moments.squares)
    blocks = flat.reshape(few, positions, few, positions)
    level = _over_all(blocks, samples)
    towards = flat.mean(1)
    # The mean of a row over the few samples counts its own sample too often.
    own = np.array([blocks[t, :, t].mean(1) for t in range(few)]).ravel()
    others = (towards - own / few) / (1.0 - 1.0 / few) if few > 1 else own
    towards = own / samples + others * (1.0 - 1.0 / samples)
    centred = flat - towards[:, None] - towards + level
    variance = moments.second_moment - level
    if not variance > 0:
        return None
    spread = 2.0 * _over_all(centred.reshape(blocks.shape) ** 2, samples) / variance**2
    inverse = _mean_inverse(centred, variance) if few == samples else (1.0 + spread) / variance
    if moments.squares is None:
        return np.diagonal(centred).copy(), centred, variance, inverse
    by_position = towards.reshape(few, -1).mean(0).reshape(moments.squares.shape[1:])
    squares = np.maximum(moments.squares - 2.0 * by_position + level, 0.0)
    few_squares = np.diagonal(centred).reshape(few, *moments.squares.shape[1:])
    if moments.squares.ndim > 1 or few == samples:
        squares = squares.copy()
        squares[:few] = few_squares
    return squares, centred.reshape(pairs.shape), variance, inverse


def _over_all(blocks: Array, samples: int) -> float:
    """Return the mean over the pairs of all samples, of which ``blocks`` (few, positions, few, positions) holds some.

    Pairs of one sample with itself weigh 1/few there, and 1/samples in truth.
    """
    few = len(blocks)
    within = float(np.mean([blocks[t, :, t].mean() for t in range(few)]))
    across = (float(blocks.mean()) - within / few) / (1.0 - 1.0 / few) if few > 1 else within
    return within / samples + across * (1.0 - 1.0 / samples)


def _mean_inverse(centred: Array, variance: float) -> float:
    """Return E[1 / v] for the variance v of Gaussian values of covariance ``centred``.

    E[1/v] is the integral over s > 0 of E[exp(-s v)], the product of (1 + 2 s eigenvalue / n)^-1/2.
    """
    n = len(centred)
    shares = np.clip(np.linalg.eigvalsh(centred), 0.0, None) / (n * variance)
    u = np.linspace(-25.0, 25.0, 1001)
    logs = u - 0.5 * np.log1p(2.0 * np.exp(u)[:, None] * shares).sum(1)
    return float(np.exp(logs).sum() * (u[1] - u[0])) / variance


def _left(gradient: Gradient, course: Array, samples: int) -> float:
    """Return the share of a gradient's mean square that lies neither along the mean nor along a unit's own course.

    ``course``: E[y y'] of pairs of what is normalized. The norm takes both away.
    """
    few = len(course)
    positions = 1 if course.ndim == 2 else course.shape[1]
    courses = course.reshape(few, positions, few, positions)
    known = np.asarray(gradient.correlation)
    pairs = pairs_of(gradient, min(few, len(known)) if known.ndim else few, positions)
    both = range(min(few, len(pairs)))
    size = float(np.mean([np.diagonal(pairs[t, :, t]).mean() for t in both]))
    if size == 0.0:
        return 1.0
    level = float(np.mean([pairs[t, :, t].mean() for t in both])) / size
    along = float(np.mean([(pairs[t, :, t] * courses[t, :, t]).mean() for t in both])) / size
    return max(1.0 - (level + along) / samples, 0.0)


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
        apply_affine(self.name, params, tape, bias=True)
        return tape[self.name, "preactivation"]

    def backward(self, params: Params, d_output: Array, tape: Tape, *, into: Array | None) -> Array | None:
        xp, d, normalized = tape.xp, folded(d_output), tape[self.name, "normalized"]
        product = xp.empty_like(d) if into is None else folded(into)
        affine_gradients(self.name, d, folded(normalized), tape, product, bias=True)
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
            return Moments(q, bias.mean, (share * moments.covariance + bias.second_moment) / q, 0.0)
        pairs = np.asarray(moments.covariance)
        root = np.sqrt(share[: len(pairs)])
        sizes = np.multiply.outer(root, root)
        if pairs.ndim == 4:
            sizes = sizes[:, None, :, None]
        return Moments.uneven(squares, bias.mean, sizes * pairs + bias.second_moment, 0.0)

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
        return Gradient.uneven(squares, times(sizes, gradient.covariance), gradient.relative_variance)

    @property
    def _few(self) -> str:
        return f"{self.name}: a group of fewer than {FEWEST} channels has no mean square that is known beforehand"

    def _factors(self, moments: Moments, laws: Mapping[str, Law]) -> tuple[Array, Law]:
        """Return by what each sample's mean square is multiplied, (samples,) where they differ, and the bias's law."""
        gain, bias = laws.get(f"{self.name}/gain", FIXED), laws.get(f"{self.name}/bias", NONE)
        q = np.asarray(moments.q, np.float64)
        size = q if q.ndim == 0 else q.reshape(len(q), -1).mean(1)
        return np.asarray(gain.second_moment / (size + EPSILON)), bias
