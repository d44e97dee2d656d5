"""One array against its law: what was found, and what explains it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from scipy.special import pdtrc

from weightinit.arrays import Array
from weightinit.auditing.expected import Expected
from weightinit.auditing.known import Candidate, factor, looks_like, of_any_scale
from weightinit.auditing.report import Finding, Kind, TensorReport, Verdict
from weightinit.auditing.sample import DRAWN, Fit, Sample, describe, largest_z, spacing
from weightinit.auditing.structure import (
    chance_of_repeated_units,
    first_units,
    largest_singular_value,
    largest_singular_value_drawn,
    orthogonality,
)
from weightinit.laws import Law

TESTS: Final = 7
"""Tests that an honest tensor may fail by chance: mean, std, shape, tails, largest singular value, zeros, units."""

SMALLEST: Final = 6e-8
"""Smallest positive float16: what lies nearer to zero may have been rounded to it."""

NOTHING: Final = Sample(np.full(1, np.nan), 1.0)
"""Stands for a tensor that has no finite element."""

UNEQUAL: Final = 2.0**-12
"""Relative spread of an orthogonal matrix's singular values that float32 and better explain."""


@dataclass
class Judgement:
    """One tensor under judgement: what is known of it so far.

    ``differs``: how it departs from its law, where ``explained`` says which other ones it may follow.
    """

    tensor: Expected
    sample: Sample
    findings: list[Finding] = field(default_factory=list)
    explained: tuple[Candidate, ...] = ()
    differs: str = ""
    mean_z: float = math.nan
    std_z: float = math.nan
    outside: int = 0
    not_finite: int = 0
    repeated_units: int = 0
    same_as: str | None = None

    def find(self, kind: Kind, measured: str, advice: str) -> None:
        """Note a finding."""
        self.findings.append(Finding(kind, measured, advice))


def judge(tensor: Expected, alpha: float, copy: tuple[str, bool] | None) -> Judgement:
    """A tensor against its law, each test at level ``alpha``; ``copy`` is what ``structure.copies`` says of it."""
    x = tensor.values
    if x.dtype.kind != "f" or x.size == 0:
        return Judgement(tensor, NOTHING)
    finite = np.isfinite(x)
    values = (x if (whole := bool(finite.all())) else x[finite]).astype(np.float64)
    sample = Sample(values, spacing(x)) if values.size else NOTHING
    judged = Judgement(tensor, sample, not_finite=x.size - values.size)
    if not whole:
        judged.find(
            "not_finite",
            f"{judged.not_finite} of {x.size} values are NaN or infinite",
            "Look for a division by a fan of 0, an overflow of float16, or weights saved after a divergence.",
        )
        return judged
    if copy is not None:
        _copied(judged, *copy)
    if tensor.law is not None:
        _against(judged, tensor.law, values.reshape(-1, x.shape[-1]), alpha)
    return judged


def _copied(judged: Judgement, name: str, whole: bool) -> None:
    judged.same_as = name
    if whole:
        advice = "Draw each layer for itself from one generator, unless the two are tied on purpose."
        judged.find("copy", f"Is a copy of {name}", advice)
    else:
        advice = "The two were drawn from the same seed: give each layer a stream of its own."
        judged.find("noise", f"Has the random numbers of {name}", advice)


def _against(judged: Judgement, law: Law, matrix: Array, alpha: float) -> None:
    sample = judged.sample
    low, high = sample.range
    if law.std == 0:
        _constant(judged, law, alpha)
    elif low == high and (sample.size > 1 or low == 0):
        kind: Kind = "constant" if low else "zeros"
        advice = f"Equal units stay equal: draw it from {judged.tensor.label}."
        judged.find(kind, f"All values are {low:.4g}", advice)
    elif law.family == "unknown":
        _fixed(judged, law)
    else:
        _random(judged, law, matrix, alpha)


def _constant(judged: Judgement, law: Law, alpha: float) -> None:
    low, high = judged.sample.range
    if max(abs(low - law.mean), abs(high - law.mean)) <= judged.sample.spacing * abs(law.mean):
        return
    judged.outside = int(np.count_nonzero(judged.sample.values != law.mean))
    if low == high:
        judged.find("constant", f"Is {low:.4g} everywhere in place of {law.mean:.4g}", f"Set it to {law.mean:.4g}.")
        return
    differs = f"Scatters with std {judged.sample.std:.4g} where the law has {law.mean:.4g} everywhere"
    _explain(judged, judged.sample, differs, alpha)


