"""Sites: the places where a network is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from weightinit.activations import Activation
from weightinit.arrays import Array
from weightinit.nn.layers import Nonlinearity
from weightinit.nn.outline import trunk
from weightinit.nn.tape import Shape, Tape
from weightinit.nn.tree import Step
from weightinit.nn.weights import WeightSpec

MEASURED = ("preactivation", "activation")  # quantities that make a site of their slot


@dataclass(frozen=True)
class Site:
    """Place where a network is measured: the layers of one name.

    ``weight``: its weight of role weight, if it has one; ``linear``: whether it keeps a pre-activation;
    ``activation``: its nonlinearity, if it has one; ``on_trunk`` as of a step; ``shape``: of what leaves it.
    """

    name: str
    weight: WeightSpec | None
    linear: bool
    activation: Activation | None
    on_trunk: bool
    shape: Shape

    def preactivation(self, tape: Tape) -> Array:
        """Return what enters the nonlinearity, or the site's output where it has none."""
        if self.linear:
            return tape[self.name, "preactivation"]
        return tape[self.name, "activation"] if self.activation is None else tape.input[self.name, "activation"]

    def output(self, tape: Tape) -> Array:
        """Return what leaves the site."""
        a = tape.arrays.get((self.name, "activation"))
        return tape[self.name, "preactivation"] if a is None else a

    def backward(self, tape: Tape) -> Array | None:
        """Return the gradient of the loss with respect to the pre-activation; None where the tape doesn't keep it."""
        for quantity in ("d_preactivation", "d_activation"):
            if (self.name, quantity) in tape.arrays:
                return tape[self.name, quantity]
        return None


def sites_of(steps: Sequence[Step]) -> tuple[Site, ...]:
    """Return every layer that keeps a pre-activation or an activation, in order."""
    found: dict[str, Site] = {}
    for step in steps:
        kernels = {spec.layer: spec for spec in step.weights if spec.role == "weight"}
        for slot in step.layer.slots(step.entering):
            if slot.quantity in MEASURED:
                site = found.get(slot.path) or Site(slot.path, None, False, None, step.on_trunk, slot.shape)
                weight = site.weight or kernels.get(slot.path)
                phi = step.layer.activation if isinstance(step.layer, Nonlinearity) else site.activation
                linear = site.linear or slot.quantity == "preactivation"
                found[slot.path] = replace(site, weight=weight, linear=linear, activation=phi, shape=slot.shape)
    return tuple(found.values())


def trunk_of(steps: Sequence[Step], sites: Sequence[Site]) -> tuple[Site, ...]:
    """Return the sites by which the signal is followed through a network; see ``weightinit.nn.trunk``."""
    # What a layer measures beside its output, such as the queries of attention, lies beside the way of the signal.
    slots = [[slot.path for slot in step.layer.slots(step.entering)] for step in steps]
    beside = {path for paths in slots for path in paths[1:]} - {path for paths in slots for path in paths[:1]}
    names = trunk([site.name for site in sites if site.name not in beside])
    return tuple(site for site in sites if site.name in names)
