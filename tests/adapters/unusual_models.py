"""Models of PyTorch of kinds that are met less often: right ones, and ones with faults."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn import init

from tests.adapters.own_models import Patches, Tokens, changed, dense, each_layer, normed


class Recurrent(nn.Module):
    """Two layers of an LSTM or GRU; forget gates open."""

    def __init__(self, kind: type[nn.RNNBase] = nn.LSTM, forget: float = 1.0) -> None:
        super().__init__()
        self.rnn, self.head = kind(32, 32, 2), nn.Linear(32, 10)
        for name, parameter in self.rnn.named_parameters():
            if "bias" in name:
                init.zeros_(parameter)
            if "bias_ih" in name and kind is nn.LSTM:
                init.constant_(parameter[32:64], forget)


class Residual(nn.Module):
    """Convolutions with batch norms; each branch starts at zero by its last norm."""

    def __init__(self, zero: str = "bn2") -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(16, 16, 3, bias=False), nn.BatchNorm2d(16)
        self.conv2, self.bn2 = nn.Conv2d(16, 16, 3, bias=False), nn.BatchNorm2d(16)
        for name in ("bn1", "bn2") if zero == "both" else (zero,):
            init.zeros_(self.get_submodule(name).weight)


def residual(zero: str = "bn2") -> nn.Module:
    blocks = nn.ModuleList(Residual(zero) for _ in range(3))
    return nn.ModuleDict({"stem": nn.Conv2d(3, 16, 3), "bn": nn.BatchNorm2d(16), "blocks": blocks})


class Modulated(nn.Module):
    """Layers with styles: biases of 1 for scales and 0 for shifts; ``equalized``: its own linear layers, N(0, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.styles = nn.ModuleList(nn.ModuleDict({"affine": nn.Linear(64, 64)}) for _ in range(4))
        self.head = nn.Linear(64, 10)
        for style in self.styles:
            init.ones_(style["affine"].bias[:32])
            init.zeros_(style["affine"].bias[32:])


class Branch(nn.Module):
    """Two layers up and down; the second may start at zero."""

    def __init__(self, zero: bool = True) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(32, 64), nn.Linear(64, 32)
        if zero:
            init.zeros_(self.down.weight)


class Stem(Branch):
    """The same names outside a branch, where nothing stands beside it."""


def closed(gate: nn.Linear) -> None:
    gate.weight.zero_()
    gate.bias.fill_(-10)


class EqualizedLinear(nn.Module):
    def __init__(self, units: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(units, units)), nn.Parameter(torch.zeros(units))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.weight / math.sqrt(len(self.weight)), self.bias)


class NoisyLinear(nn.Module):
    """A layer of means and spreads (Fortunato et al. 2018)."""

    def __init__(self, units: int) -> None:
        super().__init__()
        bound = units**-0.5
        self.weight_mu = nn.Parameter(torch.empty(units, units).uniform_(-bound, bound))
        self.bias_mu = nn.Parameter(torch.empty(units).uniform_(-bound, bound))
        self.weight_sigma = nn.Parameter(torch.full((units, units), bound / 2))
        self.bias_sigma = nn.Parameter(torch.full((units,), bound / 2))


class Adapters(nn.Module):
    """Bottlenecks beside a frozen model, whose second layers start at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.base = Tokens().requires_grad_(False)
        self.adapters = nn.ModuleList(
            nn.ModuleDict({"fc1": nn.Linear(64, 16), "fc2": nn.Linear(16, 64)}) for _ in range(4)
        )
        for adapter in self.adapters:
            init.zeros_(adapter["fc2"].weight)
            init.zeros_(adapter["fc2"].bias)
            init.zeros_(adapter["fc1"].bias)


class LowRank(nn.Module):
    def __init__(self, up: float = 0.0) -> None:
        super().__init__()
        self.base = nn.Linear(64, 64).requires_grad_(False)
        self.lora_down, self.lora_up = nn.Linear(64, 8, bias=False), nn.Linear(8, 64, bias=False)
        init.normal_(self.lora_up.weight, std=up)


class Members(nn.Module):
    """An ensemble by factors on the inputs of shared layers (Wen et al. 2020), and one by a tensor of all weights."""

    def __init__(self, equal: bool = False) -> None:
        super().__init__()
        self.shared, self.head = nn.Linear(64, 64), nn.Linear(64, 10)
        signs = torch.randint(0, 2, (4, 64)).float() * 2 - 1
        self.signs = nn.Parameter(signs[:1].repeat(4, 1) if equal else signs)


class Capsules(nn.Module):
    def __init__(self, equal: bool = False) -> None:
        super().__init__()
        self.conv, self.routes = nn.Conv2d(1, 32, 3), nn.Parameter(0.1 * torch.randn(6, 10, 16, 8))
        if equal:
            self.routes.data[:] = self.routes.data[:, :1].clone()


class Flow(nn.Module):
    """Invertible mixing by rotations."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.ModuleList(nn.ParameterDict({"mix": torch.linalg.qr(torch.randn(32, 32))[0]}) for _ in range(4))
        self.head = nn.Linear(32, 10)


