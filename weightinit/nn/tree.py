"""Tree of a network: combinators, and the list of steps that a tree comes down to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from weightinit.arrays import Array
from weightinit.laws import Law
from weightinit.nn.layers import Layer, Sum
from weightinit.nn.moments import Gradient, Moments, unknown_moments
from weightinit.nn.tape import Params, Shape, Tape
from weightinit.nn.weights import Branch, WeightSpec


@dataclass(frozen=True)
class Serial:
    """Layers one after the other."""

    children: tuple[Node, ...]


@dataclass(frozen=True)
class Residual:
    """``skip_scale * skip(x) + scale * branch(x)``; ``end`` is the sum, whose name is that of the block.

    Without a ``skip`` of its own, x goes by unchanged, and the branch keeps its shape.
    """

    end: Sum
    branch: tuple[Node, ...]
    skip: tuple[Node, ...] = ()

    @property
    def name(self) -> str:
        """Name of the block."""
        return self.end.name


Node: TypeAlias = Layer | Serial | Residual


@dataclass(frozen=True)
class Step:
    """One leaf at its place among the registers of a network. Register 0 is the input; each step writes the next one.

    ``source``: register that the layer reads; ``skip``: the second one that a sum reads, else None; ``entering``,
    ``leaving``: shapes without runs and batch; ``block``: name of the residual block on whose branch or skip it lies,
    empty on the trunk; ``depth``: blocks around it; ``weights``: of the layer, with their place on the branch;
    ``independent``: whether weights lie between what a sum adds, so that its parts are uncorrelated.
    """

    layer: Layer
    source: int
    skip: int | None
    entering: Shape
    leaving: Shape
    block: str
    depth: int
    weights: tuple[WeightSpec, ...] = ()
    independent: bool = True

    @property
    def path(self) -> str:
        """Name of the layer."""
        return self.layer.name

    def forward(self, params: Params, registers: Sequence[Array], tape: Tape) -> Array:
        """Return what leaves the step, from the registers before it."""
        if self.skip is None:
            return self.layer.forward(params, registers[self.source], tape)
        assert isinstance(self.layer, Sum)
        return self.layer.join(params, registers[self.source], registers[self.skip], tape)

    def expect(self, registers: Sequence[Moments], laws: Mapping[str, Law]) -> Moments:
        """Return the moments that leave the step, from those of the registers before it."""
        if self.skip is None:
            return self.layer.expect(registers[self.source], laws)
        assert isinstance(self.layer, Sum)
        if not self.independent:
            return unknown_moments(f"{self.path}: a way through its branch has no weights")
        return self.layer.expect_sum(registers[self.source], registers[self.skip], laws)

    def expect_gradients(
        self, gradient: Gradient, registers: Sequence[Moments], laws: Mapping[str, Law]
    ) -> tuple[tuple[int, Gradient], ...]:
        """Return the gradients at the registers that the step reads."""
        if self.skip is None:
            return ((self.source, self.layer.expect_gradient(gradient, registers[self.source], laws)),)
        assert isinstance(self.layer, Sum)
        branch, skip = self.layer.expect_parts(gradient, laws)
        return (self.source, branch), (self.skip, skip)

    @property
    def on_trunk(self) -> bool:
        """Whether everything that the network computes goes through this step."""
        return not self.block


def steps(tree: Sequence[Node], entering: Shape) -> tuple[Step, ...]:
    """Return the steps of a tree, in the order of their execution; raise ValueError where shapes don't fit."""
    flat = _Flat([], {0: entering})
    flat.serial(tree, 0, "", 0)
    return _with_branches(flat.steps)


def weighed(nodes: Sequence[Node]) -> bool:
    """Return whether every way through these nodes passes weights."""
    for node in nodes:
        if isinstance(node, Residual):
            found = weighed(node.branch) and weighed(node.skip)
        elif isinstance(node, Serial):
            found = weighed(node.children)
        else:
            found = any(spec.role == "weight" for spec in node.weights)
        if found:
            return True
    return False


@dataclass
class _Flat:
    steps: list[Step]
    shapes: dict[int, Shape]

    def serial(self, nodes: Sequence[Node], register: int, block: str, depth: int) -> int:
        for node in nodes:
            register = self.node(node, register, block, depth)
        return register

    def node(self, node: Node, register: int, block: str, depth: int) -> int:
        if isinstance(node, Serial):
            return self.serial(node.children, register, block, depth)
        if isinstance(node, Residual):
            skip = self.serial(node.skip, register, node.name, depth + 1)
            branch = self.serial(node.branch, register, node.name, depth + 1)
            if self.shapes[skip] != self.shapes[branch]:
                raise ValueError(
                    f"{node.name}: its branch and its skip must have one shape; got {self.shapes[branch]} and "
                    f"{self.shapes[skip]}. Give the skip a projection."
                )
            return self._add(node.end, branch, skip, block, depth, weighed(node.branch) or weighed(node.skip))
        return self._add(node, register, None, block, depth)

    def _add(
        self, layer: Layer, source: int, skip: int | None, block: str, depth: int, independent: bool = True
    ) -> int:
        entering = self.shapes[source]
        leaving = layer.out_shape(entering)
        self.steps.append(Step(layer, source, skip, entering, leaving, block, depth, layer.weights, independent))
        self.shapes[len(self.steps)] = leaving
        return len(self.steps)


def _with_branches(found: Sequence[Step]) -> tuple[Step, ...]:
    blocks = list(dict.fromkeys(step.path for step in found if step.skip is not None))
    kernels = {
        name: [spec.name for step in found if step.block == name for spec in step.weights if spec.role == "weight"]
        for name in blocks
    }

    def placed(step: Step) -> Iterator[WeightSpec]:
        for spec in step.weights:
            beside = f"{spec.layer}/weight"
            if step.block and beside in kernels[step.block]:
                names = kernels[step.block]
                place = Branch(blocks.index(step.block) + 1, len(blocks), names.index(beside) + 1, len(names))
                yield replace(spec, branch=place)
            else:
                yield spec

    return tuple(replace(step, weights=tuple(placed(step))) for step in found)
