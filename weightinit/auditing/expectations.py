"""What each tensor of a model is held against: what somebody said, a family's laws, or what is usual."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

from weightinit.auditing.expected import LawLike, LawStating, Mistake
from weightinit.auditing.families import FAMILIES, Expectation, Expectations, configured, family, scale_of
from weightinit.auditing.model_report import ModelFinding
from weightinit.auditing.named_laws import NAMED, name_of, notation, rule
from weightinit.fans import Fans, compute_fans
from weightinit.laws import Law
from weightinit.model import Model, ModelTensor
from weightinit.nn.weights import WeightSpec
from weightinit.schemes.base import ONE, ZERO

BY_FANS: Final = ("dense", "convolution", "recurrent")
"""Roles of tensors whose scale follows their fans: those that a scheme's name rules."""

PACKED: Final = "the packed matrix's "
"""Beginning of the name of a law that packed parts have together."""

OF_SINES: Final = "U(±1/fan_in), a first layer of sines"
"""Label of the law of a first layer before sines (Sitzmann et al. 2020)."""

MISCOUNTED: Final = ("he", "he_uniform", "xavier", "lecun_uniform", "glorot_normal", "glorot_uniform")
"""Rules whose fans are often counted over all groups of a convolution."""


@runtime_checkable
class ModelRule(Protocol):
    """A rule of one's own for some tensors of a model."""

    def matches(self, tensor: ModelTensor) -> bool:
        """Whether the rule is for this tensor."""

    def law_for(self, tensor: ModelTensor, spec: WeightSpec) -> Law:
        """Return the law that the rule gives the tensor, or one part of it."""


ModelLaws: TypeAlias = (
    LawLike | Mapping[str, LawLike] | Sequence[ModelRule] | Sequence[tuple[str, LawLike]] | Callable[..., Any] | None
)
"""What ``audit`` takes as ``expected``."""

Of: TypeAlias = Callable[[ModelTensor, WeightSpec], tuple[Expectations, bool]]
"""Returns the laws that a tensor, or one part of it, may follow, and whether somebody said so."""


@dataclass(frozen=True)
class Chosen:
    """Laws of a model's tensors: a function of tensor and part; ``words`` say where they come from.

    ``family``: the family whose laws they are, if any; ``findings``: what was wrong with the rules themselves.
    """

    of: Of
    words: str
    family: str = ""
    findings: tuple[ModelFinding, ...] = ()


def choose(model: Model, expected: ModelLaws) -> Chosen:
    """Return the laws that ``expected`` has for a model's tensors.

    Raises ValueError for a name that is neither a family nor a law, TypeError for what is none of these.
    """
    if expected is None:
        return _unsaid(model)
    if isinstance(expected, str) and (expected in FAMILIES or expected not in _laws_and_pytorch(expected)):
        return _family(model, expected)
    if expected == "pytorch":
        return Chosen(_own_default, "each module's own default")
    if isinstance(expected, Mapping):
        return _by_pattern(model, list(expected.items()))
    if isinstance(expected, str | Law | LawStating):
        label, source = _source(expected)
        return Chosen(lambda tensor, spec: _by_scheme(tensor, spec, label, source), label)
    if isinstance(expected, Iterable):
        return _by_pattern(model, list(expected))
    raise TypeError(
        "expected must be a family, a law, laws by patterns of names, a list of rules, or None; got "
        f"{type(expected).__name__}. Pass expected='gpt2' or expected={{'*.weight': 'he'}}."
    )


def _laws_and_pytorch(text: str) -> tuple[str, ...]:
    name = text.partition("(")[0].strip()
    return (text,) if name in NAMED else ()


def _unsaid(model: Model) -> Chosen:
    """The family that the configuration names; the scale that it names; else what is usual."""
    if model.family in FAMILIES:
        try:
            return _family(model, model.family)
        except ValueError:  # a configuration that lacks what the family needs
            return Chosen(usual, "what is usual")
    if model.config and scale_of(model.config):
        return Chosen(_and_usual(model), "the scale that its configuration names, or what is usual")
    return Chosen(usual, "what is usual for each module")


def _family(model: Model, name: str) -> Chosen:
    try:
        laws = family(name, model.config)
    except ValueError as error:
        if name in FAMILIES:
            raise
        raise ValueError(
            f"expected must be a family ({', '.join(sorted(FAMILIES))}) or a law ({', '.join(NAMED)}); got {name!r}. "
            "Pass expected='gpt2' or expected='he'."
        ) from error
    return Chosen(_or_usual(model, laws), f"the laws of {name}", name)


