"""The laws that configurations name: each tensor is held against that of the innermost module that has one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from weightinit.auditing.expected import Mistake
from weightinit.auditing.families import (
    FAMILIES,
    Expectation,
    Expectations,
    Family,
    configured,
    family,
    of_std,
    scale_of,
)
from weightinit.auditing.usual_laws import Of, usual
from weightinit.model import Configuration, Model, ModelTensor
from weightinit.nn.weights import WeightSpec

FACTOR: Final = "initializer_factor"
"""Key of what multiplies the stds in a library's code, such as .02 for embeddings, beside a std that is named."""


def of_configurations(model: Model) -> tuple[Of, str]:
    """Return the laws of a model's tensors by the family and the scale that configurations name, and words for them.

    The innermost configuration around a tensor counts; where it names nothing, what is usual does.
    """
    every = (*model.parts, *model.configurations())
    if not any(part.family in FAMILIES or scale_of(part.values) for part in every):
        return usual, "what is usual for each module"
    rules, families = {}, []
    for part in every:
        around = model.configurations(part.path) if part.path else every[-1:]
        if name := _family_of(around):
            rules[part.path] = or_usual(_with_names(family(name, part.values), part, every), part.values)
            families.append(name)
        else:
            rules[part.path] = _scale_or_usual(_with_names(configured, part, every), around)

    def of(tensor: ModelTensor, spec: WeightSpec) -> tuple[Expectations, bool]:
        return rules[model.configurations(tensor.name)[0].path](tensor, spec)

    words = [f"the laws of {' and '.join(dict.fromkeys(families))}"] if families else []
    if len(families) < len(every):
        words += ["the scale that its configuration names", "what is usual"]
    return of, ", ".join(words[:-1]) + " or " * (len(words) > 1) + words[-1]


def or_usual(laws: Family, config: Mapping[str, Any]) -> Of:
    """Return the laws of a family, and what is usual where it has none."""

    def of(tensor: ModelTensor, spec: WeightSpec) -> tuple[Expectations, bool]:
        said = laws(tensor, config)
        return (said, True) if said else usual(tensor, spec)

    return of


def _family_of(around: tuple[Configuration, ...]) -> str:
    """The family of a part, or of what is around it where its own name begins with that: ``blip_text_model``."""
    part = around[0]
    for each in around:
        if each.family in FAMILIES and f"{part.family}_".startswith(f"{each.family}_"):
            try:
                family(each.family, part.values)
            except ValueError:  # a configuration that lacks what the family needs
                return ""
            return each.family
    return ""


def _scale_or_usual(laws: Family, around: tuple[Configuration, ...]) -> Of:
    """The scale that a configuration names beside what is usual: how its library means it is not known.

    One that is named further out only may count here, and isn't missed where it doesn't.
    """
    inner, *outer = around
    outside = next((part.values for part in outer if scale_of(part.values)), {})

    def of(tensor: ModelTensor, spec: WeightSpec) -> tuple[Expectations, bool]:
        found, _ = usual(tensor, spec)
        if scale_of(inner.values):
            said = laws(tensor, inner.values)
            if said and tensor.role == "embedding" and (factor := inner.values.get(FACTOR)):
                said += of_std(0.02 * float(factor), f".02 x {FACTOR}")
            return (*said, *found), False
        return (*found, *(replace(each, mistakes=()) for each in configured(tensor, outside))), False

    return of


def _with_names(laws: Family, part: Configuration, every: tuple[Configuration, ...]) -> Family:
    """The laws, with words that say which configuration they are of, where a model has several that differ.

    The scales of the others are mistakes that are made in their place.
    """
    scales = {each.name: scale_of(each.values) for each in every}
    if len({*scales.values()}) < 2 and len({each.family for each in every}) < 2:
        return laws
    own = scales.pop(part.name)
    stds = {name: scale for name, scale in scales.items() if scale and scale[0] != FACTOR}
    others = {name: scale for name, scale in stds.items() if own and own[0] != FACTOR and scale[1] not in (0, own[1])}

    def named(tensor: ModelTensor, found: Expectation) -> Expectation:
        if not found.law.std or found.law == tensor.default:
            return found
        mistakes = [
            Mistake(f"{key} of {name}", replace(found.law, std=std), f"it follows {key}={std:g} of {name}")
            for name, (key, std) in others.items()
            if found.law.family == "normal" and own and found.law.std == own[1]
        ]
        return replace(found, label=f"{found.label} of {part.name}", mistakes=(*mistakes, *found.mistakes))

    return lambda tensor, config: tuple(named(tensor, each) for each in laws(tensor, config))
