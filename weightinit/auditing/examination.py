"""One array under examination, and what shows in it without any law: NaN, copies, units and inputs that repeat."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from weightinit.arrays import Array
from weightinit.auditing.elements import Elements, elements_of
from weightinit.auditing.expected import Expected
from weightinit.auditing.explanations import Explanation
from weightinit.auditing.fixed_kernels import FixedKernel, fixed_kernel
from weightinit.auditing.matrices import Repeats, repeats
from weightinit.auditing.report import Finding, Kind
from weightinit.statistics import Summary

TESTS: Final = 9
"""Tests that an honest array may fail by chance: mean, std, shape, tails, largest singular value, zeros, elements that
are equal, units that repeat, inputs that repeat."""


_NONE: Final = np.empty(0)


@dataclass
class Examination:
    """One array under examination: what is known of it so far.

    ``values``: float64, laid out ``(*kernel, fan_in, fan_out)``. ``differs``: how the array departs from its law, where
    ``explained`` says which laws it may follow. ``remark``: what is worth knowing and no fault.
    """

    tensor: Expected
    values: Array
    elements: Elements
    mean: float
    std: float
    zeros: int
    findings: list[Finding] = field(default_factory=list)
    explained: tuple[Explanation, ...] = ()
    differs: str = ""
    remark: str = ""
    mean_z: float = math.nan
    std_z: float = math.nan
    outside: int = 0
    not_finite: int = 0
    repeated_units: int = 0
    negated_units: int = 0
    repeated_inputs: int = 0
    negated_inputs: int = 0
    same_as: str | None = None

    @property
    def matrix(self) -> Array:
        """The array as a matrix: inputs (those of all taps of a kernel) x units."""
        return self.values.reshape(-1, self.values.shape[-1])

    def let_go(self) -> None:
        """Drop the elements, which nothing asks for any more: a large model's take twice its memory."""
        self.values, self.elements = _NONE, elements_of(_NONE)

    def find(self, kind: Kind, measured: str, advice: str) -> None:
        """Note a finding."""
        self.findings.append(Finding(kind, measured, advice))


def examine(tensor: Expected, copy: tuple[str, bool] | None, summary: Summary | None = None) -> Examination:
    """Return the examination of an array with what needs no test: NaN and infinity, copies.

    ``copy`` is what :func:`weightinit.auditing.copies.copies` says of it; ``summary``: of its elements, where known.
    """
    x = np.atleast_1d(tensor.values)
    if x.dtype.kind != "f":
        x = np.empty(0)  # whole numbers are not judged
    elements = elements_of(x)
    if summary is not None and elements.size == x.size:  # all are finite
        elements.summary = summary
    exam = Examination(tensor, x.astype(np.float64), elements, elements.mean, elements.std, elements.zeros)
    if not_finite := int(x.size - np.count_nonzero(np.isfinite(x))):
        exam.not_finite = not_finite
        exam.find(
            "not_finite",
            f"{not_finite} of {x.size} values are NaN or infinite",
            "Look for a division by a fan of 0, an overflow of float16, or weights saved after a divergence.",
        )
    elif copy is not None:
        exam.same_as, whole = copy
        if whole:
            advice = "Draw each layer for itself from one generator, unless the two are tied on purpose."
            exam.find("copy", f"Is a copy of {exam.same_as}", advice)
        else:
            advice = "The two were drawn from the same seed: give each layer a stream of its own."
            exam.find("noise", f"Has the random numbers of {exam.same_as}", advice)
    return exam


def one_value(exam: Examination, alpha: float) -> bool:
    """Whether all elements are one number, and chance doesn't make that of independent draws."""
    low, high = exam.elements.range
    chance = exam.elements.chance_of_equality if low else 2 * exam.elements.spacing
    return low == high and chance ** (exam.elements.size - (low != 0)) < alpha


def written_down(exam: Examination, alpha: float) -> FixedKernel | None:
    """Return the kernel by name if it is one that isn't drawn, and chance doesn't make it of independent draws."""
    kernel = fixed_kernel(exam.values) if exam.tensor.is_weight else None
    chance = 1.0 if kernel is None else exam.elements.chance_of_equality**kernel.coincidences
    return kernel if chance < alpha else None


def distinct_part(exam: Examination, alpha: float) -> Array:
    """Note units and inputs that repeat an earlier one or its negative; return the array without these."""
    values, shape, chance_of_equality = exam.values, exam.values.shape, exam.elements.chance_of_equality
    units = repeats(exam.matrix.T)
    if units.chance(chance_of_equality) < alpha:
        exam.repeated_units, exam.negated_units = units.equal, units.negated
        same = "They compute the same and learn the same: draw each unit for itself."
        negative = "They compute the same but for the sign; a looks-linear initialization does so on purpose."
        _note_repeats(exam, "units", units, same, negative)
        values = values[..., units.first]
    inputs = repeats(np.moveaxis(exam.values, -2, 0).reshape(shape[-2], -1))
    if inputs.chance(chance_of_equality) < alpha:
        exam.repeated_inputs, exam.negated_inputs = inputs.equal, inputs.negated
        same = "All units treat the two alike: draw the weights of each input for themselves."
        negative = "All units see but the difference of the two: draw the weights of each input for themselves."
        _note_repeats(exam, "inputs", inputs, same, negative)
        values = values[..., inputs.first, :]
    return values


def _note_repeats(exam: Examination, kind: Kind, found: Repeats, same: str, negative: str) -> None:
    count = found.first.size
    if found.equal:
        exam.find(kind, f"{found.equal} of {count} {kind} equal an earlier one", same)
    if found.negated:
        exam.find(kind, f"{found.negated} of {count} {kind} are the negative of an earlier one", negative)
