"""Rules for a model's tensors: which tensors, and the law that they are drawn from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Final, TypeAlias

import numpy as np

from weightinit.arrays import Array, stream
from weightinit.auditing.named_laws import name_of, notation
from weightinit.auditing.named_laws import rule as named
from weightinit.branches import part_of
from weightinit.fans import Fans
from weightinit.laws import UNKNOWN, Law
from weightinit.model import ModelTensor, Part
from weightinit.nn.weights import WeightSpec
from weightinit.schemes import LSUV
from weightinit.schemes.base import ONE, ZERO, Rule

Selector: TypeAlias = type | str
LawLike: TypeAlias = str | Law | Rule

BY_FANS: Final = ("dense", "convolution", "recurrent", "lora_in", "lora_out")
"""Roles of tensors that are sums over inputs, so that a law may follow their fans."""


@dataclass(frozen=True)
class TensorRule:
    """A law for the tensors that ``selector`` chooses.

    ``selector``: a class of modules, or a text: a role (``bias``), the name of a module's class, or a pattern of names
    (``*.c_proj.weight``). ``source``: the library's rule behind the law, ``label`` its words. ``depth_scale``: divide
    the standard deviation of weights in a list of blocks by sqrt(2 blocks), more exactly by the root of its residual
    branches (Radford et al. 2019). ``bound``: names of the tensors of the selector's modules, where an adapter knows
    them, so that subclasses count too.
    """

    selector: Selector
    source: Rule | Law
    label: str
    depth_scale: bool = False
    bound: frozenset[str] | None = field(default=None, repr=False)

    def __str__(self) -> str:
        name = self.selector.__name__ if isinstance(self.selector, type) else repr(self.selector)
        return f"rule({name}, {self.label}{', depth_scale=True' if self.depth_scale else ''})"

    def matches(self, tensor: ModelTensor) -> bool:
        """Whether the rule is for this tensor."""
        if self.bound is not None:
            return tensor.name in self.bound
        if isinstance(self.selector, type):
            return tensor.kind == self.selector.__name__
        names = (tensor.name, *tensor.also)
        return self.selector in (tensor.role, tensor.kind) or any(fnmatchcase(name, self.selector) for name in names)

    def law_for(self, tensor: ModelTensor, spec: WeightSpec) -> Law:
        """Return the law that the rule gives the tensor, or one part of it."""
        settled = None if isinstance(self.source, Law) else settled_law(tensor)
        if settled is not None:
            return settled
        if isinstance(self.source, Law):
            law = self.source
        else:
            law = self.source.bias_law(spec) if tensor.role == "bias" else self.source.law(spec)
        factor = self.factor(spec)
        if factor == 1.0:
            return law
        low, high = law.support
        return replace(law, mean=law.mean * factor, std=law.std * factor, support=(low * factor, high * factor))

    def draw(self, tensor: ModelTensor, spec: WeightSpec, rng: np.random.Generator) -> Array:
        """Draw float64 values of ``spec.shape``."""
        law = self.source if isinstance(self.source, Law) else settled_law(tensor)
        if law is not None:
            values = draw_law(law, spec, rng)
        else:
            assert isinstance(self.source, Rule)
            values = (self.source.draw_bias if tensor.role == "bias" else self.source.draw)(spec, rng)
        return values * self.factor(spec)

    def factor(self, spec: WeightSpec) -> float:
        """Return what the depth of the model multiplies a weight's standard deviation by."""
        return spec.branch.count**-0.5 if self.depth_scale and spec.branch is not None else 1.0

    def reaches(self, tensor: ModelTensor, explicit: bool) -> bool:
        """Whether the law can be that of a tensor; ``explicit``: its rule names such tensors and no others.

        A law that follows fans is for sums over inputs, which embeddings and positions have none of. Parameters of
        unknown use, such as the states of a recurrence, are never meant by the way.
        """
        if tensor.role in ("bias", "gain", *BY_FANS):
            return True
        if tensor.role == "parameter" and not explicit:
            return False
        return isinstance(self.source, Law) or explicit or not self._follows_fans

    @property
    def _follows_fans(self) -> bool:
        assert isinstance(self.source, Rule)
        sizes = (Fans(4, 4), Fans(16, 8), Fans(8, 16))
        specs = [WeightSpec("w", tuple(fans), fans, "weight", "hidden") for fans in sizes]
        return len({self.source.law(spec) for spec in specs}) > 1


@dataclass(frozen=True)
class DefaultRule(TensorRule):
    """Each tensor by the law that its own module draws it from; by ``source`` where that isn't known."""

    def law_for(self, tensor: ModelTensor, spec: WeightSpec) -> Law:
        return tensor.default if tensor.default.known else super().law_for(tensor, spec)

    def draw(self, tensor: ModelTensor, spec: WeightSpec, rng: np.random.Generator) -> Array:
        return draw_law(tensor.default, spec, rng) if tensor.default.known else super().draw(tensor, spec, rng)

    def reaches(self, tensor: ModelTensor, explicit: bool) -> bool:
        return tensor.default.known or super().reaches(tensor, explicit)


