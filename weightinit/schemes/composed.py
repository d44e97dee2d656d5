"""Rules: a scheme for each part of a network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from weightinit.arrays import Array
from weightinit.laws import Law
from weightinit.nn.network import Network
from weightinit.nn.weights import WeightSpec
from weightinit.schemes.base import Rule, Ruled
from weightinit.schemes.needs import name_of
from weightinit.schemes.parametrizations import Parametrization
from weightinit.schemes.roles import ROLES, takes_in
from weightinit.schemes.rules import Constant
from weightinit.schemes.tailored import Tailoring


@dataclass(frozen=True)
class Rules(Rule):
    """A scheme for each part of a network: the first of ``rules`` that takes in a weight draws it.

    ``rules``: schemes by role (``weightinit.schemes.roles.ROLES``) or by pattern of the names of weights or layers, in
    order. Each weight of role weight needs one. Without one, biases are zeros, gains and factors of branches 1. A
    scheme gives its constants to the residual blocks that its rule takes in.
    """

    rules: Mapping[str, Ruled] = field(default_factory=dict, hash=False)
    bias_std: float = field(default=0.0, init=False)  # the rules decide on biases

    name: ClassVar[str] = "rules"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.rules, Mapping) or not self.rules:
            raise ValueError(f"rules must map roles or patterns to schemes; got {self.rules!r}. Pass rules={{*: he}}.")
        for pattern, scheme in self.rules.items():
            if not isinstance(scheme, Ruled):
                raise ValueError(
                    f"rules takes schemes that draw each weight from a law; {pattern!r} has {name_of(scheme)}, which "
                    "does not. Pass another."
                )
            if isinstance(scheme, Tailoring | Parametrization | Rules):
                raise ValueError(
                    f"rules takes schemes of single weights; {pattern!r} has {name_of(scheme)}, which is one of whole "
                    f"networks. Pass scheme={name_of(scheme)} alone."
                )

    def rule_for(self, network: Network, second_moment: float = 1.0) -> Rule:
        """Return the rule that draws each weight by the rule that takes it in.

        Raises ValueError for a rule that takes in no weight, or none that an earlier one leaves, and for a weight that
        no rule takes in.
        """
        chosen = {
            spec.name: next((pattern for pattern in self.rules if takes_in(pattern, spec)), None)
            for spec in network.weights
        }
        hits = Counter(chosen.values())
        for pattern in self.rules:
            if not hits[pattern]:
                earlier = any(takes_in(pattern, spec) for spec in network.weights)
                why = "an earlier rule takes in all that it names" if earlier else f"it names none of {_some(network)}"
                raise ValueError(
                    f"rules: {pattern!r} has no weight; {why}. A name is a role ({', '.join(ROLES)}) or a pattern."
                )
        for spec in network.weights:
            if spec.role == "weight" and chosen[spec.name] is None:
                raise ValueError(f"rules must take in every weight; none has {spec.name}. Add a last one: *: he.")
        fitted = {pattern: scheme.rule_for(network, second_moment) for pattern, scheme in self.rules.items()}
        said = ", ".join(f"{hits[pattern]} by {pattern!r}" for pattern in self.rules)
        rules = {name: fitted[pattern] for name, pattern in chosen.items() if pattern is not None}
        return _Composed(rules, (f"weights drawn: {said}",))

    def draw(self, spec: WeightSpec, rng: np.random.Generator) -> Array:
        return self._rule(spec).draw(spec, rng)

    def law(self, spec: WeightSpec) -> Law:
        return self._rule(spec).law(spec)

    def _rule(self, spec: WeightSpec) -> Rule:
        """Return the first rule that takes in a weight, where that needs no network to be fitted to."""
        scheme = next((scheme for pattern, scheme in self.rules.items() if takes_in(pattern, spec)), None)
        if not isinstance(scheme, Rule):
            raise ValueError(f"rules: {spec.name} has no rule that needs no network. Pass rule_for(network).")
        return scheme


@dataclass(frozen=True)
class _Composed(Rule):
    """A rule for each weight of one network, by name, and ``said`` of them."""

    rules: Mapping[str, Rule] = field(default_factory=dict, hash=False)
    said: tuple[str, ...] = ()

    def draw_of(self, spec: WeightSpec, rng: np.random.Generator) -> Array:
        return self._of(spec).draw_of(spec, rng)

    def law_of(self, spec: WeightSpec) -> Law:
        return self._of(spec).law_of(spec)

    def draw(self, spec: WeightSpec, rng: np.random.Generator) -> Array:
        return self.draw_of(spec, rng)

    def law(self, spec: WeightSpec) -> Law:
        return self.law_of(spec)

    def stream(self, spec: WeightSpec) -> str:
        return self._of(spec).stream(spec)

    def constants(self, network: Network) -> Mapping[str, float]:
        by_layer = {spec.layer: self._of(spec) for spec in network.weights}
        found: dict[str, float] = {}
        for constant in network.constants:
            rule = by_layer.get(constant.name.rpartition("/")[0])
            if rule is not None and constant.name in (own := rule.constants(network)):
                found[constant.name] = own[constant.name]
        return found

    def notes(self, network: Network) -> tuple[str, ...]:
        return self.said

    def _of(self, spec: WeightSpec) -> Rule:
        return self.rules.get(spec.name, _DEFAULT)


_DEFAULT = Constant(0.0)  # its biases are zeros, its gains and factors 1


def _some(network: Network) -> str:
    layers = list(dict.fromkeys(spec.layer for spec in network.weights))
    return ", ".join(layers[:4]) + (f" and {len(layers) - 4} more layers" if len(layers) > 4 else "")
