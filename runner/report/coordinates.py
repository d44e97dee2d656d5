"""Words on a coordinate check: exponents by layer, a verdict, and what is wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence

from runner.text import Column, table
from weightinit.coordinate_check import CoordinateCheck, Exponent

_SAID = {
    "transfers": "Passes: every layer's activations and their changes keep their size over {along}.",
    "differs": "Does not pass: what a learning rate does depends on {along}.",
    "unclear": "Unclear: some intervals are too wide. Pass more seeds, or larger networks.",
}


def lines(name: str, sizes: Sequence[float], check: CoordinateCheck) -> list[str]:
    """Return the lines on one check: a table of exponents with 99% intervals, the verdict, its cause."""
    span = ", ".join(f"{size:g}" for size in sizes)
    steps = len(next(iter(check.exponents.values())))
    columns = [
        Column("layer", list(check.exponents), left=True),
        Column("at start", [_exponent(found[0]) for found in check.exponents.values()]),
        *(
            Column(
                f"change, {step} step{'s' * (step > 1)}", [_exponent(found[step]) for found in check.exponents.values()]
            )
            for step in range(1, steps)
        ),
        Column("verdict", list(check.verdicts.values()), left=True),
    ]
    said = [f"{name}: powers of the {check.along} ({span})", *table(columns), ""]
    said.append(_SAID[check.verdict].format(along=check.along))
    return [*said, *(f"cause: {cause}" for cause in check.causes)]


def _exponent(found: Exponent) -> str:
    return (
        "0"
        if math.isnan(found.mean) and found.verdict == "zero"
        else ("–" if math.isnan(found.mean) else f"{found.mean:+.2f} ± {(found.high - found.low) / 2:.2f}")
    )
