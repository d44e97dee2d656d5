"""Real faults of initialization and their mended twins, audited: ``make museum`` writes docs/museum.md.

An exhibit is a pinned version's own code, or a reproduction of a few lines that says so.
"""

from __future__ import annotations

import math
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

import torch  # noqa: E402
import transformers  # noqa: E402
from torch import nn  # noqa: E402

import weightinit.torch as wt  # noqa: E402
from weightinit.auditing.model_report import ModelReport  # noqa: E402
from weightinit.auditing.models import audit_model  # noqa: E402
from weightinit.auditing.named_models import model_of_arrays  # noqa: E402
from weightinit.fans import Fans, compute_fans  # noqa: E402

transformers.logging.set_verbosity_error()
VERSIONS = ("torch", "transformers", "keras", "jax", "flax")
SMALL = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128, "vocab_size": 500,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


@dataclass(frozen=True)
class Exhibit:
    """A fault, how it comes about, and its twin; ``made``: the versions that have it, or that it is a reproduction.

    ``fault`` and ``twin`` return an audit for a seed; ``kind`` and ``cause`` are what the audit must find and say.
    ``cost`` returns what the fault costs, in words; it is measured.
    """

    title: str
    made: str
    thread: str
    story: str
    fault: Callable[[int], ModelReport]
    twin: Callable[[int], ModelReport]
    kind: str
    cause: str
    cost: Callable[[], str] | None = None


def of_model(make: Callable[[], nn.Module], expected: Any = None) -> Callable[[int], ModelReport]:
    """Return the audit of a model by seed."""

    def audit(seed: int) -> ModelReport:
        torch.manual_seed(seed)
        return wt.audit(make(), expected)

    return audit


def of_arrays(make: Callable[[int], dict[str, np.ndarray]], expected: Any = None) -> Callable[[int], ModelReport]:
    """Return the audit of named arrays by seed, as a file would hold them."""
    return lambda seed: audit_model(model_of_arrays(make(seed)), expected)


def above(make: Callable[[], nn.Module], classes: int, **inputs: Any) -> float:
    """Return how far a model's first loss on random tokens lies above that of equal chances."""
    torch.manual_seed(0)
    model = make().eval()
    tokens = torch.randint(3, classes, (8, 32))
    with torch.no_grad():
        logits = model(input_ids=tokens, **dict.fromkeys(inputs, tokens)).logits
    labels = torch.randint(3, classes, tokens.shape)
    return float(nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())) - math.log(logits.shape[-1])


def losses(fault: Callable[[], nn.Module], twin: Callable[[], nn.Module], classes: int = 500, **inputs: Any) -> str:
    """Return the first losses of both above ln(classes), in words."""
    a, b = above(fault, classes, **inputs), above(twin, classes, **inputs)
    return f"its first loss lies {a:.2f} above ln({classes}), the twin's {b:.2f}"


def spread(fault: Callable[[], nn.Module], twin: Callable[[], nn.Module], size: int) -> str:
    """Return the stds of both classifiers' scores on random images, in words."""
    stds = []
    for make in (fault, twin):
        torch.manual_seed(0)
        model = make().train()
        with torch.no_grad():
            stds.append(float(model(torch.randn(32, 3, size, size)).logits.std()))
    return f"std of its scores {stds[0]:.2g}, of the twin's {stds[1]:.2g}"


# Faults in transformers


def gpt2() -> nn.Module:
    config = transformers.GPT2Config(n_layer=12, n_embd=64, n_head=4, **{k: SMALL[k] for k in ("vocab_size",)},
                                     bos_token_id=1, eos_token_id=2)  # fmt: skip
    return transformers.GPT2LMHeadModel(config)


def gpt2_unscaled() -> nn.Module:
    model = gpt2()
    for name, parameter in model.named_parameters():
        if name.endswith("c_proj.weight"):
            nn.init.normal_(parameter, std=model.config.initializer_range)
    return model


def residual_cost() -> str:
    """Growth of the stream over the blocks, with and without scaling."""
    sizes = []
    for make in (gpt2_unscaled, gpt2):
        torch.manual_seed(0)
        model = make().eval()
        with torch.no_grad():
            states = model(input_ids=torch.randint(3, 500, (8, 32)), output_hidden_states=True).hidden_states
        sizes.append(float(states[-2].std() / states[0].std()))
    return f"the stream grows {sizes[0]:.2f} times over 11 blocks, the twin's {sizes[1]:.2f} times"