def _or_usual(model: Model, laws: Callable[[ModelTensor, Mapping[str, Any]], Expectations]) -> Of:
    def of(tensor: ModelTensor, spec: WeightSpec) -> tuple[Expectations, bool]:
        said = laws(tensor, model.config)
        return (said, True) if said else usual(tensor, spec)

    return of


def _and_usual(model: Model) -> Of:
    """The scale that a configuration names beside what is usual: how its library means it is not known."""

    def of(tensor: ModelTensor, spec: WeightSpec) -> tuple[Expectations, bool]:
        found, _ = usual(tensor, spec)
        return (*configured(tensor, model.config), *found), False

    return of


def _own_default(tensor: ModelTensor, spec: WeightSpec) -> tuple[Expectations, bool]:
    found, _ = usual(tensor, spec)
    return found, tensor.default.known


def _by_scheme(
    tensor: ModelTensor, spec: WeightSpec, label: str, source: Law | LawStating
) -> tuple[Expectations, bool]:
    if tensor.role in ("gain", "bias"):
        return _beside(tensor, spec, source), True
    if tensor.role not in BY_FANS:
        return usual(tensor, spec)
    return (_of_source(tensor, spec, label, source),), True


def _beside(tensor: ModelTensor, spec: WeightSpec, source: Law | LawStating) -> Expectations:
    """What a rule of weights makes the biases and gains beside them."""
    if tensor.role == "gain":
        return (Expectation(ONE, "ones"),)
    bias_law = getattr(source, "bias_law", None)
    law = bias_law(spec) if bias_law is not None and tensor.fans else ZERO
    return (Expectation(law, notation(law) if law.std else "zeros"),)


def _of_source(tensor: ModelTensor, spec: WeightSpec, label: str, source: Law | LawStating) -> Expectation:
    if isinstance(source, Law):
        return Expectation(source, label)
    law = source.law(spec)
    mistakes = _packed(tensor, spec, source) + _groups(tensor, spec) + _axes(tensor, spec, source)
    return Expectation(law, label, mistakes, source=source)


def _axes(tensor: ModelTensor, spec: WeightSpec, source: LawStating) -> tuple[Mistake, ...]:
    """The rule with several axes of inputs or outputs taken for those of a convolution's kernel."""
    if len(tensor.in_axes) < 2 and len(tensor.out_axes) < 2:
        return ()
    counted = compute_fans(tensor.shape)
    law = source.law(replace(spec, fans=counted))
    remark = f"its axes {tensor.shape} were read as a convolution's: fans {tuple(counted)} for {tuple(spec.fans)}"
    return () if law == source.law(spec) else (Mistake("its axes misread", law, remark),)


def _packed(tensor: ModelTensor, spec: WeightSpec, source: LawStating) -> tuple[Mistake, ...]:
    """The rule with the fans of all packed parts together."""
    if not tensor.parts or not tensor.fans:
        return ()
    together = source.law(replace(spec, fans=tensor.fans))
    if together == source.law(spec):
        return ()
    names = ", ".join(part.name for part in tensor.parts)
    remark = f"drawn as one packed matrix ({names}): its fans {tuple(tensor.fans)} in place of {tuple(spec.fans)}"
    return (Mistake(f"{PACKED}law", together, remark),)


def _groups(tensor: ModelTensor, spec: WeightSpec) -> tuple[Mistake, ...]:
    """The usual rules with a fan-out counted over all groups."""
    if tensor.groups < 2:
        return ()
    fan_in, fan_out = spec.fans
    counted = Fans(fan_in, fan_out * tensor.groups)
    remark = f"its fan-out was counted over all {tensor.groups} groups: {counted.fan_out} for {fan_out}"
    mistakes = []
    for name in MISCOUNTED:
        options = "" if "glorot" in name else "(mode='fan_out')"
        law = rule(name + options).law(replace(spec, fans=counted))
        mistakes.append(Mistake(f"{name}{options} over all groups", law, remark))
    return tuple(mistakes)


def _slips(tensor: ModelTensor, spec: WeightSpec) -> tuple[Mistake, ...]:
    """Glorot's laws of packed parts together, and the usual rules over all groups."""
    packed = [
        Mistake(f"{PACKED}{name}", *mistake[1:])
        for name in ("glorot_uniform", "glorot_normal")
        for mistake in _packed(tensor, spec, rule(name))
    ]
    return (*packed, *_groups(tensor, spec))


