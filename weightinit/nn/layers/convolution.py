"""Convolution over axes of positions: products of columns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from weightinit.arrays import Array
from weightinit.fans import compute_fans
from weightinit.laws import Law
from weightinit.meanfield import SingularValues
from weightinit.nn.layers import columns
from weightinit.nn.layers.base import UNKNOWN_VALUES, Layer
from weightinit.nn.layers.dense import add_bias, folded, silent
from weightinit.nn.layers.positions import Padding, Windows, by_position, gathered, scattered
from weightinit.nn.moments import Gradient, Moments, unknown_gradient, unknown_moments
from weightinit.nn.tape import Params, Shape, Slot, Tape, ones_for
from weightinit.nn.weights import Position, WeightSpec


@dataclass(frozen=True)
class Convolution(Layer):
    """``z[p] = sum over offsets of x[p + offset] @ W[offset] + b``, W ``(runs, *kernel, channels / groups, filters)``.

    ``kernel``, ``stride``, ``dilation``: by axis of positions; ``padding`` as of ``Windows``; ``groups``: the channels
    and the filters are divided into so many parts that don't see each other.

    Windows of some samples of one run at a time are copied to columns in scratch memory. Theory by Xiao et al. 2018,
    eq. 2.4, with the border.
    """

    name: str
    channels: int
    filters: int
    kernel: Shape
    position: Position
    stride: Shape = ()
    padding: Padding = "same"
    groups: int = 1
    dilation: Shape = ()
    bias: bool = True

    def __post_init__(self) -> None:
        if self.channels % self.groups or self.filters % self.groups:
            raise ValueError(
                f"{self.name}: groups must divide the {self.channels} channels and the {self.filters} filters; "
                f"got {self.groups}"
            )

    @property
    def windows(self) -> Windows:
        """Windows that the kernel sees."""
        ones = (1,) * len(self.kernel)
        return Windows(self.kernel, self.stride or ones, self.dilation or ones, self.padding)

    @property
    def weights(self) -> tuple[WeightSpec, ...]:
        shape = (*self.kernel, self.channels // self.groups, self.filters)
        fans = compute_fans(shape, groups=self.groups)
        weight = WeightSpec(f"{self.name}/weight", shape, fans, "weight", self.position, part="convolution")
        bias = WeightSpec(f"{self.name}/bias", (1, self.filters), fans, "bias", self.position, part="convolution")
        return (weight, bias) if self.bias else (weight,)

    def out_shape(self, entering: Shape) -> Shape:
        if len(entering) != len(self.kernel) + 1 or entering[-1] != self.channels:
            raise ValueError(
                f"{self.name} takes {len(self.kernel)} axes of positions and {self.channels} channels; "
                f"got the shape {'x'.join(map(str, entering))}"
            )
        return (*self.windows.out(entering[:-1]), self.filters)

    def slots(self, entering: Shape) -> tuple[Slot, ...]:
        both = (self._entering(entering).scratch(self.filters), self._leaving(entering).scratch(self.channels))
        sizes = zip(columns.Scratch._fields, *both, strict=True)
        scratch = [Slot(self.name, name, (max(one, other),), scope="scratch") for name, one, other in sizes]
        return (Slot(self.name, "preactivation", self.out_shape(entering)), *scratch)

    def _entering(self, entering: Shape) -> columns.Columns:
        return columns.entering(self.windows, entering[:-1], self.channels, self.groups)

    def _leaving(self, entering: Shape) -> columns.Columns:
        return columns.leaving(self.windows, entering[:-1], self.filters, self.groups)

    def forward(self, params: Params, x: Array, tape: Tape) -> Array:
        tape.input[self.name, "preactivation"] = x
        z, matrix = tape[self.name, "preactivation"], self._entering(x.shape[2:]).matrix(tape)
        weight = self._by_group(params[f"{self.name}/weight"]).transpose(0, 3, 1, 2, 4)
        weight = weight.reshape(len(weight), self.groups, -1, weight.shape[-1])
        for part in matrix.parts(tape.batch):
            for run in range(len(z)):
                if run == 0 or len(x) > 1:
                    seen = matrix.fill(x[run, part])
                matrix.multiply(seen, weight[run], z[run, part])
                if self.bias:
                    add_bias(z[run : run + 1, part], params[f"{self.name}/bias"][run : run + 1])
        return z

    def backward(self, params: Params, d_output: Array, tape: Tape, *, into: Array | None) -> Array | None:
        """The gradients of weights and input share the columns of ``d_output``, where these are not mostly zeros."""
        x = tape.input[self.name, "preactivation"]
        if self.bias:
            d_z = folded(d_output)
            tape.keep_gradient(f"{self.name}/bias", ones_for(tape, d_z.shape[1]), d_z)
        asked = f"{self.name}/weight" in tape.gradient
        if asked:
            gradient = self._by_group(tape.gradient[f"{self.name}/weight"])
        apart = into is None or math.prod(self.windows.stride) > 1
        if asked and apart:
            matrix = self._entering(x.shape[2:]).matrix(tape)
            for part in matrix.parts(tape.batch):
                for run in range(len(d_output)):
                    if run == 0 or len(x) > 1:
                        seen = matrix.fill(x[run, part])
                    product = matrix.correlate(seen, d_output[run, part])
                    product = product.reshape(self.groups, *gradient.shape[1:3], -1).transpose(1, 2, 0, 3)
                    _add(product, gradient[run], part)
        if into is None:
            return None
        matrix = self._leaving(x.shape[2:]).matrix(tape)
        weight = self._by_group(params[f"{self.name}/weight"])[:, ::-1].transpose(0, 3, 1, 4, 2)
        weight = weight.reshape(len(weight), self.groups, -1, weight.shape[-1])
        for part in matrix.parts(tape.batch):
            for run in range(len(d_output)):
                came = matrix.fill(d_output[run, part])
                matrix.multiply(came, weight[run], into[run, part])
                if asked and not apart:
                    product = matrix.correlate(came, x[run if len(x) > 1 else 0, part])
                    product = product.reshape(self.groups, gradient.shape[1], -1, gradient.shape[2])
                    _add(product[:, ::-1].transpose(1, 3, 0, 2), gradient[run], part)
        return into

    def _by_group(self, weight: Array) -> Array:
        """Return a weight as (runs, elements of the kernel, channels of a group, groups, filters of a group)."""
        return weight.reshape(len(weight), -1, self.channels // self.groups, self.groups, self.filters // self.groups)

    def expect(self, moments: Moments, laws: Mapping[str, Law]) -> Moments:
        """E[z[p]²] = channels sum over offsets of Var[w[offset]] E[x[p + offset]²] + Var[b]."""
        weight = laws[f"{self.name}/weight"]
        bias = laws[f"{self.name}/bias"] if self.bias else Law("constant", 0.0, 0.0)
        if moments.reason:
            return moments
        if reason := silent(weight, bias):
            return unknown_moments(reason)
        assert moments.squares is not None
        offsets, variance = self._weighed(weight)
        found = gathered(moments, self.windows, self.channels // self.groups * variance, offsets)
        assert found.squares is not None
        covariance = np.asarray(found.covariance) + bias.second_moment
        return Moments.uneven(found.squares + bias.second_moment, bias.mean, covariance)

    def expect_gradient(self, gradient: Gradient, moments: Moments, laws: Mapping[str, Law]) -> Gradient:
        """E[g_x[p]²] = filters sum over offsets of Var[w[offset]] E[g_z[p - offset]²]."""
        weight = laws[f"{self.name}/weight"]
        if reason := gradient.reason or moments.reason or silent(weight):
            return unknown_gradient(reason)
        assert moments.squares is not None
        positions = moments.squares.shape[1:]
        offsets, variance = self._weighed(weight)
        at = by_position(gradient, moments, self.windows.out(positions))
        return scattered(at, self.windows, positions, self.filters // self.groups * variance, offsets)

    def expect_jacobian(self, values: SingularValues, moments: Moments, laws: Mapping[str, Law]) -> SingularValues:
        """Singular values after kernels that act on each position by itself, as one orthogonal matrix."""
        weight, windows = laws[f"{self.name}/weight"], self.windows
        alone = weight.family == "delta_orthogonal" and windows.padding != "valid" and max(windows.stride) == 1
        if not alone or self.groups > 1:
            return UNKNOWN_VALUES
        sigma_w2 = self.channels * self._weighed(weight)[1]
        return values.after_weights(sigma_w2, "orthogonal", (self.channels, self.filters))

    def _weighed(self, law: Law) -> tuple[list[Shape], float]:
        """Return the offsets at which a kernel of this law has weights, and their second moment."""
        offsets = self.windows.offsets()
        if law.family != "delta_orthogonal":
            return offsets, law.second_moment
        return [self.windows.centre], len(offsets) * law.second_moment


def _add(product: Array, total: Array, part: slice) -> None:
    """Add the product of one part of a batch to the total, which the first part begins."""
    if part.start == 0:
        total[...] = product
    else:
        total += product