def mobilevit() -> nn.Module:
    return transformers.MobileViTForImageClassification(
        transformers.MobileViTConfig(
            hidden_sizes=[16, 24, 32],
            neck_hidden_sizes=[8, 16, 16, 24, 24, 32, 64],
            num_attention_heads=2,
            image_size=64,
            num_labels=10,
        )
    )


def mobilevit_mended() -> nn.Module:
    model = mobilevit()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
    return model


def blip(**vision: Any) -> nn.Module:
    size = {key: SMALL[key] for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")}
    config = transformers.BlipConfig(
        text_config={**SMALL, "encoder_hidden_size": 64},
        vision_config={**size, "image_size": 32, "patch_size": 8, **vision},
    )
    return transformers.BlipForConditionalGeneration(config)


def blip_cost() -> str:
    torch.manual_seed(0)
    stds = []
    for model in (blip(), blip(initializer_range=0.02)):
        with torch.no_grad():
            embedded = model.vision_model.embeddings(torch.randn(4, 3, 32, 32))
        stds.append(float(embedded.std(0).mean()))
    return f"two images differ by {stds[0]:.1e} after the embedding, the twin's by {stds[1]:.1e}"


def t5(**options: Any) -> nn.Module:
    return transformers.T5ForConditionalGeneration(
        transformers.T5Config(
            d_model=64,
            d_kv=16,
            d_ff=128,
            num_layers=2,
            num_heads=4,
            vocab_size=500,
            decoder_start_token_id=0,
            **options,
        )
    )


def openai_gpt() -> nn.Module:
    return transformers.OpenAIGPTLMHeadModel(
        transformers.OpenAIGPTConfig(n_layer=2, n_embd=64, n_head=4, vocab_size=500, initializer_range=0.1)
    )


def openai_gpt_mended() -> nn.Module:
    model = openai_gpt()
    for module in model.modules():
        if type(module).__name__ == "Conv1D":
            nn.init.normal_(module.weight, std=model.config.initializer_range)
    return model


def funnel(**options: Any) -> nn.Module:
    config = transformers.FunnelConfig(
        vocab_size=500,
        d_model=64,
        n_head=4,
        d_head=16,
        d_inner=128,
        block_sizes=[1, 1],
        num_decoder_layers=1,
        **options,
    )
    return transformers.FunnelForMaskedLM(config)


def mamba(**options: Any) -> nn.Module:
    wide = {"hidden_size": 768, "num_hidden_layers": 2, "vocab_size": 500, **options}
    return transformers.MambaForCausalLM(transformers.MambaConfig(**wide))


# Faults in PyTorch


def encoder() -> nn.Module:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(64, 4, 128, batch_first=True), 3)


def decoder() -> nn.Module:
    return nn.TransformerDecoder(nn.TransformerDecoderLayer(64, 4, 128, batch_first=True), 3)


def apart(make: Callable[[], nn.Module]) -> nn.Module:
    """Draw every module of cloned layers anew."""
    model = make()
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
        if isinstance(module, nn.MultiheadAttention):
            module._reset_parameters()
    return model


def attention_apart() -> nn.Module:
    model = nn.MultiheadAttention(64, 4)
    for part in (*model.in_proj_weight.data.chunk(3), model.out_proj.weight):
        nn.init.xavier_uniform_(part)
    return model


def depthwise(fan: int | None = None) -> nn.Module:
    model = nn.Conv2d(512, 512, 3, groups=512, bias=False)
    if fan is None:
        nn.init.kaiming_normal_(model.weight, mode="fan_out", nonlinearity="relu")
    else:
        nn.init.normal_(model.weight, std=math.sqrt(2 / fan))
    return model


def relu_layer(kaiming: bool) -> nn.Module:
    model = nn.Linear(256, 256, bias=False)
    if kaiming:
        nn.init.kaiming_uniform_(model.weight, nonlinearity="relu")
    return model


def half(dtype: torch.dtype) -> nn.Module:
    model = nn.Linear(2048, 2048, bias=False, dtype=torch.bfloat16)
    model.weight.data.copy_(torch.empty(2048, 2048, dtype=dtype).uniform_(-1, 1) / math.sqrt(2048))
    return model


def cut(bounds: float) -> nn.Module:
    model = nn.Linear(256, 256, bias=False)
    nn.init.trunc_normal_(model.weight, std=0.02, a=-bounds, b=bounds)
    return model