class Codes(nn.Module):
    """A variational autoencoder; ``start``: std of the layer of log-variances."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
        self.mu, self.logvar = nn.Linear(64, 16), nn.Linear(64, 16)
        self.decoder = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64))
        init.normal_(self.logvar.weight, std=start)
        init.zeros_(self.logvar.bias)


class Located(nn.Module):
    """A spatial transformer that starts as the identity by its bias, without weights (Jaderberg et al. 2015)."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 6))
        self.classes = nn.Linear(64, 10)
        init.zeros_(self.loc[2].weight)
        self.loc[2].bias.data = torch.tensor([1.0, 0, 0, 0, 1, 0])


class Follower(nn.Module):
    def __init__(self, trained: bool = False, name: str = "slow") -> None:
        super().__init__()
        self.online = dense()
        self.add_module(name, copy.deepcopy(self.online).requires_grad_(trained))


class Factorized(nn.Module):
    """Users and items with biases of their own, which start at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(100, 16), nn.Embedding(80, 16)
        self.user_bias, self.item_bias, self.head = nn.Embedding(100, 1), nn.Embedding(80, 1), nn.Linear(16, 1)
        for table in (self.user_bias, self.item_bias):
            init.zeros_(table.weight)


class Decays(nn.Module):
    """Mixing rates by a formula, all numbers of few bits."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(64, 64) for _ in range(3))
        self.rates = nn.Parameter(torch.arange(64) / 64)
        self.positional_embedding = nn.Parameter(30 * torch.randn(2, 32))  # random frequencies of coordinates


def critical(layer: nn.Linear) -> None:
    init.normal_(layer.weight, std=math.sqrt(1.3 / layer.in_features))
    init.normal_(layer.bias, std=0.2)


def in_place_of(parameter: Callable[[nn.Module], torch.Tensor], start: float) -> nn.Module:
    """Embeddings, positions or tokens drawn at another std."""
    return changed(Patches(), lambda model: parameter(model).normal_(std=start))


