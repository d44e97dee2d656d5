"""Report of a trace: what was written to each tensor of a model, what never was, and lines that wrote nothing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from textwrap import fill
from typing import Any, Literal, TypeAlias

from weightinit.auditing.named_laws import notation
from weightinit.laws import Law
from weightinit.model import INDEX
from weightinit.tables import Tabled
from weightinit.torch.call_sites import Line, Unused
from weightinit.torch.operators import Effect

Kind: TypeAlias = Literal["never", "partly", "not_finite", "no_hits"]
WIDTH = 100


@dataclass(frozen=True)
class Write:
    """One write to a tensor: a call of ``torch.nn.init``, or an operator.

    ``order``: its place among all writes of the trace; ``call``: with its arguments; ``law``: of what it left;
    ``line``: of the program outside PyTorch; ``effect``: ``sets`` all elements, ``sets some``, or ``changes`` what was
    there; ``share``: of the tensor's elements.
    """

    order: int
    call: str
    law: Law
    line: Line
    effect: Effect
    share: float

    @property
    def whole(self) -> bool:
        """Whether it wrote to every element."""
        return self.share == 1 and self.effect != "sets some"

    def __str__(self) -> str:
        law = f" ({notation(self.law)})" if self.law.known else ""
        part = "" if self.whole else f" on {self.share:.3g} of it"
        return f"{self.call}{law}{part} at {self.line}"


@dataclass(frozen=True)
class TensorTrace:
    """What was written to one parameter or buffer, in order.

    ``new``: its memory was taken inside the trace, without values; ``unwritten``: elements of it that never got any.
    """

    name: str
    shape: tuple[int, ...]
    parameter: bool
    new: bool
    writes: tuple[Write, ...]
    unwritten: int

    @property
    def times(self) -> int:
        """Number of writes that set every element."""
        return sum(write.effect == "sets" for write in self.writes)

    @property
    def last(self) -> Write | None:
        """The write that set every element last."""
        return next((write for write in reversed(self.writes) if write.effect == "sets"), None)

    @property
    def law(self) -> Law | None:
        """Law of what the last write left to the whole tensor; None where there was none."""
        whole = [write for write in self.writes if write.effect != "sets some"]
        return whole[-1].law if whole else None


@dataclass(frozen=True)
class TraceFinding:
    """One fault: ``never`` written, only ``partly``, ``not_finite`` since a write, or a rule with ``no_hits``."""

    kind: Kind
    tensors: tuple[str, ...]
    sentence: str


@dataclass(frozen=True)
class TraceReport(Tabled):
    """Writes to each tensor of a model in order, and ``unused``: lines that initialize and wrote nothing.

    Of the unused lines those are findings whose condition holds a text, such as part of a parameter's name or an
    attribute; a condition on a module's class is often meant for other models.
    """

    tensors: tuple[TensorTrace, ...]
    unused: tuple[Unused, ...]

    def __getitem__(self, name: str) -> TensorTrace:
        """The trace of the tensor called ``name``."""
        for tensor in self.tensors:
            if tensor.name == name:
                return tensor
        raise KeyError(f"name must be one of {', '.join(t.name for t in self.tensors)}; got {name!r}")

    @property
    def never(self) -> tuple[str, ...]:
        """Names of tensors whose new memory was not written, wholly or in part."""
        return tuple(tensor.name for tensor in self.tensors if tensor.unwritten)

    @property
    def twice(self) -> tuple[TensorTrace, ...]:
        """Tensors that were set more than once; the last write counts."""
        return tuple(tensor for tensor in self.tensors if tensor.times > 1)

    @property
    def ok(self) -> bool:
        """Whether there is no finding."""
        return not self.findings

    @property
    def findings(self) -> tuple[TraceFinding, ...]:
        """Faults: memory never written, and rules that hit nothing."""
        return tuple(self._findings())

    def _findings(self) -> Iterator[TraceFinding]:
        for pattern, group in _alike([t for t in self.tensors if t.unwritten]):
            names = tuple(tensor.name for tensor in group)
            size, unwritten = math.prod(group[0].shape), group[0].unwritten
            count = f" ({len(group)})" if len(group) > 1 else ""
            last = group[0].last
            if last is not None:
                yield TraceFinding(
                    "not_finite", names, f"{pattern}{count}: {unwritten} of {size} are NaN since {last}."
                )
            elif unwritten == size:
                said = "never written: it holds what was in its memory before. Initialize it"
                partly = [write for write in group[0].writes if write.effect != "sets"]
                if partly:
                    said = f"computed from memory never written, by {partly[-1]}. Set it before it is changed"
                yield TraceFinding("never", names, f"{pattern}{count}: {said}.")
            else:
                said = f"{unwritten} of {size} elements never written"
                yield TraceFinding("partly", names, f"{pattern}{count}: {said}. Initialize all of it.")
        named = [unused for unused in self.unused if unused.names]
        parameters = {tensor.name: None for tensor in self.tensors}
        for unused in named:
            yield TraceFinding("no_hits", (), unused.sentence(parameters))

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain values for JSON; NaN and infinity become None."""
        tensors = [asdict(tensor) | {"times": tensor.times} for tensor in self.tensors]
        findings = [asdict(finding) for finding in self.findings]
        plain: dict[str, Any] = _plain(
            {"ok": self.ok, "findings": findings, "tensors": tensors, "unused": [asdict(u) for u in self.unused]}
        )
        return plain

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {
                "tensor": tensor.name,
                "shape": "x".join(map(str, tensor.shape)),
                "set": tensor.times,
                "law": notation(tensor.law) if tensor.law is not None and tensor.law.known else "",
                "call": tensor.writes[-1].call if tensor.writes else "",
                "line": str(tensor.writes[-1].line) if tensor.writes else "",
            }
            for tensor in self.tensors
        ]

    def _shown(self) -> tuple[list[tuple[str, ...]], list[str]]:
        return self._table(), [self.sentence, *(finding.sentence for finding in self.findings)]

    def _table(self) -> list[tuple[str, ...]]:
        table: list[tuple[str, ...]] = [("tensor", "shape", "set", "law left", "by the last write")]
        for pattern, group in _alike(self.tensors):
            name, first = f"{pattern} ({len(group)})" if len(group) > 1 else group[0].name, group[0]
            law = notation(first.law) if first.law is not None and first.law.known else "-"
            said = "past PyTorch's operators" if first.new else "none in this trace"
            if first.unwritten:
                said = "never"
            if first.writes:
                last = first.writes[-1]
                said = f"{last.call} at {last.line}" + ("" if last.whole else f", on {last.share:.3g} of it")
            table.append((name, "x".join(map(str, first.shape)), str(first.times), law, said))
        return table

    def __str__(self) -> str:
        table = self._table()
        widths = [max(len(row[column]) for row in table) for column in range(4)] + [0]
        lines = ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)) for row in table]
        for finding in self.findings:
            lines += ["", fill(finding.sentence, WIDTH, subsequent_indent="  ", break_long_words=False)]
        rest = [unused for unused in self.unused if not unused.names]
        if rest:
            places = ", ".join(f"{u.line} ({u.condition or u.call})" for u in rest[:6])
            more = f" and {len(rest) - 6} more" if len(rest) > 6 else ""
            lines += ["", fill(f"Lines for other modules, which wrote nothing: {places}{more}.", WIDTH)]
        lines += ["", fill(self.sentence, WIDTH)]
        return "\n".join(lines)

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        parameters = [tensor for tensor in self.tensors if tensor.parameter]
        if self.never:
            said = f"{len(self.never)} of {len(self.tensors)} tensors hold memory that was never written."
        elif not any(tensor.writes for tensor in parameters):
            said = "Nothing was written to this model's parameters in the trace: build or initialize it inside."
        else:
            untouched = sum(not tensor.writes for tensor in parameters)
            said = f"All new memory of {len(self.tensors)} tensors was written."
            if untouched:
                said += f" {untouched} of {len(parameters)} parameters were not written to inside the trace."
        if self.twice:
            lasts = Counter(str(tensor.last.line) for tensor in self.twice if tensor.last)
            wrote = ", ".join(f"{line} ({count})" for line, count in lasts.most_common(4))
            said += f" {len(self.twice)} were set more than once, last by {wrote}."
        hits = sum(finding.kind == "no_hits" for finding in self.findings)
        return said + (f" {hits} rule{'s' * (hits > 1)} hit nothing." if hits else "")


def _alike(tensors: Sequence[TensorTrace]) -> list[tuple[str, list[TensorTrace]]]:
    """Return groups of tensors whose names differ in numbers of layers alone and that were written alike."""
    groups: dict[Any, list[TensorTrace]] = {}
    for tensor in tensors:
        last = tensor.writes[-1] if tensor.writes else None
        written = (last.call, last.line, last.share) if last else None
        key = (INDEX.sub("*", tensor.name), tensor.shape, tensor.times, written, tensor.new, tensor.unwritten)
        groups.setdefault(key, []).append(tensor)
    return [(key[0] if len(group) > 1 else group[0].name, group) for key, group in groups.items()]


def _plain(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {key: _plain(each) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
    return value
