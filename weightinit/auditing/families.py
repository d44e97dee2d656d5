"""Laws of known families of models, from the model's own configuration: ``gpt2``, ``bert``, ``llama``, ``t5`` ..."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, TypeAlias

import numpy as np

from weightinit.arrays import Array
from weightinit.auditing.expected import LawStating, Mistake
from weightinit.laws import UNKNOWN, Law
from weightinit.model import ModelTensor
from weightinit.schemes.base import ONE, ZERO

Config: TypeAlias = Mapping[str, Any]
SCALES: Final = ("initializer_range", "init_std", "initializer_factor")
"""Keys under which a configuration names the std of its weights, in the order in which they count."""


@dataclass(frozen=True)
class Expectation:
    """A law that a tensor may follow, ``label`` in words; ``mistakes`` that are often made in its place.

    ``through``: what is done with the values first, such as the inverse of how they were made. ``source``: the
    rule behind the law, if any.
    """

    law: Law
    label: str
    mistakes: tuple[Mistake, ...] = ()
    through: Callable[[Array], Array] | None = None
    source: LawStating | None = None


Expectations: TypeAlias = tuple[Expectation, ...]
"""Laws of which a tensor may follow any; none where nothing is known."""

Family: TypeAlias = Callable[[ModelTensor, Config], Expectations]


def of_std(std: float, label: str = "", *mistakes: Mistake) -> Expectations:
    """Return N(0, std²), in words ``label``."""
    law = Law("normal", 0.0, std)
    return (Expectation(law, label or f"{std:.3g}", mistakes),) if std else (Expectation(ZERO, "zeros"),)


def constant(value: float, label: str = "") -> Expectations:
    """Return the law of one value everywhere."""
    law = Law("constant", value, 0.0, (value, value))
    return (Expectation(law, label or f"{value:.4g} everywhere"),)


def scale_of(config: Config) -> tuple[str, float] | None:
    """Return the key and the std of weights that a configuration names, its text part's where the whole has none."""
    for part in (config, config.get("text_config") or {}):
        for key in SCALES:
            value = part.get(key) if isinstance(part, Mapping) else None
            if isinstance(value, int | float) and not isinstance(value, bool):
                return key, float(value)
    return None


def configured(tensor: ModelTensor, config: Config) -> Expectations:
    """What holds for most models of ``transformers``: weights N(0, initializer_range²), biases 0, norms 1."""
    named = scale_of(config)
    if tensor.role == "gain":
        return constant(0.0, "zeros, added to 1") if "Gemma" in tensor.kind else (Expectation(ONE, "ones"),)
    if tensor.role == "bias":
        default = _own(tensor) if tensor.kind == "MultiheadAttention" else ()
        return default or (Expectation(ZERO, "zeros"),)
    if tensor.role in ("lora_in", "lora_out") or tensor.kind in (
        "MultiheadAttention",
        "NonDynamicallyQuantizableLinear",
    ):
        return _own(tensor)
    if named is None or tensor.role not in ("dense", "convolution", "embedding") or not tensor.kind:
        return ()
    key, std = named
    return of_std(std, f"{key}={std:g}", *_ignores(tensor, key))


def _own(tensor: ModelTensor) -> Expectations:
    return (Expectation(tensor.default, f"{tensor.kind}'s own default"),) if tensor.default.known else ()


def _ignores(tensor: ModelTensor, key: str) -> tuple[Mistake, ...]:
    """The module's own default, and the library's, in place of what the configuration says.

    A factor multiplies whatever the library's std is.
    """
    if "factor" in key:
        return ()
    mistakes = [Mistake("std .02", Law("normal", 0.0, 0.02), f"it ignores {key}")]
    if tensor.default.known and tensor.default.std > 0:
        mistakes.append(Mistake(f"{tensor.kind}'s own default", tensor.default, f"it ignores {key}: never initialized"))
    return tuple(mistakes)


def gpt2(tensor: ModelTensor, config: Config) -> Expectations:
    """N(0, .02²), residual projections over sqrt(2 n_layer) (Radford et al. 2019, sec. 2.3)."""
    std, layers = float(config.get("initializer_range", 0.02)), _count(config, "n_layer", "num_hidden_layers")
    if re.search(r"(^|\.)c_proj\.weight$", tensor.name):
        return of_std(
            std / math.sqrt(2 * layers),
            f"{_short(std)}/sqrt(2*{layers})",
            Mistake("no scaling", Law("normal", 0.0, std), "residual scaling not applied"),
            Mistake(
                "one branch", Law("normal", 0.0, std / math.sqrt(layers)), "scaled for one branch a block; it has two"
            ),
            Mistake("no root", Law("normal", 0.0, std / (2 * layers)), "scaled by 1/(2*blocks); the root is missing"),
        )
    return configured(tensor, {"initializer_range": std})


