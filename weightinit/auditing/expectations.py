"""What each tensor of a model is held against: what somebody said, a family's laws, or what is usual."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Protocol, TypeAlias, runtime_checkable

from weightinit.auditing.configurations import of_configurations, or_usual
from weightinit.auditing.expected import LawLike, LawStating
from weightinit.auditing.families import FAMILIES, Expectation, Expectations, family
from weightinit.auditing.model_report import ModelFinding
from weightinit.auditing.named_laws import NAMED, name_of, notation, rule
from weightinit.auditing.usual_laws import BY_FANS, Of, of_source, usual
from weightinit.laws import Law
from weightinit.model import Model, ModelTensor
from weightinit.nn.weights import WeightSpec
from weightinit.schemes.base import ONE, ZERO


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
    """The family and the scale that the innermost configuration names; else what is usual."""
    return Chosen(*of_configurations(model))


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
    return Chosen(or_usual(laws, model.config), f"the laws of {name}", name)


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
    return (of_source(tensor, spec, label, source),), True


def _beside(tensor: ModelTensor, spec: WeightSpec, source: Law | LawStating) -> Expectations:
    """What a rule of weights makes the biases and gains beside them."""
    if tensor.role == "gain":
        return (Expectation(ONE, "ones"),)
    bias_law = getattr(source, "bias_law", None)
    law = bias_law(spec) if bias_law is not None and tensor.fans else ZERO
    return (Expectation(law, notation(law) if law.std else "zeros"),)


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
                    return (of_source(tensor, spec, label, source),), True
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
