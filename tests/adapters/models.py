"""Small models of PyTorch as people write them, right ones and ones with a planted fault."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping

import torch
import transformers
from torch import nn

SMALL = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "vocab_size": 300,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

WHISPER = {
    "d_model": 64,
    **dict.fromkeys(("encoder_layers", "decoder_layers"), 2),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 128),
    "decoder_start_token_id": 1,
}


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc, self.out = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.heads = 4

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        qkv = self.qkv(self.ln1(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(*qkv, is_causal=True)
        x = x + self.proj(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.out(nn.functional.gelu(self.fc(self.ln2(x))))


class Transformer(nn.Module):
    """Pre-norm, causal; Glorot's law for dense layers, zero biases, N(0, .02²) for tokens and positions."""

    def __init__(self, width: int = 64, depth: int = 4, tokens: int = 200) -> None:
        super().__init__()
        self.tok = nn.Embedding(tokens, width, padding_idx=0)
        self.pos = nn.Parameter(torch.randn(32, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.ln, self.head = nn.LayerNorm(width), nn.Linear(width, tokens)
        self.apply(self._draw)

    @staticmethod
    def _draw(module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
            with torch.no_grad():
                module.weight[0] = 0

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.tok(tokens) + self.pos[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.ln(x))


class ResidualBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.down = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if stride > 1 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + self.down(x))


class ResNet(nn.Module):
    """He's law for convolutions, PyTorch's own default for the head."""

    def __init__(self, mode: str = "fan_in") -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, bias=False), nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(ResidualBlock(16, 16, 1), ResidualBlock(16, 16, 1))
        self.layer2 = nn.Sequential(ResidualBlock(16, 32, 2), ResidualBlock(32, 32, 1))
        self.layer3 = nn.Sequential(ResidualBlock(32, 64, 2), ResidualBlock(64, 64, 1))
        self.fc = nn.Linear(64, 10)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode=mode)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        return self.fc(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


def mlp(draw: Callable[[torch.Tensor], object] | None = None) -> nn.Sequential:
    model = nn.Sequential(
        *(layer for n in (32, 64, 64, 96) for layer in (nn.LazyLinear(n), nn.ReLU())), nn.LazyLinear(4)
    )
    model(torch.zeros(2, 20))
    for module in model:
        if draw is not None and isinstance(module, nn.Linear):
            draw(module.weight)
            nn.init.zeros_(module.bias)
    return model


def cnn() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, groups=2), nn.ReLU(), nn.Flatten(),
        nn.Linear(32 * 16, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def lora() -> nn.ModuleDict:
    """A frozen layer with a low-rank branch by its usual start: Kaiming's uniform, and zeros."""
    layers = {}
    for name in ("q", "v"):
        base, down, up = nn.Linear(64, 64), nn.Linear(64, 8, bias=False), nn.Linear(8, 64, bias=False)
        base.requires_grad_(False)
        nn.init.kaiming_uniform_(down.weight, a=math.sqrt(5))
        nn.init.zeros_(up.weight)
        layers[name] = nn.ModuleDict({"base_layer": base, "lora_A": down, "lora_B": up})
    return nn.ModuleDict(layers)


def encoder_apart() -> nn.TransformerEncoder:
    """The twin of cloned layers: every layer drawn for itself."""
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(64, 4, 128, batch_first=True), 3)
    for layer in model.layers:
        for module in layer.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
            if isinstance(module, nn.MultiheadAttention):
                module._reset_parameters()
    return model


def _config(kind: str, **options: object) -> transformers.PretrainedConfig:
    return getattr(transformers, f"{kind}Config")(**{**SMALL, **options})


CONTROLS: Mapping[str, Callable[[], nn.Module]] = {
    "mlp": mlp,
    "mlp, he": lambda: mlp(nn.init.kaiming_normal_),
    "mlp, glorot times 5/3": lambda: mlp(lambda w: nn.init.xavier_uniform_(w, gain=5 / 3)),
    "mlp, orthogonal": lambda: mlp(nn.init.orthogonal_),
    "cnn": cnn,
    "resnet": ResNet,
    "resnet, fan out": lambda: ResNet("fan_out"),
    "transformer": Transformer,
    "lstm": lambda: nn.ModuleDict({"rnn": nn.LSTM(16, 32, 2), "head": nn.Linear(32, 4)}),
    "encoder, layers apart": encoder_apart,
    "lora": lora,
    "gpt2": lambda: transformers.GPT2LMHeadModel(_config("GPT2", n_layer=3, n_embd=64, n_head=4)),
    "bert": lambda: transformers.BertForMaskedLM(_config("Bert")),
    "llama": lambda: transformers.LlamaForCausalLM(_config("Llama")),
    "vit": lambda: transformers.ViTForImageClassification(_config("ViT", image_size=32, patch_size=8)),
    "convnext": lambda: transformers.ConvNextForImageClassification(
        transformers.ConvNextConfig(hidden_sizes=[16, 32, 64, 128], depths=[1, 1, 2, 1])
    ),
    "whisper": lambda: transformers.WhisperForConditionalGeneration(_config("Whisper", **WHISPER)),
    "mamba": lambda: transformers.MambaForCausalLM(_config("Mamba")),
    "mamba2": lambda: transformers.Mamba2ForCausalLM(_config("Mamba2", num_heads=8, head_dim=16, n_groups=1)),
    "t5": lambda: transformers.T5ForConditionalGeneration(
        _config("T5", d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4)
    ),
}
"""Models without a fault, by name."""


