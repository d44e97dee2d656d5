"""Layers that only arrange: images cut to patches, positions joined to features."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from weightinit.arrays import Array
from weightinit.laws import Law
from weightinit.meanfield import SingularValues
from weightinit.nn.layers.base import Layer
from weightinit.nn.layers.positions import Windows, by_position, gathered, scattered
from weightinit.nn.moments import Gradient, Moments, unknown_gradient
from weightinit.nn.tape import Params, Shape, Tape


@dataclass(frozen=True)
class Flatten(Layer):
    """Positions and channels as plain features."""

    name: str

    def out_shape(self, entering: Shape) -> Shape:
        return (math.prod(entering),)

    def forward(self, params: Params, x: Array, tape: Tape) -> Array:
        return x.reshape(*x.shape[:2], -1)

    def backward(self, params: Params, d_output: Array, tape: Tape, *, into: Array | None) -> Array | None:
        if into is not None:
            into[...] = d_output.reshape(into.shape)
        return into

    def expect(self, moments: Moments, laws: Mapping[str, Law]) -> Moments:
        """E[y²] of a sample is the mean of E[x²] over its positions."""
        if moments.reason or moments.squares is None or moments.squares.ndim == 1:
            return moments
        assert moments.means is not None
        axes = tuple(range(1, moments.squares.ndim))
        pairs = np.asarray(moments.covariance).diagonal(axis1=1, axis2=3).mean(-1)
        means = moments.means.mean(axes)
        return Moments.uneven(moments.squares.mean(axes), means, pairs)

    def expect_gradient(self, gradient: Gradient, moments: Moments, laws: Mapping[str, Law]) -> Gradient:
        if gradient.reason or moments.reason or moments.squares is None or moments.squares.ndim == 1:
            return gradient
        return by_position(gradient, moments, moments.squares.shape[1:])

    def expect_jacobian(self, values: SingularValues, moments: Moments, laws: Mapping[str, Law]) -> SingularValues:
        return values


@dataclass(frozen=True)
class Patches(Layer):
    """Images (height, width, channels) as a row of tokens, one for each patch of ``size``, its pixels as features."""

    name: str
    size: tuple[int, int]

    def out_shape(self, entering: Shape) -> Shape:
        if len(entering) != 3 or entering[0] % self.size[0] or entering[1] % self.size[1]:
            raise ValueError(
                f"{self.name}: patches of {self.size[0]}x{self.size[1]} must tile the image; "
                f"got the shape {'x'.join(map(str, entering))}"
            )
        return (entering[0] * entering[1] // math.prod(self.size), math.prod(self.size) * entering[2])

    def forward(self, params: Params, x: Array, tape: Tape) -> Array:
        tokens, features = self.out_shape(x.shape[2:])
        return self._tiles(x).reshape(*x.shape[:2], tokens, features)

    def backward(self, params: Params, d_output: Array, tape: Tape, *, into: Array | None) -> Array | None:
        if into is not None:
            tiles = self._tiles(into)
            tiles[...] = d_output.reshape(tiles.shape)
        return into

    def _tiles(self, x: Array) -> Array:
        runs, batch, height, width, channels = x.shape
        tall, wide = self.size
        tiles = x.reshape(runs, batch, height // tall, tall, width // wide, wide, channels)
        return tiles.swapaxes(3, 4)

    @property
    def windows(self) -> Windows:
        """Windows that become tokens."""
        return Windows(self.size, self.size, (1, 1), "valid")

    def expect(self, moments: Moments, laws: Mapping[str, Law]) -> Moments:
        """E[y²] of a token is the mean of E[x²] over the pixels of its patch."""
        if moments.reason:
            return moments
        found = gathered(moments, self.windows, 1.0 / math.prod(self.size))
        assert found.squares is not None
        return replace(found, squares=found.squares.reshape(len(found.squares), -1), means=None)

    def expect_gradient(self, gradient: Gradient, moments: Moments, laws: Mapping[str, Law]) -> Gradient:
        if reason := gradient.reason or moments.reason:
            return unknown_gradient(reason)
        assert moments.squares is not None
        positions = moments.squares.shape[1:]
        out = self.windows.out(positions)
        at = by_position(gradient, moments, (math.prod(out),))
        assert at.squares is not None
        tiled = replace(at, squares=at.squares.reshape(-1, *out))
        return scattered(tiled, self.windows, positions, 1.0)