FAULTS: Mapping[str, tuple[Callable[[], nn.Module], str, str]] = {
    "a forget gate of one layer closed": (
        lambda: changed(Recurrent(), lambda m: m.rnn.bias_ih_l1.zero_()), "rnn.bias_ih_l1[f]", "0 everywhere, where",
    ),
    "a recurrence that grows": (
        lambda: changed(Recurrent(), lambda m: [p.normal_(std=0.6) for n, p in m.rnn.named_parameters() if "hh" in n]),
        "rnn.weight_hh_l0[i]", "times as large as its input",
    ),
    "zero gains of the wrong norm": (lambda: residual("bn1"), "blocks.1.bn1.weight", "only the last, blocks.0.bn2"),
    "zero gains of both norms": (lambda: residual("both"), "blocks.1.bn1.weight", "only the last, blocks.0.bn2"),
    "a class token that drowns the patches": (
        lambda: in_place_of(lambda m: m.cls_token, 10.0), "cls_token", "tokens and positions start at 1 at most",
    ),
    "low-rank ways up drawn": (
        lambda: nn.Sequential(LowRank(0.1), LowRank(0.1)), "0.lora_up.weight", "changes the model before it has learnt",
    ),
    "both layers of adapters zero": (
        lambda: changed(Adapters(), lambda m: [a["fc1"].weight.zero_() for a in m.adapters]),
        "adapters.1.fc1.weight", "the gradient of each is zero as long as the other is",
    ),
    "one adapter that doesn't start at zero": (
        lambda: changed(Adapters(), lambda m: m.adapters[2]["fc2"].weight.normal_(std=0.02)),
        "adapters.2.fc2.weight", "expected 0",
    ),
    "members equal": (lambda: Members(equal=True), "signs", "are equal"),
    "routes equal": (lambda: Capsules(equal=True), "routes", "54 of its 60 slices equal an earlier one"),
    "one mixing that is no rotation": (
        lambda: changed(Flow(), lambda m: m.steps[2]["mix"].normal_()), "steps.2.mix", "times theirs",
    ),
    "a symmetric matrix": (
        lambda: each_layer(lambda x: x.attn.out.weight.copy_((x.attn.out.weight + x.attn.out.weight.T) / 2**0.5)),
        "layers.1.attn.out.weight", "half of its elements repeat the other half",
    ),
    "lengths of a weight norm times 10": (
        lambda: normed(lambda m: m[0].parametrizations.weight.original0.mul_(10)),
        "0.parametrizations.weight.original0", "outputs are that times their input",
    ),
    "signal lost in drawn biases": (
        lambda: nn.Sequential(*(layer for _ in range(4) for layer in (dense(lambda m: m.weight.data.mul_(0.01))))),
        "2.bias", "what tells inputs apart is lost in biases",
    ),
    "one bias unlike its likes": (
        lambda: changed(Modulated(), lambda m: m.styles[1]["affine"].bias.zero_()),
        "styles.1.affine.bias", "expected .500",
    ),
    "a follower that trains": (lambda: Follower(trained=True), "slow.0.weight", "is a copy of online.0.weight"),
    "a head equal to the embedding, not tied": (
        lambda: changed(Tokens(), lambda m: m.head.weight.copy_(m.emb.weight)), "head.weight",
        "is a copy of emb.weight",
    ),
}  # fmt: skip
"""Models with a fault by its name: the tensor that has it, and what the finding says."""

RIGHT: Mapping[str, Callable[[], nn.Module]] = {
    "lstm": Recurrent,
    "gru, orthogonal as one matrix": lambda: changed(
        Recurrent(nn.GRU), lambda m: [init.orthogonal_(p) for n, p in m.rnn.named_parameters() if "weight_hh" in n]),
    "zero gains": residual,
    "norms behind branches at zero": lambda: changed(
        Tokens(), lambda m: [n.weight.zero_() for layer in m.layers for n in (layer.n1, layer.n2)]),
    "a stem named like the branches that start at zero": lambda: nn.ModuleDict(
        {"stem": Stem(zero=False), "blocks": nn.ModuleList(Branch() for _ in range(4))}),
    "gates that begin with their bias alone": lambda: nn.ModuleList(
        nn.ModuleDict({"up": nn.Linear(32, 32), "gate": changed(nn.Linear(32, 32), closed)}) for _ in range(3)),
    "styles": Modulated,
    "equalized rates": lambda: nn.Sequential(*(EqualizedLinear(64) for _ in range(3))),
    "noisy layers": lambda: nn.Sequential(NoisyLinear(64), NoisyLinear(64)),
    "adapters": Adapters,
    "low rank, down and up": lambda: nn.Sequential(LowRank(), LowRank()),
    "members": Members,
    "capsules": Capsules,
    "rotations": Flow,
    "codes, log-variances at zero": lambda: Codes(0.0),
    "codes, small log-variances": lambda: Codes(0.001),
    "a transformer of space": Located,
    "a frozen follower": Follower,
    "a target that trains": lambda: Follower(trained=True, name="target"),
    "biases of users and items": Factorized,
    "rates by a formula": Decays,
    "dense, critical": lambda: dense(critical),
    "dense, a drawn prior": lambda: changed(
        dense(lambda m: init.zeros_(m.bias)), lambda m: m[4].bias.copy_(torch.rand(10).log())),
    "dense, one unit": lambda: changed(
        nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 3)), lambda m: m[0].weight.fill_(-2)),
    "dense, tiny": lambda: nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)),
}  # fmt: skip
"""Models without a fault, by name."""
