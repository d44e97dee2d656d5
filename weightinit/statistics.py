"""Statistics of weights, activations, pre-activations, gradients and updates, for a stack of runs at once.

``STATISTICS`` names them all; ``measure`` applies those whose inputs are at hand. Every array has a leading ``runs``
axis and every result is float64 ``(runs,)``. A run's numbers are the same bits alone, in any stack and in any memory
layout. A run that holds NaN or infinity measures as NaN or infinity, without a warning; its neighbours don't notice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np

from weightinit.arrays import Array, array_module
from weightinit.laws import Law

CHUNK = 1 << 17
"""Elements that are held as float64 at one time (1 MB: a core's cache); one run is held whole if it is larger."""

SATURATED_BELOW = 0.01
"""Size of phi' below which a unit counts as saturated: it passes on less than 1% of the gradient, whatever the
activation. Not relative to the largest slope seen, which is small itself where all is saturated."""

SAME_UNIT = 1e-5
"""Distance, relative to the longer of the two, up to which two units' weights count as equal. Rounding alone moves the
units of a symmetric float32 network about 1e-6 apart in training: a matrix product doesn't sum every column alike."""


class Summary(NamedTuple):
    """Summary of the elements of each run: five float64 arrays ``(runs,)``. ``std`` divides by n."""

    mean: Array
    std: Array
    rms: Array
    min: Array
    max: Array


class Reading:
    """One array of a stack, ``(runs, ..., units)``, with what several statistics share computed once."""

    def __init__(self, x: Array) -> None:
        self.x = x

    @cached_property
    @np.errstate(all="ignore")
    def summary(self) -> Summary:
        """Summary over all elements of each run; exact for any scale that the dtype holds."""
        xp = array_module(self.x)
        result = Summary(*xp.empty((5, len(self.x))))
        narrow = self.x.dtype.itemsize <= 4  # no square of these leaves the range of float64
        for runs, matrices in _float64(self.x):
            flat = matrices.reshape(len(matrices), -1)
            low, high = flat.min(-1), flat.max(-1)
            exponent = xp.zeros(len(flat), xp.int32)
            if not narrow:
                exponent = xp.maximum(xp.minimum(xp.frexp(xp.maximum(-low, high))[1], 1000), -1000)
                flat *= xp.ldexp(1.0, -exponent)[:, None]  # so that no square leaves the range of float64
            mean = xp.clip(xp.ldexp(flat.mean(-1), exponent), low, high)  # a constant's mean is that constant
            flat -= xp.ldexp(mean, -exponent)[:, None]
            flat *= flat
            std = xp.ldexp(xp.sqrt(flat.mean(-1)), exponent)
            for whole, part in zip(result, (mean, std, xp.hypot(mean, std), low, high), strict=True):
                whole[runs] = part
        return result

    @cached_property
    @np.errstate(all="ignore")
    def singular_values(self) -> Array:
        """Singular values of each run as a matrix ``(everything else, units)``, largest first; NaN if not finite."""
        xp = array_module(self.x)
        rows, units = _matrix_shape(self.x)
        result: Array = xp.empty((len(self.x), min(rows, units)))
        for runs, matrices in _float64(self.x):
            finite = xp.isfinite(matrices).all((1, 2))
            matrices[~finite] = 0.0
            result[runs] = xp.linalg.svd(matrices, compute_uv=False)
            result[runs][~finite] = xp.nan
        return result


@dataclass(frozen=True)
class Statistic:
    """One number per run: ``function(*needs) -> (runs,)`` in float64, of arrays or of ``Reading``s that share work.

    ``needs``: its inputs in order, among ``weight (runs, *kernel, fan_in, fan_out)``; ``laws``, one ``Law`` per run;
    ``preactivation``, ``activation`` and ``slope`` (phi' at the pre-activations), each ``(runs, batch, units)``;
    ``singular_values`` of the network's Jacobian at a few samples ``(runs, samples, values)``, largest first;
    ``backward``, the gradient of the loss with respect to the pre-activations, of their shape; ``propagated``, the same
    where sizes change along the network;
    ``tokens (runs, batch, tokens, units)`` behind a block; ``branch`` and ``stream``, what a residual branch adds and
    their sum; ``attention (runs, batch, heads, queries,
    keys)``; ``gradient`` of the loss with respect to the weight; ``update``, the weight's change in one step.
    ``ends``: costly, for the start and the end of training only. ``doc``: what it is and how to read it.
    """

    function: Callable[..., Array]
    needs: tuple[str, ...]
    doc: str
    ends: bool = False


def measure(readings: Mapping[str, Any], *, ends: bool) -> dict[str, Array]:
    """Every statistic whose needs are all in ``readings``, by name; the costly ones only if ``ends``.

    Raises ValueError for a reading that no statistic knows, and for readings of differing numbers of runs.
    """
    known = {name for statistic in STATISTICS.values() for name in statistic.needs}
    if unknown := sorted(readings.keys() - known):
        raise ValueError(f"readings must be named among {', '.join(sorted(known))}; got {', '.join(unknown)}")
    if len({len(x) for x in readings.values()}) > 1:
        sizes = ", ".join(f"{name} has {len(x)}" for name, x in readings.items())
        raise ValueError(f"every reading must have the same number of runs on its first axis; {sizes}")
    shared = {name: x if name == "laws" else Reading(x) for name, x in readings.items()}
    return {
        name: statistic.function(*(shared[need] for need in statistic.needs))
        for name, statistic in STATISTICS.items()
        if (ends or not statistic.ends) and all(need in shared for need in statistic.needs)
    }


@np.errstate(all="ignore")
def histogram(x: Array, bins: int = 64) -> Array:
    """Histogram of each run's finite elements over their own range: ``(runs, 2, bins)``, bin centres and counts.

    A run of one repeated value gets a range around it: half its size to either side, or 0.5 around zero. A run without
    a finite element has zero counts.
    """
    xp = array_module(x)
    result: Array = xp.empty((len(x), 2, bins))
    centre = (xp.arange(bins) + 0.5) / bins
    for runs, matrices in _float64(x):
        halves = matrices.reshape(len(matrices), -1)
        halves /= 2  # the difference of two finite numbers may overflow
        low, high = halves.min(-1), halves.max(-1)
        whole = xp.isfinite(low) & xp.isfinite(high)
        for run in xp.flatnonzero(~whole).tolist():
            finite = halves[run][xp.isfinite(halves[run])]
            low[run], high[run] = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
        alike = high - low <= 1e-9 * xp.maximum(-low, high)
        middle = low / 2 + high / 2
        around = xp.where(middle == 0, 0.25, abs(middle) / 2)
        low, high = (xp.where(alike, middle + sign * around, end) for sign, end in ((-1, low), (1, high)))
        low, high = low[:, None], high[:, None]
        result[runs, 0] = 2 * low * (1 - centre) + 2 * high * centre
        halves -= low
        halves /= high - low
        halves *= bins
        kept = None if whole.all() else xp.isfinite(halves)
        places = (halves if kept is None else xp.where(kept, halves, 0.0)).astype(np.int64)
        xp.minimum(places, bins - 1, out=places)
        places += xp.arange(len(halves))[:, None] * bins
        counts = xp.bincount(places.ravel() if kept is None else places[kept], minlength=len(halves) * bins)
        result[runs, 1] = counts.reshape(len(halves), bins)
    return result


def _matrix_shape(x: Array) -> tuple[int, int]:
    return math.prod(x.shape[1:-1]), x.shape[-1]


def _float64(x: Array) -> Iterator[tuple[slice, Array]]:
    """A few runs at a time: their place in the stack, and a float64 copy ``(some runs, rows, units)`` to work in.

    The copy is contiguous whatever the layout of ``x``: a sum's rounding depends on the order in memory.
    """
    xp = array_module(x)
    rows, units = _matrix_shape(x)
    step = max(1, CHUNK // max(1, rows * units))
    buffer = xp.empty((min(step, len(x)), *x.shape[1:]))
    for start in range(0, len(x), step):
        part = x[start : start + step]
        copy = buffer[: len(part)]
        copy[...] = part
        yield slice(start, start + len(part)), copy.reshape(len(part), rows, units)


def _reading(x: Array | Reading) -> Reading:
    return x if isinstance(x, Reading) else Reading(x)


def _summary(x: Array | Reading) -> Summary:
    return _reading(x).summary


def _norm(x: Array | Reading) -> Array:
    return _summary(x).rms * math.sqrt(math.prod(_reading(x).x.shape[1:]))


def _expected_std(laws: tuple[Law, ...]) -> Array:
    return np.array([law.std for law in laws], np.float64)


@np.errstate(all="ignore")
def _mean_z(weight: Array | Reading, laws: tuple[Law, ...]) -> Array:
    xp = array_module(_reading(weight).x)
    mean, std, kurtosis = xp.asarray([(law.mean, law.std, _kurtosis(law)) for law in laws]).T
    z = (_summary(weight).mean - mean) / std * math.sqrt(math.prod(_reading(weight).x.shape[1:]))
    known: Array = xp.where(xp.isnan(kurtosis), xp.nan, z)
    return known


@np.errstate(all="ignore")
def _std_z(weight: Array | Reading, laws: tuple[Law, ...]) -> Array:
    """z-score of the unbiased sample variance, whose variance is ``std**4 (kurtosis - (n - 3) / (n - 1)) / n``."""
    xp = array_module(_reading(weight).x)
    std, kurtosis = xp.asarray([(law.std, _kurtosis(law)) for law in laws]).T
    n = np.float64(math.prod(_reading(weight).x.shape[1:]))
    ratio = (_summary(weight).std / std) ** 2 * (n / (n - 1))
    z: Array = (ratio - 1) / xp.sqrt((kurtosis - (n - 3) / (n - 1)) / n)
    return z


@lru_cache(maxsize=4096)
def _kurtosis(law: Law) -> float:
    """E[(w - mean)⁴] / std⁴ of one element; NaN unless the elements are independent draws with a spread."""
    if not law.std > 0:
        return math.nan
    if law.family == "truncated_normal":
        low, high = ((bound - law.mean) / law.std for bound in law.support)
        return _truncated_kurtosis(max(low, -40.0), min(high, 40.0))
    return {"normal": 3.0, "uniform": 1.8}.get(law.family, math.nan)


@np.errstate(all="ignore")
def _truncated_kurtosis(low: float, high: float) -> float:
    """Fourth moment of the normal density cut to ``[low, high]`` that has mean 0 and variance 1 after the cut.

    The density is ``exp(a x + b x²)``; Newton's method finds ``a`` and ``b`` (a convex problem: the Jacobian is the
    covariance of x and x²).
    """
    nodes, weights = np.polynomial.legendre.leggauss(256)
    x = low + (high - low) * (nodes + 1) / 2
    a, b = 0.0, -0.5
    for _ in range(100):
        exponent = a * x + b * x**2
        density = weights * np.exp(exponent - exponent.max())
        m1, m2, m3, m4 = x ** np.arange(1, 5)[:, None] @ density / density.sum()
        if abs(m1) + abs(m2 - 1) < 1e-10:
            return float(m4)
        xx, xy, yy = m2 - m1**2, m3 - m1 * m2, m4 - m2**2
        a -= (yy * m1 - xy * (m2 - 1)) / (xx * yy - xy**2)
        b -= (xx * (m2 - 1) - xy * m1) / (xx * yy - xy**2)
    return math.nan


@np.errstate(all="ignore")
def _condition_number(weight: Array | Reading) -> Array:
    """Largest over smallest singular value; infinite below the usual tolerance of numerical rank."""
    reading = _reading(weight)
    xp = array_module(reading.x)
    largest, smallest = reading.singular_values[:, 0], reading.singular_values[:, -1]
    tolerance = max(_matrix_shape(reading.x)) * np.finfo(np.float64).eps
    number: Array = xp.where(smallest <= tolerance * largest, xp.inf, largest / smallest)
    return number


def _effective_rank(activation: Array | Reading) -> Array:
    return _rank(_reading(activation).singular_values)


@np.errstate(all="ignore")
def _rank(values: Array) -> Array:
    """exp of the entropy of singular values (..., values) normalized to sum 1; 0 for zeros (Roy & Vetterli 2007)."""
    xp = array_module(values)
    total = values.sum(-1)
    p = values / total[..., None]
    entropy = -(p * xp.log(xp.where(p > 0, p, 1.0))).sum(-1)
    rank: Array = xp.where(total == 0, 0.0, xp.exp(entropy))
    return rank


@np.errstate(all="ignore")
def _token_rank(tokens: Array | Reading) -> Array:
    """Effective rank of the tokens of a sample, mean over samples; NaN where a run is not finite."""
    x = _reading(tokens).x
    xp = array_module(x)
    result: Array = xp.empty(len(x))
    for runs, rows in _float64(x):
        samples = rows.reshape(-1, *x.shape[1:])
        largest = xp.abs(samples).max((1, 2, 3), keepdims=True)
        finite = xp.isfinite(largest)
        samples = xp.where(finite, samples / xp.where(largest > 0, largest, 1.0), 0.0)
        squares = xp.linalg.eigvalsh(xp.matmul(samples, samples.swapaxes(2, 3)))  # few tokens, many units
        ranks = _rank(xp.sqrt(xp.clip(squares, 0.0, None))).mean(-1)
        result[runs] = xp.where(finite[:, 0, 0, 0], ranks, xp.nan)
    return result


@np.errstate(all="ignore")
def _correlation(x: Array | Reading) -> Array:
    """E[x x'] / E[x²] over units and pairs of different samples; NaN for a single sample or where all is zero."""
    reading = _reading(x)
    xp = array_module(reading.x)
    result: Array = xp.empty(len(reading.x))
    for runs, samples in _float64(reading.x):
        samples = samples.reshape(len(samples), reading.x.shape[1], -1)  # positions belong to their sample
        samples /= xp.abs(samples).max((1, 2), keepdims=True)  # so that no square over- or underflows
        norms = (samples**2).sum((1, 2))
        together = (samples.sum(1) ** 2).sum(-1)
        result[runs] = (together - norms) / ((samples.shape[1] - 1) * norms)
    return result


@np.errstate(all="ignore")
def _attention_entropy(weights: Array | Reading) -> Array:
    """Entropy over keys relative to that of as many equal weights as are not zero, mean over queries of more than one.

    NaN where no query has two keys.
    """
    x = _reading(weights).x
    xp = array_module(x)
    result: Array = xp.empty(len(x))
    for runs, rows in _float64(x):
        entropy = -(rows * xp.log(xp.where(rows > 0, rows, 1.0))).sum(-1)
        most = xp.log((rows > 0).sum(-1).astype(np.float64))
        chosen = most > 0
        means = (xp.where(chosen, entropy, 0.0) / xp.where(chosen, most, 1.0)).sum(-1) / chosen.sum(-1)
        result[runs] = xp.where(xp.isfinite(rows).all((1, 2)), means, xp.nan)
    return result


@np.errstate(all="ignore")
def _distinct_units(weight: Array | Reading) -> Array:
    """Units (columns) that are not within ``SAME_UNIT`` of an earlier one; NaN if a weight is not finite."""
    x = _reading(weight).x
    xp = array_module(x)
    result: Array = xp.full(len(x), xp.nan)
    for runs, matrices in _float64(x):
        for i, matrix in enumerate(matrices, runs.start):
            peak = abs(matrix).max()
            if xp.isfinite(peak):
                matrix /= xp.where(peak > 0, peak, 1.0)
                products = matrix.T @ matrix
                squares = xp.diagonal(products)
                distance = squares[:, None] + squares - 2 * products
                same = distance <= SAME_UNIT**2 * xp.maximum(squares[:, None], squares)
                result[i] = len(squares) - xp.tril(same, -1).any(-1).sum()
    return result


def _dead_fraction(slope: Array | Reading) -> Array:
    x = _reading(slope).x
    xp = array_module(x)
    largest = abs(x).max(tuple(range(1, x.ndim - 1)))
    fraction: Array = xp.where(xp.isfinite(largest).all(-1), (largest == 0).mean(-1), xp.nan)
    return fraction


def _saturated_fraction(slope: Array | Reading) -> Array:
    x = _reading(slope).x
    xp = array_module(x)
    size = abs(x).reshape(len(x), -1)
    fraction: Array = xp.where(xp.isfinite(size.max(-1)), (size < SATURATED_BELOW).mean(-1), xp.nan)
    return fraction


def _finite_runs(x: Array | Reading) -> Array:
    """Return float64 values, NaN throughout a run that is not finite."""
    values = _reading(x).x.astype(np.float64)
    values[~array_module(values).isfinite(values).all((1, 2))] = math.nan
    return values


@np.errstate(all="ignore")
def _squares(values: Array | Reading) -> tuple[Array, Array]:
    """Mean over samples and values of s², and mean over samples of Var(s²) / mean(s²)²."""
    x = _finite_runs(values)
    xp = array_module(x)
    peak = x.max((1, 2), keepdims=True)  # so that no square over- or underflows
    squares = (x / xp.where(peak == 0, 1.0, peak)) ** 2
    mean = squares.mean(-1)
    return mean.mean(-1) * peak[:, 0, 0] ** 2, (squares.var(-1) / mean**2).mean(-1)


@np.errstate(all="ignore")
def _share(part: Array | Reading, whole: Array | Reading) -> Array:
    return (_summary(part).rms / _summary(whole).rms) ** 2


@np.errstate(all="ignore")
def _update_ratio(update: Array | Reading, weight: Array | Reading) -> Array:
    return _summary(update).rms / _summary(weight).rms


STATISTICS: dict[str, Statistic] = {
    "weight_mean": Statistic(
        lambda x: _summary(x).mean, ("weight",), "mean of the weights; near 0 under every usual scheme"
    ),
    "weight_std": Statistic(
        lambda x: _summary(x).std, ("weight",), "standard deviation of the weights; compare with weight_expected_std"
    ),
    "weight_rms": Statistic(lambda x: _summary(x).rms, ("weight",), "root mean square of the weights"),
    "weight_min": Statistic(lambda x: _summary(x).min, ("weight",), "smallest weight"),
    "weight_max": Statistic(lambda x: _summary(x).max, ("weight",), "largest weight"),
    "weight_expected_std": Statistic(
        _expected_std, ("laws",), "standard deviation that the scheme's law prescribes; NaN where it states none"
    ),
    "weight_std_z": Statistic(
        _std_z,
        ("weight", "laws"),
        "weights' variance against the law, in standard errors of independent draws; beyond ±4 they don't follow it "
        "(NaN for a constant, orthogonal, sparse or unknown law)",
    ),
    "weight_mean_z": Statistic(
        _mean_z,
        ("weight", "laws"),
        "weights' mean against the law, in standard errors of independent draws; beyond ±4 they don't follow it "
        "(NaN for a constant, orthogonal, sparse or unknown law)",
    ),
    "weight_spectral_norm": Statistic(
        lambda x: _reading(x).singular_values[:, 0],
        ("weight",),
        "largest singular value (kernel axes joined to fan_in): the most that the layer can stretch an input",
        ends=True,
    ),
    "weight_condition_number": Statistic(
        _condition_number,
        ("weight",),
        "largest over smallest singular value; 1 for an orthogonal matrix, infinite without full rank",
        ends=True,
    ),
    "weight_distinct_units": Statistic(
        _distinct_units,
        ("weight",),
        "units whose incoming weights differ (by more than 1e-5 of their norm); 1: symmetry, the layer is one unit",
        ends=True,
    ),
    "preactivation_mean": Statistic(lambda x: _summary(x).mean, ("preactivation",), "mean of the pre-activations"),
    "preactivation_std": Statistic(
        lambda x: _summary(x).std, ("preactivation",), "standard deviation of the pre-activations"
    ),
    "preactivation_rms": Statistic(
        lambda x: _summary(x).rms,
        ("preactivation",),
        "root mean square of the pre-activations: sqrt(q) of theory; level over the layers is the aim",
    ),
    "activation_mean": Statistic(lambda x: _summary(x).mean, ("activation",), "mean of the activations"),
    "activation_std": Statistic(lambda x: _summary(x).std, ("activation",), "standard deviation of the activations"),
    "activation_rms": Statistic(
        lambda x: _summary(x).rms,
        ("activation",),
        "root mean square of the activations; level over the layers is the aim, falling is vanishing, rising exploding",
    ),
    "activation_dead_fraction": Statistic(
        _dead_fraction, ("slope",), "fraction of units whose slope is 0 for every sample: they don't learn"
    ),
    "activation_saturated_fraction": Statistic(
        _saturated_fraction,
        ("slope",),
        "fraction of samples x units that pass less than 1% of the gradient (|slope| < 0.01); about half for relu",
    ),
    "activation_effective_rank": Statistic(
        _effective_rank,
        ("activation",),
        "exp of the entropy of the normalized singular values of (batch, units): how many directions the samples "
        "spread over; 1: all alike up to scale, 0: all zero",
        ends=True,
    ),
    "activation_correlation": Statistic(
        _correlation,
        ("activation",),
        "E[x x'] / E[x²] over pairs of different samples: the c of mean-field theory; 1: the layer no longer tells "
        "samples apart",
        ends=True,
    ),
    "token_effective_rank": Statistic(
        _token_rank,
        ("tokens",),
        "effective rank of the tokens of a sample, mean over samples; near 1 attention has made them all alike",
        ends=True,
    ),
    "branch_share": Statistic(
        _share,
        ("branch", "stream"),
        "mean square of what a residual branch adds over that of the sum: the share of the stream that it writes",
        ends=True,
    ),
    "attention_entropy": Statistic(
        _attention_entropy,
        ("attention",),
        "mean entropy of the attention of a query over that of uniform attention; 0: each token attends to one",
        ends=True,
    ),
    "backward_rms": Statistic(
        lambda x: _summary(x).rms,
        ("backward",),
        "root mean square of the loss's gradient with respect to the pre-activations: what is propagated back",
        ends=True,
    ),
    "backward_norm": Statistic(
        lambda x: _summary(x).rms * math.sqrt(math.prod(_reading(x).x.shape[2:])),
        ("propagated",),
        "root mean square over samples of the norm of what is propagated back, all positions and units of a place "
        "together; level along the trunk is the aim where blocks or convolutions change sizes",
        ends=True,
    ),
    "backward_correlation": Statistic(
        _correlation, ("backward",), "E[g g'] / E[g²] of those gradients over pairs of different samples", ends=True
    ),
    "gradient_std": Statistic(
        lambda x: _summary(x).std,
        ("gradient",),
        "standard deviation of the loss's gradient with respect to the weight; level over the layers is the aim",
    ),
    "gradient_rms": Statistic(lambda x: _summary(x).rms, ("gradient",), "root mean square of the gradient"),
    "gradient_norm": Statistic(_norm, ("gradient",), "Euclidean norm of the gradient"),
    "jacobian_mean_s2": Statistic(
        lambda x: _squares(x)[0],
        ("singular_values",),
        "mean of the squared singular values of the network's input-output Jacobian: by what the squared norm of a "
        "gradient is multiplied, on average over its directions, from output to input",
        ends=True,
    ),
    "jacobian_spread": Statistic(
        lambda x: _squares(x)[1],
        ("singular_values",),
        "Var(s²) / mean(s²)² of those values, mean over samples; 0: dynamical isometry, large: few directions take all",
        ends=True,
    ),
    "jacobian_max": Statistic(
        lambda x: _finite_runs(x).max((1, 2)),
        ("singular_values",),
        "largest of those singular values over a few samples",
        ends=True,
    ),
    "jacobian_min": Statistic(
        lambda x: _finite_runs(x).min((1, 2)),
        ("singular_values",),
        "smallest of those singular values; 0: a direction of the output that no input moves",
        ends=True,
    ),
    "update_ratio": Statistic(
        _update_ratio,
        ("update", "weight"),
        "norm of one step's change over the norm of the weight; around 1e-3 is usual, near 1 the start is forgotten",
    ),
}
