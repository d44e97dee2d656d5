"""Every architecture as a small network, and samples that enter it."""

from __future__ import annotations

import numpy as np

from weightinit.arrays import Array
from weightinit.nn import Network
from weightinit.nn.architectures import (
    Form,
    autoencoder,
    cnn,
    deep_linear,
    layers,
    mlp,
    residual_mlp,
    resnet,
    transformer,
)

IMAGE = Form((8, 8, 1))
TOKENS = Form((6,), 5, True)


def small(dtype: str = "float64") -> dict[str, Network]:
    """Networks of each architecture and of its options."""
    return {
        "mlp": mlp(10, 3, "selu", depth=2, width=8, dtype=dtype),
        "deep_linear": deep_linear(10, 3, "relu", depth=2, width=8, dtype=dtype),
        "autoencoder": autoencoder(10, 10, "tanh", depth=2, width=8, code=3, dtype=dtype),
        "residual_mlp": residual_mlp(10, 3, "relu", depth=2, width=8, dtype=dtype),
        "residual_mlp, normed": residual_mlp(
            10, 3, "gelu", depth=2, width=8, norm="rms", trained_scale=True, dtype=dtype
        ),
        "cnn": cnn(64, 3, "tanh", width=4, norm="batch", form=IMAGE, dtype=dtype),
        "cnn, group norm": cnn(
            64, 3, "tanh", width=4, norm="group", pooling="max", head="global", form=IMAGE, dtype=dtype
        ),
        "resnet": resnet(64, 3, "gelu", depth=2, width=4, form=IMAGE, dtype=dtype),
        "resnet, layer norm": resnet(64, 3, "tanh", depth=2, width=4, norm="layer", form=IMAGE, dtype=dtype),
        "resnet, post-activation": resnet(
            64, 3, "gelu", depth=2, width=4, placement="post", trained_scale="unit", form=IMAGE, dtype=dtype
        ),
        "transformer of rows": transformer(64, 3, "gelu", depth=1, width=8, heads=2, form=IMAGE, dtype=dtype),
        "transformer of patches": transformer(
            64,
            3,
            "silu",
            depth=1,
            width=8,
            heads=2,
            gated=True,
            placement="post",
            patch=[4, 4],
            form=IMAGE,
            dtype=dtype,
        ),
        "transformer of tokens": transformer(
            6, 5, "gelu", depth=1, width=8, heads=2, causal=True, tied=True, dropout=0.2, form=TOKENS, dtype=dtype
        ),
        "layers": layers(
            64,
            3,
            "relu",
            tree=[
                {"convolution": {"filters": 4, "stride": 2, "padding": "circular"}},
                "activation",
                {"residual": {"branch": ["layer_norm", {"convolution": 4}], "scale": 0.5, "trained": True}},
                "global_pooling",
            ],
            form=IMAGE,
            dtype=dtype,
        ),
    }


def inputs(net: Network, runs: int, batch: int) -> Array:
    """Return random samples (runs, batch, *in_shape)."""
    rng = np.random.default_rng(0)
    if net.takes_tokens:
        return rng.integers(0, 5, (runs, batch, *net.in_shape)).astype(net.dtype)
    return rng.standard_normal((runs, batch, *net.in_shape)).astype(net.dtype)
