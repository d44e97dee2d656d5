"""Transformers."""

from __future__ import annotations

from collections.abc import Sequence

from weightinit.activations import Activation, get
from weightinit.nn.architectures.checks import (
    check_choice,
    check_depth,
    check_number,
    check_sizes,
    check_trained,
    dtype_of,
)
from weightinit.nn.architectures.form import Form, Given
from weightinit.nn.architectures.norms import normed
from weightinit.nn.layers import (
    Attention,
    Dense,
    Dropout,
    Embedding,
    Gated,
    GlobalPooling,
    Nonlinearity,
    Patches,
    Positions,
    Sum,
)
from weightinit.nn.layers.attention import Scale
from weightinit.nn.layers.residual import Trained
from weightinit.nn.network import Network
from weightinit.nn.tree import Node, Residual


def transformer(
    inputs: int,
    outputs: int,
    activation: Activation | str,
    *,
    depth: int = 4,
    width: int = 64,
    heads: int = 4,
    expansion: int = 4,
    gated: bool = False,
    norm: str = "layer",
    placement: str = "pre",
    causal: bool = False,
    attention_scale: Scale = "sqrt",
    patch: Sequence[int] | None = None,
    tied: bool = False,
    dropout: float = 0.0,
    branch_scale: float = 1.0,
    skip_scale: float = 1.0,
    trained_scale: Trained = False,
    bias: bool = True,
    dtype: str = "float32",
    form: Given = None,
) -> Network:
    """Return a transformer of ``depth`` blocks: attention, then two dense layers, each on a residual branch.

    Tokens are the data's, or of an image its rows, or patches of ``patch`` (height, width). ``expansion``: hidden units
    of the dense layers over ``width``; ``gated``: they are gated (Shazeer 2020). ``norm``: layer, rms or none;
    ``placement``: pre, before each branch (Xiong et al. 2020), or post, behind each sum (Vaswani et al. 2017).
    ``causal``, ``attention_scale`` (sqrt or width) as of ``Attention``. ``tied``: the outputs have the weights of the
    embedding. ``dropout`` on each branch; ``branch_scale``, ``skip_scale``, ``trained_scale`` as of ``residual_mlp``.
    Outputs are those of each token where the targets are, else of the mean over tokens. Raises ValueError for data
    without positions and numbers out of range.
    """
    check_sizes(1, depth=depth, width=width, heads=heads, expansion=expansion)
    check_depth(depth)
    check_choice("norm", norm, ("layer", "rms", "none"))
    check_choice("placement", placement, ("pre", "post"))
    check_choice("attention_scale", attention_scale, ("sqrt", "width"))
    for name, value in (("branch_scale", branch_scale), ("skip_scale", skip_scale), ("dropout", dropout)):
        check_number(name, value)
    check_trained(trained_scale)
    if width % heads:
        raise ValueError(
            f"architecture.heads must divide architecture.width={width}; got {heads}. Pass architecture.heads=1."
        )
    phi = get(activation)
    data = Form.of(form, inputs)
    entry, tokens = _entry(data, width, patch, bias=bias)
    if tied and not (data.per_token and data.vocabulary == outputs):
        raise ValueError(
            "architecture.tied=true needs tokens as inputs and as targets; this data has others. "
            "Pass architecture.tied=false."
        )

    if data.ahead and not causal:
        raise ValueError(
            "architecture.causal must be true where the target of a token is the one that follows; got false. "
            "Pass architecture.causal=true."
        )

    def residual(name: str, nodes: list[Node]) -> list[Node]:
        before = normed(norm, f"{name}/norm", width) if placement == "pre" else []
        noise: list[Node] = [Dropout(f"{name}/dropout", dropout)] if dropout else []
        end = Sum(name, width, float(branch_scale), float(skip_scale), trained_scale)
        after = normed(norm, f"{name}_norm", width) if placement == "post" else []
        return [Residual(end, (*before, *nodes, *noise)), *after]

    layers: list[Node] = [*entry, Positions("positions", tokens, width)]
    for number in range(1, depth + 1):
        name = f"block/{number}"
        attention = Attention(f"{name}/attention", width, heads, causal, attention_scale, bias)
        layers += residual(f"{name}/attention", [attention])
        layers += residual(f"{name}/mlp", _mlp(f"{name}/mlp", width, expansion * width, phi, gated=gated, bias=bias))
    if placement == "pre":
        layers += normed(norm, "norm", width)
    if not data.per_token:
        layers.append(GlobalPooling("pool"))
    layers.append(Dense("output", width, outputs, "output", bias, "embedding" if tied else "", tied))
    return Network(data.shape, tuple(layers), dtype_of(dtype), width, depth)


def _mlp(name: str, width: int, hidden: int, phi: Activation, *, gated: bool, bias: bool) -> list[Node]:
    out = Dense(f"{name}/dense/2", hidden, width, "hidden", bias)
    if gated:
        return [Gated(f"{name}/gated", width, hidden, phi), out]
    first = f"{name}/dense/1"
    return [Dense(first, width, hidden, "hidden", bias), Nonlinearity(first, hidden, phi), out]


def _entry(form: Form, width: int, patch: Sequence[int] | None, *, bias: bool) -> tuple[list[Node], int]:
    """Return the layers that make tokens of the data, and the number of tokens."""
    if form.vocabulary is not None:
        return [Embedding("embedding", form.vocabulary, width)], form.shape[0]
    if len(form.shape) != 3:
        raise ValueError(
            "architecture=transformer needs images or tokens, and this data has plain features. "
            "Pass data=digits, or data=copying."
        )
    sizes = (1, form.shape[1]) if patch is None else tuple(patch)
    if len(sizes) != 2 or not all(isinstance(size, int) and size > 0 for size in sizes):
        raise ValueError(f"architecture.patch must be [height, width]; got {patch}. Pass architecture.patch=[4,4].")
    patches = Patches("patches", (sizes[0], sizes[1]))
    try:
        tokens, features = patches.out_shape(form.shape)
    except ValueError as error:
        raise ValueError(f"architecture.patch does not fit: {error}. Pass architecture.patch=null for rows.") from error
    return [patches, Dense("input", features, width, "input", bias)], tokens