def t5(tensor: ModelTensor, config: Config) -> Expectations:
    """T5's stds by fan-in, queries also over sqrt(d_kv) (Raffel et al. 2020; mesh's initializers)."""
    factor, model = float(config.get("initializer_factor", 1.0)), float(config["d_model"])
    kv, heads, wide = float(config["d_kv"]), float(config["num_heads"]), float(config["d_ff"])
    if tensor.role == "gain":
        return constant(factor)
    if tensor.role == "bias":
        return constant(0.0, "zeros")
    for pattern, std, label in (
        (r"(shared|embed_tokens)\.weight$", factor, "initializer_factor"),
        (r"\.q\.weight$", factor / math.sqrt(model * kv), "1/sqrt(d_model*d_kv)"),
        (r"\.o\.weight$", factor / math.sqrt(heads * kv), "1/sqrt(num_heads*d_kv)"),
        (r"\.wo\.weight$", factor / math.sqrt(wide), "1/sqrt(d_ff)"),
        (r"(\.[kv]|\.wi(_\d)?|relative_attention_bias|qa_outputs|dense|out_proj)\.weight$", factor / math.sqrt(model),
         "1/sqrt(d_model)"),
        (r"lm_head\.weight$", factor, "initializer_factor"),
    ):  # fmt: skip
        if re.search(pattern, tensor.name):
            without = Mistake("normal(std=1)", Law("normal", 0.0, 1.0), "not divided by the root of its fan-in")
            return of_std(std, label, *([without] if std != 1 else []))
    return ()


def vit(tensor: ModelTensor, config: Config) -> Expectations:
    """N(0, initializer_range²), cut at two sigma in some versions; the mask token 0 (Dosovitskiy et al. 2021)."""
    if "mask_token" in tensor.name:
        return constant(0.0, "zeros")
    if tensor.role in ("dense", "convolution", "position"):
        std = float(config.get("initializer_range", 0.02))
        cut = Law("truncated_normal", 0.0, std * 0.87962566, (-2 * std, 2 * std))
        label = f"initializer_range={std:g}"
        return (*of_std(std, label), Expectation(cut, f"{label}, cut at two sigma"))
    return configured(tensor, config)


def convnext(tensor: ModelTensor, config: Config) -> Expectations:
    """N(0, initializer_range²); factors of branches at layer_scale_init_value (Liu et al. 2022)."""
    if "layer_scale" in tensor.name:
        return constant(float(config.get("layer_scale_init_value", 1e-6)), "layer_scale_init_value")
    return configured(tensor, config)


def whisper(tensor: ModelTensor, config: Config) -> Expectations:
    """N(0, init_std²); positions of the encoder are sinusoids (Radford et al. 2023)."""
    if re.search(r"encoder\.embed_positions\.weight$", tensor.name):
        return (Expectation(ZERO, "sinusoids", through=_less_sinusoids),)
    return configured(tensor, config)


def funnel(tensor: ModelTensor, config: Config) -> Expectations:
    """Std 1/sqrt(fan_in+fan_out), embeddings N(0, 1), where initializer_std is none (Dai et al. 2020, code)."""
    std = config.get("initializer_std")
    if tensor.role == "dense" and tensor.kind == "Linear" and tensor.fans:
        return of_std(std, "initializer_std") if std else of_std(sum(tensor.fans) ** -0.5, "1/sqrt(fan_in+fan_out)")
    if tensor.name.endswith("word_embeddings.weight"):
        return of_std(std or 1.0, "initializer_std" if std else "1")
    return configured(tensor, config)


