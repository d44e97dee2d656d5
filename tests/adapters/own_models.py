"""Models of PyTorch as strangers write them: right ones, and ones with faults of many kinds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


class Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_proj, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        q, k, v = self.in_proj(x).view(batch, length, 3, 4, -1).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, length, width))


class OnePlus(nn.Module):
    """Root mean square norm that multiplies by 1 + weight."""

    def __init__(self, width: int, start: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((width,), start))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * (1 + self.weight)


class OnePlusRMSNorm(OnePlus):
    pass


class Block(nn.Module):
    """Pre-norm; ``scale``: factors on the branches, as of layer scale."""

    def __init__(self, width: int, norm: Callable[[int], nn.Module], scale: float | None) -> None:
        super().__init__()
        self.n1, self.n2, self.attn = norm(width), norm(width), Attention(width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        if scale is not None:
            self.gamma1, self.gamma2 = (nn.Parameter(torch.full((width,), scale)) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + getattr(self, "gamma1", 1) * self.attn(self.n1(x))
        return x + getattr(self, "gamma2", 1) * self.fc2(F.gelu(self.fc1(self.n2(x))))


class Tokens(nn.Module):
    """A language model: N(0, .02²) for all weights, zero biases."""

    def __init__(self, norm: Callable[[int], nn.Module] = nn.LayerNorm, scale: float | None = None) -> None:
        super().__init__()
        self.emb, self.pos = nn.Embedding(128, 64), nn.Embedding(16, 64)
        self.layers = nn.ModuleList(Block(64, norm, scale) for _ in range(4))
        self.norm, self.head = norm(64), nn.Linear(64, 128, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.emb(tokens) + self.pos.weight[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))


class Patches(nn.Module):
    """A vision transformer with registers, which have no positions."""

    def __init__(self, registers: float = 0.02, cut: float = 2.0) -> None:
        super().__init__()
        self.patch, self.norm, self.head = nn.Conv2d(3, 64, 8, 8), nn.LayerNorm(64), nn.Linear(64, 10)
        self.layers = nn.ModuleList(Block(64, nn.LayerNorm, 1e-5) for _ in range(3))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 64))
        self.register_tokens = nn.Parameter(registers * torch.randn(1, 4, 64))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 16, 64))
        nn.init.xavier_uniform_(self.patch.weight.view(64, -1))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02, a=-cut, b=cut)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2) + self.pos_embed
        tokens = torch.cat([self.cls_token, self.register_tokens], 1).expand(len(x), -1, -1)
        x = torch.cat([tokens, x], 1)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x)[:, 0])


class Experts(nn.Module):
    """Four experts stacked in one tensor."""

    def __init__(self, equal: bool = False) -> None:
        super().__init__()
        self.gate = nn.Linear(64, 4, bias=False)
        w1, w2 = 0.1 * torch.randn(4, 128, 64), 0.1 * torch.randn(4, 64, 128)
        self.w1, self.w2 = (nn.Parameter(w[:1].repeat(4, 1, 1) if equal else w) for w in (w1, w2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.einsum("bd,ehd->beh", x, self.w1).relu()
        return x + torch.einsum("beh,edh,be->bd", y, self.w2, self.gate(x).softmax(-1))


class LowRank(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(64, 64).requires_grad_(False)
        self.lora_A, self.lora_B = nn.Parameter(torch.randn(8, 64) / 8), nn.Parameter(torch.zeros(64, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + x @ self.lora_A.T @ self.lora_B.T


class Modulated(nn.Module):
    """A block of a diffusion transformer: shifts, scales and gates of a condition, all zero at the start."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(64, elementwise_affine=False)
        self.mlp = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 64))
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(64, 3 * 64))
        nn.init.zeros_(self.modulation[1].weight)
        nn.init.zeros_(self.modulation[1].bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shift, scale, gate = self.modulation(x).chunk(3, -1)
        return x + gate * self.mlp(self.norm(x) * (1 + scale) + shift)


class Diffusion(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inputs, self.out = nn.Linear(64, 64), nn.Linear(64, 64)
        self.blocks = nn.Sequential(*(Modulated() for _ in range(4)))
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.blocks(self.inputs(x)))


class Sines(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers, self.out = nn.ModuleList(nn.Linear(64, 64) for _ in range(3)), nn.Linear(64, 1)
        for i, layer in enumerate(self.layers):
            bound = math.sqrt(6 / 64) / 30 if i else 1 / 64
            nn.init.uniform_(layer.weight, -bound, bound)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = torch.sin(30 * layer(x))
        return self.out(x)


class ActorCritic(nn.Module):
    """Two parts side by side, whose last layers start at other sizes (Andrychowicz et al. 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.actor, self.critic = self._part(6, 0.01), self._part(1, 1.0)

    @staticmethod
    def _part(outputs: int, gain: float) -> nn.Sequential:
        part = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, outputs))
        for layer, own in zip(part[::2], (2**0.5, 2**0.5, gain), strict=True):
            nn.init.orthogonal_(layer.weight, own)
            nn.init.zeros_(layer.bias)
        return part

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.actor(x), self.critic(x)


class Upwards(nn.Module):
    """A small U-Net; Kaiming's law for its convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU())
        self.up, self.out = nn.ConvTranspose2d(32, 16, 2, 2), nn.Conv2d(16, 2, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(F.relu(self.up(self.down(x))))


def dense(draw: Callable[[nn.Linear], object] | None = None) -> nn.Sequential:
    model = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 64), nn.ReLU(), nn.Linear(64, 10))
    for module in model:
        if isinstance(module, nn.Linear) and draw is not None:
            draw(module)
    return model


def changed(model: Any, change: Callable[[Any], object]) -> Any:
    with torch.no_grad():
        change(model)
    return model


def each_layer(change: Callable[[Any], object]) -> nn.Module:
    return changed(Tokens(), lambda model: [change(layer) for layer in model.layers])


def depth_scaled(*names: str, factor: float = 1 / math.sqrt(8)) -> nn.Module:
    def scale(layer: nn.Module) -> None:
        for name in names:
            layer.get_submodule(name).weight.mul_(factor)

    return each_layer(scale)


def lstm(gate: int, value: float = 1.0) -> nn.Module:
    """An LSTM whose biases are zero but for one gate's."""

    def bias(model: nn.ModuleDict) -> None:
        for name, parameter in model["rnn"].named_parameters():
            if "bias" in name:
                parameter.zero_()
        model["rnn"].bias_ih_l0[32 * gate : 32 * (gate + 1)] = value

    return changed(nn.ModuleDict({"rnn": nn.LSTM(32, 32), "head": nn.Linear(32, 10)}), bias)


def branches(both: bool) -> nn.Sequential:
    """Low-rank branches whose factors are both drawn, or both zero."""
    value = (lambda x: x.normal_(std=0.1)) if both else (lambda x: x.zero_())
    return changed(
        nn.Sequential(LowRank(), LowRank(), nn.Linear(64, 10)), lambda m: [value(p) for p in (m[0].lora_A, m[0].lora_B)]
    )


def same_seed(layer: nn.Linear) -> None:
    torch.manual_seed(0)
    nn.init.kaiming_normal_(layer.weight)


def normed(change: Callable[[Any], object]) -> nn.Sequential:
    norm = nn.utils.parametrizations.weight_norm
    return changed(nn.Sequential(norm(nn.Linear(64, 64)), norm(nn.Linear(64, 64)), nn.Linear(64, 10)), change)


def complex_cast() -> nn.ParameterDict:
    return nn.ParameterDict(
        {"w": torch.randn(32, 32, dtype=torch.complex64), "v": torch.randn(32, 32).to(torch.cfloat)}
    )


def partly_meta() -> nn.Sequential:
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10, device="meta"))


