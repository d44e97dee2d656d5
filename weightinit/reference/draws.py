"""Draws of a reference's networks: from the declared laws, or by a shipped scheme where laws don't say it all."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from weightinit import initializers
from weightinit.arrays import Array, stream
from weightinit.laws import Law
from weightinit.nn import Network, WeightSpec
from weightinit.schemes import Critical, Initialized, Rule, Scheme

RESERVED = 1 << 160
"""The first of the seeds that references draw from: a number far beyond those that people take."""


@dataclass(frozen=True, eq=False)
class Batches:
    """Batches of ``size`` of the samples ``x`` (samples, inputs), for schemes that use data; ``digest`` names ``x``."""

    x: Array
    size: int
    digest: str

    def of(self, seeds: Sequence[int]) -> Array:
        """Return a batch for each seed (seeds, size, inputs), in an order of the seed's own."""
        orders = [stream(seed, "batches").permutation(len(self.x))[: self.size] for seed in seeds]
        return self.x[np.stack(orders)]


@dataclass(frozen=True)
class Draws:
    """Origin of networks: each weight of one of ``laws`` by itself, or of a ``scheme`` on ``batches``, if given.

    Constants that differ from their defaults are among the ``laws``, as laws without spread.
    """

    laws: Mapping[str, Law] = field(hash=False)
    scheme: Scheme | None = None
    batches: Batches | None = None

    @property
    def identity(self) -> str:
        """Text that is equal for equal draws of a network."""
        if self.scheme is None:
            return repr(sorted(self.laws.items()))
        data = (self.batches.digest, self.batches.size) if self.batches else ()
        return f"{type(self.scheme).__module__} {self.scheme!r} {data}"

    def stacks(self, network: Network, networks: int, at_once: int) -> Iterator[Initialized]:
        """Yield all ``networks``, ``at_once`` at a time."""
        ends = [*range(0, networks, at_once), networks]
        if self.scheme is not None:
            for start, stop in pairwise(ends):
                seeds = [RESERVED + number for number in range(start, stop)]
                yield self.scheme(network, seeds, self.batches.of(seeds) if self.batches else None)
            return
        sources = {spec.name: _source(self.laws[spec.name], spec, networks, network.dtype) for spec in network.weights}
        constants = {name: law.mean for name, law in self.laws.items() if name not in sources}
        for start, stop in pairwise(ends):
            runs = stop - start
            yield Initialized(
                params={name: source(runs) for name, source in sources.items()},
                laws={name: (self.laws[name],) * runs for name in sources},
                constants={name: np.full(runs, value) for name, value in constants.items()},
                learning_rate_scale={},
                notes=((),) * runs,
            )


def draws_of(
    network: Network,
    scheme: Scheme,
    laws: Mapping[str, Law],
    batches: Batches | None = None,
) -> Draws | str:
    """Return how networks of a scheme are drawn, or why they can't be.

    ``laws``: those that the scheme declares, as in ``Draws``. A law that states the joint distribution of its
    elements is drawn from, whoever declares it. Where it doesn't (sparse, fitted to data), a scheme of the library
    draws itself; one of a user's own would be its own judge.
    """
    shipped = type(scheme).__module__.startswith("weightinit.")
    fitted = not isinstance(scheme, Rule | Critical)
    unstated = [spec for spec in network.weights if not _stated(laws[spec.name])]
    if not unstated and not (shipped and fitted):
        return Draws(dict(laws))
    if not shipped:
        return f"the scheme states no law that {unstated[0].name} could be drawn from"
    if fitted and batches is None:
        return "the scheme fits the weights to data, and there are none"
    return Draws(dict(laws), scheme, batches if fitted else None)


def _stated(law: Law) -> bool:
    """Return whether a law states the joint distribution of its elements."""
    low, high = law.support
    cut = law.family == "truncated_normal" and math.isclose(law.mean - low, high - law.mean)
    return cut or law.family in ("constant", "normal", "uniform", "orthogonal")


def _source(law: Law, spec: WeightSpec, networks: int, dtype: np.dtype) -> Callable[[int], Array]:
    """Return what draws a weight of the next so many of the ``networks``: (runs, *shape)."""
    rng = stream(RESERVED, spec.name)
    if law.family == "orthogonal":
        return _Orthogonal(law, spec, networks, dtype, rng)
    return lambda runs: _elements(law, (runs, *spec.shape), dtype, rng)


def _elements(law: Law, shape: tuple[int, ...], dtype: np.dtype, rng: np.random.Generator) -> Array:
    """Return elements drawn one by one."""
    match law.family:
        case "constant":
            return np.full(shape, law.mean, dtype)
        case "normal":
            return _normal(law, shape, dtype, rng)
        case "uniform":
            values: Array = rng.random(shape, dtype)
            values *= dtype.type(law.support[1] - law.support[0])
            values += dtype.type(law.support[0])
            return values
    return initializers.truncated_normal(
        rng, shape, mean=law.mean, std_after=law.std, absolute_bounds=law.support, dtype=dtype
    )


class _Orthogonal:
    """Orthogonal matrices of a weight's shape, each uniform (Haar); the square ones of a reference are products A B.

    n A's times m B's, drawn uniformly, give n m products, for a QR decomposition of n + m matrices instead of n m. Any
    three products are independent of each other: given one, an A or B that it lacks makes the next uniform again.
    """

    def __init__(self, law: Law, spec: WeightSpec, networks: int, dtype: np.dtype, rng: np.random.Generator) -> None:
        self.spec, self.dtype, self.rng = spec, dtype, rng
        outputs = math.prod(spec.shape) // spec.fans.fan_in
        self.gain = law.std * math.sqrt(max(spec.fans.fan_in, outputs))
        self.square = len(spec.shape) == 2 and outputs == spec.fans.fan_in
        self.number = 0
        self.right = self._drawn(math.isqrt(networks), 1.0) if self.square else None

    def __call__(self, runs: int) -> Array:
        if self.right is None:
            return self._drawn(runs, self.gain)
        products = np.empty((runs, *self.spec.shape), self.dtype)
        for product in products:
            place = self.number % len(self.right)
            if place == 0:
                self.left = self._drawn(1, self.gain)[0].astype(np.float64)
            product[...] = self.left @ self.right[place].astype(np.float64)
            self.number += 1
        return products

    def _drawn(self, count: int, gain: float) -> Array:
        return np.stack(
            [initializers.orthogonal(self.rng, self.spec.shape, gain=gain, dtype=self.dtype) for _ in range(count)]
        )


def _normal(law: Law, shape: tuple[int, ...], dtype: np.dtype, rng: np.random.Generator) -> Array:
    """Return normal numbers from pairs of uniform ones (Box & Muller 1958): twice as fast as one by one."""
    pairs = (math.prod(shape) + 1) // 2
    uniform = rng.random((2, pairs), dtype)
    radius, angle = uniform
    np.subtract(1, radius, out=radius)  # in (0, 1]
    np.log(radius, out=radius)
    radius *= -2
    np.sqrt(radius, out=radius)
    radius *= dtype.type(law.std)  # only now: the square of a large or small one is beyond float32
    angle *= 2 * math.pi
    cosine = np.cos(angle)
    np.sin(angle, out=angle)
    angle *= radius
    radius *= cosine
    values: Array = uniform.reshape(-1)[: math.prod(shape)].reshape(shape)
    values += dtype.type(law.mean)
    return values
