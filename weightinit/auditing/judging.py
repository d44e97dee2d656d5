"""One array held against its law."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from weightinit import initializers
from weightinit.arrays import Array
from weightinit.auditing.distributions import DRAWN
from weightinit.auditing.elements import Elements
from weightinit.auditing.examination import Examination, distinct_part, one_value, written_down
from weightinit.auditing.explanations import Explanation, explanations, factor, of_any_scale
from weightinit.auditing.fixed_kernels import centre_tap
from weightinit.auditing.matrices import (
    in_units_of_its_largest,
    largest_singular_value,
    largest_singular_value_drawn,
    orthogonality,
)
from weightinit.auditing.named_laws import notation
from weightinit.auditing.tests_of_law import Fit, fit, largest_z
from weightinit.auditing.zeros import padding, sparse_law, too_many_zeros, zeros_in_words
from weightinit.laws import Law
from weightinit.schemes.rules import Identity

UNEQUAL: Final = 2.0**-12
"""Relative spread of an orthogonal matrix's singular values that float32 and better explain."""


def hold_against_law(exam: Examination, alpha: float) -> None:
    """Note how an array departs from its law, each test at level ``alpha``; nothing without a law, or with NaN."""
    law = exam.tensor.law
    if law is None or exam.not_finite:
        return
    if law.std == 0:
        _constant(exam, law, alpha)
    elif one_value(exam, alpha):
        value = exam.elements.range[0]
        advice = f"Equal units stay equal: draw it from {exam.tensor.label}."
        exam.find("constant" if value else "zeros", f"All values are {value:.4g}", advice)
    elif law.family == "unknown":
        _not_drawn(exam, law)
    elif law.family == "delta_orthogonal":
        _delta_orthogonal(exam, law, alpha)
    else:
        _drawn(exam, law, alpha)


def _constant(exam: Examination, law: Law, alpha: float) -> None:
    low, high = exam.elements.range
    if max(abs(low - law.mean), abs(high - law.mean)) <= exam.elements.spacing * abs(law.mean):
        return
    exam.outside = int(np.count_nonzero(exam.elements.values != law.mean))
    if low == high:
        exam.find("constant", f"Is {low:.4g} everywhere in place of {law.mean:.4g}", f"Set it to {law.mean:.4g}.")
        return
    differs = f"Scatters with std {exam.elements.std:.4g} where the law has {law.mean:.4g} everywhere"
    _explain(exam, exam.elements, differs, alpha)


def _not_drawn(exam: Examination, law: Law) -> None:
    """The identity must be that matrix (of a convolution: Dirac's kernel); of another, mean and std hold exactly."""
    elements, source, margin = exam.elements, exam.tensor.source, 1e-3 * law.std
    if isinstance(source, Identity):
        identity = initializers.identity if exam.values.ndim == 2 else initializers.dirac
        wanted = identity(None, exam.values.shape, gain=source.gain, dtype=np.float64)
        exam.outside = int(np.count_nonzero(abs(exam.values - wanted) > elements.spacing * wanted))
        if exam.outside:
            measured = f"{exam.outside} of {wanted.size} values are not those of {exam.tensor.label}"
            exam.find("law", measured, f"Set it to {exam.tensor.label}.")
        return
    exam.outside = elements.outside(law)
    if exam.outside or abs(elements.mean - law.mean) > margin or abs(elements.std - law.std) > margin:
        measured = f"Mean {elements.mean:.4g} and std {elements.std:.4g} in place of {law.mean:.4g} and {law.std:.4g}"
        exam.find("law", measured, f"Set it to {exam.tensor.label}.")


def _drawn(exam: Examination, law: Law, alpha: float) -> None:
    values = exam.values
    if exam.tensor.is_weight:
        if (kernel := written_down(exam, alpha)) is not None:
            exam.explained = (Explanation(kernel.name, Law("unknown"), ""),)
            measured = f"Is written down, not drawn: {kernel.name}; {kernel.does}"
            exam.find("law", measured, f"The law should be {exam.tensor.label}.")
            return
        values = distinct_part(exam, alpha)
    elements = exam.elements if values is exam.values else exam.elements.part(values)
    if elements.zeros and (law.family == "sparse" or too_many_zeros(elements, law.std, alpha)):
        if elements.zeros == elements.size:
            exam.find("zeros", "All values are 0", f"Nothing comes of them: draw it from {exam.tensor.label}.")
            return
        if law.family == "sparse":
            law = Law("normal", law.mean, law.std / math.sqrt(1 - elements.zeros / elements.size))
        elif (sparse := sparse_law(exam, alpha)) is not None:
            exam.explained, exam.differs = (sparse,), zeros_in_words(exam)
            return
        elif (place := padding(exam)) is not None:
            exam.remark = f"Its vector {place} is zero, as padding of an embedding is."
        else:
            advice = f"{exam.tensor.label} draws none: look for a mask, pruning, or a layer that was filled in part."
            exam.find("zeros", zeros_in_words(exam), advice)
        values = values[values != 0]
        elements = exam.elements.part(values)
        if elements.range[0] == elements.range[1] and elements.size > 1:
            return
    elif law.family == "sparse":
        law = Law("normal", law.mean, law.std)
    if law.family not in DRAWN:
        _orthogonal(exam, exam.matrix, law, alpha)
        return
    fitted = fit(elements, law)
    exam.mean_z, exam.std_z, exam.outside = fitted.mean_z, fitted.std_z, fitted.outside
    whole = values.size == exam.values.size
    if whole and _dependent(exam, alpha):
        return
    if not fitted.passes(alpha):
        _explain(exam, elements, _difference(elements, fitted, law, largest_z(alpha)), alpha)
    elif elements.grid_bits is not None:
        exam.remark = f"{exam.remark} {elements.grid_in_words}".strip()


