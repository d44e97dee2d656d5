"""Outline of a network: its sizes as people write them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from weightinit.nn.tape import Shape
from weightinit.nn.tree import Node, Residual, Serial, Step


def outline(entering: Shape, tree: Sequence[Node], steps: Sequence[Step]) -> str:
    """Return the sizes of the layers with weights, equal neighbours counted: ``64-6x128-10``.

    Residual blocks stand in brackets with the sizes on their branch, as in ``64-[128]x8 residual-10``. The layer that
    widens the input to a block of its own size is left out.
    """
    sizes = {step.path: step.leaving[-1] for step in steps if _weighs(step)}
    ends = {step.path: step.leaving[-1] for step in steps if step.skip is not None}
    parts = _parts(tree, sizes)
    kept = [
        text
        for text, following in zip(parts, [*parts[1:], ""], strict=True)
        if not (following.startswith("[") and text.isdigit() and text == _first(tree, ends))
    ]
    middle = [_repeated(text, len(list(group))) for text, group in groupby(kept[:-1])]
    return "-".join(["x".join(map(str, entering)), *middle, *kept[-1:]])


def _weighs(step: Step) -> bool:
    return any(spec.role == "weight" for spec in step.weights)


def _parts(tree: Sequence[Node], sizes: dict[str, int]) -> list[str]:
    parts = []
    for node in tree:
        if isinstance(node, Residual):
            inner = [text for text, _ in groupby(_parts(node.branch, sizes))]
            parts.append(f"[{'-'.join(inner)}]")
        elif isinstance(node, Serial):
            parts += _parts(node.children, sizes)
        elif any(spec.role == "weight" for spec in node.weights):
            parts.append(str(sizes[node.name]))
    return parts


def _first(tree: Sequence[Node], ends: dict[str, int]) -> str:
    for node in tree:
        if isinstance(node, Residual):
            return str(ends[node.name])
    return ""


def _repeated(text: str, count: int) -> str:
    if text.startswith("["):
        return f"{text}x{count} residual" if count > 1 else f"{text} residual"
    return f"{count}x{text}" if count > 1 else text
