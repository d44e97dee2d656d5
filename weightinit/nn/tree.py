"""Tree of a network: combinators, and the list of steps that a tree comes down to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from weightinit.arrays import Array
from weightinit.laws import Law
from weightinit.meanfield import SingularValues
from weightinit.nn.layers import Gated, Layer, Nonlinearity, Positions, Sum
from weightinit.nn.layers.base import UNKNOWN_VALUES
from weightinit.nn.moments import Gradient, Moments, unknown_gradient, unknown_moments
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
    ``independent``: whether weights lie between what a sum adds, so that its parts are uncorrelated; ``on_skip``:
    whether it lies on the skip of its block; ``gaussian``: whether what it reads is Gaussian in wide networks.
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
    on_skip: bool = False
    gaussian: bool = True

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
        if reason := self._not_gaussian:
            return unknown_moments(registers[self.source].reason or reason)
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
        if reason := self._not_gaussian:
            return ((self.source, unknown_gradient(gradient.reason or reason)),)
        if self.skip is None:
            return ((self.source, self.layer.expect_gradient(gradient, registers[self.source], laws)),)
        assert isinstance(self.layer, Sum)
        branch, skip = self.layer.expect_parts(gradient, laws)
        return (self.source, branch), (self.skip, skip)

    def expect_jacobian(self, values: SingularValues, moments: Moments, laws: Mapping[str, Law]) -> SingularValues:
        """Return the singular values of the Jacobian behind the step, given those before it and the moments there."""
        return UNKNOWN_VALUES if self._not_gaussian else self.layer.expect_jacobian(values, moments, laws)

    @property
    def _not_gaussian(self) -> str:
        """Reason for which an activation has no theory, empty where it has one."""
        if self.gaussian or not isinstance(self.layer, Nonlinearity):
            return ""
        return (
            f"{self.path}: no weights lie between this activation and the one before, or the data, "
            "so that what enters is not Gaussian"
        )

    @property
    def on_trunk(self) -> bool:
        """Whether everything that the network computes goes through this step."""
        return not self.block


def steps(tree: Sequence[Node], entering: Shape) -> tuple[Step, ...]:
    """Return the steps of a tree, in the order of their execution; raise ValueError where shapes don't fit."""
    flat = _Flat([], [entering], [False])
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
    """Steps so far, and of each register its shape and whether it is Gaussian in wide networks."""

    steps: list[Step]
    shapes: list[Shape]
    gaussian: list[bool]

    def serial(self, nodes: Sequence[Node], register: int, block: str, depth: int, *, on_skip: bool = False) -> int:
        for node in nodes:
            register = self.node(node, register, block, depth, on_skip=on_skip)
        return register

    def node(self, node: Node, register: int, block: str, depth: int, *, on_skip: bool = False) -> int:
        if isinstance(node, Serial):
            return self.serial(node.children, register, block, depth, on_skip=on_skip)
        entering = self.shapes[register]
        if not isinstance(node, Residual):
            leaving = node.out_shape(entering)
            return self._add(Step(node, register, None, entering, leaving, block, depth, node.weights, on_skip=on_skip))
        skip = self.serial(node.skip, register, node.name, depth + 1, on_skip=True)
        branch = self.serial(node.branch, register, node.name, depth + 1)
        shape = self.shapes[branch]
        if self.shapes[skip] != shape:
            raise ValueError(
                f"{node.name}: its branch and its skip must have one shape; got {shape} and {self.shapes[skip]}. "
                "Give the skip a projection."
            )
        apart = weighed(node.branch) or weighed(node.skip)
        return self._add(Step(node.end, branch, skip, shape, shape, block, depth, node.end.weights, apart, on_skip))

    def _add(self, step: Step) -> int:
        read = [self.gaussian[register] for register in (step.source, step.skip) if register is not None]
        self.steps.append(replace(step, gaussian=all(read)))
        self.shapes.append(step.leaving)
        self.gaussian.append(_gaussian(step.layer, entering=all(read)))
        return len(self.steps)


def _gaussian(layer: Layer, *, entering: bool) -> bool:
    """Return whether what leaves a layer is Gaussian in wide networks: behind weights, until an activation."""
    if isinstance(layer, (Nonlinearity, Gated)):
        return False
    # Vectors of positions are added to what is there.
    return entering or (not isinstance(layer, Positions) and any(spec.role == "weight" for spec in layer.weights))


def _with_branches(found: Sequence[Step]) -> tuple[Step, ...]:
    """Return the steps with the place of each weight on its residual branch; a sum stands at the end of its own."""
    ends = [step.path for step in found if step.skip is not None]
    index = {name: number for number, name in enumerate(dict.fromkeys(ends), start=1)}
    on_branch = [step for step in found if step.block and not step.on_skip]
    kernels = Counter(step.block for step in on_branch for spec in step.weights if spec.role == "weight")
    passed: Counter[str] = Counter()

    def placed(step: Step) -> Iterator[WeightSpec]:
        block = step.path if step.skip is not None else "" if step.on_skip else step.block
        for spec in step.weights:
            if block and step.skip is None:
                passed[block] += spec.role == "weight"
            place = Branch(index[block], len(index), passed[block], kernels[block]) if block else None
            yield replace(spec, branch=place)

    return tuple(replace(step, weights=tuple(placed(step))) for step in found)
