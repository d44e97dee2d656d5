"""Moments of batch norm: a batch of Gaussian values, less its mean, divided by its own size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from weightinit.arrays import Array
from weightinit.nn.layers.positions import extended, pairs_of
from weightinit.nn.moments import EVEN, Gradient, Moments

# Points of the integrals over s, evenly in its logarithm: the integrands are smooth, and vanish at both ends.
LOGS = np.linspace(-25.0, 25.0, 501)


@dataclass(frozen=True)
class Normalized:
    """Values y of a unit over a batch of n, less their mean, divided by sqrt(v), with v = |y|² / n. y is Gaussian.

    ``squares``: E[y² / v] by sample and position; ``pairs``: E[y y' / v] of the pairs of the first few samples;
    ``variance``: E[v]; ``centred``: E[y y'] (few positions, few positions).

    v scatters where samples are few or alike. Where the pairs of all samples are known, this is exact: moments of the
    quotients are integrals over s > 0 of Gaussian ones, since 1 / |y|² is that of exp(-s |y|²). Where they are known of
    a few, the others count as these do on average.
    """

    squares: Array
    pairs: Array
    variance: float
    centred: Array

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
        pairs = centred / variance
        if few == samples:
            eigenvalues, vectors = _spectrum(centred)
            slopes, weights = _integrand(eigenvalues)
            pairs = (vectors * (weights @ slopes * len(vectors))) @ vectors.T
        squares /= variance
        squares[:few] = np.diagonal(pairs).reshape(few, positions)
        return cls(squares.reshape(of_all.shape), pairs.reshape(found.shape), variance, centred)

    @property
    def inverse(self) -> float:
        """E[1 / v]."""
        few, samples = len(self.pairs), len(self.squares)
        if few == samples:
            return float(_integrand(_spectrum(self.centred)[0])[1].sum()) / self.variance
        course = self.pairs.reshape(self.centred.shape) / self.squares.size
        second = _sum(course**2, few, samples)
        third = _sum(course * _product(course, course, few, samples), few, samples)
        return _mean_inverse(second, third) / self.variance

    def gradient(self, gradient: Gradient) -> Gradient:
        """Return the gradient at the input: E[P g g' P / v], where P takes away the mean and what lies along y."""
        few, samples = len(self.pairs), len(self.squares)
        positions = len(self.centred) // few
        mixed = gradient.of_independent(few)
        sizes = np.asarray(gradient.q) if np.ndim(gradient.q) else np.full(samples, gradient.q)
        of_all = np.broadcast_to(sizes.reshape(samples, -1), (samples, positions))
        arriving, _ = _less_mean(pairs_of(mixed, few, positions), of_all)
        pairs = (self._left if few == samples else self._left_of_many)(arriving)
        squares = np.diagonal(pairs).reshape(few, *self.squares.shape[1:])
        return mixed.uneven(extended(squares, sizes), pairs.reshape(self.pairs.shape))

    def _left(self, arriving: Array) -> Array:
        """Return E[P G P / v], where ``arriving`` is G less its mean."""
        eigenvalues, vectors = _spectrum(self.centred)
        inner = vectors.T @ arriving @ vectors
        slopes, weights = _integrand(eigenvalues)
        s = np.exp(LOGS)
        along = (weights * s) @ slopes
        twice = slopes.T @ (slopes * (0.5 * weights * s * s)[:, None])
        left = weights.sum() * inner - inner * (along + along[:, None]) + 2.0 * twice * inner
        left[np.diag_indices_from(left)] += twice @ np.diagonal(inner)
        result: Array = vectors @ left @ vectors.T / self.variance
        return result

    def _left_of_many(self, arriving: Array) -> Array:
        """Return the same for a few of many samples."""
        few, samples = len(self.pairs), len(self.squares)
        course = self.pairs.reshape(self.centred.shape) / self.squares.size
        once = _product(arriving, course, few, samples)
        whole = _sum(arriving * course, few, samples)
        left = arriving - once - once.T + whole * course + 2.0 * _product(course, once, few, samples)
        return np.asarray(left * self.inverse)


def _spectrum(centred: Array) -> tuple[Array, Array]:
    """Return eigenvalues, as shares of their sum, and eigenvectors."""
    eigenvalues, vectors = np.linalg.eigh(centred)
    eigenvalues = np.clip(eigenvalues, 0.0, None)
    return eigenvalues / eigenvalues.sum(), vectors


def _integrand(eigenvalues: Array) -> tuple[Array, Array]:
    """Return the covariance under exp(-s |y|²) by eigenvalue, (points, eigenvalues), and the weights of the points."""
    grown = 1.0 + 2.0 * np.exp(LOGS)[:, None] * eigenvalues
    weights = np.exp(LOGS - 0.5 * np.log(grown).sum(1)) * (LOGS[1] - LOGS[0])
    return eigenvalues / grown, weights


def _mean_inverse(second: float, third: float) -> float:
    """Return E[1 / v] for a v of mean 1, variance 2 ``second`` and third cumulant 8 ``third``.

    ``second``, ``third``: sums of powers of the eigenvalues, whose sum is 1. v counts as a constant plus a share of a
    chi-squared variable.
    """
    degrees = second**3 / third**2
    share = min(math.sqrt(second * degrees), 1.0)
    s = np.exp(LOGS)
    logs = LOGS - s * (1.0 - share) - 0.5 * degrees * np.log1p(2.0 * s * share / degrees)
    return float(np.exp(logs).sum() * (LOGS[1] - LOGS[0]))


def _product(left: Array, right: Array, few: int, samples: int) -> Array:
    """Return the part of a few samples of the product of two matrices over all samples, of which it is the first part.

    Others act as the few do on average.
    """
    positions = len(left) // few
    product = np.empty_like(left)
    a, b, into = (x.reshape(few, positions, few, positions).swapaxes(1, 2) for x in (left, right, product))
    across = [(a[i].sum(0) - a[i, i], b[:, i].sum(0) - b[i, i]) for i in range(few)]
    for i in range(few):
        for j in range(few):
            if i == j:
                others = np.matmul(a[i], b[:, i]).sum(0) - a[i, i] @ b[i, i]
                into[i, i] = a[i, i] @ b[i, i] + others * ((samples - 1) / max(few - 1, 1))
            else:
                thirds = across[i][0] @ across[j][1] * ((samples - 2) / (few - 1) ** 2)
                into[i, j] = a[i, i] @ b[i, j] + a[i, j] @ b[j, j] + thirds
    return product


def _sum(pairs: Array, few: int, samples: int) -> float:
    """Return the sum over pairs of all samples, from those of a few."""
    blocks = pairs.reshape(few, len(pairs) // few, few, -1).sum((1, 3))
    own = float(np.trace(blocks))
    return samples / few * (own + (float(blocks.sum()) - own) * (samples - 1) / max(few - 1, 1))


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
