"""Layer: the forward pass, the backward pass and the theory of one step of a network, for a whole stack of runs.

Arrays are ``(runs, batch, *shape)``; the input of a network may have a single run, which all share. Every product is a
batched ``matmul`` with one gemm per run, so the numbers of a run do not depend on the other runs of its stack.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Final

from weightinit.arrays import Array
from weightinit.laws import Law
from weightinit.meanfield import SingularValues
from weightinit.nn.moments import Gradient, Moments, unknown_gradient, unknown_moments
from weightinit.nn.tape import Params, Shape, Slot, Tape
from weightinit.nn.weights import ConstantSpec, StatisticSpec, WeightSpec

UNKNOWN_VALUES: Final = SingularValues(math.nan, math.nan)


class Layer(ABC):
    """One step of a network: a leaf of its tree.

    ``name``: where it stands in the network; a layer without weights may take the name of the layer before it.
    ``no_theory``: why theory says nothing of it, empty where it does.
    """

    name: str
    no_theory: ClassVar[str] = "theory does not cover this layer"

    @property
    def weights(self) -> tuple[WeightSpec, ...]:
        """Weights of the layer, in the order of their use."""
        return ()

    @property
    def constants(self) -> tuple[ConstantSpec, ...]:
        """Multipliers of the layer that are not trained."""
        return ()

    @property
    def statistics(self) -> tuple[StatisticSpec, ...]:
        """Running statistics of the layer."""
        return ()

    def out_shape(self, entering: Shape) -> Shape:
        """Return the shape that leaves the layer, without runs and batch; raise ValueError for one it can't take."""
        return entering

    def slots(self, entering: Shape) -> tuple[Slot, ...]:
        """Return the memory that the layer asks for, that of its output first; none for a view of its input."""
        return ()

    @abstractmethod
    def forward(self, params: Params, x: Array, tape: Tape) -> Array:
        """Return the layer's output for ``x``, in the tape's memory."""

    @abstractmethod
    def backward(self, params: Params, d_output: Array, tape: Tape, *, into: Array | None) -> Array | None:
        """Write the weights' gradients into the tape, and that of the input into ``into``; return ``into``.

        With None as ``into``, the gradient of the input is not computed.
        """

    def expect(self, moments: Moments, laws: Mapping[str, Law]) -> Moments:
        """Return the moments of the output, from those of the input and the laws of the weights by name.

        A constant counts as a law without spread.
        """
        return unknown_moments(moments.reason or f"{self.name}: {self.no_theory}")

    def expect_gradient(self, gradient: Gradient, moments: Moments, laws: Mapping[str, Law]) -> Gradient:
        """Return the gradient at the input, from that at the output and the moments of the input."""
        return unknown_gradient(gradient.reason or f"{self.name}: {self.no_theory}")

    def expect_jacobian(self, values: SingularValues, moments: Moments, laws: Mapping[str, Law]) -> SingularValues:
        """Return the singular values of the output's Jacobian, from those of the input's and the input's moments."""
        return UNKNOWN_VALUES
