"""A model from named arrays alone, as a file of weights holds them: roles, axes and ties by names and shapes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from weightinit.arrays import Array
from weightinit.auditing.named_laws import rule
from weightinit.fans import Fans, compute_fans
from weightinit.laws import UNKNOWN
from weightinit.model import Configuration, Model, ModelTensor, Part, TensorRole, blocks_of
from weightinit.nn.weights import WeightSpec

BUFFERS: Final = re.compile(
    r"(running_(mean|var)|num_batches_tracked|(position|token_type)_ids|inv_freq|masked_bias|rotary_emb\.\w+)$"
)
"""Names of what a state holds beside parameters."""

EMBEDDING: Final = re.compile(
    r"(^|\.)(\w*emb(ed|edding|eddings|d)?(s|_\w+)?|wte|wpe|shared|tokens?|\w+_embed)\.weight$"
)
HEAD: Final = re.compile(r"(lm_head|head|proj_out|decoder|output_projection|embed_out|classifier)\.weight$")
NORM: Final = re.compile(r"(norm|(^|[._])ln(_?\w+)?|(^|[._])bn\d*)(\.\w+)?\.(weight|gamma|scale)$", re.IGNORECASE)
TOKEN: Final = re.compile(r"(cls|mask|dist\w*|register)_tokens?$|pos(ition(al)?)?_?emb\w*$|class_embedding$")
IN_OUT: Final = {"gpt2": r"\.(c_attn|c_proj|c_fc)\.weight$", "openai-gpt": r"\.(c_attn|c_proj|c_fc)\.weight$"}
"""Dense layers that a family stores as ``(in, out)``."""

WORDS: Final = {"vision": "vision|visual|image", "text": "text|language"}
"""Words in a part's name by the word in the key of its configuration, where they differ."""

PARTS: Final = re.compile(r"(\w+)_config|encoder|decoder")
"""Keys of a composite configuration under which those of its parts stand."""


def model_of_arrays(arrays: Mapping[str, Array], family: str = "", config: Mapping[str, Any] | None = None) -> Model:
    """Return the record of a model from arrays by name, in PyTorch's layout; buffers are left out.

    ``family`` and ``config``: what ``transformers`` calls the kind of model, and its configuration.
    """
    config = dict(config or {})
    family = family or str(config.get("model_type") or "")
    kept = {
        name: x for name, x in arrays.items()
        if not BUFFERS.search(name) and not (name.endswith("attn.bias") and np.ndim(x) > 2)
    }  # fmt: skip
    blocks = blocks_of(list(kept))
    tensors: list[ModelTensor] = []
    for name, x in kept.items():
        made = replace(_tensor(name, np.asarray(x), family, kept), block=blocks.get(name))
        made = _vocabulary(made, np.asarray(x), config)
        first = next((i for i, other in enumerate(tensors) if _tied(other, made, kept)), None)
        if first is None:
            tensors.append(made)
        else:
            tensors[first] = _both(tensors[first], made)
    parts = parts_by_name(config, [tensor.layer for tensor in tensors])
    return Model(family or "file", tuple(tensors), config, family, parts=parts)


def parts_by_name(config: Mapping[str, Any], layers: Iterable[str]) -> tuple[Configuration, ...]:
    """Return the configurations inside a composite one, each of the outermost module that is named like its key.

    ``vision_config`` is that of ``model.vision_tower``. A single layer (``visual_projection``) is no part.
    """
    found: dict[str, Configuration] = {}
    paths = dict.fromkeys(layers)
    for key, values in config.items():
        if not isinstance(values, Mapping) or not (match := PARTS.fullmatch(key)):
            continue
        word = match[1] or key
        named = re.compile(rf"(?:^|[./])(?:{WORDS.get(word, re.escape(word))})[^./]*")
        for path in paths:
            inside = named.search(path)
            if inside is not None and inside.end() < len(path):
                found.setdefault(path[: inside.end()], Configuration(path[: inside.end()], key, values))
    return tuple(found.values())


def _tied(first: ModelTensor, other: ModelTensor, arrays: Mapping[str, Array]) -> bool:
    """Whether a head and an embedding, or two embeddings, are equal: one memory under two names."""
    uses = {first.role, other.role}
    embedding = "embedding" in uses and (uses == {"embedding"} or any(HEAD.search(t.name) for t in (first, other)))
    return embedding and first.shape == other.shape and np.array_equal(arrays[first.name], arrays[other.name])


