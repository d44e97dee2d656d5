"""Plan of an initialization: the rule of each tensor of a model, and what no rule reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from weightinit.arrays import Array
from weightinit.branches import placed
from weightinit.drawing.report import Initialization
from weightinit.drawing.rules import BY_FANS, TensorRule, drawn
from weightinit.laws import Law
from weightinit.model import Model, ModelTensor
from weightinit.nn.weights import WeightSpec


@dataclass(frozen=True)
class Plan:
    """Rules of a model's tensors: ``chosen`` by the tensor's name; ``kept``: tensors that no rule reaches.

    ``hits``: how many tensors each rule was chosen for, in the order of the rules.
    """

    model: Model
    specs: Mapping[str, WeightSpec]
    chosen: Mapping[str, TensorRule]
    hits: tuple[tuple[TensorRule, int], ...]
    kept: tuple[str, ...]

    def draw(self, tensor: ModelTensor, seed: int) -> Array:
        """Return values of a tensor as its framework has them, in float64."""
        return drawn(tensor, self.specs[tensor.name], self.chosen[tensor.name], seed)

    def law(self, tensor: ModelTensor) -> Law:
        """Return the law of a tensor; of packed parts that of the first."""
        spec = self.specs[tensor.name]
        if tensor.parts:
            spec = tensor.part(tensor.parts[0])
        return self.chosen[tensor.name].law_for(tensor, spec)

    def record(self, tensor: ModelTensor) -> Initialization:
        """Return what a report says of a tensor: its rule and law, or that it keeps its values."""
        if tensor.name not in self.chosen:
            return Initialization(tensor.name, tensor.shape, "", None)
        return Initialization(tensor.name, tensor.shape, str(self.chosen[tensor.name]), self.law(tensor))


def plan(model: Model, rules: Sequence[TensorRule], *, strict: bool = True) -> Plan:
    """Return the plan of rules, of which for each tensor the first that reaches it counts.

    Raises ValueError for a rule that no tensor is left for, unless ``strict`` is False, and without any rule.
    """
    if not rules:
        raise ValueError("rules must hold at least one rule; got none. Pass [rule('*.weight', 'he')].")
    places = placed(model)
    chosen: dict[str, TensorRule] = {}
    hits: list[tuple[TensorRule, int]] = []
    for each in rules:
        matched = [tensor for tensor in model if each.matches(tensor)]
        explicit = all(tensor.role not in BY_FANS for tensor in matched)
        reached = [tensor for tensor in matched if each.reaches(tensor, explicit) and tensor.name not in chosen]
        if strict and not reached:
            raise ValueError(_without_hits(each, matched, model))
        if strict and each.depth_scale and not any(places[tensor.name].branch for tensor in reached):
            raise ValueError(
                f"{each} scales by depth, and none of its {len(reached)} tensors lies in a list of blocks. Leave out "
                "depth_scale."
            )
        chosen |= {tensor.name: each for tensor in reached}
        hits.append((each, len(reached)))
    kept = tuple(tensor.name for tensor in model if tensor.name not in chosen)
    return Plan(model, places, chosen, tuple(hits), kept)


def _without_hits(rule: TensorRule, matched: Sequence[ModelTensor], model: Model) -> str:
    if matched:
        return (
            f"{rule} matches {len(matched)} tensors ({matched[0].name} ...), and all of them have a rule before it, or "
            "no fans that its law could follow. Put it first, or leave it out."
        )
    selector = rule.selector if isinstance(rule.selector, str) else rule.selector.__name__
    known = list(dict.fromkeys(t.pattern for t in model)) + sorted({t.kind for t in model} | {t.role for t in model})
    near = get_close_matches(selector, known, 3, 0.4)
    words = f"Near it: {', '.join(near)}." if near else f"There are {', '.join(known[:8])} ..."
    return f"{rule} matches none of the {len(model.tensors)} tensors. {words} Mend the selector, or pass strict=False."
