"""Sum: the end of a residual block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from weightinit.arrays import Array
from weightinit.fans import Fans
from weightinit.laws import Law
from weightinit.nn.layers.base import Layer
from weightinit.nn.layers.dense import folded
from weightinit.nn.moments import Gradient, Moments, unknown_moments
from weightinit.nn.tape import Params, Shape, Slot, Tape, ones_for
from weightinit.nn.weights import ConstantSpec, WeightSpec

Trained: TypeAlias = bool | Literal["unit"]


@dataclass(frozen=True)
class Sum(Layer):
    """``skip_scale * skip + branch_scale * scale * branch``.

    ``branch_scale``, ``skip_scale``: constants of each run, by default these numbers. ``scale``: a weight of role
    scale, ``trained`` or frozen, 1 unless a scheme says otherwise; one number for True (ReZero, Bachlechner et al.
    2021), one of each unit for "unit" (LayerScale, Touvron et al. 2021). ``units``: features that leave it.
    """

    name: str
    units: int
    branch_scale: float = 1.0
    skip_scale: float = 1.0
    trained: Trained = False

    @property
    def weights(self) -> tuple[WeightSpec, ...]:
        shape = (1, self.units if self.trained == "unit" else 1)
        name, trained = f"{self.name}/scale", bool(self.trained)
        return (WeightSpec(name, shape, Fans(1, 1), "scale", "hidden", part="sum", trained=trained),)

    @property
    def constants(self) -> tuple[ConstantSpec, ...]:
        return (
            ConstantSpec(f"{self.name}/branch_scale", self.branch_scale, "factor of a residual branch"),
            ConstantSpec(f"{self.name}/skip_scale", self.skip_scale, "factor of what goes by a residual branch"),
        )

    def slots(self, entering: Shape) -> tuple[Slot, ...]:
        return (Slot(self.name, "activation", entering),)

    def forward(self, params: Params, x: Array, tape: Tape) -> Array:
        raise TypeError("a sum has two inputs; call join")

    def backward(self, params: Params, d_output: Array, tape: Tape, *, into: Array | None) -> Array | None:
        raise TypeError("a sum has two inputs; call part")

    def join(self, params: Params, branch: Array, skip: Array, tape: Tape) -> Array:
        """Return the sum, in the tape's memory."""
        tape.input[self.name, "activation"] = branch
        out, scale = tape[self.name, "activation"], self._scale(params, tape, branch)
        skip = self._skipped(skip, tape)
        for runs in tape.blocks(branch[0].size):
            tape.xp.multiply(branch[runs], scale[runs], out=out[runs])
            out[runs] += skip[runs if len(skip) > 1 else slice(None)]
        return out

    def part(self, params: Params, d_output: Array, tape: Tape, into: Array | None, into_skip: Array | None) -> None:
        """Write the gradients of branch and skip, and that of the trained scale into the tape."""
        if f"{self.name}/scale" in tape.gradient:
            branch = tape.input[self.name, "activation"]
            factor = tape.constant(f"{self.name}/branch_scale", self.branch_scale, branch)
            if self.trained == "unit":
                by_unit = folded(d_output) * folded(branch)
                product = tape.xp.matmul(ones_for(tape, by_unit.shape[1]), by_unit)
            else:
                product = tape.xp.matmul(d_output.reshape(len(d_output), 1, -1), branch.reshape(len(branch), -1, 1))
            tape.gradient[f"{self.name}/scale"][...] = product * factor.reshape(-1, 1, 1)
        if into is not None:
            scale = self._scale(params, tape, d_output)
            for runs in tape.blocks(d_output[0].size):
                tape.xp.multiply(d_output[runs], scale[runs], out=into[runs])
        if into_skip is not None:
            factor = tape.constant(f"{self.name}/skip_scale", self.skip_scale, d_output)
            tape.xp.multiply(d_output, factor, out=into_skip)

    def add_skip(self, d_output: Array, tape: Tape, into: Array) -> None:
        """Add the gradient of the skip to ``into``."""
        into += self._skipped(d_output, tape)

    def _skipped(self, x: Array, tape: Tape) -> Array:
        """Return ``x`` times the scale of the skip: ``x`` itself where that is 1 for all runs."""
        factor = tape.constant(f"{self.name}/skip_scale", self.skip_scale, x)
        return x if isinstance(factor, np.generic) and factor == 1 else x * factor

    def written(self, params: Params, tape: Tape) -> Array:
        """Return what the branch has added in the last forward pass."""
        branch = tape.input[self.name, "activation"]
        added: Array = branch * self._scale(params, tape, branch)
        return added

    def _scale(self, params: Params, tape: Tape, array: Array) -> Array:
        factor = tape.constant(f"{self.name}/branch_scale", self.branch_scale, array)
        scales = params[f"{self.name}/scale"]
        scale: Array = scales.reshape(len(scales), *[1] * (array.ndim - 2), scales.shape[-1]) * factor
        return scale

    def expect_sum(self, branch: Moments, skip: Moments, laws: Mapping[str, Law]) -> Moments:
        """E[y²] of the sum: those of its parts add up, since the last weights of a branch have mean zero."""
        if reason := branch.reason or skip.reason:
            return unknown_moments(reason)
        by, kept = self._factors(laws)
        return skip.scaled(kept).plus(branch.scaled(by))

    def expect_parts(self, gradient: Gradient, laws: Mapping[str, Law]) -> tuple[Gradient, Gradient]:
        """Return the gradients of branch and skip."""
        by, kept = self._factors(laws)
        return gradient.scaled(by), gradient.scaled(kept)

    def _factors(self, laws: Mapping[str, Law]) -> tuple[float, float]:
        """Return by what the mean squares of branch and skip are multiplied."""
        square = [
            laws[f"{self.name}/{name}"].second_moment if f"{self.name}/{name}" in laws else default**2
            for name, default in (("branch_scale", self.branch_scale), ("skip_scale", self.skip_scale))
        ]
        return square[0] * laws[f"{self.name}/scale"].second_moment, square[1]
