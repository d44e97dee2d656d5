"""Report of an initialization: the law of each tensor, the hits of each rule, and what was left as it was."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from textwrap import fill
from typing import Any

from weightinit.auditing.named_laws import notation
from weightinit.laws import Law
from weightinit.model import INDEX
from weightinit.tables import Tabled

WIDTH = 100


@dataclass(frozen=True)
class Initialization:
    """One tensor: the rule that reached it and its law; without a rule it kept its values."""

    name: str
    shape: tuple[int, ...]
    rule: str
    law: Law | None


@dataclass(frozen=True)
class InitializationReport(Tabled):
    """What an initialization did: ``tensors`` in order, ``hits`` of each rule, ``notes`` to know, and the ``seed``.

    ``kept``: names of tensors that no rule reached; they hold what they held before. ``rates``: of a parametrization,
    the factors of each tensor's learning rate for Adam and for SGD.
    """

    tensors: tuple[Initialization, ...]
    hits: tuple[tuple[str, int], ...]
    notes: tuple[str, ...]
    seed: int
    rates: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def kept(self) -> tuple[str, ...]:
        """Names of tensors that no rule reached."""
        return tuple(tensor.name for tensor in self.tensors if not tensor.rule)

    def __getitem__(self, name: str) -> Initialization:
        """The record of the tensor called ``name``."""
        for tensor in self.tensors:
            if tensor.name == name:
                return tensor
        raise KeyError(f"name must be one of {', '.join(t.name for t in self.tensors)}; got {name!r}")

    def param_groups(
        self, named_parameters: Iterable[tuple[str, Any]], lr: float, *, optimizer: str = "adam", **options: Any
    ) -> list[dict[str, Any]]:
        """Return groups for an optimizer, parameters of one learning rate each: ``lr`` times the tensor's factor.

        ``named_parameters``: of the model, ``optimizer``: adam or sgd, whose factors differ; ``options`` are added to
        every group. Decoupled weight decay is best kept the same for all: pass the optimizer's ``weight_decay`` divided
        by the factor yourself where it multiplies by the rate. Raises ValueError for another optimizer, and for an
        initialization without a parametrization.
        """
        if optimizer not in ("adam", "sgd"):
            raise ValueError(f"optimizer must be adam or sgd; got {optimizer!r}. Pass optimizer='adam'.")
        if not self.rates:
            raise ValueError("this initialization has one learning rate for all. Pass mup(base=...) to initialize_.")
        groups: dict[float, list[Any]] = {}
        for name, parameter in named_parameters:
            factor = self.rates.get(name, (1.0, 1.0))[optimizer == "sgd"]
            groups.setdefault(lr * factor, []).append(parameter)
        return [{"params": parameters, "lr": rate, **options} for rate, parameters in groups.items()]

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain values for JSON."""
        return asdict(self) | {"kept": list(self.kept)}

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {
                "tensor": tensor.name,
                "shape": "x".join(map(str, tensor.shape)),
                "law": _law(tensor.law),
                "mean": tensor.law.mean if tensor.law else math.nan,
                "std": tensor.law.std if tensor.law else math.nan,
                "rule": tensor.rule,
            }
            for tensor in self.tensors
        ]

    def _shown(self) -> tuple[list[tuple[str, ...]], list[str]]:
        reached = len(self.tensors) - len(self.kept)
        hits = (f"{count} tensors by {rule}" for rule, count in self.hits)
        left = [f"left as they were: {_some(self.kept)}"] if self.kept else []
        return self._table(), [f"{reached} of {len(self.tensors)} tensors were drawn", *hits, *left, *self.notes]

    def _table(self) -> list[tuple[str, ...]]:
        groups: dict[tuple[str, tuple[int, ...], str, Law | None], list[str]] = {}
        for tensor in self.tensors:
            key = (INDEX.sub("*", tensor.name), tensor.shape, tensor.rule, tensor.law)
            groups.setdefault(key, []).append(tensor.name)
        table: list[tuple[str, ...]] = [("tensor", "shape", "law", "by")]
        for (pattern, shape, rule, law), names in groups.items():
            name = f"{pattern} ({len(names)})" if len(names) > 1 else names[0]
            table.append((name, "x".join(map(str, shape)), _law(law), rule or "-"))
        return table

    def __str__(self) -> str:
        table = self._table()
        widths = [max(len(row[column]) for row in table) for column in range(3)] + [0]
        lines = ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)) for row in table]
        lines += ["", *(f"{count:4} tensors by {rule}" for rule, count in self.hits)]
        if self.kept:
            lines.append(fill(f"{len(self.kept):4} tensors by no rule, left as they were: {_some(self.kept)}", WIDTH))
        return "\n".join([*lines, *(fill(note, WIDTH) for note in self.notes)])


def _law(law: Law | None) -> str:
    return "as it was" if law is None else notation(law) if law.known else "by its data"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
