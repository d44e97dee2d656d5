"""What an audit found, as frozen records and as a text to read."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from textwrap import fill
from typing import Any, Literal, TypeAlias

from weightinit.fans import Fans
from weightinit.laws import Law

Kind: TypeAlias = Literal[
    "not_finite", "zeros", "constant", "copy", "noise", "units", "law", "scale", "dependent", "trained"
]
Verdict: TypeAlias = Literal["follows", "differs", "trained", "unjudged"]
WIDTH = 100


@dataclass(frozen=True)
class Finding:
    """One fault: its kind, what was measured, and what that means and how to mend it.

    Kinds: ``not_finite``: NaN or infinity; ``zeros`` where none belong; ``constant``: one value; ``copy`` of another
    tensor; ``noise``: another tensor's random numbers; ``units`` that are equal; ``law``: another known law; ``scale``:
    a known family at a mean and std of its own; ``dependent``: elements that aren't independent, or not as the law has
    it; ``trained``: nothing that is drawn at random.
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
    """What was expected of one tensor, what was measured, and what follows from it.

    ``fans`` is None where it can't be told, ``law`` where none was given. ``mean`` and ``std`` are those of the finite
    elements; ``mean_z`` and ``std_z`` their distance from the law in standard errors, NaN where elements aren't
    independent draws. ``outside`` counts elements beyond the support, ``not_finite`` NaN and infinities,
    ``repeated_units`` units equal to an earlier one. ``same_as`` names the tensor that this one copies, wholly or in
    its random numbers. ``looks_like``: laws that explain the elements where their own doesn't, likeliest first; those
    without words in them can be given as ``law``.
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
    same_as: str | None
    looks_like: tuple[str, ...]
    verdict: Verdict
    findings: tuple[Finding, ...]

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        if self.findings:
            return " ".join(finding.sentence for finding in self.findings)
        return "Follows its law." if self.verdict == "follows" else "Not judged: no law is known for it."


@dataclass(frozen=True)
class Report:
    """The verdict on named arrays: each by itself, and all together.

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
        plain: dict[str, Any] = _plain(asdict(self))
        for row, tensor in zip(plain["tensors"], self.tensors, strict=True):
            row["sentence"] = tensor.sentence
        return plain

    def __str__(self) -> str:
        lines = [_row("tensor", "shape", "mean", "of law", "z", "std", "of law", "z", "verdict")]
        lines += [
            _row(
                _fit(tensor.name, 24),
                _fit("x".join(map(str, tensor.shape)), 12),
                *(_number(value) for value in (tensor.mean, _of(tensor.law, "mean"))),
                _score(tensor.mean_z),
                *(_number(value) for value in (tensor.std, _of(tensor.law, "std"))),
                _score(tensor.std_z),
                tensor.verdict,
            )
            for tensor in self.tensors
        ]
        for said in self._alike().values():
            names = ", ".join(name for name, _ in said[:8]) + (f" and {len(said) - 8} more" if len(said) > 8 else "")
            first = said[0][1]
            alike = (
                first.sentence if len(said) == 1 else f"{first.measured} (the first; the others alike). {first.advice}"
            )
            lines += ["", fill(f"{names}: {alike}", WIDTH, subsequent_indent="  ")]
        lines += ["", fill(self.sentence, WIDTH)]
        return "\n".join(lines)

    def _alike(self) -> dict[tuple[Kind, str], list[tuple[str, Finding]]]:
        """The findings of one kind and one advice, each with the tensor's name."""
        result: dict[tuple[Kind, str], list[tuple[str, Finding]]] = {}
        for tensor in self.tensors:
            for finding in tensor.findings:
                result.setdefault((finding.kind, finding.advice), []).append((tensor.name, finding))
        return result


def _row(name: str, shape: str, *cells: str) -> str:
    *numbers, verdict = cells
    widths = (9, 9, 6, 9, 9, 6)
    return (
        f"{name:24} {shape:12} " + " ".join(f"{n:>{w}}" for n, w in zip(numbers, widths, strict=True)) + f" {verdict}"
    )


def _fit(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width // 2 - 1] + "…" + text[-(width - width // 2) :]


def _number(value: float) -> str:
    text = f"{value:.3g}" if math.isfinite(value) else "-"
    return text if len(text) < 10 else f"{value:.1e}"


def _score(value: float) -> str:
    if not math.isfinite(value):
        return "-"
    return f"{value:+.1f}" if abs(value) < 999 else f"{value:+.0e}".replace("e+0", "e").replace("e+", "e")


def _of(law: Law | None, moment: Literal["mean", "std"]) -> float:
    return math.nan if law is None else float(getattr(law, moment))


def _plain(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {key: _plain(each) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
    return value
