"""Schemes of the lab's for a module: which can draw it, and the initial weights of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from runner.torch.building import Recipe
from runner.torch.tracing import on_meta
from weightinit.drawing import plan
from weightinit.drawing.networks import SCHEMES, resolved
from weightinit.laws import UNKNOWN, Law
from weightinit.schemes import LSUV, AsBuilt, Critical, Rule
from weightinit.schemes.needs import name_of, needs_of
from weightinit.torch import audit, initialize_
from weightinit.torch.random_states import seed_all
from weightinit.torch.translation import translate


@dataclass(frozen=True, eq=False)
class Drawn:
    """A module with a run's initial weights; ``laws`` by parameter, ``notes`` for a person to read.

    ``audit``: labels of whether the weights follow these laws, and how many tensors don't; None where none is known.
    """

    module: nn.Module
    laws: dict[str, Law]
    notes: tuple[str, ...]
    audit: tuple[dict[str, str], int | None]


def require(scheme: Any, recipe: Recipe) -> None:
    """Raise ValueError, with one sentence, for a scheme that can't draw the module."""
    if isinstance(scheme, AsBuilt | LSUV | Critical):
        return
    name = name_of(scheme)
    if not isinstance(scheme, Rule) or (needs_of(scheme) and scheme.name not in SCHEMES):
        raise ValueError(
            f"{name} is not offered for architecture=torch: it needs to know how layers are connected. Pass a "
            f"scheme that draws each weight by itself, such as he, or {', '.join(sorted(SCHEMES))}, lsuv, critical, "
            "as_built."
        )
    try:
        with on_meta():
            module = recipe.build()
    except Exception:  # what can't be built without memory is drawn, and judged, when the run begins
        return
    record = translate(module)
    plan(record, [resolved(scheme, record)])


def drawn(scheme: Any, recipe: Recipe, seed: int, sample: torch.Tensor, level: float) -> Drawn:
    """Return a module drawn by a scheme; what no scheme reaches is as its own code draws it at this seed.

    ``sample``: the first training batch of the run; ``level``: the chance of a false alarm in the audit.
    """
    seed_all(seed)
    module = recipe.build()
    if isinstance(scheme, AsBuilt):
        return Drawn(module, {}, (), ({"audit": "unknown"}, None))
    asks = isinstance(scheme, LSUV | Critical)
    report = initialize_(module, scheme, seed=seed, sample=sample if asks else None)
    laws = {tensor.name: tensor.law or UNKNOWN for tensor in report.tensors}
    notes = report.notes
    if report.kept:
        notes += (f"{name_of(scheme)} leaves {', '.join(report.kept)} as the module's own code draws them.",)
    return Drawn(module, laws, notes, _audited(module, laws, level))


def _audited(module: nn.Module, laws: dict[str, Law], level: float) -> tuple[dict[str, str], int | None]:
    known = {name: law for name, law in laws.items() if law.known}
    if not known:
        return {"audit": "unknown"}, None
    faults = audit(module, known, level=level).faults
    if not faults:
        return {"audit": "follows"}, 0
    tensors = [name for fault in faults for name in fault.tensors]
    return {"audit": "differs", "audit_tensor": tensors[0], "audit_finding": faults[0].kind}, len(tensors)
