"""Coordinate check: whether activations, and what training changes of them, keep their size as a network grows.

A learning rate transfers over width (or depth) where each layer's activations change by as much in large networks as in
small ones. The check takes sizes that somebody has measured, fits an exponent of the width to each, and names what is
wrong where one is not as it should be. Source: Yang et al. 2022 (Tensor Programs V), appendix D.1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from scipy import stats

from weightinit.arrays import Array
from weightinit.tables import Tabled

Kind = Literal["input", "hidden", "stream", "query", "logits", "output"]
Along = Literal["width", "depth"]
Verdict = Literal["level", "grows", "shrinks", "unclear", "zero", "dead", "diverges"]

TOLERANCE: Final = 0.25
"""Exponents of networks of finite width lie within this of their limit; a fault moves one by 1/2 or 1."""
CONFIDENCE: Final = 0.99
LEAST_SIZES, LEAST_SEEDS = 3, 3


class Measured(NamedTuple):
    """One measured size: ``value`` is the root mean square of a layer's output on fixed samples at ``step`` 0, and that
    of the output's change since then at later steps; ``size``: the width or depth of the network."""

    size: float
    seed: int
    layer: str
    step: int
    value: float


class Exponent(NamedTuple):
    """Power of the size with which a measured one goes: ``mean`` over seeds, interval ``low`` to ``high``; NaN for
    values that are zero or not finite. ``verdict``: what it means for its layer."""

    mean: float
    low: float
    high: float
    verdict: Verdict


