"""The lock of a model's initialization: one line a group of tensors, to be committed and compared with."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from scipy.special import ndtri

from weightinit.auditing.model_report import ModelReport, named, number
from weightinit.auditing.pieces import LARGEST
from weightinit.auditing.report import TensorReport
from weightinit.model import INDEX

VERSION: Final = 1
LOCK: Final = "init.lock.json"
"""Usual name of the file."""

LEVEL: Final = 1e-6
"""Chance, for each line, that an honest draw by the same law doesn't fit its lock."""

TELLING: Final = 4096
"""Elements from which on the shape of a distribution tells a normal from a truncated or a uniform one."""

ROUNDING: Final = 1e-4
"""Relative difference of values that are not drawn up to which they are the same, in half precision too."""


@dataclass(frozen=True)
class LockedGroup:
    """One line: tensors of one pattern, shape and law. ``elements``: those that mean and std were measured on."""

    tensors: str
    count: int
    shape: str
    law: str
    mean: float
    std: float
    elements: int


def lock_of(report: ModelReport) -> tuple[LockedGroup, ...]:
    """Return the lines of a model's lock; tensors of one pattern whose stds differ have lines of their own."""
    lines = []
    for members in _by_pattern(report.tensors).values():
        line = _line(INDEX.sub("*", members[0].name) if len(members) > 1 else members[0].name, members)
        alike = all(_fits(line, tensor) == "" for tensor in members)
        lines += [line] if alike else [_line(tensor.name, [tensor]) for tensor in members]
    return tuple(lines)


def differences(locked: Iterable[LockedGroup], report: ModelReport) -> list[str]:
    """Return a sentence for each group of tensors that is not as it was locked; none if all are."""
    found: list[str] = []
    groups = _by_pattern(report.tensors)
    names = {tensor.name: [tensor] for tensor in report.tensors}
    seen: set[str] = set()
    for line in locked:
        members = groups.get((line.tensors, line.shape)) if "*" in line.tensors else names.get(line.tensors)
        if not members:
            others = [
                shape for pattern, shape in groups if line.tensors in (pattern, *names) and pattern == line.tensors
            ]
            said = f"shape {' and '.join(others)}, locked {line.shape}" if others else "is gone"
            found.append(f"{line.tensors}: {said}")
            seen |= {tensor.name for shape in others for tensor in groups[line.tensors, shape]}
            continue
        seen |= {tensor.name for tensor in members}
        if members[0].shape_text != line.shape:
            found.append(f"{line.tensors}: shape {members[0].shape_text}, locked {line.shape}")
            continue
        if len(members) != line.count:
            found.append(f"{line.tensors}: {len(members)} tensors, locked {line.count}")
        moved: dict[str, list[TensorReport]] = {}
        for tensor in members:
            if kind := _fits(line, tensor):
                moved.setdefault(kind, []).append(tensor)
        for kind, tensors in moved.items():
            found.append(f"{named(line.tensors, [t.name for t in tensors])}: {_said(kind, line, tensors)}")
    added = {key: kept for key, members in groups.items() if (kept := [t for t in members if t.name not in seen])}
    for (pattern, shape), members in added.items():
        found.append(f"{named(pattern, [t.name for t in members])}: is not in the lock, shape {shape or 'of a scalar'}")
    return found


def write_lock(path: str | Path, models: Mapping[str, tuple[LockedGroup, ...]]) -> None:
    """Write the lock of several models, by name; one line a group, so that a diff of two locks can be read."""
    lines = ["{", f' "version": {VERSION},', ' "models": {']
    for place, (model, groups) in enumerate(models.items(), 1):
        lines.append(f"  {json.dumps(model)}: [")
        lines += [
            f"   {json.dumps(asdict(group))}{',' if i < len(groups) else ''}" for i, group in enumerate(groups, 1)
        ]
        lines.append("  ]" + ("," if place < len(models) else ""))
    Path(path).write_text("\n".join([*lines, " }", "}", ""]), encoding="utf-8")


def read_lock(path: str | Path) -> dict[str, tuple[LockedGroup, ...]]:
    """Return the locks in a file, by model. Raises ValueError for what is no lock, OSError if it can't be read."""
    try:
        loaded: Any = json.loads(Path(path).read_text(encoding="utf-8"))
        if loaded["version"] != VERSION:
            raise ValueError(f"its version is {loaded['version']}, this one reads {VERSION}")
        return {str(name): tuple(LockedGroup(**line) for line in lines) for name, lines in loaded["models"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is no lock of initializations: {error}. Write it again with --weightinit-update."
        ) from None


def _by_pattern(tensors: Iterable[TensorReport]) -> dict[tuple[str, str], list[TensorReport]]:
    groups: dict[tuple[str, str], list[TensorReport]] = {}
    for tensor in tensors:
        groups.setdefault((INDEX.sub("*", tensor.name), tensor.shape_text), []).append(tensor)
    return groups


def _line(name: str, members: list[TensorReport]) -> LockedGroup:
    laws = {tensor.law.family if tensor.law is not None else "unknown" for tensor in members}
    mean = sum(tensor.mean for tensor in members) / len(members)
    std = math.sqrt(sum(tensor.std**2 for tensor in members) / len(members))
    return LockedGroup(
        name, len(members), members[0].shape_text, laws.pop() if len(laws) == 1 else "unknown",
        _short(mean), _short(std), sum(map(_elements, members)),
    )  # fmt: skip


def _elements(tensor: TensorReport) -> int:
    return min(math.prod(tensor.shape), LARGEST)


def _short(value: float) -> float:
    return float(f"{value:.6g}") if math.isfinite(value) else -1.0


def _fits(line: LockedGroup, tensor: TensorReport) -> str:
    """What of a tensor is not as its line has it: ``law``, ``std`` or ``mean``; empty if nothing."""
    law = tensor.law.family if tensor.law is not None else "unknown"
    drawn = "unknown" not in (law, line.law) and "constant" not in (law, line.law)
    if drawn and law != line.law and _elements(tensor) >= TELLING:
        return "law"
    mean, std = _short(tensor.mean), _short(tensor.std)
    if not line.std or not std:
        return "" if abs(std - line.std) + abs(mean - line.mean) <= ROUNDING * abs(line.mean) else "value"
    limit = -float(ndtri(LEVEL / 2))
    errors = math.sqrt(1 / _elements(tensor) + 1 / line.elements)
    if abs(math.log(std / line.std)) > limit * errors + ROUNDING:  # of heavier tails than the normal's, too
        return "std"
    return "mean" if abs(mean - line.mean) > limit * errors * line.std + ROUNDING * abs(line.mean) else ""


def _said(kind: str, line: LockedGroup, tensors: list[TensorReport]) -> str:
    mean = sum(tensor.mean for tensor in tensors) / len(tensors)
    std = math.sqrt(sum(tensor.std**2 for tensor in tensors) / len(tensors))
    match kind:
        case "std":
            return f"std {number(std)}, locked {number(line.std)}"
        case "mean":
            return f"mean {number(mean)}, locked {number(line.mean)}"
        case "law":
            law = tensors[0].law.family if tensors[0].law is not None else "unknown"
            return f"drawn as {law}, std {number(std)}; locked {line.law}, std {number(line.std)}"
    now = f"{number(mean)} everywhere" if not std else f"drawn, mean {number(mean)}, std {number(std)}"
    was = f"{number(line.mean)} everywhere" if not line.std else f"drawn, std {number(line.std)}"
    return f"{now}; locked {was}"
