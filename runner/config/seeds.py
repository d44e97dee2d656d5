"""Configurations that differ in the seed alone: one is composed, the others are it with another seed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Place = tuple[str, ...]

_SEED = re.compile(r"seed=(0|[1-9]\d*)")
# Interpolations: of a whole value, and what can't depend on a seed.
_REFERENCE = re.compile(r"\$\{([A-Za-z_][\w.]*)\}")
_CONSTANT = re.compile(r"\$\{(?:now|oc\.env):[^${}]*\}")


def parted(overrides: Sequence[str]) -> tuple[tuple[str, ...], int] | None:
    """Return a run's other overrides, and the seed that one of them sets; None where it isn't set as plainly."""
    about = [text for text in overrides if text.lstrip("+~").startswith("seed")]
    if len(about) != 1 or (found := _SEED.fullmatch(about[0])) is None:
        return None
    return tuple(text for text in overrides if text != about[0]), int(found[1])


@dataclass(frozen=True)
class Family:
    """Configuration of plain ``values`` with the ``choice`` in each group, and the ``places`` of its seed."""

    values: Mapping[str, Any]
    choices: Mapping[str, str]
    places: tuple[Place, ...]

    @classmethod
    def of(
        cls, unresolved: Mapping[str, Any], values: Mapping[str, Any], choices: Mapping[str, str], seed: int
    ) -> Family | None:
        """Return the family of a configuration; None where its values may depend on the seed other than by being it.

        ``unresolved``: the same with its interpolations.
        """
        places: set[Place] = {("seed",)}
        others = dict(_interpolations(unresolved))
        while new := [place for place, text in others.items() if _followed(text) in places]:
            places.update(new)
            others = {place: text for place, text in others.items() if place not in new}
        for text in others.values():
            text = _CONSTANT.sub("", text)
            named = [tuple(name.split(".")) for name in _REFERENCE.findall(text)]
            if "${" in _REFERENCE.sub("", text) or any(_overlap(name, place) for name in named for place in places):
                return None
        if "seed" in choices or any(not _is_seed(values, place, seed) for place in places):
            return None
        return cls(values, choices, tuple(sorted(places)))

    def with_seed(self, seed: int) -> dict[str, Any]:
        """Return the values with another seed."""
        values = dict(self.values)
        for place in self.places:
            values = _replaced(values, place, seed)
        return values


def _interpolations(values: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    if isinstance(values, Mapping):
        for name, value in values.items():
            yield from _interpolations(value, (*place, str(name)))
    elif isinstance(values, list):
        for index, value in enumerate(values):
            yield from _interpolations(value, (*place, str(index)))
    elif isinstance(values, str) and "${" in values:
        yield place, values


def _followed(text: str) -> Place | None:
    """Return the place whose value an interpolation takes over; None for one that is more than that."""
    found = _REFERENCE.fullmatch(text)
    return tuple(found[1].split(".")) if found else None


def _overlap(one: Place, other: Place) -> bool:
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def _is_seed(values: Any, place: Place, seed: int) -> bool:
    for name in place:
        if not isinstance(values, Mapping) or name not in values:
            return False
        values = values[name]
    return type(values) is int and values == seed


def _replaced(values: Mapping[str, Any], place: Place, seed: int) -> dict[str, Any]:
    name, *rest = place
    return {**values, name: _replaced(values[name], tuple(rest), seed) if rest else seed}