def mamba(tensor: ModelTensor, config: Config) -> Expectations:
    """S4D-real states, steps log-uniform through softplus; convolution and way out by PyTorch (Gu & Dao 2023)."""
    name = tensor.name
    if name.endswith("A_log"):
        return (Expectation(ZERO, "log(1, 2, ...)", through=_less_counting),)
    if name.endswith(".D"):
        return constant(1.0, "ones")
    if name.endswith(("dt_bias", "dt_proj.bias")):
        return (_steps(config),)
    if name.endswith("dt_proj.weight"):
        bound = float(config["time_step_rank"]) ** -0.5 * float(config.get("time_step_scale", 1.0))
        if config.get("time_step_init_scheme", "random") == "constant":
            return constant(bound, "time_step_rank**-.5")
        return (Expectation(Law("uniform", 0.0, bound / math.sqrt(3), (-bound, bound)), "U(±time_step_rank**-.5)"),)
    if name.endswith("conv1d.weight"):
        return _own(tensor)
    if name.endswith("mixer.out_proj.weight") and tensor.fans:
        layers = _count(config, "num_hidden_layers", "n_layer")
        bound = 1 / math.sqrt(tensor.fans.fan_in * (layers if config.get("rescale_prenorm_residual") else 1))
        return (Expectation(Law("uniform", 0.0, bound / math.sqrt(3), (-bound, bound)), "U(±1/sqrt(fan_in))"),)
    return configured(tensor, config)


FAMILIES: Final[Mapping[str, Family]] = {
    "gpt2": gpt2,
    "t5": t5,
    "mt5": t5,
    "vit": vit,
    "deit": vit,
    "convnext": convnext,
    "whisper": whisper,
    "funnel": funnel,
    "mamba": mamba,
    "mamba2": mamba,
    **dict.fromkeys(
        (
            *(
                "albert",
                "bert",
                "blip",
                "camembert",
                "distilbert",
                "electra",
                "ernie",
                "gpt_bigcode",
                "gpt_neo",
            ),
            *(
                "gpt_neox",
                "gptj",
                "gemma",
                "gemma2",
                "llama",
                "mistral",
                "mixtral",
                "mobilevit",
                "olmo",
                "olmo2",
                "openai-gpt",
                "opt",
            ),
            *("phi", "phi3", "qwen2", "qwen3", "roberta", "smollm3", "stablelm", "starcoder2", "xlm-roberta"),
        ),
        configured,
    ),
}
"""Families by the name that ``transformers`` gives them, as in a configuration's ``model_type``."""

KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "gpt2": ("n_layer",),
    "t5": ("d_model", "d_kv", "num_heads", "d_ff"),
    "mt5": ("d_model", "d_kv", "num_heads", "d_ff"),
    "mamba": ("time_step_rank",),
}
"""Keys that a family's configuration must have."""


def family(name: str, config: Config) -> Family:
    """Return a family by name. Raises ValueError for an unknown one, and where its configuration lacks a key."""
    if name not in FAMILIES:
        nearest = (get_close_matches(name, FAMILIES, 1, 0.0) or ["gpt2"])[0]
        raise ValueError(f"a family is one of {', '.join(sorted(FAMILIES))}; got {name!r}. Pass {nearest!r}.")
    if missing := [key for key in KEYS.get(name, ()) if not isinstance(config.get(key), int | float)]:
        raise ValueError(
            f"family {name!r} needs the model's configuration with {', '.join(missing)}; got "
            f"{', '.join(sorted(config)[:8]) or 'none'}. Give the model a config, or pass its config.json."
        )
    return FAMILIES[name]


def _steps(config: Config) -> Expectation:
    low, high = float(config.get("time_step_min", 0.001)), float(config.get("time_step_max", 0.1))
    a, b = math.log(low), math.log(high)
    law = Law("uniform", (a + b) / 2, (b - a) / math.sqrt(12), (a, b))
    floor = float(config.get("time_step_floor", 0.0))
    if floor > low:
        return Expectation(UNKNOWN, "steps, cut from below")
    return Expectation(law, f"softplus of it log-uniform from {low:g} to {high:g}", through=_log_softplus)


def _log_softplus(x: Array) -> Array:
    result: Array = np.log(np.logaddexp(0.0, x.astype(np.float64))).astype(np.float32)
    return result


def _less_counting(x: Array) -> Array:
    """``exp(x)`` less 1, 2, 3, ... along its last framework axis, to a thousandth: zeros where ``x`` is its log."""
    counted: Array = np.exp(x.astype(np.float64))
    return np.round(counted - np.arange(1, x.shape[-1] + 1), 3)


def _less_sinusoids(x: Array) -> Array:
    length, units = x.shape
    rates = np.exp(-math.log(10_000) / max(units // 2 - 1, 1) * np.arange(units // 2))
    angles = np.arange(length)[:, None] * rates
    result: Array = np.round(x - np.concatenate([np.sin(angles), np.cos(angles)], axis=1), 3)
    return result


def _count(config: Config, *keys: str) -> int:
    return next((int(config[key]) for key in keys if config.get(key)), 1)


def _short(value: float) -> str:
    return f"{value:g}".removeprefix("0")
