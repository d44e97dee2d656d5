"""Findings of an audit, as frozen records and as a text to read."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from textwrap import fill
from typing import Any, Final, Literal, TypeAlias

from weightinit.fans import Fans
from weightinit.laws import Law

Kind: TypeAlias = Literal[
    "not_finite", "zeros", "constant", "copy", "noise", "units", "inputs", "law", "scale", "dependent", "trained"
]
Verdict: TypeAlias = Literal["follows", "differs", "trained", "unjudged"]
WIDTH = 100
NARROW: Final = (24, 12)
"""Width of names and shapes in a table on a screen."""
LOOKS_LIKE = "Looks like "
"""Beginning of a description."""


@dataclass(frozen=True)
class Finding:
    """One fault: its kind, what was measured, and what that means and how to mend it.

    Kinds: ``not_finite``: NaN or infinity; ``zeros`` where none belong; ``constant``: one value; ``copy`` of another
    tensor; ``noise``: another tensor's random numbers; ``units`` or ``inputs`` that are equal, or the negative of one
    another; ``law``: another known law, or a kernel that isn't drawn; ``scale``: a known family at a mean and std of
    its own; ``dependent``: elements that aren't independent, or not as the law has it; ``trained``: nothing that is
    drawn at random.
    """

    kind: Kind
    measured: str
    advice: str

    @property
    def sentence(self) -> str:
        """The finding in words."""
        return f"{self.measured}. {self.advice}"


@dataclass(frozen=True)
class TensorReport:
    """One tensor: the law expected of it, what was measured, and what follows from it.

    ``fans`` is None where it can't be told, ``law`` where none was given. ``mean`` and ``std`` are those of the finite
    elements; ``mean_z`` and ``std_z`` their distance from the law in standard errors (of the elements' normal scores,
    so that both are normal deviates under any law), NaN where elements aren't independent draws. ``outside`` counts
    elements beyond the support, ``not_finite`` NaN and infinities, ``repeated_units`` units equal to an earlier one,
    ``negated_units`` those that are the negative of one; ``repeated_inputs`` and ``negated_inputs`` the same of inputs.
    ``same_as`` names the tensor that this one copies, wholly or in its random numbers. ``looks_like``: laws that
    explain the elements where their own doesn't, likeliest first; those without words in them can be given as ``law``.
    ``remark``: what is no fault, such as half precision or padding; without a law the description.
    """

    name: str
    shape: tuple[int, ...]
    fans: Fans | None
    label: str
    law: Law | None
    mean: float
    std: float
    mean_z: float
    std_z: float
    outside: int
    zeros: int
    not_finite: int
    repeated_units: int
    negated_units: int
    repeated_inputs: int
    negated_inputs: int
    same_as: str | None
    looks_like: tuple[str, ...]
    verdict: Verdict
    findings: tuple[Finding, ...]
    remark: str

    @property
    def shape_text(self) -> str:
        """The shape as ``48x128``; of a scalar empty."""
        return "x".join(map(str, self.shape))

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        said = [finding.sentence for finding in self.findings]
        if not said and self.verdict == "follows":
            said = ["Follows its law."]
        if not said and not self.remark:
            said = ["Not judged: no law is known for it."]
        return " ".join([*said, *([self.remark] if self.remark else [])])


@dataclass(frozen=True)
class Report:
    """Verdict on named arrays: each by itself, and all together.

    ``verdict``: ``follows`` if every array that has a law follows it, ``differs`` if not, ``trained`` if the weights
    look trained, so that the audit of initial weights refuses one, ``unjudged`` without any law. ``level``: the chance
    that honest draws raise any false alarm. ``largest_z``: the z-score that each array may reach for that.
    """

    tensors: tuple[TensorReport, ...]
    verdict: Verdict
    sentence: str
    level: float
    largest_z: float

    @property
    def ok(self) -> bool:
        """Whether the verdict is ``follows``."""
        return self.verdict == "follows"

    def __getitem__(self, name: str) -> TensorReport:
        """The report on the tensor called ``name``."""
        for tensor in self.tensors:
            if tensor.name == name:
                return tensor
        raise KeyError(f"name must be one of {', '.join(t.name for t in self.tensors)}; got {name!r}")

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain values for JSON; NaN and infinity become None."""
        plain: dict[str, Any] = as_plain(asdict(self))
        for row, tensor in zip(plain["tensors"], self.tensors, strict=True):
            row["sentence"] = tensor.sentence
        return plain

    def __str__(self) -> str:
        return self.text()

    def text(self, *, whole: bool = False) -> str:
        """Return the report as a table with sentences; ``whole``: names and shapes are never shortened."""
        judged = any(tensor.law is not None for tensor in self.tensors)
        widths: tuple[int, ...] = NARROW
        if whole:
            texts = zip(*((tensor.name, tensor.shape_text) for tensor in self.tensors), strict=True)
            widths = tuple(max(narrow, *map(len, column)) for narrow, column in zip(NARROW, texts, strict=True))
        lines = self._table(widths) if judged else self._table_of_descriptions(widths)
        for finding, names in self._findings_alike():
            more = finding.sentence
            if len(names) > 1:
                more = f"{finding.measured} (the first; the others alike). {finding.advice}"
            lines += ["", fill(f"{_names(names)}: {more}", WIDTH, subsequent_indent="  ")]
        remarks: dict[str, list[str]] = {}
        for tensor in self.tensors if judged else ():
            if tensor.remark:
                remarks.setdefault(tensor.remark, []).append(tensor.name)
        for remark, names in remarks.items():
            lines += ["", fill(f"{_names(names)}: {remark}", WIDTH, subsequent_indent="  ")]
        lines += ["", fill(self.sentence, WIDTH)]
        return "\n".join(lines)

    def to_markdown(self) -> str:
        """Return the report as a list of findings and a table in Markdown."""
        found = [
            f"- **{tensor.verdict}** `{tensor.name}`: {finding.sentence}"
            for tensor in self.tensors
            for finding in tensor.findings
        ]
        rows = [
            (f"`{t.name}`", t.shape_text, _number(t.mean), _number(t.std), t.label or "-", t.verdict)
            for t in self.tensors
        ]
        heads = ("tensor", "shape", "mean", "std", "law", "verdict")
        table = ["| " + " | ".join(row) + " |" for row in (heads, ("---",) * len(heads), *rows)]
        return "\n".join([self.sentence, "", *found, *([""] if found else []), *table])

    def _table(self, widths: tuple[int, ...]) -> list[str]:
        rows = [_row(widths, "tensor", "shape", "mean", "of law", "z", "std", "of law", "z", "verdict")]
        for tensor in self.tensors:
            mean, std = (math.nan, math.nan) if tensor.law is None else (tensor.law.mean, tensor.law.std)
            means = _number(tensor.mean), _number(mean), _score(tensor.mean_z)
            stds = _number(tensor.std), _number(std), _score(tensor.std_z)
            rows.append(_row(widths, tensor.name, tensor.shape_text, *means, *stds, tensor.verdict))
        return rows

    def _table_of_descriptions(self, widths: tuple[int, ...]) -> list[str]:
        rows = [_row(widths, "tensor", "shape", "mean", "std", "looks like")]
        indent = " " * (sum(widths) + 22)
        for tensor in self.tensors:
            numbers = _number(tensor.mean), _number(tensor.std)
            words = tensor.remark.removeprefix(LOOKS_LIKE) or "-"
            row = _row(widths, tensor.name, tensor.shape_text, *numbers, words)
            wide = WIDTH + sum(widths) - sum(NARROW)
            rows.append(fill(row, wide, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False))
        return rows

    def _findings_alike(self) -> list[tuple[Finding, list[str]]]:
        """The first finding of each kind and advice, with the names of the tensors that have such a one."""
        alike: dict[tuple[Kind, str], tuple[Finding, list[str]]] = {}
        for tensor in self.tensors:
            for finding in tensor.findings:
                alike.setdefault((finding.kind, finding.advice), (finding, []))[1].append(tensor.name)
        return list(alike.values())


def _names(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _row(widths: tuple[int, ...], name: str, shape: str, *cells: str) -> str:
    """A line of a table: name, shape, numbers (the z-scores, third and sixth, are narrow), and words at the end."""
    *numbers, words = cells
    padded = [f"{number:>{6 if place % 3 == 2 else 9}}" for place, number in enumerate(numbers)]
    texts = [f"{_fit(text, width):{width}}" for text, width in zip((name, shape), widths, strict=True)]
    return f"{' '.join(texts)} {' '.join(padded)} {words}"


def _fit(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width // 2 - 1] + "…" + text[-(width - width // 2) :]


def _number(value: float) -> str:
    text = f"{value:.3g}" if math.isfinite(value) else "-"
    return text if len(text) < 10 else f"{value:.1e}"


def _score(value: float) -> str:
    if not math.isfinite(value):
        return "-"
    return f"{value:+.1f}" if abs(value) < 999 else f"{value:+.0e}".replace("e+0", "e").replace("e+", "e")


def as_plain(value: Any) -> Any:
    """Return a value as JSON has it: sequences as lists, NaN and infinity as None."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {key: as_plain(each) for key, each in value.items()}
        case list() | tuple():
            return [as_plain(each) for each in value]
    return value
