"""Initial state of a stack of runs: what a scheme returns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

import numpy as np

from weightinit.arrays import Array
from weightinit.laws import UNKNOWN, Law
from weightinit.nn.network import Network


@dataclass(frozen=True, eq=False)
class Initialized:
    """Initial state of a stack of runs.

    ``params``: by weight, arrays ``(runs, *shape)`` in the network's dtype. ``laws``: by weight, the law of each run's
    array. ``constants``: by name, multipliers ``(runs,)`` that are not trained, of those that the network declares; an
    absent one is at its default. ``notes``: for each run, sentences for a person to read.

    How the sizes of the network enter, by weight, factors ``(runs,)`` of which an absent one is 1:
    ``learning_rate_scale`` of the size that an update shall have, ``gradient_scale`` of the size that its gradient has,
    both against the base sizes. The optimizer makes rate, epsilon and decay of the two: a step proportional to the
    gradient takes the rate ``learning_rate_scale / gradient_scale``. Constants and factors are float64.
    """

    params: Mapping[str, Array]
    laws: Mapping[str, tuple[Law, ...]]
    constants: Mapping[str, Array]
    learning_rate_scale: Mapping[str, Array]
    notes: tuple[tuple[str, ...], ...]
    gradient_scale: Mapping[str, Array] = field(default_factory=dict)

    def laws_of(self, run: int) -> dict[str, Law]:
        """Return the laws of one run's weights by name, and its constants as laws without spread."""
        fixed = {name: Law("constant", float(values[run]), 0.0) for name, values in self.constants.items()}
        return {name: by_run[run] for name, by_run in self.laws.items()} | fixed

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
        scales = ("learning_rate_scale", "gradient_scale")
        for which in ("params", "laws", *scales):
            _check_names(which, getattr(self, which), names, "weights")
        declared = [spec.name for spec in network.constants]
        if self.constants and not declared:
            raise ValueError(
                f"the scheme returns the constant {next(iter(self.constants))!r}, and this network declares none. "
                "Return constants={} and multiply the weights instead."
            )
        _check_names("constants", self.constants, declared, "constants")
        for which in ("constants", *scales):
            for name, factor in getattr(self, which).items():
                if np.shape(factor) != (runs,):
                    raise ValueError(
                        f"{which} of {name} must have the shape ({runs},), a factor for each run; "
                        f"got {np.shape(factor)}"
                    )
                if which in scales and not np.all(np.isfinite(factor) & (np.asarray(factor) > 0)):
                    raise ValueError(f"{which} of {name} must be finite numbers above 0; got {np.asarray(factor)}")
        if len(self.notes) != runs:
            raise ValueError(f"the scheme must give notes for each of {runs} runs; got {len(self.notes)}. Pass ((),).")


def merge(
    parts: Sequence[tuple[Sequence[int], Initialized]], runs: int, defaults: Mapping[str, float] | None = None
) -> Initialized:
    """Join schemes that each initialized some of ``runs`` networks into one stack.

    ``parts``: the places of a scheme's runs in the stack, and their state; ``defaults``: of constants that a part does
    not give, else 1. Raises ValueError unless the places are 0
    to ``runs`` - 1, each once.
    """
    if sorted(place for places, _ in parts for place in places) != list(range(runs)):
        raise ValueError(f"the parts must fill each of {runs} places once; got {[list(places) for places, _ in parts]}")
    first = parts[0][1]
    params = {name: np.empty((runs, *array.shape[1:]), array.dtype) for name, array in first.params.items()}
    laws: dict[str, list[Law]] = {name: [UNKNOWN] * runs for name in first.laws}
    given = dict.fromkeys(name for _, part in parts for name in part.constants)
    constants = {name: np.full(runs, (defaults or {}).get(name, 1.0)) for name in given}
    learning_rate_scale = {name: np.ones(runs) for _, part in parts for name in part.learning_rate_scale}
    gradient_scale = {name: np.ones(runs) for _, part in parts for name in part.gradient_scale}
    notes: list[tuple[str, ...]] = [()] * runs
    for places, part in parts:
        index = list(places)
        for merged, arrays in (
            (params, part.params),
            (constants, part.constants),
            (learning_rate_scale, part.learning_rate_scale),
            (gradient_scale, part.gradient_scale),
        ):
            for name, array in arrays.items():
                merged[name][index] = array
        for run, place in enumerate(index):
            notes[place] = part.notes[run]
            for name, by_run in part.laws.items():
                laws[name][place] = by_run[run]
    by_weight = {name: tuple(by_run) for name, by_run in laws.items()}
    return Initialized(params, by_weight, constants, learning_rate_scale, tuple(notes), gradient_scale)


def _check_names(field: str, given: Iterable[str], known: Sequence[str], kind: str) -> None:
    for name in given:
        if name not in known:
            nearest = get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise ValueError(
                f"the scheme's {field} must name {kind} of the network; got {name!r}. "
                f"The nearest of its {len(known)} {kind} is {nearest!r}."
            )
