"""Aliases in YAML files: a few lines of them may stand for more values than any memory holds."""

from __future__ import annotations

from pathlib import Path

import yaml

# Values in a file, each counted as often as aliases repeat it.
MOST = 100_000


def check(file: Path) -> None:
    """Raises ValueError where the aliases of a YAML file repeat too much, or a part of itself; for what is no text.

    Nothing is repeated here: the file's nodes are counted. Whether it is YAML at all is for its reader to say.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} must be text in UTF-8; it is none ({error.reason}).") from error
    if "&" not in text or "*" not in text:
        return
    try:
        root = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError:
        return
    if (count := _count(root, {})) > MOST:
        size = "without end" if count == float("inf") else f"{count:,.0f} values"
        raise ValueError(f"{file}: a file has at most {MOST:,} values; its aliases make it {size}. Write them out.")


def _count(node: yaml.Node | None, known: dict[int, float]) -> float:
    """Number of values below a node; infinite where it lies below itself."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in known:
        known[id(node)] = float("inf")
        parts = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in node.value for part in pair]
        known[id(node)] = 1 + sum(_count(part, known) for part in parts)
    return known[id(node)]
