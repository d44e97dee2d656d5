"""The way of the data through a PyTorch model, by ``torch.fx``, as a tree of the lab's layers."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from weightinit.activations import Activation
from weightinit.arrays import Array
from weightinit.nn import Layer, Network, Residual, Shape, Sum
from weightinit.nn.layers import GlobalPooling, Positions
from weightinit.nn.tree import Node, steps
from weightinit.nn.weights import Position
from weightinit.torch import lab_layers
from weightinit.torch.activations import ACTIVATIONS, Calls, activation_named, activations_of
from weightinit.torch.errors import first_line
from weightinit.torch.lab_layers import Tensor, Translated, Untold

_NOTHING = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d)
"""Modules that theory, which drops nothing, passes by."""


@dataclass(frozen=True)
class Followed:
    """A model, or its beginning, as a network of the lab.

    ``places``: the node of the graph behind each layer of the lab, by the layer's name. ``tensors``: the module and the
    parameter behind each weight. ``unknown``: what the lab has no layer for, with its path; the network ends before it.
    """

    network: Network | None
    graph: fx.GraphModule
    places: Mapping[str, str]
    tensors: Mapping[str, tuple[str, Tensor]]
    unknown: str
    channels_first: bool

    def weights(self) -> dict[str, Array]:
        """Return the model's weights as the network's parameters of one run, (1, *shape)."""
        owner: Any = self.graph
        assert self.network is not None
        found = {spec.name: np.ones((1, *spec.shape)) for spec in self.network.weights}
        for spec in self.network.weights:
            if spec.role == "bias":
                found[spec.name][...] = 0.0
        for name, (path, tensor) in self.tensors.items():
            attribute = tensor.parameter.partition("[")[0]
            value = owner.get_parameter(f"{path}.{attribute}" if path else attribute).detach()
            laid_out = tensor.read(value).double().cpu().numpy()
            found[name] = np.ascontiguousarray(laid_out.reshape(1, *found[name].shape[1:]))
        return found


def follow(model: nn.Module, sample: torch.Tensor) -> Followed:
    """Return a model as a network of the lab, as far as the lab knows its parts.

    ``sample``: a batch of inputs: features (samples, units), images (samples, channels, height, width), tokens
    (samples, positions) of whole numbers, or vectors (samples, positions, units).

    Raises ValueError for a model whose way can't be followed: it depends on values, or takes several inputs.
    """
    try:
        graph = fx.GraphModule(model, fx.Tracer().trace(model))
    except Exception as error:
        raise ValueError(
            f"the way of the data through {type(model).__name__} can't be followed ({first_line(error)}). The forecast "
            "takes models whose forward is the same for all inputs; of others, probe measures what it would forecast."
        ) from error
    nodes = list(graph.graph.nodes)
    entering = [node for node in nodes if node.op == "placeholder"]
    if len(entering) != 1:
        names = ", ".join(node.name for node in entering)
        raise ValueError(f"the forecast takes models of one input; {type(model).__name__} takes {names}.")
    (output,) = (node.args[0] for node in nodes if node.op == "output")
    if not isinstance(output, fx.Node):
        raise ValueError(f"the forecast takes models that return one tensor; {type(model).__name__} returns several.")
    builder = _Builder(graph, entering[0], channels_first=_channels_first(model, sample), shape=())
    builder.shape = _shape(sample, builder.channels_first)
    unknown = ""
    way = builder.before(output) & builder.values
    ends = [output, *reversed([node for node in nodes if node in way])]
    for end in ends:
        try:
            tree = builder.tree(end)
            break
        except Untold as error:
            unknown = str(error)  # the last one is the first on the way
    else:
        tree = []
    dtype = np.dtype(np.float64)
    network = Network(builder.shape, tuple(tree), dtype) if tree else None
    return Followed(network, graph, builder.places, builder.tensors, unknown, builder.channels_first)


def _shape(sample: torch.Tensor, channels_first: bool) -> Shape:
    shape = tuple(sample.shape[1:])
    return (*shape[1:], shape[0]) if channels_first else shape


def _channels_first(model: nn.Module, sample: torch.Tensor) -> bool:
    if sample.dim() == 4:
        return True
    first = next((m for m in model.modules() if isinstance(m, nn.Linear | nn.modules.conv._ConvNd)), None)
    return sample.dim() == 3 and isinstance(first, nn.modules.conv._ConvNd)


@dataclass
class _Builder:
    """Builds the tree from the graph's end to its start, and then its layers from the start to the end."""

    graph: Any
    start: fx.Node
    channels_first: bool
    shape: Shape
    places: dict[str, str] = field(default_factory=dict)
    tensors: dict[str, tuple[str, Tensor]] = field(default_factory=dict)
    _flattened: Shape | None = None
    _weighted: bool = False
    _embeddings: dict[int, str] = field(default_factory=dict)
    values: set[fx.Node] = field(init=False)

    def __post_init__(self) -> None:
        """Find ``values``, the nodes whose values depend on the input's, not on its shape alone."""
        self.values = {self.start}
        for node in self.graph.graph.nodes:
            of_shape = node.target == "size" or (
                node.target is getattr and node.args[1] in ("shape", "device", "dtype")
            )
            if not of_shape and not self.values.isdisjoint(node.all_input_nodes):
                self.values.add(node)

    def before(self, node: fx.Node) -> set[fx.Node]:
        """Nodes that a node depends on."""
        found: set[fx.Node] = set()
        waiting = list(node.all_input_nodes)
        while waiting:
            one = waiting.pop()
            if one not in found:
                found.add(one)
                waiting += one.all_input_nodes
        return found

    def tree(self, end: fx.Node) -> list[Node]:
        """Return the layers from the input to ``end``; raise Untold at what the lab has no layer for."""
        self.places, self.tensors, self._flattened, self._weighted = {}, {}, None, False
        if end is self.start:
            return []
        return self._serial(self.start, end, self.shape)[0]

    def _serial(self, stop: fx.Node, node: fx.Node, entering: Shape) -> tuple[list[Node], Shape]:
        way: list[fx.Node] = []
        while node is not stop:
            way.append(node)
            node = self._parent(node)
        layers: list[Node] = []
        for one in reversed(way):
            made = self._node(one, entering)
            for layer in made:
                layers.append(layer)
                entering = steps((layer,), entering)[-1].leaving
        return layers, entering

    def _data(self, node: fx.Node) -> list[fx.Node]:
        """Nodes among a node's inputs that depend on the model's input."""
        return [each for each in node.all_input_nodes if each in self.values]

    def _parent(self, node: fx.Node) -> fx.Node:
        data = self._data(node)
        if not data:
            raise Untold(f"{_where(node)}: doesn't depend on the input")
        if len(data) == 1:
            return data[0]
        shared = set.intersection(*({each} | self.before(each) for each in data))
        return max(shared, key=list(self.graph.graph.nodes).index)

    def _node(self, node: fx.Node, entering: Shape) -> list[Node]:
        data = self._data(node)
        if node.op == "call_module":
            return self._module(node, entering)
        if len(data) == 2 and node.op == "call_function" and node.target in (operator.add, operator.iadd, torch.add):
            return [self._sum(node, data, entering)]
        if len(data) == 1:
            return self._function(node, entering)
        raise Untold(f"{_where(node)}: {node.op} {node.target}")

    def _sum(self, node: fx.Node, data: list[fx.Node], entering: Shape) -> Node:
        fork = self._parent(node)
        skip, branch = sorted(data, key=lambda each: len(self.before(each) - self.before(fork)))
        name = self._name(node)
        inside, leaving = self._serial(fork, branch, entering)
        beside, _ = self._serial(fork, skip, entering)
        if not inside:
            raise Untold(f"{_where(node)}: a sum of one thing with itself")
        self.places[name] = node.name
        return Residual(Sum(name, leaving[-1]), tuple(inside), tuple(beside))

    def _function(self, node: fx.Node, entering: Shape) -> list[Node]:
        name, target = self._name(node), node.target
        activation = ACTIVATIONS.get(target) or (ACTIVATIONS.get(getattr(torch.Tensor, str(target), None)))
        if activation is not None:
            function = target if callable(target) else getattr(torch.Tensor, str(target))
            phi = self._known(lambda: activation_named(function, activation, node), node)
            return self._added(lab_layers.nonlinearity(name, entering[-1], phi), node)
        text = target if isinstance(target, str) else getattr(target, "__name__", str(target))
        if text in ("flatten", "view", "reshape") and self._flattens(node, entering):
            return self._flatten(node, name, entering)
        if text == "mean" and self._over_positions(node, entering):
            return self._added(Translated(GlobalPooling(name)), node)
        if text in ("dropout", "contiguous", "getitem") and (text != "getitem" or node.args[1] == 0):
            return []
        if target in (operator.add, operator.iadd, torch.add) and (found := self._positions(node, name, entering)):
            return [found]
        raise Untold(f"{_where(node)}: {text}")

    def _positions(self, node: fx.Node, name: str, entering: Shape) -> Node | None:
        """Learned positions: a parameter that is added at every sample."""
        others = [each for each in node.all_input_nodes if each not in self._data(node)]
        source = next(iter(others), None)
        while source is not None and source.op != "get_attr" and source.all_input_nodes:
            source = source.all_input_nodes[0]
        if source is None or source.op != "get_attr" or len(entering) != 2:
            return None
        count, units = entering
        path, _, attribute = str(source.target).rpartition(".")
        layer = Positions(name, count, units)
        read = lambda p: p.reshape(-1, units)[:count]  # noqa: E731
        self.tensors[f"{name}/weight"] = path, Tensor(f"{attribute}[0:{count}]", read, lambda w: w)
        self.places[name] = node.name
        return layer

    def _flattens(self, node: fx.Node, entering: Shape) -> bool:
        arguments = [each for each in node.args[1:] if not isinstance(each, fx.Node)]
        whole = arguments in ([1], [-1], [1, -1]) or len(entering) == 1
        return whole or (node.kwargs.get("start_dim") == 1)

    def _flatten(self, node: fx.Node, name: str, entering: Shape) -> list[Node]:
        if len(entering) == 1:
            return []
        self._flattened = entering if self.channels_first else None
        return self._added(lab_layers.flatten(name), node)

    def _over_positions(self, node: fx.Node, entering: Shape) -> bool:
        axes = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
        axes = {each % (len(entering) + 1) for each in (axes if isinstance(axes, tuple | list) else (axes,)) if each}
        first = 2 if self.channels_first else 1
        return bool(axes) and not node.kwargs.get("keepdim") and axes == set(range(first, first + len(entering) - 1))

    def _module(self, node: fx.Node, entering: Shape) -> list[Node]:
        module = self.graph.get_submodule(str(node.target))
        name, path = self._name(node), str(node.target)
        if isinstance(module, _NOTHING):
            return []
        if isinstance(module, nn.Flatten):
            return self._flatten(node, name, entering)
        if (pooled := lab_layers.pooling(module, name)) is not None:
            return self._added(pooled, node)
        if isinstance(module, nn.Linear):
            flattened, self._flattened = self._flattened, None
            tied = self._embeddings.get(id(module.weight), "")
            return self._added(lab_layers.dense(module, name, self._position(), flattened, tied), node, path)
        if isinstance(module, nn.modules.conv._ConvNd):
            return self._added(lab_layers.convolution(module, name, self._position()), node, path)
        if isinstance(module, nn.Embedding):
            self._embeddings[id(module.weight)] = name
            return self._added(lab_layers.embedding(module, name), node, path)
        if isinstance(module, nn.MultiheadAttention):
            if len(set(node.args[:3])) != 1 or not module.batch_first:
                raise Untold(f"{path}: attention to something else than its own input, or not batch_first")
            causal = bool(node.kwargs.get("is_causal"))
            return self._added(lab_layers.attention(module, name, causal), node, path)
        if type(module).__module__ == "torch.nn.modules.activation" and not list(module.parameters()):
            with Calls() as calls:
                module(torch.zeros(2, 2))
            if calls.found:
                phi = self._known(lambda: activations_of(module)[0], node)
                return self._added(lab_layers.nonlinearity(name, entering[-1], phi), node)
        return self._added(lab_layers.norm(module, name, entering[-1]), node, path)

    def _known(self, activation: Callable[[], Activation], node: fx.Node) -> Activation:
        try:
            return activation()
        except ValueError as error:
            raise Untold(f"{_where(node)}: {str(error).partition(': ')[0]}") from None

    def _position(self) -> Position:
        first, self._weighted = not self._weighted, True
        return "input" if first else "hidden"

    def _added(self, made: Translated, node: fx.Node, path: str = "") -> list[Node]:
        layer: Layer = made.layer
        if layer.name in self.places:
            raise Untold(f"{_where(node)}: called twice")
        self.places[layer.name] = node.name
        self.tensors |= {name: (path, tensor) for name, tensor in made.tensors.items()}
        return [layer]

    def _name(self, node: fx.Node) -> str:
        return _path(node).replace(".", "/")


def _path(node: fx.Node) -> str:
    """The path of a module that a node calls; of a function its name."""
    return str(node.target) if node.op == "call_module" else str(node.name)


def _where(node: fx.Node) -> str:
    """The path of a module that a node calls; of a function the path of the module that calls it, or its own name."""
    stack = list(node.meta.get("nn_module_stack", {}))
    return str(node.target) if node.op == "call_module" else (stack[-1] if stack and stack[-1] else str(node.name))