@dataclass(frozen=True)
class CoordinateCheck(Tabled):
    """Result of a coordinate check.

    ``exponents``: by layer, in forward order, one for each step from 0; ``verdicts``: by layer; ``verdict``: of all,
    ``transfers``, ``differs`` or ``unclear``; ``causes``: sentences on what is wrong; ``along``: width or depth.
    """

    along: Along
    exponents: Mapping[str, Sequence[Exponent]]
    verdicts: Mapping[str, Verdict]
    verdict: Literal["transfers", "differs", "unclear"]
    causes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether what a learning rate does is the same at every size."""
        return self.verdict == "transfers"

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {"layer": layer, "step": step, **each._asdict()}
            for layer, found in self.exponents.items()
            for step, each in enumerate(found)
        ]

    def _shown(self) -> tuple[list[tuple[str, ...]], list[str]]:
        steps = max(map(len, self.exponents.values()))
        table = [("layer", "at the start", *(f"change by step {step}" for step in range(1, steps)), "verdict")]
        table += [(layer, *map(_power, found), self.verdicts[layer]) for layer, found in self.exponents.items()]
        return table, [f"{self.verdict} (powers of the {self.along})", *self.causes]

    def __str__(self) -> str:
        width = max(map(len, self.exponents))
        lines = [f"{'layer':{width}}  powers of the {self.along}, at the start and of the changes by step"]
        for layer, found in self.exponents.items():
            powers = " ".join(map(_power, found))
            lines.append(f"{layer:{width}}  {powers}  {self.verdicts[layer]}")
        return "\n".join([*lines, f"{self.verdict}", *(f"cause: {cause}" for cause in self.causes)])


def _power(exponent: Exponent) -> str:
    return "    –" if math.isnan(exponent.mean) else f"{exponent.mean:+5.2f}"


def coordinate_check(
    measured: Iterable[Measured],
    kinds: Mapping[str, Kind],
    *,
    along: Along = "width",
    tolerance: float = TOLERANCE,
    confidence: float = CONFIDENCE,
) -> CoordinateCheck:
    """Return the check of measured sizes; ``kinds``: of all layers, in forward order.

    Each seed gives an exponent, the slope of log value over log size; intervals are those of Student's t over seeds. A
    layer grows or shrinks where the whole interval lies beyond what its kind allows by more than ``tolerance``; it is
    level where the interval stays within twice of that; else it is unclear. Allowed is an exponent of 0, with these
    exceptions. Over width, at step 0: -1/2 of attention's logits, whose random terms average out, and from -1/2 to 0 of
    the outputs, whose weights may be those of the embedding. Over depth: from -1 to 0 of a residual stream, near whose
    start the share of the branches falls with their factor. Queries, logits and outputs may start at zero; while the
    outputs are zero no other layer changes.

    Raises ValueError for fewer than 3 sizes or seeds, for missing values, and for a layer without a kind.
    """
    sizes, values = _table(list(measured), kinds, along)
    silent = any(kind == "output" and not values[layer][0].any() for layer, kind in kinds.items())
    exponents: dict[str, tuple[Exponent, ...]] = {}
    for layer, kind in kinds.items():
        exponents[layer] = tuple(
            _exponent(
                sizes,
                found,
                _allowed(kind, step, along),
                tolerance,
                confidence,
                may_be_zero=kind in ("query", "logits", "output") if step == 0 else silent and kind != "output",
            )
            for step, found in enumerate(values[layer])
        )
    verdicts = {layer: _worst([exponent.verdict for exponent in found]) for layer, found in exponents.items()}
    causes = _causes(exponents, kinds, along)
    wrong = any(verdict not in ("level", "zero", "unclear") for verdict in verdicts.values())
    unclear = any(verdict == "unclear" for verdict in verdicts.values())
    return CoordinateCheck(
        along, exponents, verdicts, "differs" if wrong else "unclear" if unclear else "transfers", causes
    )


def _table(
    rows: Sequence[Measured], kinds: Mapping[str, Kind], along: Along
) -> tuple[Array, Mapping[str, Sequence[Array]]]:
    """Return the sizes, and the values (sizes, seeds) of each layer at each step."""
    sizes, seeds = sorted({row.size for row in rows}), sorted({row.seed for row in rows})
    if len(sizes) < LEAST_SIZES or len(seeds) < LEAST_SEEDS:
        raise ValueError(
            f"a coordinate check needs at least {LEAST_SIZES} {along}s and {LEAST_SEEDS} seeds; "
            f"got {len(sizes)} and {len(seeds)}. Pass more of both."
        )
    if unknown := {row.layer for row in rows} ^ set(kinds):
        raise ValueError(f"each layer needs a kind and each kind a layer; got {min(unknown)!r} without.")
    steps = max(row.step for row in rows) + 1
    places = {(row.layer, row.step, row.size, row.seed): row.value for row in rows}
    if len(places) != len(kinds) * steps * len(sizes) * len(seeds):
        raise ValueError(
            f"every layer needs a value at each {along}, seed and step from 0: {len(kinds)} x {len(sizes)} x "
            f"{len(seeds)} x {steps}; got {len(places)} values."
        )
    values = {
        layer: [
            np.array([[places[layer, step, size, seed] for seed in seeds] for size in sizes]) for step in range(steps)
        ]
        for layer in kinds
    }
    return np.array(sizes, np.float64), values


def _allowed(kind: Kind, step: int, along: Along) -> tuple[float, float]:
    """Return the lowest and the highest exponent that a correct parametrization may have."""
    if along == "depth":
        return (-1.0, 0.0) if kind == "stream" else (0.0, 0.0)
    if step == 0 and kind in ("logits", "output"):
        return -0.5, -0.5 if kind == "logits" else 0.0
    return 0.0, 0.0


def _exponent(
    sizes: Array, values: Array, allowed: tuple[float, float], tolerance: float, confidence: float, *, may_be_zero: bool
) -> Exponent:
    if not np.isfinite(values).all():
        return Exponent(math.nan, math.nan, math.nan, "diverges")
    if not values.all():
        nothing = not values.any()
        return Exponent(math.nan, math.nan, math.nan, "zero" if nothing and may_be_zero else "dead")
    x = np.log(sizes) - np.log(sizes).mean()
    slopes = x @ np.log(values) / (x @ x)
    mean = float(slopes.mean())
    half = float(stats.t.ppf((1 + confidence) / 2, len(slopes) - 1) * stats.sem(slopes))
    low, high = mean - half, mean + half
    least, most = allowed
    if low > most + tolerance:
        verdict: Verdict = "grows"
    elif high < least - tolerance:
        verdict = "shrinks"
    else:
        verdict = "level" if high < most + 2 * tolerance and low > least - 2 * tolerance else "unclear"
    return Exponent(mean, low, high, verdict)


_ORDER: Final[tuple[Verdict, ...]] = ("diverges", "dead", "grows", "shrinks", "unclear", "level", "zero")


def _worst(verdicts: Sequence[Verdict]) -> Verdict:
    return min(verdicts, key=_ORDER.index)


# What is wrong, by kind of layer, whether at the start or in the change, and verdict.
_WIDTH_CAUSES: Final[Mapping[tuple[Kind, str, Verdict], str]] = {
    ("input", "start", "shrinks"): "the embedding or the input's weights are scaled down with width",
    ("input", "start", "grows"): "the embedding or the input's weights are scaled up with width",
    (
        "input",
        "change",
        "shrinks",
    ): "the embedding or the input's weights are scaled: their learning rate falls with width",
    (
        "input",
        "change",
        "grows",
    ): "the embedding or the input's weights are scaled: their learning rate rises with width",
    ("hidden", "start", "shrinks"): "hidden weights start too small: their variance must be of order 1/fan_in",
    ("hidden", "start", "grows"): "hidden weights start too large: their variance must be of order 1/fan_in",
    ("hidden", "change", "grows"): "the learning rate of hidden weights lacks its 1/width (Adam)",
    ("hidden", "change", "shrinks"): "the learning rate of hidden weights falls too fast with width",
    ("logits", "start", "grows"): "the logits of attention are divided by sqrt(d), not by d",
    ("logits", "change", "grows"): "the logits of attention are divided by sqrt(d), not by d",
    ("logits", "change", "shrinks"): "the logits of attention are divided by more than d",
    ("output", "start", "grows"): "the output multiplier 1/width is missing",
    ("output", "start", "shrinks"): "the output is scaled down twice: a tied output counts once",
    ("output", "change", "grows"): "the output multiplier 1/width is missing",
    ("output", "change", "shrinks"): "the output is scaled down twice: a tied output counts once",
}
_DEPTH_CAUSES: Final[Mapping[tuple[str, Verdict], str]] = {
    ("start", "grows"): "residual branches lack a factor that falls with depth",
    (
        "change",
        "grows",
    ): "the updates of residual branches add up: their factor or their learning rate must fall with depth",
    ("start", "shrinks"): "the signal fades with depth",
    (
        "change",
        "shrinks",
    ): "the updates of residual branches fade with depth: their factor or their learning rate falls too fast",
}


def _causes(exponents: Mapping[str, Sequence[Exponent]], kinds: Mapping[str, Kind], along: Along) -> tuple[str, ...]:
    """Return what explains the first fault: at the earliest step, and there in the first layer in forward order."""
    steps = len(next(iter(exponents.values())))
    for step in range(steps):
        for layer, found in exponents.items():
            verdict = found[step].verdict
            if verdict == "diverges":
                return (f"{layer}: values are not finite at step {step}",)
            if verdict == "dead":
                return (f"{layer}: nothing but zeros at step {step}" if step == 0 else f"{layer}: does not change",)
            if verdict not in ("grows", "shrinks"):
                continue
            when = "start" if step == 0 else "change"
            if along == "depth":
                return (f"{layer}: {_DEPTH_CAUSES[when, verdict]}",)
            culprit, kind = (layer, kinds[layer]) if step == 0 else _first_cause(layer, step, exponents, kinds)
            kind = "hidden" if kind in ("query", "stream") else kind
            said = _WIDTH_CAUSES.get((kind, when, verdict), f"{when} {verdict} with width")
            return (f"{culprit}: {said}",)
    return ()


def _first_cause(
    layer: str, step: int, exponents: Mapping[str, Sequence[Exponent]], kinds: Mapping[str, Kind]
) -> tuple[str, Kind]:
    """Return the layer to blame for a change that goes with width, and its kind.

    Steps that are proportional to gradients show an output that is too large in every layer: all grow alike, and the
    output starts level where it should average out.
    """
    for output in (name for name, kind in kinds.items() if kind == "output"):
        start, change = exponents[output][0], exponents[output][step]
        first = next(iter(exponents))
        if start.mean > -TOLERANCE and change.verdict == "grows" and exponents[first][step].verdict == "grows":
            return output, "output"
    return layer, kinds[layer]
