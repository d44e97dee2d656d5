"""Verdict on a model: findings by groups of tensors alike, as records, as a table and as HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from textwrap import fill
from typing import Any, Final, Literal, TypeAlias

from weightinit.auditing.report import WIDTH, TensorReport, as_plain
from weightinit.tables import Tabled

Weight: TypeAlias = Literal["fault", "note"]
ModelVerdict: TypeAlias = Literal["follows", "differs", "trained", "unjudged"]
HEADS: Final = ("tensors", "count", "shape", "mean", "std", "expected", "verdict")


@dataclass(frozen=True)
class ModelFinding:
    """What was found of tensors alike: their names, a ``fault`` or a ``note``, and the sentence that says it.

    ``kind``: ``law``, ``scale``, ``copy``, ``units``, ``zeros``, ``padding`` ...; one word for one kind of cause.
    ``group``: the names' pattern.
    """

    tensors: tuple[str, ...]
    verdict: Weight
    kind: str
    group: str
    sentence: str

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True)
class Group:
    """Tensors of one use in blocks alike: ``pattern`` of their names, the tensors, and the words for their law."""

    pattern: str
    tensors: tuple[TensorReport, ...]
    remark: str

    @property
    def verdict(self) -> str:
        """The verdict that the group's line shows."""
        verdicts = {tensor.verdict for tensor in self.tensors}
        return next((v for v in ("trained", "differs", "follows") if v in verdicts), "unjudged")

    @property
    def std(self) -> float:
        """Root mean square of the tensors' stds; NaN of tensors without values."""
        return math.sqrt(sum(tensor.std**2 for tensor in self.tensors) / len(self.tensors))

    def cells(self) -> tuple[str, ...]:
        """The texts of the group's line, as in ``HEADS``."""
        first, count = self.tensors[0], len(self.tensors)
        mean = sum(tensor.mean for tensor in self.tensors) / count
        expected = "-" if first.law is None else number(first.law.std or first.law.mean)
        if first.law is not None and first.law.std > 0 and first.label != expected:
            expected += f" = {first.label}"
        verdict = self.verdict + (f" ({self.remark})" if self.remark else "")
        counted = str(count) if count > 1 else ""
        return self.pattern, counted, first.shape_text, number(mean), number(self.std), expected, verdict


@dataclass(frozen=True)
class ModelReport(Tabled):
    """Verdict on the parameters of a model.

    ``verdict``: ``follows`` if no tensor has a fault, ``differs`` if one has, ``trained`` if the weights look trained,
    ``unjudged`` if nothing could be judged. ``level``: the chance that honest draws raise any false alarm.
    """

    model: str
    groups: tuple[Group, ...]
    findings: tuple[ModelFinding, ...]
    verdict: ModelVerdict
    sentence: str
    level: float

    @property
    def ok(self) -> bool:
        """Whether no fault was found, and something was judged."""
        return self.verdict == "follows"

    @property
    def faults(self) -> tuple[ModelFinding, ...]:
        """The findings that are faults."""
        return tuple(finding for finding in self.findings if finding.verdict == "fault")

    @property
    def tensors(self) -> tuple[TensorReport, ...]:
        """The reports on all tensors, group by group."""
        return tuple(tensor for group in self.groups for tensor in group.tensors)

    def __getitem__(self, name: str) -> TensorReport:
        """The report on the tensor called ``name``; of one part as ``in_proj_weight[q]``."""
        for tensor in self.tensors:
            if tensor.name == name:
                return tensor
        raise KeyError(f"name must be one of {', '.join(t.name for t in self.tensors)}; got {name!r}")

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain values for JSON; NaN and infinity become None."""
        plain: dict[str, Any] = as_plain(asdict(self))
        return plain | {"ok": self.ok}

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {
                "tensor": tensor.name,
                "group": group.pattern,
                "shape": tensor.shape_text,
                "mean": tensor.mean,
                "std": tensor.std,
                "expected": tensor.label,
                "expected_mean": math.nan if tensor.law is None else tensor.law.mean,
                "expected_std": math.nan if tensor.law is None else tensor.law.std,
                "mean_z": tensor.mean_z,
                "std_z": tensor.std_z,
                "verdict": tensor.verdict,
                "sentence": tensor.sentence,
            }
            for group in self.groups
            for tensor in group.tensors
        ]

    def __str__(self) -> str:
        rows = [HEADS, *(group.cells() for group in self.groups)]
        widths = [min(max(len(row[i]) for row in rows), limit) for i, limit in enumerate((64, 5, 20, 9, 8, 60))]
        lines = [self.model]
        for row in rows:
            cells = [
                f"{cell:>{width}}" if i in (1, 3, 4) else f"{cell:{width}}"
                for i, (cell, width) in enumerate(zip(row[:-1], widths, strict=True))
            ]
            lines.append("  ".join([*cells, row[-1]]).rstrip())
        for finding in self.findings:
            label = "" if finding.verdict == "fault" else "note: "
            lines += ["", fill(label + finding.sentence, WIDTH, subsequent_indent="  ", break_long_words=False)]
        lines += ["", fill(self.sentence, WIDTH)]
        return "\n".join(lines)

    def to_markdown(self) -> str:
        """Return the report as a Markdown table and a list of findings."""
        rows = [[f"`{cells[0]}`", *cells[1:]] for cells in (group.cells() for group in self.groups)]
        table = ["| " + " | ".join(row) + " |" for row in (HEADS, ("---",) * len(HEADS), *rows)]
        found = []
        for finding in self.findings:
            name, _, said = finding.sentence.partition(": ")
            found.append(f"- **{finding.verdict}** `{name}`: {said}")
        return "\n".join([f"**{self.model}**: {self.sentence}", "", *found, *([""] if found else []), *table])

    def _shown(self) -> tuple[list[tuple[str, ...]], list[str]]:
        found = [f"{finding.verdict}: {finding.sentence}" for finding in self.findings]
        return [HEADS, *(group.cells() for group in self.groups)], [f"{self.model}: {self.sentence}", *found]


def number(value: float) -> str:
    """Return a number with three digits that count and no zero before its point: ``.0200``."""
    if not math.isfinite(value):
        return "-"
    if value == int(value) and abs(value) < 1000:
        return str(int(value))
    text = f"{value:#.3g}".rstrip(".")
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def named(pattern: str, names: Sequence[str]) -> str:
    """Return how a finding names its tensors: by their pattern and count, or by name where there is one."""
    return names[0] if len(names) == 1 else f"{pattern} ({len(names)})"
