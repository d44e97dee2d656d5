"""Report of a probe: what each module does to signal and gradient at initialization, and what follows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from textwrap import fill
from typing import Any

import numpy as np

from weightinit.model import INDEX
from weightinit.probing.judging import Chain, ProbeFinding, chains, findings
from weightinit.probing.readings import Draw, FirstStep, Place
from weightinit.tables import Tabled

WIDTH = 100
ROWS = 40


@dataclass(frozen=True)
class PlaceReport:
    """One module over all draws: geometric means of rms and gradient norm, means of the rest; NaN: not measured.

    ``rms_spread``: standard deviation over draws of the rms's natural logarithm. ``dead``, ``saturated``: shares of
    units and of values of the activation functions that ran in it. ``rank``: effective rank of a sample's positions
    over the most it can be; ``alike``: their correlation; ``correlation``: of different samples.
    """

    name: str
    kind: str
    rms: float
    rms_spread: float
    backward: float
    dead: float
    saturated: float
    rank: float
    alike: float
    correlation: float


@dataclass(frozen=True)
class ProbeReport(Tabled):
    """Verdict on a model at initialization.

    ``places``: modules in the order of their execution; ``chains``: growth along blocks or layers; ``loss`` and
    ``ignorant``: the first loss and that of a model whose output is zero (ln classes), means over draws; ``excess``:
    their difference; ``step``: a first step of an optimizer; ``unused``: parameters that the pass didn't use.
    ``draws``: number of initializations, and ``source``: where they came from; ``judged_by``: the loss, in words.
    """

    places: tuple[PlaceReport, ...]
    chains: tuple[Chain, ...]
    loss: float
    loss_spread: float
    ignorant: float
    step: FirstStep | None
    unused: tuple[str, ...]
    findings: tuple[ProbeFinding, ...]
    draws: int
    source: str
    judged_by: str

    @property
    def ok(self) -> bool:
        """Whether there is no finding."""
        return not self.findings

    @property
    def excess(self) -> float:
        """First loss beyond an ignorant model's."""
        return self.loss - self.ignorant

    def __getitem__(self, name: str) -> PlaceReport:
        """The report on the module called ``name``."""
        for place in self.places:
            if place.name == name:
                return place
        raise KeyError(f"name must be one of {', '.join(p.name for p in self.places)}; got {name!r}")

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        if self.findings:
            count = len(self.findings)
            return f"{count} fault{'s' * (count > 1)} at initialization: {', '.join(f.kind for f in self.findings)}."
        said = "Signal and gradient get through"
        if math.isfinite(self.ignorant) and math.isfinite(self.loss):
            near = abs(self.excess) < 0.1 * self.ignorant
            where = "near" if near else f"{self.excess:.2g} above"
            said += f", and the first loss ({self.loss:.4g}) is {where} an ignorant model's ({self.ignorant:.4g})"
        return f"{said}: no fault at initialization."

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain values for JSON; NaN and infinity become None."""
        plain: dict[str, Any] = _plain({**asdict(self), "ok": self.ok, "sentence": self.sentence})
        return plain

    def _rows(self) -> list[dict[str, Any]]:
        return [asdict(place) for place in self.places]

    def _shown(self) -> tuple[list[tuple[str, ...]], list[str]]:
        return self._table(), [self.sentence, *(finding.sentence for finding in self.findings)]

    def _table(self) -> list[tuple[str, ...]]:
        table: list[tuple[str, ...]] = [("module", "kind", "rms", "gradient", "dead", "saturated", "rank", "alike")]
        for name, group in self._groups():
            ranges = (_range([getattr(place, field) for place in group]) for field in ("rms", "backward"))
            fields = ("dead", "saturated", "rank", "alike")
            shares = (_share([getattr(place, field) for place in group]) for field in fields)
            table.append((name, group[0].kind, *ranges, *shares))
        return table

    def __str__(self) -> str:
        whole = self._table()
        table = whole[: ROWS + 1]
        widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
        lines = [
            " ".join(f"{cell:{'<' if column < 2 else '>'}{widths[column]}}" for column, cell in enumerate(row)).rstrip()
            for row in table
        ]
        if len(whole) > len(table):
            lines.append(f"... and {len(whole) - len(table)} more rows in `places`")
        lines.append("")
        for chain in self.chains:
            lines.append(
                f"{chain.name}: rms x{chain.signal:.3g} and gradient x{chain.gradient:.3g} a place over "
                f"{len(chain.places) - 1} ({chain.stability.label})"
            )
        if math.isfinite(self.loss):
            known = f", an ignorant model's {self.ignorant:.4g}" if math.isfinite(self.ignorant) else ""
            lines.append(fill(f"first loss {self.loss:.4g}{known} ({self.judged_by})", WIDTH))
        if self.step is not None and self.step.updates:
            ratios = sorted(value for value in self.step.updates.values() if math.isfinite(value))
            if ratios:
                lines.append(
                    f"first step of {self.step.optimizer}: loss {self.step.loss:.4g}; update over weight "
                    f"{ratios[0]:.2g} to {ratios[-1]:.2g}, median {ratios[len(ratios) // 2]:.2g}"
                )
        lines.append(fill(f"{self.draws} draws: {self.source}", WIDTH))
        if self.unused:
            names = ", ".join(self.unused[:6]) + (f" and {len(self.unused) - 6} more" if len(self.unused) > 6 else "")
            lines.append(fill(f"not used by this pass: {names}", WIDTH))
        for finding in self.findings:
            lines += ["", fill(finding.sentence, WIDTH, subsequent_indent="  ", break_long_words=False)]
        return "\n".join([*lines, "", fill(self.sentence, WIDTH)])

    def _groups(self) -> list[tuple[str, list[PlaceReport]]]:
        """Modules whose names differ in numbers of layers alone, in the order of the first."""
        found: dict[tuple[str, str], list[PlaceReport]] = {}
        for place in self.places:
            found.setdefault((INDEX.sub("*", place.name) or "(model)", place.kind), []).append(place)
        return [
            (f"{pattern} ({len(group)})" if len(group) > 1 else group[0].name or "(model)", group)
            for (pattern, _), group in found.items()
        ]


def report(
    places: Sequence[Place],
    draws: Sequence[Draw],
    step: FirstStep | None,
    *,
    nats: bool,
    source: str,
    judged_by: str,
    unused: Sequence[str] = (),
) -> ProbeReport:
    """Return the report on what was measured, ``places`` in the order of their execution."""
    found = chains(places, draws)
    return ProbeReport(
        tuple(_place(place, draws) for place in places),
        found,
        float(np.mean([draw.loss for draw in draws])),
        float(np.std([draw.loss for draw in draws])),
        float(np.mean([draw.ignorant for draw in draws])),
        step,
        tuple(unused),
        tuple(findings(places, draws, found, step, nats)),
        len(draws),
        source,
        judged_by,
    )


def _place(place: Place, draws: Sequence[Draw]) -> PlaceReport:
    readings = [draw.readings[place.name] for draw in draws]
    slopes = [reading.slopes for reading in readings if reading.slopes is not None]
    with np.errstate(all="ignore"):
        logs = np.log([reading.rms for reading in readings])
        back = np.log([reading.backward for reading in readings])
        return PlaceReport(
            place.name,
            place.kind,
            float(np.exp(logs.mean())),
            float(logs.std(ddof=1)) if len(draws) > 1 else math.nan,
            float(np.exp(back.mean())),
            float(np.mean([each.dead for each in slopes])) if slopes else math.nan,
            float(np.mean([each.saturated for each in slopes])) if slopes else math.nan,
            float(np.mean([reading.rank for reading in readings])),
            float(np.mean([reading.alike for reading in readings])),
            float(np.mean([reading.correlation for reading in readings])),
        )


def _range(values: Sequence[float]) -> str:
    first, last = values[0], values[-1]
    if not math.isfinite(first) and not math.isfinite(last):
        return "-"
    return f"{first:.3g}" if len(values) == 1 else f"{first:.3g} .. {last:.3g}"


def _share(values: Sequence[float]) -> str:
    known = [value for value in values if math.isfinite(value)]
    return f"{max(known):.2f}" if known else "-"


def _plain(value: Any) -> Any:
    match value:
        case float() | np.floating():
            return float(value) if math.isfinite(value) else None
        case Mapping():
            return {key: _plain(each) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
    return value