def _dependent(exam: Examination, alpha: float) -> bool:
    """Whether the elements of a weight are visibly not independent: training's directions, or orthogonal units."""
    if not exam.tensor.is_weight or min(exam.matrix.shape) < 2:
        return False
    size, unequal, drawn = orthogonality(exam.matrix)
    few, rounding = min(exam.matrix.shape), rounding_of_singular_values(exam.elements)
    chance = min(rounding / drawn, 1.0) ** (few * (few + 1) // 2 - 1)  # so many products and lengths agree
    if chance < min(alpha, 1e-6) and unequal <= min(rounding, drawn / 4):
        exam.explained = (Explanation(f"orthogonal(gain={size:.4g})", Law("orthogonal"), ""),)
        exam.find(
            "dependent",
            f"Its units are orthogonal, with singular values {size:.4g}",
            f"The elements of {exam.tensor.label} are independent: draw it anew, or audit it as orthogonal.",
        )
        return True
    return _stands_out(exam, alpha)


def _stands_out(exam: Examination, alpha: float) -> bool:
    largest, limit = direction_that_stands_out(exam, alpha)
    if largest > limit:
        exam.find(
            "trained",
            f"Its largest singular value is {largest:.4g}; independent draws stay below {limit:.4g}",
            "It looks trained: learning adds directions that stand out. Audit weights from before the first step.",
        )
    return largest > limit


def direction_that_stands_out(exam: Examination, alpha: float) -> tuple[float, float]:
    """Return the largest singular value about the mean, and the limit that independent draws pass with ``alpha``."""
    scaled, unit = in_units_of_its_largest(exam.matrix)
    largest = largest_singular_value(scaled - exam.elements.mean / unit) * unit
    return largest, largest_singular_value_drawn(exam.matrix.shape, alpha) * exam.elements.std


def _delta_orthogonal(exam: Examination, law: Law, alpha: float) -> None:
    if (tap := centre_tap(exam.values)) is None:
        exam.find(
            "law",
            "Has values beside the centre of the kernel",
            f"Only the centre passes a signal on unchanged: draw it from {exam.tensor.label}.",
        )
    else:
        _orthogonal(exam, tap, law, alpha)


def _orthogonal(exam: Examination, matrix: Array, law: Law, alpha: float) -> None:
    """Hold the singular values of a ``matrix``, which is all of the array that is not zero, against its law."""
    elements = exam.elements
    exam.mean_z = elements.mean / (law.std / math.sqrt(elements.size))
    size, unequal, drawn = orthogonality(matrix)
    wanted, rounding = law.support[1], rounding_of_singular_values(elements)
    if unequal <= rounding:
        if abs(size / wanted - 1) > rounding:
            exam.explained = (Explanation(f"orthogonal(gain={size:.4g})", Law("orthogonal"), ""),)
            measured = f"Singular values {size:.4g}, {size / wanted:.3g} times the law's {wanted:.4g}"
            measured += factor(size / wanted, rounding)
            exam.find("scale", measured, f"Another gain: draw it from {exam.tensor.label}.")
    elif unequal < drawn / 2:
        advice = "It looks trained, or rounded too far. Audit weights from before the first step."
        exam.find("trained", f"Nearly orthogonal: singular values are unequal by {unequal:.2g}", advice)
    elif not _stands_out(exam, alpha):
        _explain(exam, elements, "Its units are not orthogonal", alpha)


def rounding_of_singular_values(elements: Elements) -> float:
    """Return the relative spread of an orthogonal matrix's singular values that rounding explains."""
    return max(UNEQUAL, 2 * elements.spacing)


def _difference(elements: Elements, fitted: Fit, law: Law, limit: float) -> str:
    """Return what of the elements is not as in their law, the plainest first."""
    said = []
    if abs(fitted.std_z) > limit:
        ratio = elements.std / law.std
        error = 1 / math.sqrt(2 * elements.size)
        said.append(f"std {elements.std:.4g} is {ratio:.3g} times the law's {law.std:.4g}{factor(ratio, error)}")
    off = (elements.mean - law.mean) * math.sqrt(elements.size)
    if abs(fitted.mean_z) > limit and abs(off) > limit * elements.std:
        said.append(f"mean {elements.mean:.3g} lies {off / law.std:+.1f} standard errors off the law's {law.mean:.3g}")
    if fitted.outside:
        low, high = law.support
        said.append(f"{fitted.outside} of {elements.size} values lie outside [{low:.4g}, {high:.4g}]")
    if not said:
        said.append(f"the values are not distributed as {notation(law)}")
    text = "; ".join(said)
    return text[0].upper() + text[1:]


def _explain(exam: Examination, elements: Elements, differs: str, alpha: float) -> None:
    """Note what explains elements that don't follow their law: another law, another scale, or training."""
    exam.explained = explanations(elements, exam.tensor, alpha)
    if exam.explained:
        exam.differs = differs
    elif (free := of_any_scale(elements, alpha)) is not None:
        exam.explained = (free,)
        advice = f"No known scheme has that here: draw it from {exam.tensor.label}, or give the law that is meant."
        exam.find("scale", f"{differs}; like {free.name}", advice)
    else:
        advice = "No law known here has that shape at any std: it looks trained. Audit weights from before training."
        exam.find("trained", differs, advice)
