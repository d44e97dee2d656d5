"""Residual branches of a model, as the names of its layers tell them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

from weightinit.model import Model, ModelTensor
from weightinit.nn.weights import Branch

ATTENTION: Final = re.compile(r"att(n|ention)|mixer|ssm|rnn", re.IGNORECASE)
"""Part of a path that names a branch which mixes positions; what else lies in a block is its other branch."""

AROUND: Final = re.compile(r"downsample|shortcut|skip|identity|router|(^|[._])gate$", re.IGNORECASE)
"""Part of a path beside a branch: on its skip, or what only weighs it."""

LAST: Final = re.compile(
    r"(^|[._])(c_proj|o_proj|out_proj|down_proj|dense_4h_to_h|fc_?2|fc_out|lin(ear)?_?2|wo|w2|to_out|out|proj)$",
    re.IGNORECASE,
)
"""Names of layers that end a branch; without one of these its last layer does."""

WEIGHTS: Final = ("dense", "convolution", "recurrent")


def branches_of(model: Model) -> dict[str, Branch]:
    """Return the place of weights on the residual branches of a model's blocks, by the tensor's name.

    A block of a list (``h.0``) is taken for residual branches, one of attention and one of the rest where both are
    there. Their order is that of the parameters. Branches of lists that differ in a number (``layer1``, ``layer2``)
    count together.
    """
    branches: dict[tuple[str, int, str], list[ModelTensor]] = {}
    for tensor in model:
        if tensor.block is not None and tensor.role in WEIGHTS:
            inside = _inside(tensor)
            if not AROUND.search(inside):
                key = (tensor.block.path, tensor.block.index, _branch(inside))
                branches.setdefault(key, []).append(tensor)
    totals = Counter(_stage(path) for path, _, _ in branches)
    seen: Counter[str] = Counter()
    found = {}
    for (path, _, _), tensors in branches.items():
        seen[_stage(path)] += 1
        ordered = _ordered(tensors)
        for place, tensor in enumerate(ordered, 1):
            found[tensor.name] = Branch(seen[_stage(path)], totals[_stage(path)], place, len(ordered))
    return found


def _stage(path: str) -> str:
    """The path of a list without its number among others."""
    return re.sub(r"\d+$", "", path)


def _ordered(tensors: Iterable[ModelTensor]) -> list[ModelTensor]:
    """Weights of a branch in their order, the one that is named so at the end."""
    return sorted(tensors, key=lambda tensor: bool(LAST.search(re.sub(r"[._]\d+$", "", tensor.layer))))


def _inside(tensor: ModelTensor) -> str:
    """The path of a tensor's layer inside its block."""
    assert tensor.block is not None
    return tensor.layer[len(tensor.block.path) :].lstrip(".").partition(".")[2]


def _branch(inside: str) -> str:
    """Name of the branch of a block that a layer lies on: each attention by itself, and the rest."""
    parts = inside.split(".")
    return next((".".join(parts[: i + 1]) for i, part in enumerate(parts) if ATTENTION.search(part)), "rest")
