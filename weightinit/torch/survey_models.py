"""Small models of transformers: one of every model type, built from its configuration with its sizes reduced."""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn

try:
    import transformers
    from transformers.models.auto import configuration_auto, modeling_auto
    from transformers.models.llama import modeling_llama  # noqa: F401 - read once, as most models need it
except ImportError:
    raise ImportError("the survey needs transformers, which is not installed: pip install transformers.") from None

HEADS: Final = (
    "CAUSAL_LM", "MASKED_LM", "SEQ_TO_SEQ_CAUSAL_LM", "IMAGE_CLASSIFICATION", "IMAGE_TEXT_TO_TEXT", "PRETRAINING",
    "CTC", "AUDIO_CLASSIFICATION", "SPEECH_SEQ_2_SEQ", "OBJECT_DETECTION", "SEMANTIC_SEGMENTATION",
    "DEPTH_ESTIMATION",
)  # fmt: skip
"""Kinds of models, of which a type's first is surveyed; its bare model where it has none of them."""

LIMIT: Final = 25_000_000
"""Parameters of the largest model that is built."""

FACTORS: Final = (16, 8, 4, 2, 1)
"""Divisors of all widths, the first that builds: one for all widths, so that their ratios stay."""

LAYERS: Final = re.compile(r"layers?$|^depth$|num_(hidden_)?blocks$|^n_layer$|^depths$|^num_conv_layers$|num_stacks")
WIDTHS: Final = re.compile(
    r"hidden_(size|dim)|intermediate|embed|_dims?$|^dim$|d_model|d_inner|d_ff|d_kv|n_embd|n_inner|ffn|mlp_size|"
    r"inner_size|channels$|_rank$|lru_width|conv_dim|_width$|projection_size|encoder_hid|^hidden"
)
NO_WIDTHS: Final = re.compile(
    r"num_channels|position|vocab|embeddings$|image|patch|^in_channels|kernel|stride|num_embed|ratio|spec|rope|feature_dim"
)
COUNTS: Final = {
    re.compile(r"(num|n)_(local_|routed_)?experts$|moe_num_experts|n_routed_experts"): 4,
    re.compile(r"experts_per_tok$|top_?k$|moe_k$|topk_group"): 2,
    re.compile(r"^n_group$|^topk_group$|num_expert_groups?"): 1,
}
SCALES: Final = ("initializer_range", "init_std", "initializer_std", "initializer_factor")
"""Attributes of a configuration that scale its model's initial weights."""

TOKENS: Final = 600
"""Most tokens of a vocabulary."""


@dataclass(frozen=True)
class SmallModel:
    """How a model is built: its class, the values of its configuration, and what they were divided by."""

    model_class: Any
    config_class: Any
    values: dict[str, Any]
    factor: int

    def build(self, scale: float = 1.0, seed: int = 0) -> nn.Module:
        """Return the model as its class makes it; ``scale`` multiplies all scales that the configuration names."""
        config = self.config_class.from_dict(_scaled(self.values, scale))
        torch.manual_seed(seed)
        model: nn.Module = self.model_class(config)
        return model.eval()

    def materialize(self, seed: int = 0) -> nn.Module:
        """Return the model made on the meta device and initialized afterwards, as a checkpoint without keys is read.

        Memory that is never written holds NaN.
        """
        config = self.config_class.from_dict(self.values)
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True, warn_only=True)  # which fills new memory with NaN
        try:
            model: nn.Module = self.model_class.from_pretrained(None, config=config, state_dict={})
        finally:
            torch.use_deterministic_algorithms(False)
        return model.eval()

    @property
    def scales(self) -> tuple[str, ...]:
        """The names of the scales that the configuration and its parts have, without repetition."""
        return tuple(dict.fromkeys(name for name, _ in _named_scales(self.values)))


def model_types() -> tuple[str, ...]:
    """Return all model types of the installed transformers, mixed always alike: any first part is a fair sample."""
    return tuple(sorted(configuration_auto.CONFIG_MAPPING_NAMES, key=lambda name: zlib.crc32(name.encode())))


def small_model(model_type: str) -> SmallModel:
    """Return how to build a type's small model; the widths are divided as far as it still builds, with two
    layers of each kind or, where that doesn't build, with all of them.

    Raises ValueError with the cause where none builds.
    """
    names = _class_names(model_type)
    if not names:
        raise ValueError("no model class: a configuration of a part only")
    config_class = configuration_auto.CONFIG_MAPPING[model_type]
    whole = config_class().to_dict()
    cause = ""
    for name, factor, layers in itertools.product(names, FACTORS, (2, None)):
        values = reduced(whole, factor, layers)
        try:
            model_class = getattr(transformers, name)
            with torch.device("meta"):
                count = sum(p.numel() for p in model_class(config_class.from_dict(values)).parameters())
        except Exception as error:
            cause = cause or f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
            continue
        if count <= LIMIT:
            return SmallModel(model_class, config_class, values, factor)
        cause = cause or f"too large when reduced: {count / 1e6:.0f}M parameters"
    raise ValueError(cause)


def _class_names(model_type: str) -> tuple[str, ...]:
    """The classes of a type's models, in the order of ``HEADS``, the bare model last."""
    found = []
    for head in (*(f"FOR_{head}_" for head in HEADS), ""):
        name = getattr(modeling_auto, f"MODEL_{head}MAPPING_NAMES").get(model_type)
        if name:
            found.append(name if isinstance(name, str) else name[0])
    return tuple(dict.fromkeys(found))


def reduced(values: Mapping[str, Any], factor: int, layers: int | None = 2) -> dict[str, Any]:
    """Return a configuration's values with fewer tokens and experts, and widths divided by ``factor``.

    ``layers``: the most layers of each kind; None keeps them.
    """
    found = {key: _reduced(key, value, factor, layers) for key, value in values.items()}
    all_layers = values.get("num_hidden_layers") or values.get("num_layers") or values.get("n_layer")
    for key, value in found.items():
        if isinstance(value, list) and layers and len(value) == all_layers and "depth" not in key:
            found[key] = value[:layers]
    tokens = found.get("vocab_size")
    if isinstance(tokens, int):
        spare = iter(range(1, 50))
        for key, value in found.items():
            if key.endswith(("token_id", "token_index")) and isinstance(value, int) and value >= tokens:
                found[key] = tokens - next(spare)
    return found


def _reduced(key: str, value: Any, factor: int, layers: int | None) -> Any:
    if isinstance(value, Mapping) and "model_type" in value:
        return reduced(value, factor, layers)
    if isinstance(value, list) and value and all(isinstance(v, int) and not isinstance(v, bool) for v in value):
        return [_reduced(key, v, factor, layers) for v in value]
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if LAYERS.search(key):
        return min(value, layers or value)
    if key.endswith("vocab_size"):
        return min(value, TOKENS)
    for pattern, most in COUNTS.items():
        if pattern.search(key):
            return min(value, most)
    if WIDTHS.search(key) and not NO_WIDTHS.search(key) and value % factor == 0 and value >= 2 * factor:
        return value // factor
    return value


def _named_scales(values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _named_scales(value)
        elif key in SCALES and isinstance(value, float | int) and value:
            yield key, float(value)


def _scaled(values: Mapping[str, Any], scale: float) -> dict[str, Any]:
    return {
        key: _scaled(value, scale) if isinstance(value, Mapping)
        else value * scale if key in SCALES and isinstance(value, float | int)
        else value
        for key, value in values.items()
    }  # fmt: skip