def normalized() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.BatchNorm2d(16))


def after_a_batch() -> nn.Sequential:
    model = normalized()
    model(torch.randn(8, 3, 8, 8))
    return model


def chrono() -> nn.ModuleDict:
    """Gates' biases for memories of all lengths (Tallec & Ollivier 2018)."""

    def bias(model: Any) -> None:
        times = torch.log(1 + 98 * torch.rand(32))
        for name in ("bias_ih_l0", "bias_hh_l0"):
            getattr(model["rnn"], name).zero_()
        model["rnn"].bias_hh_l0[:64] = torch.cat([-times, times])

    return changed(nn.ModuleDict({"rnn": nn.LSTM(32, 32), "head": nn.Linear(32, 10)}), bias)


def by_depth(layer: Any, index: int) -> None:
    for module in (layer.attn.out, layer.fc2):
        nn.init.trunc_normal_(module.weight, std=0.02 / math.sqrt(2 * (index + 1)))


class Rates(nn.Module):
    """A recurrence's rates by a formula, the same in all layers, and its steps of time (Gu & Dao 2023)."""

    def __init__(self) -> None:
        super().__init__()
        self.proj, self.dt = nn.Linear(32, 32), nn.Linear(8, 32)
        self.A_log = nn.Parameter(torch.arange(1.0, 9.0).log().repeat(32, 1))
        dt = torch.exp(math.log(1e-3) + math.log(1e2) * torch.rand(32))
        self.dt.bias.data = dt + torch.log(-torch.expm1(-dt))