@dataclass(frozen=True)
class SequentialRule(TensorRule):
    """Weights that an adapter scales to data layer by layer, once they are drawn: their law is unknown."""

    scheme: LSUV = field(default_factory=LSUV)

    def law_for(self, tensor: ModelTensor, spec: WeightSpec) -> Law:
        return super().law_for(tensor, spec) if spec.role != "weight" else UNKNOWN


def rule(selector: Selector, law: LawLike, *, depth_scale: bool = False) -> TensorRule:
    """Return a rule for ``initialize_``: which tensors, and the law that they are drawn from.

    ``selector``: a class of modules (``nn.Embedding``), or a text: a pattern of names (``"*.c_proj.weight"``), a role
    (``"bias"``, ``"embedding"``, ``"convolution"``), or the name of a module's class. ``law``: a name with its options
    as in a call (``"he"``, ``"normal(std=0.02)"``), a ``Law``, or a rule of ``weightinit.schemes``. ``depth_scale``:
    divide the standard deviation of weights in blocks by the root of the model's residual branches, 2 a block of a
    transformer.

    Raises ValueError for an unknown law, TypeError for what is no selector or no law.
    """
    if not isinstance(selector, type | str) or not selector:
        raise TypeError(
            f"selector must be a class of modules or a pattern of names; got {selector!r}. Pass rule('*.weight', 'he')."
        )
    if isinstance(law, str):
        return TensorRule(selector, named(law), law, depth_scale)
    if isinstance(law, Law):
        if not law.known:
            raise ValueError("law must be known to draw from it; got an unknown one. Pass law='normal(std=0.02)'.")
        return TensorRule(selector, law, notation(law), depth_scale)
    if isinstance(law, Rule):
        return TensorRule(selector, law, name_of(law), depth_scale)
    raise TypeError(
        f"law must be a name, a Law, or a rule of weightinit.schemes; got {law!r}. Pass law='normal(std=0.02)'."
    )


def settled_law(tensor: ModelTensor) -> Law | None:
    """Return the law of a tensor that no rule of weights changes; None for weights, and for biases beside them.

    Gains of norms are 1, or what their module has, and biases without weights 0; a low-rank branch starts at zero.
    """
    if tensor.role in ("gain", "lora_in", "lora_out") and tensor.default.known:
        return tensor.default
    if tensor.role == "gain":
        return ONE
    return ZERO if tensor.role == "bias" and tensor.fans is None else None


def draw_law(law: Law, spec: WeightSpec, rng: np.random.Generator) -> Array:
    """Draw float64 values of ``spec.shape`` from a law of single elements."""
    match law.family:
        case "constant":
            return np.full(spec.shape, law.mean)
        case "normal":
            return law.mean + law.std * rng.standard_normal(spec.shape)
        case "uniform":
            low, high = law.support
            return (low + high) / 2 + rng.uniform(-1.0, 1.0, spec.shape) * ((high - low) / 2)
        case "truncated_normal":
            options = f"mean={law.mean!r}, std_after={law.std!r}, absolute_bounds={tuple(law.support)!r}"
            return named(f"truncated_normal({options})").draw(spec, rng)
    raise ValueError(f"a {law.family} law is one of whole matrices. Pass its rule, such as 'orthogonal', in its place.")


def drawn(tensor: ModelTensor, spec: WeightSpec, law: TensorRule, seed: int) -> Array:
    """Return float64 values of a tensor as its framework has them, from the streams of its name below ``seed``.

    Parts that are packed into one tensor, and stacked ones (experts), are drawn one by one, each with its own fans. The
    row of an embedding that pads is zero.
    """
    values = np.empty(tensor.laid_out)
    for index in np.ndindex(*(tensor.shape[axis] for axis in tensor.stacked)):
        for part in tensor.parts or (Part("", 0, tensor.laid_out[-1] if tensor.laid_out else 1),):
            piece = tensor.part(part) if part.name else spec
            named = part_of(tensor, part.name) if part.name else spec.part
            shape = piece.shape[len(index) :]
            piece = replace(piece, shape=shape, branch=spec.branch, position=spec.position, part=named)
            name = "".join([tensor.name, *(f"[{each}]" for each in index), f"[{part.name}]" if part.name else ""])
            within = (*index, ..., slice(part.start, part.stop)) if part.name else (*index, ...)
            values[within] = law.draw(tensor, piece, stream(seed, name))
    result = tensor.from_layout(values)
    if tensor.padding is not None and tensor.role == "embedding":
        result[tensor.padding] = 0.0
    return result