def materialized(reset: bool) -> nn.Module:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(300, 300), nn.ReLU(), nn.Linear(300, 300))
    for module in model.to_empty(device="cpu"):
        if isinstance(module, nn.Linear):
            if reset:
                module.reset_parameters()
            else:  # what an allocator hands out: bits of something else
                module.weight.data.view(torch.int32).random_(0, 2**30)
                nn.init.zeros_(module.bias)
    return model


def padded(redraw: bool) -> nn.Module:
    model = nn.Embedding(500, 64, padding_idx=0)
    if redraw:
        nn.init.normal_(model.weight, std=0.02)
    return model


# Faults in JAX and Keras


def jax_normal(dtype: str) -> Callable[[int], dict[str, np.ndarray]]:
    def make(seed: int) -> dict[str, np.ndarray]:
        import jax

        drawn = 0.02 * jax.random.normal(jax.random.key(seed), (512, 512), dtype)
        return {"dense.weight": np.asarray(drawn.astype("bfloat16")).astype(np.float32)}

    return make


def keras_layers(reused: bool) -> Callable[[int], dict[str, np.ndarray]]:
    """Two dense layers of Keras, as arrays in PyTorch's layout."""

    def make(seed: int) -> dict[str, np.ndarray]:
        import keras

        one = keras.initializers.GlorotUniform(seed=seed)
        both = [one, one if reused else keras.initializers.GlorotUniform(seed=seed + 1000)]
        return {f"dense_{i}.weight": np.asarray(each((64, 64))).T for i, each in enumerate(both)}

    return make


def keras_attention(misread: bool) -> Callable[[int], ModelReport]:
    """Kernel (inputs, heads, units of a head) of Keras' attention by Glorot's law."""

    def audit(seed: int) -> ModelReport:
        shape = (32, 8, 64)
        true = Fans(32, 8 * 64)
        fans = compute_fans(shape) if misread else true
        values = np.random.default_rng(seed).uniform(-1, 1, shape) * math.sqrt(6 / sum(fans))
        model = model_of_arrays({"query.weight": values[..., 0].T.astype(np.float32)})
        (tensor,) = model.tensors
        kernel = replace(
            tensor, shape=shape, in_axes=(0,), out_axes=(1, 2), fans=true, read=lambda: values.astype(np.float32)
        )
        return audit_model(replace(model, tensors=(kernel,)), "glorot_uniform")

    return audit


def flax_einsum(misread: bool) -> Callable[[int], ModelReport]:
    """The kernel of ``nnx.Einsum``, (inputs, heads, units), by its default or with its axes said."""
    law = "lecun_normal(distribution='truncated_normal')"

    def audit(seed: int) -> ModelReport:
        import jax
        from flax import nnx

        import weightinit.jax as wj

        options = {} if misread else {"kernel_init": jax.nn.initializers.lecun_normal(in_axis=0, out_axis=(1, 2))}
        return wj.audit(nnx.Einsum("abc,cde->abde", (64, 4, 16), rngs=nnx.Rngs(seed), **options), law)

    return audit


def complex_truncated() -> float:
    """Std of JAX's complex ``truncated_normal`` kernels in the std that ``variance_scaling`` means, over 20 seeds."""
    import jax

    draw = jax.nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal", dtype="complex64")
    square = [float((abs(draw(jax.random.key(seed), (512, 512))) ** 2).mean()) for seed in range(20)]
    return math.sqrt(512 * float(np.mean(square)))