def _fixed(judged: Judgement, law: Law) -> None:
    """A matrix that isn't drawn, such as the identity: its mean and std hold exactly."""
    sample, margin = judged.sample, 1e-3 * law.std
    judged.outside = sample.outside(law)
    if judged.outside or abs(sample.mean - law.mean) > margin or abs(sample.std - law.std) > margin:
        measured = f"Mean {sample.mean:.4g} and std {sample.std:.4g} in place of {law.mean:.4g} and {law.std:.4g}"
        judged.find("law", measured, f"Set it to {judged.tensor.label}.")


def _random(judged: Judgement, law: Law, matrix: Array, alpha: float) -> None:
    body, spoilt = judged.sample, False
    if judged.tensor.spec.role == "weight":
        first = first_units(matrix)
        repeated = int(matrix.shape[1] - first.sum())
        if chance_of_repeated_units(repeated, matrix.shape, body.spacing) < alpha:
            judged.repeated_units, spoilt = repeated, True
            body = Sample(matrix[:, first], body.spacing)
            advice = "They compute the same and learn the same: draw each unit for itself."
            judged.find("units", f"{repeated} of {matrix.shape[1]} units equal an earlier one", advice)
    if body.zeros and (law.family == "sparse" or _too_many_zeros(body, law, alpha)):
        kept = body.values[body.values != 0]
        if law.family == "sparse":
            law = Law("normal", law.mean, law.std * math.sqrt(body.size / kept.size))
        else:
            advice = f"{judged.tensor.label} draws none: look for a mask, pruning, or a layer that was filled in part."
            judged.find("zeros", f"{body.zeros} of {body.size} values are zero", advice)
            if kept.min() == kept.max():
                return
        body, spoilt = Sample(kept, body.spacing), True
    elif law.family == "sparse":
        law = Law("normal", law.mean, law.std)
    if law.family in DRAWN:
        fit = body.fit(law)
        judged.mean_z, judged.std_z, judged.outside = fit.mean_z, fit.std_z, fit.outside
        if not spoilt and _dependent(judged, matrix, alpha):
            return
        if not fit.passes(alpha):
            _explain(judged, body, _difference(body, fit, law, largest_z(alpha)), alpha)
    else:
        _orthogonal(judged, law, matrix, alpha)


def _too_many_zeros(sample: Sample, law: Law, alpha: float) -> bool:
    return float(pdtrc(sample.zeros - 1, sample.size * SMALLEST / law.std)) < alpha


def _dependent(judged: Judgement, matrix: Array, alpha: float) -> bool:
    """Whether the elements of a weight are visibly not independent: training's directions, or orthogonal units."""
    if judged.tensor.spec.role != "weight" or min(matrix.shape) < 2:
        return False
    sample = judged.sample
    size, unequal, drawn = orthogonality(matrix)
    if min(matrix.shape) >= 16 and unequal <= min(_tolerance(sample), drawn / 4):
        judged.explained = (Candidate(f"orthogonal(gain={size:.4g})", Law("orthogonal"), ""),)
        judged.find(
            "dependent",
            f"Its units are orthogonal, with singular values {size:.4g}",
            f"The elements of {judged.tensor.label} are independent: draw it anew, or audit it as orthogonal.",
        )
        return True
    return _stands_out(judged, matrix, alpha)


def _stands_out(judged: Judgement, matrix: Array, alpha: float) -> bool:
    limit = largest_singular_value_drawn(matrix.shape, alpha) * judged.sample.std
    largest = largest_singular_value(matrix - judged.sample.mean)
    if largest > limit:
        judged.find(
            "trained",
            f"Its largest singular value is {largest:.4g}; independent draws stay below {limit:.4g}",
            "It looks trained: learning adds directions that stand out. Audit weights from before the first step.",
        )
    return largest > limit


