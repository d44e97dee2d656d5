"""Engine: the arithmetic of a stack, as the training loop asks for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias

from runner.training.evaluation import Outputs
from runner.training.measurement import Log
from weightinit.arrays import Array

# Numbers for a run's summary, and labels, of its initial state.
Labelled: TypeAlias = tuple[dict[str, float], dict[str, str]]


class Engine(Protocol):
    """A stack's weights, what a batch does to them, and what they show.

    The stack holds the runs that are ``alive``; every array by run has them on its first axis, in their order.
    """

    @property
    def notes(self) -> Sequence[tuple[str, ...]]:
        """For each run at the start, sentences of its scheme for a person to read."""

    def gradients(self, step: int, chosen: Array) -> Array:
        """Send the training samples ``chosen`` (runs, batch) forward and back; return the losses (runs,), float64."""

    def leave(self, keep: Array) -> None:
        """Keep the runs at these places, with the gradients at hand."""

    def update(self, step: int) -> None:
        """Change the weights by the gradients at hand."""

    def measured_update(self, step: int) -> Iterable[tuple[str, str, Array]]:
        """Change the weights, and return (quantity, layer, values (runs,)) of the state before and of the change."""

    def initial(self, log: Log) -> tuple[list[dict[str, Array]], list[Labelled]]:
        """Add the initial state on the probe's samples to ``log``; return arrays to keep, and labels, of each run."""

    def final(self, log: Log, step: int, alive: Array) -> list[dict[str, Array]]:
        """Add the final state on the probe's samples to ``log``, and return arrays to keep of each run."""

    def weights(self) -> Mapping[str, Array]:
        """Return the weights and the running statistics (runs, *shape) by name."""

    def outputs(self) -> Outputs:
        """Return the outputs of the weights at hand, in the state of evaluation."""