REPRODUCTION = "a reproduction of a few lines"
EXHIBITS = (
    Exhibit(
        "GPT-2 without residual scaling", f"transformers 5.14.1; {REPRODUCTION}; right from 5.15.0",
        "transformers 47458", "A name pattern matched nothing, so both `c_proj` kept .02 in place of .02/sqrt(2*12).",
        of_model(gpt2_unscaled), of_model(gpt2), "law", "residual scaling not applied", residual_cost,
    ),
    Exhibit(
        "MobileViT draws its batch norms", "transformers 5.24.0, its own code", "",
        "The gains of batch norm are drawn N(0, .02²) in place of 1; each divides the signal by about 50.",
        of_model(mobilevit), of_model(mobilevit_mended), "scale", "expected 1 everywhere: it was drawn",
        lambda: spread(mobilevit, mobilevit_mended, 64),
    ),
    Exhibit(
        "BLIP's dead tower", "transformers 5.24.0, its own code", "",
        "The default of the vision configuration is `initializer_range=1e-10`: a tower that starts at nothing.",
        of_model(blip), of_model(lambda: blip(initializer_range=0.02)), "dead", "a dead layer", blip_cost,
    ),
    Exhibit(
        "T5 stays tied", "transformers 5.24.0, its own code", "transformers 26441",
        "`tie_word_embeddings=False` unties nothing. It only leaves out the division by sqrt(d_model) before the head.",
        of_model(lambda: t5(tie_word_embeddings=False)), of_model(t5), "tied", "scale_decoder_outputs=False",
        lambda: losses(lambda: t5(tie_word_embeddings=False), t5, decoder_input_ids=True),
    ),
    Exhibit(
        "OpenAI-GPT ignores initializer_range", "transformers 5.24.0, its own code", "",
        "Its dense layers are `Conv1D`, which `_init_weights` doesn't know: they stay at .02 whatever the "
        "configuration says (here .1).",
        of_model(openai_gpt), of_model(openai_gpt_mended), "law", "it ignores initializer_range",
        lambda: losses(openai_gpt, openai_gpt_mended),
    ),
    Exhibit(
        "Funnel's loud head", "transformers 5.24.0, its own code", "",
        "Embeddings are N(0, 1) and are the head as well.",
        of_model(funnel), of_model(lambda: funnel(initializer_std=0.02)), "loud", "above ln(500)",
        lambda: losses(funnel, lambda: funnel(initializer_std=0.02)),
    ),
    Exhibit(
        "Mamba's loud head", "transformers 5.24.0, its own code", "",
        "The default `initializer_range=0.1` is the std of embeddings that are the head as well: scores of std "
        ".1 sqrt(768).",
        of_model(mamba), of_model(lambda: mamba(initializer_range=0.02)), "loud", "above ln(500)",
        lambda: losses(mamba, lambda: mamba(initializer_range=0.02)),
    ),
    Exhibit(
        "nn.TransformerEncoder clones its layers", "torch 2.13.0, its own code", "pytorch 86274",
        "One layer is drawn, the others are deep copies of it.",
        of_model(encoder), of_model(lambda: apart(encoder)), "copy", "drawn once and cloned",
    ),
    Exhibit(
        "nn.TransformerDecoder clones its layers", "torch 2.13.0, its own code", "pytorch 86274",
        "The same in the decoder.",
        of_model(decoder), of_model(lambda: apart(decoder)), "copy", "drawn once and cloned",
    ),
    Exhibit(
        "nn.MultiheadAttention's packed kernel", "torch 2.13.0, its own code", "pytorch 166378",
        "Queries, keys and values are drawn by Glorot's law as one matrix: each has half the variance that it has "
        "apart. Held against `glorot_uniform`; without a law the audit notes it.",
        of_model(lambda: nn.MultiheadAttention(64, 4), "glorot_uniform"), of_model(attention_apart, "glorot_uniform"),
        "law", "drawn as one packed matrix (q, k, v)",
    ),
    Exhibit(
        "Depthwise kernels by fan-out", "torch 2.13.0, its own code", "pytorch 23854",
        '`kaiming_normal_(mode="fan_out")` counts the outputs of all groups.',
        of_model(depthwise), of_model(lambda: depthwise(9)), "law", "counted over all 512 groups: 4608 for 9",
    ),
    Exhibit(
        "kaiming_uniform_(a=sqrt(5))", "torch 2.13.0, its own code", "pytorch 15314",
        "The default of `nn.Linear` bears He's name and has a sixth of his variance. Held against `he_uniform`.",
        of_model(lambda: relu_layer(False), "he_uniform"), of_model(lambda: relu_layer(True), "he_uniform"),
        "law", "it looks like pytorch",
    ),
    Exhibit(
        "Uniform numbers of bfloat16 in PyTorch", "torch 2.13.0, its own code", "",
        "`uniform_` of bfloat16 rounds down, so that its mean is too low. The twin draws float32 and casts.",
        of_model(lambda: half(torch.bfloat16)), of_model(lambda: half(torch.float32)), "coarse", "drawn in bfloat16",
    ),
    Exhibit(
        "Normal numbers of bfloat16 in JAX", "jax 0.10.2, its own code", "",
        "`jax.random.normal` of bfloat16 has 128 values and a shifted mean. The twin draws float32 and casts.",
        of_arrays(jax_normal("bfloat16"), "normal(std=0.02)"), of_arrays(jax_normal("float32"), "normal(std=0.02)"),
        "coarse", "128 distinct values",
    ),
    Exhibit(
        "A reused Keras initializer", "keras 3.15.1, its own code", "",
        "An initializer with a seed returns the same numbers each time: layers that share it are equal.",
        of_arrays(keras_layers(True)), of_arrays(keras_layers(False)), "copy", "is a copy of dense_0.weight",
    ),
    Exhibit(
        "Keras' attention, axes misread", f"keras before 3.15; {REPRODUCTION}", "",
        "The kernel (inputs, heads, units) was read as a convolution's, with the inputs for its size.",
        keras_attention(True), keras_attention(False), "law", "were read as a convolution's",
    ),
    Exhibit(
        "Flax' einsum, axes misread", "flax 0.12.8, its own code", "",
        "`nnx.Einsum` draws its kernel (inputs, heads, units) as a convolution's, with the inputs for its size. Held "
        "against its own default by true fans.",
        flax_einsum(True), flax_einsum(False), "law", "were read as a convolution's: fans (256, 1024) for (64, 64)",
    ),
    Exhibit(
        "Bounds in absolute values", "torch 2.13.0, its own code", "",
        "`trunc_normal_` cuts at ±2 whatever the std: at .02 that is 100 sigma and cuts nothing. Held against a normal "
        "cut at two sigma.",
        of_model(lambda: cut(2.0), "truncated_normal(std_before=0.02)"),
        of_model(lambda: cut(0.04), "truncated_normal(std_before=0.02)"), "law", "cuts at ±2 whatever its std",
    ),
    Exhibit(
        "Memory that was never written", f"torch 2.13.0; {REPRODUCTION}", "",
        "A model made on the meta device and given memory by `to_empty`, whose layers nothing resets.",
        of_model(lambda: materialized(False)), of_model(lambda: materialized(True)), "unwritten", "never written",
    ),
    Exhibit(
        "Padding rows drawn", f"torch 2.13.0; {REPRODUCTION}", "",
        "`nn.Embedding(padding_idx=0)` starts with a zero row; initializing the weight again fills it.",
        of_model(lambda: padded(True)), of_model(lambda: padded(False)), "padding", "row 0 stands for padding",
    ),
)  # fmt: skip


