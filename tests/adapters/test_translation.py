"""A module of PyTorch as the framework-free record of its parameters."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm

import weightinit.torch as wt
from weightinit.fans import Fans


def every_kind() -> nn.ModuleDict:
    model = nn.ModuleDict(
        {
            "bilinear": nn.Bilinear(3, 4, 5),
            "conv": nn.Conv2d(4, 6, 3, groups=2),
            "depthwise": nn.Conv2d(8, 8, 3, groups=8, bias=False),
            "transposed": nn.ConvTranspose2d(4, 6, 3, groups=2),
            "embedding": nn.Embedding(10, 4, padding_idx=0),
            "linear": nn.Linear(7, 3),
            "lstm": nn.LSTM(3, 5, 2),
            "gru": nn.GRUCell(3, 5),
            "attention": nn.MultiheadAttention(8, 2, add_bias_kv=True),
            "norm": nn.BatchNorm2d(3),
            "prelu": nn.PReLU(),
            "lazy": nn.LazyLinear(3),
            "weight_norm": weight_norm(nn.Linear(4, 5)),
            "spectral_norm": spectral_norm(nn.Linear(4, 5)),
            "orthogonal": orthogonal(nn.Linear(8, 8)),
        }
    )
    model["lora_A"], model["lora_B"] = nn.Linear(16, 4, bias=False), nn.Linear(4, 16, bias=False)
    model["norm"].register_parameter("cls_token", nn.Parameter(torch.zeros(1, 1, 4)))
    model["linear"].register_parameter("complex", nn.Parameter(torch.zeros(3, 4, dtype=torch.complex64)))
    return model


def test_each_kind_of_parameter_has_its_role_shape_and_fans() -> None:
    record = wt.translate(every_kind())
    for name, role, laid_out, fans in (
        ("bilinear.weight", "dense", (12, 5), Fans(12, 5)),
        ("conv.weight", "convolution", (3, 3, 2, 6), Fans(18, 27)),
        ("conv.bias", "bias", (6,), Fans(18, 27)),
        ("depthwise.weight", "convolution", (3, 3, 1, 8), Fans(9, 9)),
        ("transposed.weight", "convolution", (3, 3, 4, 3), Fans(18, 27)),
        ("embedding.weight", "embedding", (10, 4), Fans(1, 4)),
        ("linear.weight", "dense", (7, 3), Fans(7, 3)),
        ("lstm.weight_ih_l0", "recurrent", (3, 20), Fans(3, 20)),
        ("attention.in_proj_weight", "dense", (8, 24), Fans(8, 24)),
        ("norm.weight", "gain", (3,), None),
        ("norm.cls_token", "position", (4,), None),
        ("weight_norm.parametrizations.weight.original1", "dense", (4, 5), Fans(4, 5)),
        ("spectral_norm.parametrizations.weight.original", "dense", (4, 5), Fans(4, 5)),
        ("orthogonal.weight", "dense", (8, 8), Fans(8, 8)),
        ("lora_A.weight", "lora_in", (16, 4), Fans(16, 4)),
        ("lora_B.weight", "lora_out", (4, 16), Fans(4, 16)),
    ):
        tensor = record[name]
        assert (tensor.role, tensor.laid_out, tensor.fans) == (role, laid_out, fans), name
    assert record["embedding.weight"].padding == 0
    assert [part.name for part in record["attention.in_proj_weight"].parts] == ["q", "k", "v"]
    assert [part.name for part in record["lstm.bias_hh_l1"].parts] == ["i", "f", "g", "o"]
    assert record["lazy.weight"].read is None


def test_every_parameter_is_there_once_and_nothing_changes() -> None:
    model = every_kind()
    before = copy.deepcopy({name: p for name, p in model.state_dict().items() if not name.startswith("lazy")})
    record = wt.translate(model)
    for tensor in record:
        if tensor.read is not None:
            values = tensor.read()
            assert tensor.to_layout(values).shape == tensor.laid_out
            assert np.array_equal(tensor.from_layout(tensor.to_layout(values)), values)
    names = {name for tensor in record for name in (tensor.name, *tensor.also)}
    assert {name for name, _ in model.named_parameters(remove_duplicate=False)} <= names
    assert model.training
    for name, value in before.items():
        assert torch.equal(model.state_dict()[name], value), name


def test_the_law_of_each_default_is_the_one_that_the_module_draws_from() -> None:
    """Moments of many draws, and the support, against what the record says."""
    makers = {
        "linear": lambda: nn.Linear(16, 40),
        "conv": lambda: nn.Conv1d(8, 24, 5, groups=2),
        "transposed": lambda: nn.ConvTranspose2d(8, 24, 3, groups=2),
        "bilinear": lambda: nn.Bilinear(5, 8, 12),
        "lstm": lambda: nn.LSTM(4, 12),
        "attention": lambda: nn.MultiheadAttention(16, 2, add_bias_kv=True),
        "attention apart": lambda: nn.MultiheadAttention(16, 2, kdim=8, vdim=12),
        "embedding": lambda: nn.Embedding(30, 8, padding_idx=3),
        "norm": lambda: nn.LayerNorm(8),
        "prelu": lambda: nn.PReLU(init=0.1),
    }
    torch.manual_seed(0)
    for label, make in makers.items():
        record = wt.translate(make())
        draws: dict[str, list[np.ndarray]] = {tensor.name: [] for tensor in record}
        for _ in range(200):
            for name, parameter in make().named_parameters():
                draws[name].append(parameter.detach().numpy().copy())
        for tensor in record:
            law, values = tensor.default, np.stack(draws[tensor.name])
            if tensor.padding is not None:
                assert not values[:, tensor.padding].any()
                values = np.delete(values, tensor.padding, axis=1)
            assert law.known, (label, tensor.name)
            if law.std == 0:
                assert np.allclose(values, law.mean), (label, tensor.name)
                continue
            error = 1 / math.sqrt(values.size)
            assert abs(values.mean() - law.mean) < 5 * law.std * error, (label, tensor.name)
            assert abs(values.std() / law.std - 1) < 5 * error, (label, tensor.name)
            assert law.support[0] <= values.min(), (label, tensor.name)
            assert values.max() <= law.support[1], (label, tensor.name)


def test_one_memory_under_two_names_is_one_tensor_and_an_embedding_first() -> None:
    model = nn.ModuleDict({"head": nn.Linear(4, 10, bias=False), "wte": nn.Embedding(10, 4)})
    model["head"].weight = model["wte"].weight
    other = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4)})
    other["b"].weight.data = other["a"].weight.data
    (tied,) = wt.translate(model)
    assert (tied.name, tied.also, tied.role) == ("head.weight", ("wte.weight",), "embedding")
    assert wt.translate(other)["b.weight"].name == "a.weight"


def test_blocks_are_counted_and_patterns_join_them() -> None:
    model = nn.ModuleDict({"h": nn.ModuleList(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)) for _ in range(3))})
    record = wt.translate(model)
    tensor = record["h.2.1.weight"]
    assert tensor.pattern == "h.*.*.weight"
    assert tensor.block is not None
    assert (tensor.block.path, tensor.block.index, tensor.block.count) == ("h", 2, 3)
    assert wt.translate(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))["0.weight"].block is None


def test_a_model_on_the_meta_device_has_no_values() -> None:
    with torch.device("meta"):
        record = wt.translate(nn.Linear(3, 4))
    assert [tensor.read for tensor in record] == [None, None]
    assert record["weight"].default.family == "uniform"
    assert record["weight"].default.support[1] == pytest.approx(1 / math.sqrt(3))


@pytest.mark.parametrize(("wrong", "error"), [(3, TypeError), (nn.ReLU(), ValueError)])
def test_what_is_no_model_is_refused(wrong: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="model must"):
        wt.translate(wrong)
