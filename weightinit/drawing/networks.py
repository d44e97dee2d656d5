"""Schemes of whole networks for a model of one's own: rules that look at residual branches and parts of attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Final, NamedTuple

import numpy as np

from weightinit.arrays import Array
from weightinit.auditing.named_laws import NAMED, name_and_options
from weightinit.branches import ATTENTION, branches_of, placed
from weightinit.drawing.parametrized import ByBase
from weightinit.drawing.rules import LawLike, TensorRule, rule, settled_law
from weightinit.laws import Law
from weightinit.model import Model, ModelTensor
from weightinit.nn.weights import WeightSpec
from weightinit.schemes import (
    GPT2,
    DeepNorm,
    DeltaOrthogonal,
    Fixup,
    Megatron,
    Rule,
    SmallInit,
    TFixup,
    Wang,
    ZerO,
    ZeroGamma,
)

SCHEMES: Final[Mapping[str, type[Rule]]] = {
    scheme.name: scheme
    for scheme in (GPT2, Megatron, SmallInit, Wang, DeepNorm, TFixup, Fixup, ZeroGamma, DeltaOrthogonal, ZerO)
}
"""Schemes by name. ReZero and its like are rules for parameters of their own: ``rule("*.alpha", "zeros")``."""

LAB_ONLY: Final = ("spectral", "depth_mup", "completep", "mimetic", "mirrored", "admin", "autoinit", "tat", "dks")
"""Schemes that set constants, rates or pairs of weights of the lab's own layers."""

BRANCH_FACTORS: Final = ("rezero", "skipinit", "layerscale")
"""Schemes of factors of branches, which are parameters of a model's own."""


class _Need(NamedTuple):
    met: Callable[[Model], bool]
    lacking: str


def _attends(model: Model) -> bool:
    recurrent = {tensor.layer for tensor in model if tensor.role == "recurrent"}
    return any(ATTENTION.search(tensor.layer) for tensor in model if tensor.layer not in recurrent)


_NEEDS: Final[Mapping[str, _Need]] = {
    "attention": _Need(_attends, "no layer here is called attention"),
    "branches": _Need(lambda model: bool(branches_of(model)), "this model has no list of blocks"),
    "branch_norms": _Need(
        lambda model: any(spec.role == "gain" and spec.ends_branch for spec in placed(model).values()),
        "no norm ends a branch of convolutions here",
    ),
    "no_norms": _Need(lambda model: all(tensor.role != "gain" for tensor in model), "this model has norms"),
    "convolutions": _Need(
        lambda model: any(tensor.role == "convolution" for tensor in model), "this model has no convolutions"
    ),
}


@dataclass(frozen=True)
class NetworkRule(TensorRule):
    """A scheme of whole networks for all weights, embeddings and positions of a model."""

    def law_for(self, tensor: ModelTensor, spec: WeightSpec) -> Law:
        if tensor.role == "gain":
            value = self._scheme.start(spec) * (settled_law(tensor) or Law("constant", 1.0, 0.0)).mean
            return Law("constant", value, 0.0, (value, value))
        return super().law_for(tensor, spec)

    def draw(self, tensor: ModelTensor, spec: WeightSpec, rng: np.random.Generator) -> Array:
        if tensor.role == "gain":
            return np.full(spec.shape, self.law_for(tensor, spec).mean)
        return super().draw(tensor, spec, rng)

    def reaches(self, tensor: ModelTensor, explicit: bool) -> bool:
        return tensor.role != "parameter"

    @property
    def _scheme(self) -> Rule:
        assert isinstance(self.source, Rule)
        return self.source


def network_rule(scheme: Rule, model: Model) -> NetworkRule:
    """Return a scheme of whole networks as the rule of one model; raise ValueError where the model lacks its needs."""
    for name in scheme.needs:
        need = _NEEDS.get(name)
        if need is not None and not need.met(model):
            raise ValueError(f"{scheme.name} needs {name.replace('_', ' ')}; {need.lacking}. Take he, or rules.")
    if isinstance(scheme, TFixup):
        branches = max((branch.count for branch in branches_of(model).values()), default=2)
        scheme = replace(scheme, blocks=branches / 2)
    return NetworkRule("*", scheme, scheme.name)


def resolved(given: TensorRule | ByBase | LawLike, model: Model) -> TensorRule:
    """Return a rule, a parametrization, a scheme or a law, by name or not, as a rule fitted to one model."""
    match given:
        case TensorRule():
            return given
        case ByBase():
            return given.fitted(model)
        case str():
            scheme = scheme_named(given)
            return rule("*", given) if scheme is None else network_rule(scheme, model)
        case Rule() if given.name in SCHEMES:
            return network_rule(given, model)
    return rule("*", given)


def notes_on(scheme: Rule, model: Model) -> tuple[str, ...]:
    """Return what a scheme asks of the model beside its weights."""
    if isinstance(scheme, DeepNorm):
        branches = max(branch.count for branch in branches_of(model).values())
        return (f"deepnorm multiplies the skips of all blocks by {branches**0.25:.4g}: see that the model does.",)
    return ()


def scheme_named(text: str) -> Rule | None:
    """Return the scheme of whole networks that a text names, with its options as in a call; None for another name.

    Raises ValueError for a name that is no law either, and for options that the scheme doesn't take.
    """
    name, options = name_and_options(text)
    if name not in SCHEMES:
        if name in LAB_ONLY:
            raise ValueError(
                f"{name} sets constants, rates or pairs of weights of the lab's own layers, so it isn't offered for a "
                "model of one's own. Take critical, lsuv, mup(base=...), gpt2, fixup, or rules."
            )
        if name in BRANCH_FACTORS:
            raise ValueError(
                f"{name} sets factors of branches, which go by names of the model's own. Pass rules, such as "
                "[rule('*.alpha', 'zeros'), rule('*.weight', 'he')]."
            )
        if name == "mup":
            raise ValueError("mup needs the same model at a small width. Pass mup(base=...) of weightinit.torch.")
        if name not in NAMED:
            nearest = (get_close_matches(name, [*SCHEMES, *NAMED], 1, 0.0) or ["he"])[0]
            raise ValueError(
                f"a scheme is one of {', '.join(SCHEMES)}, lsuv, critical, or a law: {', '.join(NAMED)}; got {name!r}. "
                f"Pass {nearest!r}."
            )
        return None
    kind = SCHEMES[name]
    allowed = [field.name for field in fields(kind) if field.init]
    if unknown := sorted(options.keys() - set(allowed)):
        raise ValueError(f"{name} takes {', '.join(allowed)}; got {', '.join(unknown)} in {text!r}.")
    return kind(**options)