def found_in(exhibit: Exhibit, seed: int) -> list[str]:
    """Return the sentences of the fault's findings that have its kind and cause."""
    report = exhibit.fault(seed)
    return [f.sentence for f in report.faults if f.kind == exhibit.kind and exhibit.cause in f.sentence]


def page() -> str:
    """Return the page: each exhibit with what the audit says of it and of its twin."""
    from importlib.metadata import version

    versions = ", ".join(f"{name} {version(name).partition('+')[0]}" for name in VERSIONS)
    lines = [
        "# Museum of initializations", "",
        "Real faults of initialization, each audited beside its mended twin. `make museum` makes this page again, in",
        "the environment of `make test-adapters`. Every fault is found with its cause and every twin passes, over 20",
        "seeds: `tests/adapters/test_museum.py`. Models are small: `docs/museum.py` has their sizes.",
        "", f"Versions: {versions}.", "",
    ]  # fmt: skip
    for number, exhibit in enumerate(EXHIBITS, 1):
        sentences = found_in(exhibit, 0)
        twin = exhibit.twin(0)
        more = len(sentences) - 1
        lines += [f"## {number}. {exhibit.title}", "", textwrap.fill(exhibit.story, 120), ""]
        lines += [f"- From: {exhibit.made}." + (f" Thread: {exhibit.thread}." if exhibit.thread else "")]
        said = (sentences[0] if sentences else "NOT FOUND") + (f" (and {more} more alike)" if more > 0 else "")
        verdict = textwrap.wrap(said, 114, break_long_words=False, break_on_hyphens=False)
        lines += ["- The audit says:", "", *(f"      {line}" for line in verdict), ""]
        lines += [f"- Twin: {'follows' if twin.ok else 'DIFFERS'}."]
        if exhibit.cost is not None:
            lines += [f"- Cost: {exhibit.cost()}."]
        lines.append("")
    measured = (
        "JAX's complex `truncated_normal` divides by .9531, where a complex normal cut at two sigma has a std of "
        f"sqrt(1 - 4 e^-4/(1 - e^-4)) = .9620: kernels have {complex_truncated():.4f} times the std that is meant "
        "(jax 0.10.2; 20 seeds of 512x512). A hundredth of a std costs nothing; large kernels show it."
    )
    candidate = (
        "Llava's patch embedding was looked at too: in transformers 5.24.0 its CLIP tower has the laws that CLIP alone "
        "has, also at another `initializer_range`."
    )
    lines += ["## Seen, and no exhibit", "", textwrap.fill(measured, 120), "", textwrap.fill(candidate, 120)]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    (ROOT / "docs/museum.md").write_text(page(), encoding="utf-8")
