"""One array described without a law: the known laws that it looks like, or what it is instead of a draw."""

from __future__ import annotations

import numpy as np
from scipy.special import pdtrc

from weightinit.arrays import Array
from weightinit.auditing.elements import Elements
from weightinit.auditing.examination import Examination, distinct_part, one_value, written_down
from weightinit.auditing.explanations import Explanation, explanations, of_any_scale
from weightinit.auditing.judging import direction_that_stands_out, rounding_of_singular_values
from weightinit.auditing.matrices import orthogonality
from weightinit.laws import Law


def describe(exam: Examination, alpha: float) -> None:
    """Note the laws that explain an array, each test at level ``alpha``; of one that isn't drawn, what it is."""
    if exam.not_finite or not exam.values.size:
        return
    values, low = exam.values, exam.elements.range[0]
    if one_value(exam, alpha) or exam.elements.range[1] == low:
        name = {0.0: "zeros", 1.0: "ones"}.get(low, f"constant(value={low:.4g})")
        exam.explained = (Explanation(name, Law("constant", low, 0.0, (low, low)), ""),)
        return
    if exam.tensor.is_weight:
        if (kernel := written_down(exam, alpha)) is not None:
            exam.explained = (Explanation(kernel.name, Law("unknown"), kernel.does),)
            return
        size, unequal, _ = orthogonality(exam.matrix)
        if min(exam.matrix.shape) > 2 and unequal <= rounding_of_singular_values(exam.elements):
            exam.explained = (Explanation(f"orthogonal(gain={size:.4g})", Law("orthogonal"), ""),)
            return
        values = distinct_part(exam, alpha)
    elements = exam.elements if values is exam.values else exam.elements.part(values)
    chance_of_zero = elements.chance_of_zero(elements.std)
    if elements.zeros and pdtrc(elements.zeros - 1, elements.size * chance_of_zero) < alpha:
        if _sparse(exam, elements, alpha):
            return
        elements = elements.part(elements.values[elements.values != 0])
        exam.remark = f"{exam.elements.zeros} of {exam.elements.size} elements are zero; this holds for the others."
    exam.explained = explanations(elements, exam.tensor, alpha)
    if not exam.explained and (free := of_any_scale(elements, alpha)) is not None:
        exam.explained = (free,)
    if not exam.explained:
        exam.remark += " No law known here has that shape at any std: it looks trained."
    elif exam.tensor.is_weight and elements is exam.elements and min(exam.matrix.shape) > 1:
        largest, limit = direction_that_stands_out(exam, alpha)
        if largest > limit:
            exam.remark += (
                f" Its largest singular value, {largest:.4g}, stands out: independent draws stay below {limit:.4g}. "
                "It looks trained."
            )
    exam.remark = exam.remark.strip()


def _sparse(exam: Examination, elements: Elements, alpha: float) -> bool:
    """Note a sparse law, where each unit has as many nonzero weights as any other, and these are normal."""
    if not exam.tensor.is_weight:
        return False
    nonzero = np.count_nonzero(exam.matrix, axis=0)
    kept: Array = elements.values[elements.values != 0]
    if nonzero.min() != nonzero.max() or not kept.size:
        return False
    free = of_any_scale(elements.part(kept), alpha)
    if free is None or not free.name.startswith("normal(std="):
        return False
    name = f"sparse(nonzero={nonzero[0]}, std={free.law.std:.4g})"
    exam.explained = (Explanation(name, Law("sparse", 0.0, free.law.std), ""),)
    return True
