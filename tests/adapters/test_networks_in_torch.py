"""Outputs and gradients of networks equal those of PyTorch's own operations with the same weights, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from tests.networks import inputs, small
from tests.test_layers import CASES, drawn, network, samples
from weightinit import activations
from weightinit.arrays import Array
from weightinit.nn import Network, Residual, Serial, mlp
from weightinit.nn import layers as ours
from weightinit.nn.architectures import Form, transformer
from weightinit.nn.layers.positions import Windows
from weightinit.nn.tree import Node

torch = pytest.importorskip("torch")
F = torch.nn.functional
Tensor = torch.Tensor

PHI: dict[str, Callable[[Tensor], Tensor]] = {
    "elu": F.elu,
    "erf": torch.erf,
    "gelu": F.gelu,
    "gelu_tanh": lambda z: F.gelu(z, approximate="tanh"),
    "hardtanh": F.hardtanh,
    "leaky_relu": F.leaky_relu,
    "linear": lambda z: z,
    "mish": F.mish,
    "relu": F.relu,
    "selu": F.selu,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "softplus": lambda z: F.softplus(z, threshold=100.0),  # by default PyTorch returns z beyond 20
    "softsign": F.softsign,
    "tanh": torch.tanh,
}


class Reference:
    """A tree of layers carried out by PyTorch for one run, with its weights by name."""

    def __init__(self, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
        self.weights, self.masks = weights, masks

    def serial(self, nodes: tuple[Node, ...], x: Tensor) -> Tensor:
        for node in nodes:
            x = self.node(node, x)
        return x

    def node(self, node: Node, x: Tensor) -> Tensor:
        if isinstance(node, Serial):
            return self.serial(node.children, x)
        if isinstance(node, Residual):
            scale = node.end.branch_scale * self.weights[f"{node.name}/scale"][0]
            return node.end.skip_scale * self.serial(node.skip, x) + scale * self.serial(node.branch, x)
        name, weights = node.name, self.weights
        affine = weights.get(f"{name}/gain", None), weights.get(f"{name}/bias", None)
        gain, bias = (None if part is None else part[0] for part in affine)
        match node:
            case ours.Dense():
                weight = weights[f"{node.tied or name}/weight"]
                return F.linear(x, weight if node.transposed else weight.T, bias)
            case ours.Convolution():
                axes = len(node.kernel)
                order = (axes + 1, axes, *range(axes))
                stride, dilation = node.stride or (1,) * axes, node.dilation or (1,) * axes
                weight = weights[f"{name}/weight"].permute(order)
                convolve = F.conv1d if axes == 1 else F.conv2d
                padded = framed(x.movedim(-1, 1), node.windows)
                return convolve(padded, weight, bias, stride, 0, dilation, node.groups).movedim(1, -1)
            case ours.MaxPooling():
                return F.max_pool2d(x.movedim(-1, 1), node.size).movedim(1, -1)
            case ours.AveragePooling():
                return F.avg_pool2d(x.movedim(-1, 1), node.size).movedim(1, -1)
            case ours.GlobalPooling():
                return x.mean(tuple(range(1, x.ndim - 1)))
            case ours.Flatten():
                return x.flatten(1)
            case ours.Nonlinearity():
                return PHI[node.activation.name](x)
            case ours.LayerNorm(centred=True):
                return F.layer_norm(x, x.shape[-1:], gain, bias, 1e-5)
            case ours.LayerNorm():
                return F.rms_norm(x, x.shape[-1:], gain, 1e-5)
            case ours.BatchNorm():
                normed = F.batch_norm(x.reshape(-1, x.shape[-1]), None, None, gain, bias, training=True, eps=1e-5)
                return normed.reshape(x.shape)
            case ours.GroupNorm():
                return F.group_norm(x.movedim(-1, 1), node.groups, gain, bias, 1e-5).movedim(1, -1)
            case ours.Dropout():
                return x * self.masks[name]
            case ours.Embedding():
                return F.embedding(x.long(), weights[f"{name}/weight"])
            case ours.Positions():
                return x + weights[f"{name}/weight"]
            case ours.Patches():
                unfolded = F.unfold(x.movedim(-1, 1), node.size, stride=node.size).swapaxes(1, 2)
                return unfolded.unflatten(2, (x.shape[-1], -1)).swapaxes(2, 3).flatten(2)
            case ours.Gated():
                gate, value = (x @ weights[f"{name}/{part}/weight"] for part in ("gate", "value"))
                return PHI[node.activation.name](gate) * value
            case ours.Attention():
                query, key, value = (
                    F.linear(x, weights[f"{name}/{part}/weight"].T, self.bias(f"{name}/{part}"))
                    .unflatten(-1, (node.heads, -1))
                    .swapaxes(1, 2)
                    for part in ("query", "key", "value")
                )
                scale = 1.0 / query.shape[-1] if node.scale == "width" else None
                context = F.scaled_dot_product_attention(query, key, value, is_causal=node.causal, scale=scale)
                context = context.swapaxes(1, 2).flatten(2)
                return F.linear(context, weights[f"{name}/out/weight"].T, self.bias(f"{name}/out"))
        raise TypeError(f"no operation of PyTorch for {node}")

    def bias(self, layer: str) -> Tensor | None:
        return self.weights[f"{layer}/bias"][0] if f"{layer}/bias" in self.weights else None


def framed(x: Tensor, windows: Windows) -> Tensor:
    """What enters a convolution, padded as its windows ask."""
    if windows.padding == "valid":
        return x
    pads: list[int] = []
    for n, size, stride, dilation in zip(x.shape[2:], windows.size, windows.stride, windows.dilation, strict=True):
        total = max((math.ceil(n / stride) - 1) * stride + dilation * (size - 1) + 1 - n, 0)
        pads = [total // 2, total - total // 2, *pads]  # the last axis comes first
    return F.pad(x, pads, mode="circular" if windows.padding == "circular" else "constant")


def assert_equal_to_torch(net: Network, flat: Array, x: Array) -> None:
    """Output, gradients of all weights and of the input, within 1e-10 of the largest of each, run by run."""
    runs, batch = x.shape[:2]
    weight = np.random.default_rng(2).standard_normal((runs, batch, *net.out_shape))
    tape, state = net.tape(runs, batch), net.state(runs)
    state["noise"] = np.arange(runs, dtype=np.uint64) + np.uint64(7)
    output = net.forward(net.views(flat), state, x, tape)
    tape.d_output[...] = weight
    d_input = np.zeros((runs, *x.shape[1:]), x.dtype)
    gradients = net.backward(net.views(flat), tape.d_output, tape, d_input=d_input)
    for run in range(runs):
        trained = {spec.name: spec.trained for spec in net.weights}
        weights = {
            name: torch.tensor(array[run], requires_grad=trained[name]) for name, array in net.views(flat).items()
        }
        masks = {path: torch.tensor(array[run]) for (path, what), array in tape.arrays.items() if what == "mask"}
        entering = torch.tensor(x[run], requires_grad=True)
        expected = Reference(weights, masks).serial(net.layers, entering)
        (expected * torch.tensor(weight[run])).sum().backward()
        near(output[run], expected.detach(), "output")
        largest = max(float(tensor.grad.abs().max()) for tensor in weights.values() if tensor.requires_grad)
        for name, tensor in weights.items():
            if trained[name]:
                near(gradients[name][run], tensor.grad, name, 1e-4 * largest)
        if not net.takes_tokens:
            near(d_input[run], entering.grad, "input")


def near(found: Array, expected: Tensor, what: str, least: float = 0.0) -> None:
    """Within 1e-10 of the largest element, or of ``least``: a bias before a batch norm has a gradient of rounding."""
    reference = expected.numpy()
    assert found.shape == reference.shape, what
    scale = max(np.abs(reference).max(), least)
    np.testing.assert_array_less(np.abs(found - reference), 1e-10 * scale, err_msg=what)


@pytest.mark.parametrize("name", CASES)
def test_every_layer(name: str) -> None:
    net = network(CASES[name])
    assert_equal_to_torch(net, drawn(net, 2), samples(net, 2, 6))


@pytest.mark.parametrize("name", small())
def test_every_architecture(name: str) -> None:
    net = small()[name]
    flat = 0.5 * np.random.default_rng(1).standard_normal((2, net.parameters))
    assert_equal_to_torch(net, flat, inputs(net, 2, 5))


@pytest.mark.parametrize("name", PHI)
def test_every_activation(name: str) -> None:
    assert {*activations.NAMES} - {*PHI} == {"scaled_tanh", "sine"}, "PyTorch has none of these"
    net = mlp(5, 3, name, depth=2, width=7, dtype="float64")
    assert_equal_to_torch(net, 2 * drawn(net, 2), 3 * samples(net, 2, 20))


@pytest.mark.parametrize("placement", ["pre", "post"])
def test_a_transformer_is_that_of_torch(placement: str) -> None:
    """Blocks as ``torch.nn.TransformerEncoderLayer`` puts them together."""
    net = transformer(64, 3, "gelu", depth=2, width=8, heads=2, placement=placement, form=Form((8, 8, 1)),
                      dtype="float64")  # fmt: skip
    x = inputs(net, 1, 5)
    params = dict(net.views(0.5 * np.random.default_rng(1).standard_normal((1, net.parameters))))
    params |= {spec.name: np.ones((1, 1, 1)) for spec in net.weights if spec.role == "scale"}
    tape = net.tape(1, 5)
    output = net.forward(params, {}, x, tape, phase="evaluate")
    weights = {name: torch.tensor(array[0]) for name, array in params.items()}
    dense = Reference(weights, {})
    tokens = dense.serial(net.layers[:3], torch.tensor(x[0]))
    for number in (1, 2):
        block = torch.nn.TransformerEncoderLayer(
            8, 2, 32, 0.0, "gelu", batch_first=True, norm_first=placement == "pre", dtype=torch.float64
        )
        block.load_state_dict(of_block(f"block/{number}", weights, placement))
        tokens = block(tokens)
    ends = net.layers[-3:] if placement == "pre" else net.layers[-2:]
    near(output[0], dense.serial(ends, tokens).detach(), "output")


def of_block(name: str, weights: Mapping[str, Tensor], placement: str) -> dict[str, Tensor]:
    """The weights of a block by the names that PyTorch gives them."""
    attention, parts = f"{name}/attention", ("query", "key", "value")
    found = {
        "self_attn.in_proj_weight": torch.cat([weights[f"{attention}/{part}/weight"].T for part in parts]),
        "self_attn.in_proj_bias": torch.cat([weights[f"{attention}/{part}/bias"][0] for part in parts]),
        "self_attn.out_proj.weight": weights[f"{attention}/out/weight"].T,
        "self_attn.out_proj.bias": weights[f"{attention}/out/bias"][0],
    }
    for place in (1, 2):
        found[f"linear{place}.weight"] = weights[f"{name}/mlp/dense/{place}/weight"].T
        found[f"linear{place}.bias"] = weights[f"{name}/mlp/dense/{place}/bias"][0]
        branch = "attention" if place == 1 else "mlp"
        norm = f"{name}/{branch}/norm" if placement == "pre" else f"{name}/{branch}_norm"
        found |= {f"norm{place}.weight": weights[f"{norm}/gain"][0], f"norm{place}.bias": weights[f"{norm}/bias"][0]}
    return found