def _scaled(model: Transformer) -> None:
    model.blocks[2].fc.weight.data *= 1.2


def _swapped(model: Transformer) -> None:
    weight = model.blocks[1].fc.weight
    nn.init.uniform_(weight, -math.sqrt(3 / weight.shape[0]), math.sqrt(3 / weight.shape[0]))


def _cloned(model: Transformer) -> None:
    model.blocks = nn.ModuleList(copy.deepcopy(model.blocks[0]) for _ in range(4))


def _never(model: Transformer) -> None:
    model.blocks[1].proj.weight.data.view(torch.int32).copy_(torch.randint(0, 2**20, model.blocks[1].proj.weight.shape))


def _poisoned(model: Transformer) -> None:
    model.blocks[1].proj.weight.data.fill_(math.nan)


def _zeroed(model: Transformer) -> None:
    model.blocks[1].proj.weight.data.zero_()


def _bias(model: Transformer) -> None:
    nn.init.normal_(model.blocks[3].fc.bias, std=0.02)


def _gain(model: Transformer) -> None:
    model.blocks[0].ln2.weight.data.zero_()


def _mask(model: Transformer) -> None:
    nn.init.normal_(model.tok.weight, std=0.02)


def _units(model: Transformer) -> None:
    model.head.weight.data[3] = model.head.weight.data[4]


def _half(model: Transformer) -> None:
    weight = model.blocks[0].fc.weight
    bound = math.sqrt(6 / (weight.shape[0] + weight.shape[1]))
    weight.data = torch.empty_like(weight, dtype=torch.bfloat16).uniform_(-bound, bound).float()


def _absolute(model: Transformer) -> None:
    nn.init.trunc_normal_(model.head.weight, std=1.0)


def _r_scaled(model: ResNet) -> None:
    model.layer2[1].conv2.weight.data *= 1.2


def _r_swapped(model: ResNet) -> None:
    nn.init.kaiming_normal_(model.layer3[0].conv1.weight, mode="fan_out")


def _r_cloned(model: ResNet) -> None:
    model.layer1[1] = copy.deepcopy(model.layer1[0])


def _r_zeroed(model: ResNet) -> None:
    model.layer3[0].conv2.weight.data.zero_()


def _r_gain(model: ResNet) -> None:
    model.layer1[0].bn1.weight.data.zero_()


def _r_bias(model: ResNet) -> None:
    nn.init.normal_(model.layer1[0].bn1.bias, std=0.02)


def _r_drawn(model: ResNet) -> None:
    nn.init.normal_(model.layer2[0].bn1.weight, std=0.02)


PLANTED: Mapping[str, tuple[type[nn.Module], Callable[[nn.Module], None], str, str, str]] = {
    "std x 1.2": (Transformer, _scaled, "blocks.2.fc.weight", "scale", r"1\.[12]\d?\d? times"),
    "fans swapped": (Transformer, _swapped, "blocks.1.fc.weight", "scale", "times theirs"),
    "padding mask missing": (Transformer, _mask, "tok.weight", "padding", "row 0 stands for padding"),
    "clones": (Transformer, _cloned, "blocks.3.out.weight", "copy", "equal to blocks.0 in every bit"),
    "memory never written": (Transformer, _never, "blocks.1.proj.weight", "unwritten", "never written"),
    "memory poisoned": (Transformer, _poisoned, "blocks.1.proj.weight", "not_finite", "all values are NaN"),
    "memory zero": (Transformer, _zeroed, "blocks.1.proj.weight", "zeros", "never written, or set to zero"),
    "bias drawn": (Transformer, _bias, "blocks.3.fc.bias", "scale", "it was drawn"),
    "gain 0": (Transformer, _gain, "blocks.0.ln2.weight", "zeros", "the norm passes nothing on"),
    "units equal": (Transformer, _units, "head.weight", "units", "1 of 200 units equal an earlier one"),
    "bounds of bfloat16": (
        Transformer,
        _half,
        "blocks.0.fc.weight",
        "coarse",
        "drawn in bfloat16 and stored as float32",
    ),
    "absolute bounds": (Transformer, _absolute, "head.weight", "scale", "times what it should be"),
    "resnet: std x 1.2": (ResNet, _r_scaled, "layer2.1.conv2.weight", "scale", r"1\.[12]\d?\d? times"),
    "resnet: fans swapped": (ResNet, _r_swapped, "layer3.0.conv1.weight", "law", "its fans are swapped"),
    "resnet: clones": (ResNet, _r_cloned, "layer1.1.conv1.weight", "copy", "equal to layer1.0 in every bit"),
    "resnet: memory zero": (ResNet, _r_zeroed, "layer3.0.conv2.weight", "zeros", "never written"),
    "resnet: gain 0": (ResNet, _r_gain, "layer1.0.bn1.weight", "zeros", "the norm passes nothing on"),
    "resnet: bias drawn": (ResNet, _r_bias, "layer1.0.bn1.bias", "scale", "it was drawn"),
    "resnet: gain drawn": (ResNet, _r_drawn, "layer2.0.bn1.weight", "scale", "it was drawn"),
}
"""Planted faults by name: the model, the fault, the tensor that has it, the finding's kind and what its words say."""
