"""Theory of a model beside what was measured of it, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from textwrap import fill
from typing import Any, Final

from weightinit.meanfield import Stability, signal_stability
from weightinit.tables import Tabled

WIDTH: Final = 100
CLOSE: Final = math.log(1.25)
"""Distance of logarithms up to which theory and measurement count as close, beyond what draws scatter."""


@dataclass(frozen=True)
class TheoryRow:
    """One layer: rms of what leaves it and norm of the gradient there, by theory and as measured over the draws.

    ``spread``: standard deviation over draws of the logarithm of the measured rms. The gradient of theory is scaled to
    the measured one at the last layer. ``reason``: why there is no theory, where there is none. NaN where unknown.
    """

    name: str
    kind: str
    theory: float
    measured: float
    spread: float
    theory_gradient: float
    gradient: float
    reason: str = ""

    @property
    def gap(self) -> float:
        """Logarithm of the measured rms over that of theory."""
        with_both = self.theory > 0 and self.measured > 0
        return math.log(self.measured / self.theory) if with_both else math.nan


@dataclass(frozen=True)
class ModelForecast(Tabled):
    """Theory of a model at initialization beside its measurement.

    ``rows``: layers in the order of their execution. ``unknown``: what the lab has no layer for; theory ends before it.
    ``stability``: of the signal by theory, through the layers with weights or the residual sums; ``draws``: of the
    measurement.
    """

    rows: tuple[TheoryRow, ...]
    unknown: str
    stability: Stability
    draws: int

    @property
    def gaps(self) -> tuple[TheoryRow, ...]:
        """Layers whose measurement lies off theory: by more than a quarter, and than draws scatter."""
        return tuple(row for row in self.rows if abs(row.gap) > CLOSE + 3 * (row.spread or 0.0))

    @property
    def sentence(self) -> str:
        """The forecast in words."""
        known = [row for row in self.rows if math.isfinite(row.theory)]
        said = f"Theory: {self.stability.label}"
        if math.isfinite(self.stability.factor):
            said += f", the mean square x{self.stability.factor:.3g} a layer"
        said += f". It covers {len(known)} of {len(self.rows)} layers"
        if self.gaps:
            worst = max(self.gaps, key=lambda row: abs(row.gap))
            said += (
                f", and {len(self.gaps)} lie off it, most in {worst.name}: rms {worst.measured:.3g} for "
                f"{worst.theory:.3g}."
            )
        else:
            said += ", and the measurement agrees in all of them." if known else "."
        return said + (f" Unknown, and so where it ends: {self.unknown}." if self.unknown else "")

    def __getitem__(self, name: str) -> TheoryRow:
        """The row of the layer called ``name``."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"name must be one of {', '.join(row.name for row in self.rows)}; got {name!r}")

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain values for JSON; NaN becomes None."""
        rows = [
            {
                key: None if isinstance(value, float) and not math.isfinite(value) else value
                for key, value in row.items()
            }
            for row in (asdict(row) for row in self.rows)
        ]
        return {"rows": rows, "unknown": self.unknown, "label": self.stability.label, "sentence": self.sentence}

    def _rows(self) -> list[dict[str, Any]]:
        return [asdict(row) for row in self.rows]

    def _shown(self) -> tuple[list[tuple[str, ...]], list[str]]:
        return self._table(), [self.sentence]

    def _table(self) -> list[tuple[str, ...]]:
        table: list[tuple[str, ...]] = [("layer", "kind", "rms: theory", "measured", "gradient: theory", "measured")]
        for row in self.rows:
            numbers = (row.theory, row.measured, row.theory_gradient, row.gradient)
            table.append((row.name, row.kind, *("-" if math.isnan(n) else f"{n:.3g}" for n in numbers)))
        return table

    def __str__(self) -> str:
        table = self._table()
        widths = [max(len(row[column]) for row in table) for column in range(6)]
        lines = [
            "  ".join(f"{cell:{'<' if c < 2 else '>'}{widths[c]}}" for c, cell in enumerate(row)).rstrip()
            for row in table
        ]
        reasons = dict.fromkeys(f"{row.name}: {row.reason}" for row in self.rows if row.reason)
        return "\n".join([*lines, "", *list(reasons)[:1], fill(self.sentence, WIDTH)])


def stability_of(rows: Sequence[TheoryRow]) -> Stability:
    """Return the stability of a signal by theory: through residual sums, else layers with weights but the last."""
    sums = [row for row in rows if row.kind == "Sum"]
    chain = sums if len(sums) > 1 else [row for row in rows if row.kind in ("Dense", "Convolution")][:-1]
    if len(chain) < 2 or not all(math.isfinite(row.theory) for row in chain):
        return Stability("unknown", math.nan)
    first, last = chain[0], chain[-1]
    growth = math.log(last.theory / first.theory) if first.theory > 0 and last.theory > 0 else -math.inf
    gradients = (first.theory_gradient, last.theory_gradient)
    known = all(math.isfinite(gradient) and gradient > 0 for gradient in gradients)
    gradient = math.log(gradients[0] / gradients[1]) if known else math.nan
    return signal_stability(last.theory, growth, gradient, len(chain) - 1)