def usual(tensor: ModelTensor, spec: WeightSpec) -> tuple[Expectations, bool]:
    """The module's own default, or what is usual for the role; nothing for what stands alone."""
    pytorch = rule("pytorch")
    label = f"{tensor.kind or 'the library'}'s own default"
    found: list[Expectation] = []
    if tensor.default.known:
        same = tensor.role in BY_FANS and tensor.default == pytorch.law(spec)
        mistakes = _slips(tensor, spec) if tensor.role in BY_FANS else ()
        found.append(Expectation(tensor.default, label, mistakes, source=pytorch if same else None))
    match tensor.role:
        case "gain":
            found.append(Expectation(ONE, "ones"))
        case "bias":
            found.insert(0, Expectation(ZERO, "zeros"))
            if tensor.fans:
                found.append(Expectation(pytorch.bias_law(spec), "PyTorch's own default"))
        case "lora_out":
            found.append(Expectation(ZERO, "zeros"))
        case "dense" | "convolution" | "recurrent" if not found:
            found.append(Expectation(pytorch.law(spec), "U(±1/sqrt(fan_in))", _slips(tensor, spec), source=pytorch))
    found += _of_kernels(tensor, spec)
    return tuple({each.law: each for each in found}.values()), False


def _of_kernels(tensor: ModelTensor, spec: WeightSpec) -> list[Expectation]:
    """Laws of special layers: Glorot's of a kernel as a matrix, of patches (He et al. 2022); the first of sines."""
    fan_in = spec.fans.fan_in
    if tensor.role == "convolution" and len(spec.shape) > 2 and tensor.groups == 1:
        law = rule("glorot_uniform").law(replace(spec, fans=Fans(fan_in, spec.shape[-1])))
        return [Expectation(law, "glorot_uniform of the kernel as a matrix")]
    if tensor.role == "dense" and spec.position == "input":
        law = Law("uniform", 0.0, 1 / fan_in / math.sqrt(3), (-1 / fan_in, 1 / fan_in))
        return [Expectation(law, OF_SINES)]
    return []


def _source(given: Any) -> tuple[str, Law | LawStating]:
    if isinstance(given, str):
        return given, rule(given)
    if isinstance(given, Law):
        return notation(given), given
    if isinstance(given, LawStating) and not isinstance(given, type):
        return name_of(given), given
    raise TypeError(
        f"a law must be a name, a Law or a rule that states laws; got {given!r}. Pass 'he' or 'normal(std=0.02)'."
    )


def _by_pattern(model: Model, given: list[Any]) -> Chosen:
    """Laws by pattern, the first that matches; a rule that matches nothing is a finding.

    A law whose pattern takes in weights is that of the weights; biases and gains there are what it makes them.
    """
    rules: list[tuple[str, Callable[[ModelTensor], bool], Any]] = []
    for each in given:
        if isinstance(each, ModelRule) and not isinstance(each, tuple):
            rules.append((str(each), each.matches, each))
        elif isinstance(each, tuple) and len(each) == 2:
            selector, law = each
            rules.append((str(selector), _selects(selector), _source(law)))
        else:
            raise TypeError(
                f"a rule must be a pair (pattern, law) or an object with matches and law_for; got {each!r}."
            )
    findings = tuple(
        ModelFinding((), "fault", "no_hits", name, f"rule {name!r} matches none of {len(model.tensors)} tensors")
        for name, selects, _ in rules
        if not any(selects(tensor) for tensor in model)
    )

    of_layers = {
        name
        for name, selects, _ in rules
        if any(selects(t) and t.core_role == "weight" and len(t.shape) > 1 for t in model)
    }

    def of(tensor: ModelTensor, spec: WeightSpec) -> tuple[Expectations, bool]:
        for name, selects, law in rules:
            if selects(tensor):
                if isinstance(law, tuple):
                    label, source = law
                    if tensor.core_role != "weight" and name in of_layers and not isinstance(source, Law):
                        return _beside(tensor, spec, source), True
                    return (_of_source(tensor, spec, label, source),), True
                return (Expectation(law.law_for(tensor, spec), name),), True
        return usual(tensor, spec)

    return Chosen(of, f"{len(rules)} rules", findings=findings)


def _selects(selector: Any) -> Callable[[ModelTensor], bool]:
    """A pattern of names, a role, or a class of modules (itself or its name)."""
    if isinstance(selector, type):
        return lambda tensor: tensor.kind == selector.__name__
    text = str(selector)

    def selects(tensor: ModelTensor) -> bool:
        names = (tensor.name, *tensor.also)
        return text in (tensor.role, tensor.kind) or any(n == text or fnmatchcase(n, text) for n in names)

    return selects