FAULTS: Mapping[str, tuple[Callable[[], nn.Module], str, str]] = {
    "trunc_normal_ at its own std": (
        lambda: each_layer(lambda x: [nn.init.trunc_normal_(m.weight) for m in (x.attn.in_proj, x.attn.out, x.fc1)]),
        "layers.0.fc1.weight", "trunc_normal_'s own law, std=1 cut at 2, not scaled",
    ),
    "variance for std": (
        lambda: dense(lambda m: nn.init.normal_(m.weight, std=2 / m.in_features)),
        "2.weight", "He's variance: its root is missing",
    ),
    "residual scaling of a wrong layer": (
        lambda: depth_scaled("fc1", "attn.out"),
        "layers.1.fc1.weight", "of a layer that does not end its branch, and layers.*.fc2.weight lacks it",
    ),
    "residual scaling of one branch": (
        lambda: depth_scaled("attn.out"), "layers.1.fc2.weight", "residual scaling not applied",
    ),
    "residual scaling twice": (
        lambda: depth_scaled("fc2", "attn.out", factor=1 / 8), "layers.0.fc2.weight", "residual scaling applied twice",
    ),
    "positions drown tokens": (
        lambda: changed(Tokens(), lambda m: m.pos.weight.normal_()), "pos.weight", "positions drown the tokens",
    ),
    "registers equal": (lambda: Patches(registers=0.0), "register_tokens", "its 4 tokens are equal"),
    "stacked experts equal": (
        lambda: nn.Sequential(Experts(equal=True), nn.Linear(64, 10)), "0.w1", "4 slices are equal",
    ),
    "queries equal keys": (
        lambda: each_layer(lambda x: x.attn.in_proj.weight[64:128].copy_(x.attn.in_proj.weight[:64])),
        "layers.0.attn.in_proj.weight[k]", "is a copy of layers.0.attn.in_proj.weight[q]",
    ),
    "one seed for layers of other shapes": (lambda: dense(same_seed), "2.weight", "has the random numbers of 0.weight"),
    "both low-rank factors zero": (lambda: branches(both=False), "0.lora_A", "gradient of each factor is zero"),
    "both low-rank factors drawn": (lambda: branches(both=True), "0.lora_B", "changes the model before it has learnt"),
    "bias of another gate": (lambda: lstm(2), "rnn.bias_ih_l0[g]", "where the forget gate's bias is 0"),
    "recurrent weights at std 1": (
        lambda: changed(nn.ModuleDict({"rnn": nn.LSTM(32, 32), "head": nn.Linear(32, 10)}),
                        lambda m: m["rnn"].weight_hh_l0.normal_()),
        "rnn.weight_hh_l0[i]", "normal_'s own law, N(0, 1), not scaled",
    ),
    "one factor of a branch zero": (
        lambda: changed(Tokens(scale=1e-5), lambda m: m.layers[2].gamma1.zero_()),
        "layers.2.gamma1", "is 0 everywhere, expected 1.00e-05",
    ),
    "length of a weight norm zero": (
        lambda: normed(lambda m: m[1].parametrizations.weight.original0.zero_()),
        "1.parametrizations.weight.original0", "nothing passes the layer",
    ),
    "one norm's bias": (
        lambda: changed(Tokens(), lambda m: nn.init.ones_(m.layers[1].n2.bias)),
        "layers.1.n2.bias", "is 1 everywhere, expected 0 as its 3 likes have",
    ),
    "all gains zero": (
        lambda: changed(Tokens(), lambda m: [n.weight.zero_() for n in m.modules() if isinstance(n, nn.LayerNorm)]),
        "layers.0.n1.weight", "the norm passes nothing on",
    ),
    "complex numbers cast from real ones": (complex_cast, "v", "its imaginary part is 0 everywhere"),
    "a layer left on meta": (partly_meta, "2.weight", "still on the meta device"),
    "a bilinear layer not scaled": (
        lambda: changed(nn.ModuleDict({"a": nn.Bilinear(16, 16, 32), "head": nn.Linear(32, 10)}),
                        lambda m: m["a"].weight.normal_()),
        "a.weight", "normal_'s own law, N(0, 1), not scaled",
    ),
    "weights of one sign": (
        lambda: dense(lambda m: nn.init.uniform_(m.weight, 0, m.in_features**-0.5)), "0.weight", "not centred",
    ),
    "clamped": (
        lambda: each_layer(lambda x: x.fc1.weight.clamp_(-0.02, 0.02)), "layers.0.fc1.weight", "clamped",
    ),
    "sorted": (
        lambda: each_layer(lambda x: x.fc1.weight.copy_(x.fc1.weight.flatten().sort().values.view(256, 64))),
        "layers.1.fc1.weight", "its values are sorted",
    ),
    "a product of factors": (
        lambda: each_layer(lambda x: x.fc1.weight.copy_(torch.outer(torch.randn(256), 0.02 * torch.randn(64)))),
        "layers.1.fc1.weight", "a matrix of rank 1 where 64 is usual",
    ),
    "a unit of another scale": (
        lambda: changed(Tokens(), lambda m: m.layers[0].fc1.weight[3].mul_(100)),
        "layers.0.fc1.weight", "times the size of the others, number 3",
    ),
    "running variances zero": (
        lambda: changed(normalized(), lambda m: m[1].running_var.zero_()), "1.running_var", "running variances",
    ),
    "running means NaN": (
        lambda: changed(normalized(), lambda m: m[1].running_mean.fill_(math.nan)), "1.running_mean", "holds NaN",
    ),
    "running variances drawn": (
        lambda: changed(normalized(), lambda m: m[1].running_var.uniform_()), "1.running_var", "before the first batch",
    ),
    "one branch that doesn't start at zero": (
        lambda: changed(Diffusion(), lambda m: m.blocks[1].modulation[1].weight.normal_(std=0.02)),
        "blocks.1.modulation.1.weight", "expected",
    ),
    "one layer scale of 1": (
        lambda: changed(Tokens(scale=1e-5), lambda m: m.layers[2].gamma1.fill_(1.0)),
        "layers.2.gamma1", "is 1 everywhere, expected 1.00e-05",
    ),
    "a bias that drowns the signal": (
        lambda: changed(dense(), lambda m: m[2].bias.fill_(1000.0)), "2.bias", "what tells inputs apart is lost in it",
    ),
    "all gains small": (
        lambda: changed(Tokens(), lambda m: [n.weight.fill_(0.02) for n in m.modules() if isinstance(n, nn.LayerNorm)]),
        "layers.0.n1.weight", "as of no norm of this model",
    ),
    "recurrent weights times 3": (
        lambda: changed(nn.ModuleDict({"rnn": nn.GRU(32, 32, 2), "head": nn.Linear(32, 10)}),
                        lambda m: m["rnn"].weight_hh_l0.mul_(3)),
        "rnn.weight_hh_l0[r]", "times what it should be",
    ),
    "a layer of likes by another gain": (
        lambda: changed(Tokens(), lambda m: nn.init.xavier_normal_(m.layers[3].fc1.weight)),
        "layers.3.fc1.weight", "as its 3 likes have",
    ),
}  # fmt: skip
"""Models with a fault by its name: the tensor that has it, and what the finding says."""