def _orthogonal(judged: Judgement, law: Law, matrix: Array, alpha: float) -> None:
    sample = judged.sample
    judged.mean_z = sample.mean / (law.std / math.sqrt(sample.size))
    size, unequal, drawn = orthogonality(matrix)
    wanted = law.support[1]
    if unequal <= _tolerance(sample):
        if abs(size / wanted - 1) > _tolerance(sample):
            judged.explained = (Candidate(f"orthogonal(gain={size:.4g})", Law("orthogonal"), ""),)
            measured = f"Singular values {size:.4g}, {size / wanted:.3g} times the law's {wanted:.4g}"
            measured += factor(size / wanted, _tolerance(sample))
            judged.find("scale", measured, f"Another gain: draw it from {judged.tensor.label}.")
    elif unequal < drawn / 2:
        advice = "It looks trained, or rounded too far. Audit weights from before the first step."
        judged.find("trained", f"Nearly orthogonal: singular values are unequal by {unequal:.2g}", advice)
    elif not _stands_out(judged, matrix, alpha):
        _explain(judged, sample, "Its units are not orthogonal", alpha)


def _tolerance(sample: Sample) -> float:
    return max(UNEQUAL, 2 * sample.spacing)


def _difference(sample: Sample, fit: Fit, law: Law, limit: float) -> str:
    """What of a sample is not as in its law, the plainest first."""
    said = []
    if abs(fit.std_z) > limit:
        ratio = sample.std / law.std
        error = abs(math.log(ratio) / fit.std_z)
        said.append(f"std {sample.std:.4g} is {ratio:.3g} times the law's {law.std:.4g}{factor(ratio, error)}")
    if abs(fit.mean_z) > limit and abs(sample.mean - law.mean) * math.sqrt(sample.size) > limit * sample.std:
        said.append(f"mean {sample.mean:.3g} lies {fit.mean_z:+.1f} standard errors off the law's {law.mean:.3g}")
    if fit.outside:
        low, high = law.support
        said.append(f"{fit.outside} of {sample.size} values lie outside [{low:.4g}, {high:.4g}]")
    if not said:
        said.append(f"the values are not distributed as {describe(law)}")
    text = "; ".join(said)
    return text[0].upper() + text[1:]


def _explain(judged: Judgement, sample: Sample, differs: str, alpha: float) -> None:
    """What explains a sample that doesn't follow its law: another law, another scale, or training."""
    judged.explained = looks_like(sample, judged.tensor, alpha)
    if judged.explained:
        judged.differs = differs
    elif (free := of_any_scale(sample, alpha)) is not None:
        judged.explained = (free,)
        advice = f"No known scheme has that here: draw it from {judged.tensor.label}, or give the law that is meant."
        judged.find("scale", f"{differs}; like {free.name}", advice)
    else:
        advice = "No law known here has that shape at any std: it looks trained. Audit weights from before training."
        judged.find("trained", differs, advice)


def report(judged: Judgement, votes: Counter[str]) -> TensorReport:
    """The judgement as a record. Of laws that explain the tensor alike, the one with most ``votes`` stands first."""
    tensor, sample, findings = judged.tensor, judged.sample, judged.findings
    explained = sorted(judged.explained, key=lambda candidate: -votes[candidate.name])
    if judged.differs:
        also = f" (or {explained[1].name}, which fits as well)" if len(explained) > 1 else ""
        remark = f": {explained[0].remark}" if explained[0].remark else "."
        advice = f"Looks like {explained[0].name}{also}{remark} The law should be {tensor.label}."
        findings = [*findings, Finding("law", judged.differs, advice)]
    verdict: Verdict = "follows" if tensor.law is not None else "unjudged"
    if findings:
        verdict = "trained" if any(finding.kind == "trained" for finding in findings) else "differs"
    return TensorReport(
        name=tensor.spec.name,
        shape=tensor.shape,
        fans=tensor.fans,
        label=tensor.label,
        law=tensor.law,
        mean=sample.mean,
        std=sample.std,
        mean_z=judged.mean_z,
        std_z=judged.std_z,
        outside=judged.outside,
        zeros=sample.zeros,
        not_finite=judged.not_finite,
        repeated_units=judged.repeated_units,
        same_as=judged.same_as,
        looks_like=tuple(candidate.name for candidate in explained),
        verdict=verdict,
        findings=tuple(findings),
    )
