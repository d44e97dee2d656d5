"""Models of several parts: each is held against its own configuration; equal tokens against what parts them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import transformers
from torch import nn
from torch.nn import functional as F

import weightinit.torch as wt
from tests.adapters.models import SMALL
from weightinit.auditing.models import audit_model
from weightinit.auditing.named_models import model_of_arrays, parts_by_name

TEXT = {**SMALL, "num_hidden_layers": 2, "initializer_range": 0.05}
VISION = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128,
          "image_size": 32, "patch_size": 8, "initializer_range": 0.011}  # fmt: skip


def captions() -> nn.Module:
    """A ViT before a BERT; head and embedding are tied, as the inner configuration says and the outer denies."""
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        transformers.ViTConfig(**VISION), transformers.BertConfig(**TEXT)
    )
    return transformers.VisionEncoderDecoderModel(config=config)


def translation() -> nn.Module:
    config = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(
        transformers.BertConfig(**TEXT),
        transformers.GPT2Config(
            n_embd=64, n_layer=2, n_head=4, vocab_size=300, initializer_range=0.011, bos_token_id=1, eos_token_id=2
        ),
    )
    return transformers.EncoderDecoderModel(config=config)


def pairs() -> nn.Module:
    return transformers.SiglipModel(transformers.SiglipConfig(text_config=TEXT, vision_config=VISION))


@pytest.mark.parametrize(
    ("make", "layers", "own", "std", "others"),
    [
        (captions, "encoder.layers.0.mlp.fc1", "initializer_range=0.011 of encoder.config", 0.05,
         "it follows initializer_range=0.05 of decoder.config"),
        (translation, "decoder.transformer.h.1.attn.c_proj", " = .011/sqrt(2*2) of decoder.config", 0.011,
         "residual scaling not applied"),
        (pairs, "text_model.encoder.layers.0.mlp.fc1", "initializer_range=0.05 of text_model.config", 0.02,
         "it ignores initializer_range"),
        (pairs, "text_model.encoder.layers", "initializer_range=0.05 of text_model.config", None,
         "never initialized"),
    ],
)  # fmt: skip
def test_a_part_is_held_against_its_own_configuration(
    make: Callable[[], nn.Module], layers: str, own: str, std: float | None, others: str
) -> None:
    torch.manual_seed(0)
    model = make()
    assert wt.audit(model).ok, wt.audit(model).faults
    drawn = [m for m in model.get_submodule(layers).modules() if hasattr(m, "weight") and m.weight.dim() == 2]
    for module in drawn:
        module.reset_parameters() if std is None else nn.init.normal_(module.weight, std=std)
        nn.init.zeros_(module.bias)
    faults = wt.audit(model).faults
    assert {name for fault in faults for name in fault.tensors} >= {
        name for name, p in model.named_parameters() if p.dim() == 2 and any(p is module.weight for module in drawn)
    }
    assert all(own in fault.sentence and others in fault.sentence for fault in faults), faults


class Part(nn.Module):
    def __init__(self, std: float, **config: object) -> None:
        super().__init__()
        self.config = {"initializer_range": std, **config}
        self.layers = nn.ModuleList(nn.Linear(64, 64, bias=False) for _ in range(4))
        for layer in self.layers:
            nn.init.normal_(layer.weight, std=std)


class Whole(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.config = {"initializer_range": 0.02}
        self.inner, self.head = Part(0.013), nn.Linear(64, 64, bias=False)
        nn.init.normal_(self.head.weight, std=0.02)


def test_the_whole_s_scale_is_no_part_s() -> None:
    model = Whole()
    assert wt.audit(model).ok
    nn.init.normal_(model.inner.layers[2].weight, std=0.02)
    (fault,) = wt.audit(model).faults
    assert fault.tensors == ("inner.layers.2.weight",)
    assert fault.sentence.endswith("=0.013 of inner.config: it follows initializer_range=0.02 of config")


def test_a_file_s_parts_are_known_by_their_names() -> None:
    config = {"vision_config": {"initializer_range": 0.05}, "text_config": {"initializer_range": 0.011}}
    layers = ["model.vision_tower.layers.0.fc", "model.language_model.layers.0.fc", "model.visual_projection"]
    assert [(part.path, part.name) for part in parts_by_name(config, layers)] == [
        ("model.vision_tower", "vision_config"), ("model.language_model", "text_config")
    ]  # fmt: skip
    random = np.random.default_rng(0)
    arrays = {f"{name}.weight": (0.05 * random.standard_normal((64, 64))).astype(np.float32) for name in layers[:2]}
    (fault,) = audit_model(model_of_arrays(arrays, config=config)).faults
    assert fault.tensors == ("model.language_model.layers.0.fc.weight",)
    assert (
        "initializer_range=0.011 of text_config: it follows initializer_range=0.05 of vision_config" in fault.sentence
    )


class Reader(nn.Module):
    """Tokens read a sequence by attention without positions; ``places``: those of the tokens."""

    def __init__(self, start: float = 0.0, places: bool = False, table: bool = False) -> None:
        super().__init__()
        self.inputs, self.q, self.kv = nn.Linear(32, 64), nn.Linear(64, 64), nn.Linear(64, 128)
        self.norm, self.head = nn.LayerNorm(64), nn.Linear(64, 10)
        if table:
            self.query_embed = nn.Embedding(8, 64)
        else:
            self.query_tokens = nn.Parameter(torch.empty(1, 8, 64))
        nn.init.constant_(self.tokens, start)
        self.query_pos = nn.Parameter(0.02 * torch.randn(1, 8, 64)) if places else None

    @property
    def tokens(self) -> torch.Tensor:
        return self.query_embed.weight if hasattr(self, "query_embed") else self.query_tokens

    def read(self, x: torch.Tensor) -> torch.Tensor:
        x = self.inputs(x)
        tokens = self.tokens.view(1, 8, 64) + (0 if self.query_pos is None else self.query_pos)
        k, v = self.kv(x).chunk(2, -1)
        read = F.scaled_dot_product_attention(self.q(self.norm(tokens)).expand(len(x), -1, -1), k, v)
        return self.norm(tokens + read)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.read(x).mean(1))


class InOrder(Reader):
    """Tokens whose readings go on to a recurrence, which tells their order."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(64, 64, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(self.read(x))[0][:, -1])


def _not_parted(model: nn.Module) -> list[tuple[str, ...]]:
    report = wt.probe(model, torch.randn(16, 5, 32), draws=1)
    return [finding.places for finding in report.findings if finding.kind == "equal"]


@pytest.mark.parametrize("table", [False, True])
@pytest.mark.parametrize("start", [0.0, 1.0])
def test_equal_tokens_are_a_fault_where_nothing_parts_them(table: bool, start: float) -> None:
    torch.manual_seed(0)
    model = Reader(start, table=table)
    (fault,) = wt.audit(model).faults
    assert "its 8 tokens are equal: training can't part them" in fault.sentence
    assert _not_parted(model) == [fault.tensors]


@pytest.mark.parametrize("table", [False, True])
def test_equal_tokens_with_positions_pass(table: bool) -> None:
    torch.manual_seed(0)
    model = Reader(places=True, table=table)
    assert not wt.audit(model).findings
    assert not _not_parted(model)


def test_equal_tokens_that_an_order_may_part_are_noted_and_the_probe_decides() -> None:
    torch.manual_seed(0)
    model = InOrder()
    report = wt.audit(model)
    assert report.ok
    assert "whether rnn.weight_hh_l0 gives them one is not known here" in report.findings[0].sentence
    assert not _not_parted(model)