def _vocabulary(tensor: ModelTensor, x: Array, config: Mapping[str, Any]) -> ModelTensor:
    """A tensor of tokens with the row of padding where that is zero; a head has one only if it is the embedding too."""
    place = config.get("pad_token_id")
    tokens = x.ndim == 2 and x.shape[0] == config.get("vocab_size") and isinstance(place, int) and place < x.shape[0]
    if not tokens or x[place].any():
        return tensor
    if tensor.role == "embedding":
        return replace(tensor, padding=place)
    if tensor.role == "dense" and HEAD.search(tensor.name):
        fans = Fans(1, x.shape[1])
        return replace(
            tensor, role="embedding", in_axes=(0,), out_axes=(1,), fans=fans, padding=place, used_as=("dense",)
        )
    return tensor


def _both(first: ModelTensor, other: ModelTensor) -> ModelTensor:
    also, used_as = (*first.also, other.name), (*first.used_as, other.role)
    if other.role == "embedding" and first.role != "embedding":
        first, used_as = replace(other, name=first.name, layer=first.layer), (*first.used_as, first.role)
    return replace(first, also=also, used_as=used_as)


def _tensor(name: str, x: Array, family: str, arrays: Mapping[str, Array]) -> ModelTensor:
    layer, _, last = name.rpartition(".")
    base = ModelTensor(
        name=name, shape=x.shape, dtype=str(x.dtype), role="parameter", kind="", layer=layer, in_axes=(),
        out_axes=tuple(range(x.ndim)), fans=None, read=lambda: x,
    )  # fmt: skip
    if last in ("bias", "beta") and x.ndim == 1:
        beside = arrays.get(f"{layer}.weight")
        fans = None if beside is None or np.ndim(beside) < 2 else _fans(np.shape(beside), in_out=_in_out(layer, family))
        return replace(base, role="bias", kind="Norm" if NORM.search(f"{layer}.weight") else "Linear", fans=fans)
    if NORM.search(name) and x.ndim == 1:
        return replace(base, role="gain", kind="GemmaRMSNorm" if family.startswith("gemma") else "Norm")
    if TOKEN.search(name):
        return replace(base, role="position")
    if last != "weight" or x.ndim < 2:
        return base
    if x.ndim == 2 and EMBEDDING.search(name):
        return replace(base, role="embedding", kind="Embedding", in_axes=(0,), out_axes=(1,), fans=Fans(1, x.shape[1]))
    return _kernel(base, family)


def _in_out(layer: str, family: str) -> bool:
    return family in IN_OUT and re.search(IN_OUT[family], f"{layer}.weight") is not None


def _fans(shape: tuple[int, ...], *, in_out: bool = False, groups: int = 1) -> Fans:
    if min(shape) < 1:
        return Fans(1, 1)
    return compute_fans(shape, groups=groups, in_axis=0 if in_out else 1, out_axis=1 if in_out else 0)


def _kernel(base: ModelTensor, family: str) -> ModelTensor:
    """A dense layer or a convolution; one input channel among many outputs is a depthwise one."""
    in_out, shape = _in_out(base.layer, family), base.shape
    groups = shape[0] if len(shape) > 2 and shape[1] == 1 else 1
    fans = _fans(shape, in_out=in_out, groups=groups)
    role: TensorRole = "dense" if len(shape) == 2 else "convolution"
    kind = "Conv1D" if in_out else "Linear" if len(shape) == 2 else f"Conv{len(shape) - 2}d"
    law = rule("pytorch").law(WeightSpec(base.name, shape, fans, "weight", "hidden")) if not in_out else UNKNOWN
    packed = re.search(r"(c_attn|qkv(_proj)?)$", base.layer) and fans.fan_out == 3 * fans.fan_in
    width = fans.fan_in
    parts = tuple(Part(name, i * width, (i + 1) * width) for i, name in enumerate("qkv")) if packed else ()
    axes = ((0,), (1,)) if in_out else ((1,), (0,))
    return replace(
        base,
        role=role,
        kind=kind,
        in_axes=axes[0],
        out_axes=axes[1],
        fans=fans,
        default=law,
        groups=groups,
        parts=parts,
    )
