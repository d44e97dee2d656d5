"""Outline of a network: its sizes as people write them, and the layers along its trunk."""

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
    middle: list[str] = []
    for in_blocks, group in groupby(kept[:-1], key=lambda text: text.startswith("[")):
        middle += (
            _blocks(list(group)) if in_blocks else [_repeated(text, len(list(same))) for text, same in groupby(group)]
        )
    return "-".join(["x".join(map(str, entering)), *middle, *kept[-1:]])


def trunk(layers: Sequence[str]) -> list[str]:
    """Return the layers by which a signal is followed through a network, among all that are measured, in order.

    They are all but the output; in a residual network its blocks, and what enters the first of them. A block is a layer
    within whose name others lie, as ``block/3/dense/1`` lies within ``block/3``.
    """
    known = set(layers)
    blocks = {outer for name in layers for outer in _around(name) if outer in known}
    on_trunk = [name for name in layers if name != "output" and not any(outer in blocks for outer in _around(name))]
    places = [place for place, name in enumerate(on_trunk) if name in blocks]
    return on_trunk[max(places[0] - 1, 0) : places[-1] + 1] if places else on_trunk


def _around(name: str) -> list[str]:
    """Return the names around a name: ``block`` and ``block/3`` around ``block/3/dense``."""
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


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


def _blocks(parts: list[str]) -> list[str]:
    """Return residual blocks in a row, a pair that repeats as one: ``[64, 256-64]x4 residual``."""
    pair = parts[:2]
    if len(parts) > 2 and pair[0] != pair[-1] and parts == pair * (len(parts) // 2):
        return [f"[{', '.join(part.strip('[]') for part in pair)}]x{len(parts) // 2} residual"]
    counted = [(text, len(list(same))) for text, same in groupby(parts)]
    return [f"{text}x{count} residual" if count > 1 else f"{text} residual" for text, count in counted]


def _repeated(text: str, count: int) -> str:
    return f"{count}x{text}" if count > 1 else text
