"""Initial state of a stack of runs: what a scheme returns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np

from weightinit.arrays import Array
from weightinit.laws import UNKNOWN, Law
from weightinit.nn.network import Network


@dataclass(frozen=True, eq=False)
class Initialized:
    """Initial state of a stack of runs.

    ``params``: by weight, arrays ``(runs, *shape)`` in the network's dtype. ``laws``: by weight, the law of each run's
    array. ``constants``: by name, multipliers ``(runs,)`` that are not trained; no network declares any yet, so a
    scheme may return none. ``learning_rate_scale``: by weight, factors of the learning rate ``(runs,)``; an absent
    weight has factor 1. Both are float64. ``notes``: for each run, sentences for a person to read.
    """

    params: Mapping[str, Array]
    laws: Mapping[str, tuple[Law, ...]]
    constants: Mapping[str, Array]
    learning_rate_scale: Mapping[str, Array]
    notes: tuple[tuple[str, ...], ...]

    def check(self, network: Network, runs: int) -> None:
        """Raise ValueError unless this is an initial state of ``runs`` such networks.

        Every weight needs an array and a law. A name that the network does not declare would have no effect on
        training, so it is an error.
        """
        names = [spec.name for spec in network.weights]
        for spec in network.weights:
            shape = (runs, *spec.shape)
            got = np.shape(self.params[spec.name]) if spec.name in self.params else "nothing"
            if got != shape:
                raise ValueError(f"the scheme must give {spec.name} the shape {shape} (runs first); got {got}")
            count = len(self.laws.get(spec.name, ()))
            if count != runs:
                raise ValueError(
                    f"the scheme must give {spec.name} a law for each of {runs} runs; got {count}. "
                    "Pass weightinit.laws.UNKNOWN for each where the law is not known."
                )
        for field in ("params", "laws", "learning_rate_scale"):
            _check_names(field, getattr(self, field), names)
        if self.constants:
            raise ValueError(
                f"the scheme returns the constant {next(iter(self.constants))!r}, and this network declares none. "
                "Return constants={} and multiply the weights instead."
            )
        for name, factor in self.learning_rate_scale.items():
            if np.shape(factor) != (runs,):
                raise ValueError(
                    f"learning_rate_scale of {name} must have the shape ({runs},), a factor for each run; "
                    f"got {np.shape(factor)}"
                )
        if len(self.notes) != runs:
            raise ValueError(f"the scheme must give notes for each of {runs} runs; got {len(self.notes)}. Pass ((),).")


def merge(parts: Sequence[tuple[Sequence[int], Initialized]], runs: int) -> Initialized:
    """Join schemes that each initialized some of ``runs`` networks into one stack.

    ``parts``: the places of a scheme's runs in the stack, and their state. Raises ValueError unless the places are 0
    to ``runs`` - 1, each once.
    """
    if sorted(place for places, _ in parts for place in places) != list(range(runs)):
        raise ValueError(f"the parts must fill each of {runs} places once; got {[list(places) for places, _ in parts]}")
    first = parts[0][1]
    params = {name: np.empty((runs, *array.shape[1:]), array.dtype) for name, array in first.params.items()}
    laws: dict[str, list[Law]] = {name: [UNKNOWN] * runs for name in first.laws}
    constants = {name: np.ones(runs) for _, part in parts for name in part.constants}
    learning_rate_scale = {name: np.ones(runs) for _, part in parts for name in part.learning_rate_scale}
    notes: list[tuple[str, ...]] = [()] * runs
    for places, part in parts:
        index = list(places)
        for merged, arrays in (
            (params, part.params),
            (constants, part.constants),
            (learning_rate_scale, part.learning_rate_scale),
        ):
            for name, array in arrays.items():
                merged[name][index] = array
        for run, place in enumerate(index):
            notes[place] = part.notes[run]
            for name, by_run in part.laws.items():
                laws[name][place] = by_run[run]
    return Initialized(
        params, {name: tuple(by_run) for name, by_run in laws.items()}, constants, learning_rate_scale, tuple(notes)
    )


def _check_names(field: str, given: Iterable[str], weights: Sequence[str]) -> None:
    for name in given:
        if name not in weights:
            nearest = get_close_matches(name, weights, n=1, cutoff=0.0)[0]
            raise ValueError(
                f"the scheme's {field} must name weights of the network; got {name!r}. "
                f"The nearest of its {len(weights)} weights is {nearest!r}."
            )
