"""Records of theory: moments and gradients that ``expect`` passes from layer to layer."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from weightinit.arrays import Array
from weightinit.nn.tape import Shape

FEW = 32  # samples whose pairs are followed where there are positions
EVEN = 1e-6  # relative difference up to which second moments count as equal


@dataclass(frozen=True)
class Moments:
    """Expected moments of the units that enter or leave a layer, over the draw of the weights.

    ``second_moment``: E[x²] of one unit, NaN where no theory applies; ``mean``: E[x]; ``correlation``: E[x x'] / E[x²]
    for two inputs x, x' of the network, or an array of it for many pairs, NaN where unknown; ``reason``: why theory has
    no number, where it has none.

    Where samples or positions differ, ``squares`` and ``means`` hold E[x²] and E[x] of each, (samples, *positions), and
    the numbers above are means over them. ``correlation`` is then an array for the first few samples, (few, few), or
    with positions (few, positions, few, positions), divided by the mean second moment.
    """

    second_moment: float
    mean: float = 0.0
    correlation: float | Array = math.nan
    reason: str = ""
    squares: Array | None = field(default=None, repr=False, compare=False)
    means: Array | None = field(default=None, repr=False, compare=False)

    @classmethod
    def uneven(cls, squares: Array, means: Array | float, covariance: Array, power: float = 0.0) -> Moments:
        """Return moments that differ between samples or positions.

        ``covariance``: E[x x'] of pairs, times 1 / ``power`` if given.
        """
        second_moment = float(np.mean(squares))
        if second_moment == 0.0:  # zeros are all alike
            correlation = np.ones(np.shape(covariance))
        else:
            with np.errstate(all="ignore"):
                correlation = covariance * ((power or 1.0) / second_moment)
        full = np.broadcast_to(np.asarray(means, np.float64), squares.shape)
        return cls(second_moment, float(np.mean(full)), correlation, "", squares, full)

    @property
    def q(self) -> float | Array:
        """E[x²] of each sample and position, or of all."""
        return self.second_moment if self.squares is None else self.squares

    @property
    def m(self) -> float | Array:
        """E[x] of each sample and position, or of all."""
        return self.mean if self.means is None else self.means

    @property
    def rms(self) -> float:
        """Root of the second moment."""
        return math.sqrt(self.second_moment)

    @property
    def covariance(self) -> float | Array:
        """E[x x'] of the pairs that ``correlation`` is about."""
        return self.correlation * self.second_moment

    @property
    def pair_correlation(self) -> float:
        """Mean of the correlation over pairs of different samples, at equal positions."""
        return off_diagonal_mean(self.correlation)

    @property
    def position_correlation(self) -> float:
        """Mean correlation of two different positions of a sample; NaN without positions."""
        pairs = np.asarray(self.correlation)
        if pairs.ndim != 4 or pairs.shape[1] < 2:
            return math.nan
        within = pairs.diagonal(axis1=0, axis2=2)  # (positions, positions, few)
        own = np.einsum("ppt->", within)
        return float((within.sum() - own) / own / (pairs.shape[1] - 1))

    def scaled(self, square: float) -> Moments:
        """Return the moments of units multiplied by a factor of this square."""
        return replace(
            self,
            second_moment=square * self.second_moment,
            mean=math.sqrt(square) * self.mean,
            squares=None if self.squares is None else square * self.squares,
            means=None if self.means is None else math.sqrt(square) * self.means,
        )

    def plus(self, other: Moments) -> Moments:
        """Return the moments of the sum with units whose weights have mean zero and no share in these ones."""
        total = self.second_moment + other.second_moment
        if self.mean and other.mean:
            return unknown_moments("both parts of a sum have a mean")
        if other.second_moment == 0.0:
            return self
        share = other.second_moment / total
        even = self.squares is None and other.squares is None
        return Moments(
            total,
            self.mean + other.mean,
            _mixture(share, self.correlation, other.correlation),
            "",
            None if even else np.asarray(self.q + other.q),
            None if even else np.asarray(self.m + other.m),
        )


@dataclass(frozen=True)
class Gradient:
    """Expected gradient of the loss at a layer, relative to the gradient at the network's output.

    ``second_moment``: E[g²] of one unit over that of one output; ``correlation``: E[g g'] / E[g²] for two inputs of the
    network, or an array for many pairs, over that at the output. NaN where no theory applies, for ``reason``.
    ``squares``: E[g²] by sample and position where they differ, and ``correlation`` an array, as of ``Moments``.

    Behind a norm over the batch, samples act on each other. There ``mixed`` is true, and ``correlation`` is E[g g'] /
    E[g²] itself, for gradients of the outputs that are independent between samples. ``held``: such norms hold their
    statistics, as in evaluation.
    """

    second_moment: float = 1.0
    correlation: float | Array = 1.0
    reason: str = ""
    squares: Array | None = field(default=None, repr=False, compare=False)
    mixed: bool = False
    held: bool = False

    def uneven(self, squares: Array, covariance: Array | float) -> Gradient:
        """Return this gradient at another place, by sample or position; ``covariance``: E[g g'] of pairs there."""
        second_moment = float(np.mean(squares))
        correlation = covariance / second_moment if second_moment else covariance
        return replace(self, second_moment=second_moment, correlation=correlation, squares=squares)

    @property
    def q(self) -> float | Array:
        """E[g²] of each sample and position, or of all."""
        return self.second_moment if self.squares is None else self.squares

    @property
    def by_sample(self) -> float | Array:
        """E[g²] of each sample, over its positions, or of all."""
        return self.second_moment if self.squares is None else self.squares.reshape(len(self.squares), -1).mean(1)

    @property
    def covariance(self) -> float | Array:
        """E[g g'] of the pairs that ``correlation`` is about."""
        return self.correlation * self.second_moment

    def scaled(self, square: float) -> Gradient:
        """Return the gradient at what is multiplied by a factor of this square."""
        squares = None if self.squares is None else square * self.squares
        return replace(self, second_moment=square * self.second_moment, squares=squares)

    def __add__(self, other: Gradient) -> Gradient:
        """Return the gradient where two parts that are independent on average meet."""
        if reason := self.reason or other.reason:
            return unknown_gradient(reason)
        if self.mixed != other.mixed:
            few = max(np.shape(gradient.correlation)[:1] or (0,) for gradient in (self, other))[0]
            return self.of_independent(few) + other.of_independent(few)
        total = self.second_moment + other.second_moment
        if total == 0.0:
            return self
        share = other.second_moment / total
        squares = None if self.squares is None and other.squares is None else np.asarray(self.q + other.q)
        alike = _mixture(share, self.correlation, other.correlation)
        return replace(self, second_moment=total, correlation=alike, squares=squares)

    def of_independent(self, few: int) -> Gradient:
        """Return the gradient as a ``mixed`` one, for gradients of the outputs that are independent between samples.

        ``few``: of how many samples the pairs are followed, if it was a plain number.
        """
        if self.mixed:
            return self
        pairs = np.asarray(self.correlation)
        own = np.eye(len(pairs) if pairs.ndim else few)
        alike = pairs * (own[:, None, :, None] if pairs.ndim == 4 else own)
        return replace(self, correlation=alike, mixed=True)


def off_diagonal_mean(pairs: float | Array) -> float:
    """Return the mean of an array of pairs over pairs of different samples, at equal positions."""
    matrix = np.asarray(pairs)
    if matrix.ndim == 0:
        return float(matrix)
    if matrix.ndim == 4:
        matrix = matrix.diagonal(axis1=1, axis2=3).mean(-1)
    return float((matrix.sum() - np.trace(matrix)) / (matrix.size - len(matrix)))


def outer(x: Array) -> Array:
    """Return the products of all pairs of elements: (few, few), or (few, positions, few, positions)."""
    flat = x.reshape(len(x), -1)
    products = np.multiply.outer(flat, flat)
    return products if x.ndim > 1 else products[:, 0, :, 0]


def of_few(x: Array, pairs: Array) -> Array:
    """Return the part of ``x`` (samples, *positions) whose pairs an array of pairs is about."""
    few = x[: len(pairs)]
    return few if pairs.ndim == 2 else few.reshape(len(few), -1)


def moments_of(x: Array, shape: Shape, *, tokens: bool = False) -> Moments:
    """Return the moments of samples (samples, features), each of ``shape``: over channels, by sample and position.

    ``tokens``: the features are numbers of tokens, each a vector with a single 1. Where every sample has one second
    moment and there are no positions, that is one number.
    """
    x = x.astype(np.float64).reshape(len(x), *shape)
    if tokens:
        few = min(len(x), FEW)
        codes = x[:few].reshape(-1)
        same = (codes[:, None] == codes).astype(np.float64)
        pairs = same.reshape(few, x.shape[1], few, x.shape[1])
        return Moments.uneven(np.ones(x.shape), 0.0, pairs)
    if len(shape) == 1:
        second_moment = float(np.mean(x**2))
        pairs = x @ x.T / (x.shape[1] * second_moment)
        if np.ptp(np.diagonal(pairs)) < EVEN:
            return Moments(second_moment, correlation=pairs)
        return Moments.uneven(np.mean(x**2, axis=-1), 0.0, pairs, second_moment)
    positions, channels = math.prod(shape[:-1]), shape[-1]
    few = few_of(len(x), positions)
    rows = x[:few].reshape(-1, channels)
    pairs = (rows @ rows.T / channels).reshape(few, positions, few, positions)
    return Moments.uneven(np.mean(x**2, axis=-1), 0.0, pairs)


def spread(moments: Moments, shape: Shape) -> Moments:
    """Return moments given as plain numbers as those of two samples whose positions are independent.

    Samples are independent too where their correlation is unknown.
    """
    if len(shape) == 1 or moments.squares is not None or math.isnan(moments.second_moment):
        return moments
    positions = math.prod(shape[:-1])
    c = 0.0 if np.isnan(moments.correlation).any() else float(np.mean(moments.correlation))
    pairs = np.multiply.outer(np.array([[1.0, c], [c, 1.0]]), np.eye(positions)).swapaxes(1, 2)
    squares = np.full((2, *shape[:-1]), moments.second_moment)
    return Moments.uneven(squares, moments.mean, pairs * moments.second_moment)


def few_of(samples: int, positions: int) -> int:
    """Return of how many samples the pairs are followed, so that there are about 150,000."""
    return min(samples, max(2, min(FEW, 384 // positions)))


def _mixture(share: float, one: float | Array, other: float | Array) -> float | Array:
    """Return the correlation of a sum of which ``share`` is the other."""
    one, other = matched(one, other)
    return (1.0 - share) * one + share * other


def matched(one: float | Array, other: float | Array) -> tuple[float | Array, float | Array]:
    """Return two arrays of pairs for the samples that both are about; plain numbers as they are."""
    if not (np.ndim(one) and np.ndim(other)):
        return one, other
    one, other = np.asarray(one), np.asarray(other)
    few = min(len(one), len(other))
    one, other = (pairs[:few, :few] if pairs.ndim == 2 else pairs[:few, :, :few] for pairs in (one, other))
    return one, other


def times(one: float | Array, other: float | Array) -> Array:
    """Return the product of two arrays of pairs."""
    one, other = matched(one, other)
    return np.asarray(one * other)


def unknown_moments(reason: str) -> Moments:
    """Return moments that theory does not know, with the reason."""
    return Moments(math.nan, math.nan, math.nan, reason)


def unknown_gradient(reason: str) -> Gradient:
    """Return a gradient that theory does not know, with the reason."""
    return Gradient(math.nan, math.nan, reason)


@dataclass(frozen=True)
class Prediction:
    """Theory of one layer. ``layer`` and ``quantity`` name the array of the tape that it predicts.

    ``input``: moments of the layer's input; ``moments``: of its output; ``gradient``: with respect to its output.
    """

    layer: str
    quantity: str
    input: Moments
    moments: Moments
    gradient: Gradient
