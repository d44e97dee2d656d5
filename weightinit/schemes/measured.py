"""Forward pass of a batch, a layer at a time, for schemes that fit the weights to what they measure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby

from weightinit.arrays import Array
from weightinit.nn.network import Network
from weightinit.nn.tree import Step
from weightinit.nn.weights import WeightSpec


class Pass:
    """A pass of ``batch`` (runs or 1, samples, inputs) with ``params``, which may change between its layers.

    ``constants``: (runs,) by name, read when their layer is reached; norms take the statistics of the batch.
    """

    def __init__(
        self, network: Network, params: Mapping[str, Array], batch: Array, constants: dict[str, Array] | None = None
    ) -> None:
        runs = len(next(iter(params.values())))
        self._network, self._params = network, params
        self._tape = network.tape(runs, batch.shape[1], phase="evaluate")
        self._tape.phase = "probe"
        self._tape.state = {} if constants is None else constants
        self.registers = [batch.reshape(*batch.shape[:2], *network.in_shape)]
        self._steps: list[Step] = []
        self._before = 0

    def layers(self) -> Iterator[list[WeightSpec]]:
        """Yield the weights of role weight of each layer, in order, after the pass through it."""
        for _, group in groupby(self._network.walk(), key=lambda step: step.path):
            self._steps, self._before = list(group), len(self.registers)
            self.again()
            yield [spec for step in self._steps for spec in step.weights if spec.role == "weight"]

    def steps(self) -> Iterator[Step]:
        """Yield each step before the pass through it."""
        for step in self._network.walk():
            yield step
            self.registers.append(step.forward(self._params, self.registers, self._tape))

    def again(self) -> None:
        """Pass through the present layer once more, with its weights as they are now."""
        del self.registers[self._before :]
        for step in self._steps:
            self.registers.append(step.forward(self._params, self.registers, self._tape))

    def output(self, spec: WeightSpec, quantity: str) -> Array:
        """Return the ``preactivation`` or ``activation`` that the present layer's weight makes (runs, samples, ...)."""
        # Of attention each weight has an output of its own, of most layers their only weight has.
        for place in (spec.layer, self._steps[0].path):
            if (place, quantity) in self._tape.arrays:
                return self._tape[place, quantity]
        return self.registers[-1]
