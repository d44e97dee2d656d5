"""Roles: names for the weights of a network by what they are for, from a closed list."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from functools import partial
from typing import Final, get_args

from weightinit.nn.weights import Part, Position, Role, WeightSpec


def _has(attribute: str, value: str, spec: WeightSpec) -> bool:
    return bool(getattr(spec, attribute) == value)


ROLES: Final[Mapping[str, Callable[[WeightSpec], bool]]] = {
    **{role: partial(_has, "role", role) for role in get_args(Role)},
    **{position: partial(_has, "position", position) for position in get_args(Position)},
    **{part: partial(_has, "part", part) for part in get_args(Part)},
    "branch": lambda spec: spec.branch is not None,
    "branch_end": lambda spec: spec.ends_branch,
    "trunk": lambda spec: spec.branch is None,
}
"""Whether a weight has a role, by the role's name.

weight, bias, gain, scale: what it is; input, hidden, output: where its layer stands; dense, convolution, query, key,
value, out, gate, up, embedding, positions, norm, sum: its layer, or its place in it; branch, branch_end, trunk: whether
it lies on a residual branch, at its end, or on none.
"""


def takes_in(pattern: str, spec: WeightSpec) -> bool:
    """Return whether a weight has a role, or a name of its own or of its layer that fits a pattern."""
    if pattern in ROLES:
        return ROLES[pattern](spec)
    return fnmatchcase(spec.name, pattern) or fnmatchcase(spec.layer, pattern)
