"""Draws of a reference's networks: from the declared laws, or by a shipped scheme where laws don't say it all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
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

    ``constants``: of networks that are drawn from laws.
    """

    laws: Mapping[str, Law] = field(hash=False)
    scheme: Scheme | None = None
    batches: Batches | None = None
    constants: Mapping[str, float] = field(default_factory=dict, hash=False)

    @property
    def identity(self) -> str:
        """Text that is equal for equal draws of a network."""
        if self.scheme is None:
            return repr((sorted(self.laws.items()), sorted(self.constants.items())))
        data = (self.batches.digest, self.batches.size) if self.batches else ()
        return f"{type(self.scheme).__module__} {self.scheme!r} {data}"

    def stacks(self, network: Network, networks: int, at_once: int) -> Iterator[Initialized]:
        """Yield all ``networks``, ``at_once`` at a time."""
        ends = [*range(0, networks, at_once), networks]
        streams = {spec.name: stream(RESERVED, spec.name) for spec in network.weights}
        for start, stop in pairwise(ends):
            runs = stop - start
            if self.scheme is None:
                yield Initialized(
                    params={
                        spec.name: _drawn(self.laws[spec.name], spec, runs, network.dtype, streams[spec.name])
                        for spec in network.weights
                    },
                    laws={name: (law,) * runs for name, law in self.laws.items()},
                    constants={name: np.full(runs, value) for name, value in self.constants.items()},
                    learning_rate_scale={},
                    notes=((),) * runs,
                )
            else:
                seeds = [RESERVED + number for number in range(start, stop)]
                yield self.scheme(network, seeds, self.batches.of(seeds) if self.batches else None)


def draws_of(
    network: Network,
    scheme: Scheme,
    laws: Mapping[str, Law],
    batches: Batches | None = None,
    constants: Mapping[str, float] | None = None,
) -> Draws | str:
    """Return how networks of a scheme are drawn, or why they can't be.

    ``laws``, ``constants``: those that the scheme declares, by name. A law that states the joint distribution of its
    elements is drawn from, whoever declares it. Where it doesn't (sparse, fitted to data), a scheme of the library
    draws itself; one of a user's own would be its own judge.
    """
    shipped = type(scheme).__module__.startswith("weightinit.")
    fitted = not isinstance(scheme, Rule | Critical)
    unstated = [spec for spec in network.weights if not _stated(laws[spec.name])]
    if not unstated and not (shipped and fitted):
        return Draws(dict(laws), constants=dict(constants or {}))
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


def _drawn(law: Law, spec: WeightSpec, runs: int, dtype: np.dtype, rng: np.random.Generator) -> Array:
    """Return ``runs`` draws (runs, *shape) of a weight."""
    shape = (runs, *spec.shape)
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
        case "truncated_normal":
            return initializers.truncated_normal(
                rng, shape, mean=law.mean, std_after=law.std, absolute_bounds=law.support, dtype=dtype
            )
    gain = law.std * math.sqrt(max(spec.fans.fan_in, math.prod(spec.shape) // spec.fans.fan_in))
    matrices = [initializers.orthogonal(rng, spec.shape, gain=gain, dtype=dtype) for _ in range(runs)]
    return np.stack(matrices)


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
