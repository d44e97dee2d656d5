"""Moments of batch norm: a batch of Gaussian values, less its mean, divided by its own size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from weightinit.arrays import Array, stream
from weightinit.nn.layers.positions import extended, pairs_of
from weightinit.nn.moments import EVEN, Gradient, Moments

# Points of the integrals over s, evenly in its logarithm: the integrands are smooth, and vanish at both ends.
LOGS = np.linspace(-25.0, 25.0, 501)
# Values up to which all eigenvalues are found, and how many of the largest beyond; steps of the iteration to them.
WHOLE, LARGEST, STEPS = 256, 32, 3
FEWEST = 64  # values of a part of the batch from which it acts as the whole does


@dataclass(frozen=True)
class Normalized:
    """Values y of a unit over a batch of n, less their mean, divided by sqrt(v), with v = |y|² / n. y is Gaussian.

    ``squares``: E[y² / v] by sample and position; ``pairs``: E[y y' / v] of the pairs of the first few samples;
    ``variance``: E[v]; ``spectrum``: of E[y y'] (few positions, few positions), as shares of its trace; ``whole``:
    whether the pairs known are of all samples, or of enough values to act as all do.

    v scatters where samples are few or alike. Where the pairs of all samples are known, this is exact: moments of the
    quotients are integrals over s > 0 of Gaussian ones, since 1 / |y|² is that of exp(-s |y|²). Where they are known of
    a few, these count as the batch.
    """

    squares: Array
    pairs: Array
    variance: float
    spectrum: Spectrum
    whole: bool

    @classmethod
    def of(cls, moments: Moments, gradient: Gradient | None = None) -> Normalized | None:
        """Return what batch norm makes of inputs; None where their pairs are unknown, or all values are alike.

        ``gradient``: one that is to come back; its pairs may be those of fewer samples.
        """
        found = np.asarray(moments.covariance)
        if found.ndim == 0 or np.isnan(found).any():
            return None
        known = np.shape(gradient.correlation) if gradient else ()
        most = known[0] if known else len(found)
        found = found[:most, :most] if found.ndim == 2 else found[:most, :, :most]
        few, positions = len(found), 1 if found.ndim == 2 else found.shape[1]
        blocks = found.reshape(few, positions, few, positions)
        of_all = np.full(len(found), moments.second_moment) if moments.squares is None else moments.squares
        samples = len(of_all)
        centred, squares = _less_mean(blocks, of_all.reshape(samples, positions))
        variance = float(squares.mean())
        if not variance > EVEN * moments.second_moment:
            return None
        squares /= variance
        spectrum = Spectrum.of(centred)
        whole = few == samples or few * positions >= FEWEST
        pairs = centred / variance
        if whole:
            pairs = spectrum.function(spectrum.weights) * (len(centred) * squares[:few].mean())
            # Of a few samples, less a mean that is estimated for all, corners without variance come out below 0.
            own = np.maximum(np.diagonal(pairs), 0.0).reshape(few, positions)
            np.fill_diagonal(pairs, own)
            became, was = own.mean(0), squares[:few].mean(0)
            squares *= np.where((became > 0.0) & (was > 0.0), became / np.maximum(was, 1e-300), 1.0)
            squares[:few] = own
            level = squares.mean()
            squares, pairs = squares / level, pairs / level
        return cls(squares.reshape(of_all.shape), pairs.reshape(found.shape), variance, spectrum, whole)

    @property
    def inverse(self) -> float:
        """E[1 / v]."""
        return float(self.spectrum.weights.sum()) / self.variance

    def gradient(self, gradient: Gradient) -> Gradient:
        """Return the gradient at the input: E[P g g' P / v], where P takes away the mean and what lies along y."""
        few, samples = len(self.pairs), len(self.squares)
        positions = 1 if self.pairs.ndim == 2 else self.pairs.shape[1]
        mixed = gradient.of_independent(few)
        sizes = np.asarray(gradient.q) if np.ndim(gradient.q) else np.full(samples, gradient.q)
        of_all = np.broadcast_to(sizes.reshape(samples, -1), (samples, positions))
        arriving, _ = _less_mean(pairs_of(mixed, few, positions), of_all)
        pairs = self.spectrum.projected(arriving) / self.variance
        squares = np.maximum(np.diagonal(pairs), 0.0).reshape(few, *self.squares.shape[1:])
        return mixed.uneven(extended(squares, sizes), pairs.reshape(self.pairs.shape))


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues and vectors of a covariance C whose trace is 1, and y ~ N(0, C) weighed by exp(-s |y|²).

    The covariance is then C / (1 + 2 s C). ``values``, ``vectors``: all of them, or the largest, by which 1 / |y|²
    scatters. ``rest``: the mean of the others, all of which count as equal. ``weights``: of each s, so that their sum
    is E[1 / |y|²].
    """

    covariance: Array
    values: Array
    vectors: Array
    rest: float
    weights: Array

    @classmethod
    def of(cls, covariance: Array) -> Spectrum:
        """Return the spectrum of a covariance, divided by its trace."""
        covariance = covariance / np.trace(covariance)
        values, vectors = np.linalg.eigh(covariance) if len(covariance) <= WHOLE else _largest(covariance)
        values = np.clip(values, 0.0, None)
        left = max(1.0 - float(values.sum()), 0.0)
        # Mean of the other eigenvalues, each weighed by itself.
        squares = float((covariance**2).sum() - (values**2).sum())
        rest = max(squares, 0.0) / left if left > EVEN else 0.0
        twice = 2.0 * np.exp(LOGS)[:, None]
        logs = np.log1p(twice * values).sum(1)
        logs += left / rest * np.log1p(twice[:, 0] * rest) if rest else left * twice[:, 0]
        return cls(covariance, values, vectors, rest, np.exp(LOGS - 0.5 * logs) * (LOGS[1] - LOGS[0]))

    @property
    def shares(self) -> tuple[Array, Array]:
        """By s: the factor of C, and that of each vector beyond it, so that both make C / (1 + 2 s C)."""
        twice = 2.0 * np.exp(LOGS)
        common = 1.0 / (1.0 + twice * self.rest)
        return common, self.values * (1.0 / (1.0 + twice[:, None] * self.values) - common[:, None])

    def function(self, weights: Array) -> Array:
        """Return the sum over s of ``weights`` times C / (1 + 2 s C)."""
        common, single = self.shares
        return np.asarray((weights @ common) * self.covariance + (self.vectors * (weights @ single)) @ self.vectors.T)

    def projected(self, arriving: Array) -> Array:
        """Return E[P A P / |y|²] for ``arriving`` A, where P takes away what lies along y.

        E[y y' A y y'] = 2 C A C + tr(A C) C for each s, by Wick's theorem.
        """
        common, single = self.shares
        s, vectors, covariance = np.exp(LOGS), self.vectors, self.covariance
        along = arriving @ self.function(self.weights * s)
        once = self.weights * s * s
        both, cross, twice = once @ common**2, single.T @ (once * common), single.T @ (single * once[:, None])
        before = arriving @ covariance
        inner = vectors.T @ arriving @ vectors
        mixed = (vectors * cross) @ (vectors.T @ before)
        left = self.weights.sum() * arriving - along - along.T
        left += both * (covariance @ before) + mixed + mixed.T + vectors @ (twice * inner) @ vectors.T
        own, trace = np.diagonal(inner), float(np.trace(before))
        left += 0.5 * (cross @ own + both * trace) * covariance
        left += (vectors * (0.5 * (twice @ own + cross * trace))) @ vectors.T
        return np.asarray(left)


def _largest(covariance: Array) -> tuple[Array, Array]:
    """Return the largest eigenvalues and their vectors, by subspace iteration."""
    basis = stream(0, "eigenvectors").standard_normal((len(covariance), LARGEST + 8))
    for _ in range(STEPS):
        basis, _ = np.linalg.qr(covariance @ (covariance @ basis))
    values, inner = np.linalg.eigh(basis.T @ covariance @ basis)
    return values[-LARGEST:], basis @ inner[:, -LARGEST:]


def _less_mean(blocks: Array, squares: Array) -> tuple[Array, Array]:
    """Return E[x x'] of the few after the mean over all samples and positions is subtracted, and E[x²] of all then.

    ``blocks``: E[x x'] (few, positions, few, positions) of the first few samples; ``squares``: E[x²] (samples,
    positions) of all. The correlations of the other samples count as those of the few, on average.
    """
    few, positions = blocks.shape[:2]
    samples = len(squares)
    size = np.sqrt(squares)
    with np.errstate(all="ignore"):
        alike = blocks / np.multiply.outer(size[:few], size[:few])
    alike = np.where(np.isfinite(alike), alike, 0.0)
    own = np.array([alike[t, :, t] for t in range(few)])  # (few, positions, positions)
    others = (alike.sum(2) - own) / max(few - 1, 1) if few > 1 else own
    rest = size[few:].sum(0)
    towards = np.empty(squares.shape)
    towards[:few] = blocks.sum((2, 3)) + size[:few] * (others @ rest)
    within, across = own.mean(0), others.mean(0)
    towards[few:] = size[few:] * (size[few:] @ within.T + (size.sum(0) - size[few:]) @ across.T)
    towards /= samples * positions
    level = float(towards.mean())
    flat, to_mean = blocks.reshape(few * positions, -1), towards[:few].ravel()
    return flat - to_mean[:, None] - to_mean + level, np.maximum(squares - 2.0 * towards + level, 0.0)
