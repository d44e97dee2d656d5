"""Residual branches of a model, as the names of its layers tell them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from weightinit.model import Model, ModelTensor
from weightinit.nn.weights import Branch, Part, WeightSpec

ATTENTION: Final = re.compile(r"att(n|ention)|mixer|ssm|rnn", re.IGNORECASE)
"""Part of a path that names a branch which mixes positions; what else lies in a block is its other branch."""

AROUND: Final = re.compile(r"downsample|shortcut|skip|identity|router|(^|[._])gate$", re.IGNORECASE)
"""Part of a path beside a branch: on its skip, or what only weighs it."""

LAST: Final = re.compile(
    r"(^|[._])(c_proj|o(_proj)?|out_proj|down(_proj)?|dense_4h_to_h|fc_?2|fc_out|lin(ear)?_?2|wo|w2|to_out|out|proj)$",
    re.IGNORECASE,
)
"""Names of layers that end a branch; without one of these its last layer does."""

WEIGHTS: Final = ("dense", "convolution", "recurrent")

PARTS: Final[Mapping[Part, re.Pattern[str]]] = {
    "query": re.compile(r"(^|[._])(q|query|q_proj|queries|to_q|q_lin)$", re.IGNORECASE),
    "key": re.compile(r"(^|[._])(k|key|k_proj|keys|to_k|k_lin)$", re.IGNORECASE),
    "value": re.compile(r"(^|[._])(v|value|v_proj|values|to_v|v_lin)$", re.IGNORECASE),
}
"""Parts of attention by the names of their layers, or of what is packed into one."""


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


def placed(model: Model) -> dict[str, WeightSpec]:
    """Return the library's record of each tensor by name, with its branch and its part.

    A norm's gain lies on the branch of the weights before it, where its block is one of convolutions. Embeddings are at
    the input, wherever they are registered.
    """
    branches = branches_of(model)
    before: dict[tuple[str, int], tuple[ModelTensor, Branch]] = {}
    found = {}
    for tensor, spec in zip(model, model.specs(), strict=True):
        branch = branches.get(tensor.name)
        block = (tensor.block.path, tensor.block.index) if tensor.block else ("", -1)
        if branch is not None:
            before[block] = (tensor, branch)
        elif tensor.role == "gain" and block in before and before[block][0].role == "convolution":
            branch = before[block][1]
        if tensor.role in ("embedding", "position"):
            spec = replace(spec, position="input")
        spec = replace(spec, branch=branch)
        found[tensor.name] = replace(spec, part=part_of(tensor, ends=spec.ends_branch))
    return found


def part_of(tensor: ModelTensor, name: str = "", ends: bool = False) -> Part:
    """Return the part that a tensor, or what is packed into it as ``name``, has in its block."""
    own: Mapping[str, Part] = {
        "embedding": "embedding",
        "position": "positions",
        "gain": "norm",
        "convolution": "convolution",
    }
    if tensor.role in own:
        return own[tensor.role]
    if tensor.block is None or not ATTENTION.search(tensor.layer):
        return "dense"
    found = next((part for part, names in PARTS.items() if names.search(name or tensor.layer)), None)
    return found or ("out" if ends else "dense")


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