RIGHT: Mapping[str, Callable[[], nn.Module]] = {
    "tokens": Tokens,
    "tokens, residual scaling": lambda: depth_scaled("fc2", "attn.out"),
    "tokens, norms of 1 + gain": lambda: Tokens(OnePlusRMSNorm),
    "tokens, tied": lambda: changed(Tokens(), lambda m: setattr(m.head, "weight", m.emb.weight)),
    "patches": Patches,
    "patches, cut at one sigma": lambda: Patches(cut=0.02),
    "experts": lambda: nn.Sequential(Experts(), nn.Linear(64, 10)),
    "low rank": lambda: nn.Sequential(LowRank(), LowRank(), nn.Linear(64, 10)),
    "lstm, forget gate": lambda: lstm(1),
    "diffusion": Diffusion,
    "sines": Sines,
    "actor and critic": ActorCritic,
    "u-net": Upwards,
    "weight norm": lambda: normed(lambda m: m),
    "convolutions after a batch": after_a_batch,
    "lstm, chrono": chrono,
    "recurrence": lambda: nn.Sequential(Rates(), Rates()),
    "tokens, scaled by depth": lambda: changed(Tokens(), lambda m: [by_depth(x, i) for i, x in enumerate(m.layers)]),
    "tokens, a small gate in each block": lambda: each_layer(lambda x: x.fc1.weight.normal_(std=0.011)),
    "dense, sparse": lambda: dense(lambda m: nn.init.sparse_(m.weight, 0.9)),
    "dense, orthogonal": lambda: dense(lambda m: nn.init.orthogonal_(m.weight, 5 / 3)),
    "dense, identity": lambda: dense(lambda m: nn.init.eye_(m.weight) if m.in_features == 96 else None),
    "dense, last layer's bounds": lambda: changed(
        dense(), lambda m: [nn.init.uniform_(p, -3e-3, 3e-3) for p in m[4].parameters()]),
    "one layer of zeros": lambda: changed(nn.Linear(20, 3), lambda m: [p.zero_() for p in m.parameters()]),
    "dense, he": lambda: dense(lambda m: nn.init.kaiming_normal_(m.weight)),
}  # fmt: skip
"""Models without a fault, by name."""
