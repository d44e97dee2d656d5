"""One array described without a law: the known laws that it looks like, or what it is instead of a draw."""

from __future__ import annotations

from weightinit.auditing.examination import Examination, distinct_part, written_down
from weightinit.auditing.explanations import Explanation, explanations, of_any_scale
from weightinit.auditing.judging import direction_that_stands_out, rounding_of_singular_values
from weightinit.auditing.matrices import orthogonality
from weightinit.auditing.zeros import padding, sparse_law, too_many_zeros, zeros_in_words
from weightinit.laws import Law


def describe(exam: Examination, alpha: float) -> None:
    """Note the laws that explain an array, each test at level ``alpha``; of one that isn't drawn, what it is."""
    if exam.not_finite:
        return
    if not exam.values.size:
        exam.remark = "It holds no floating-point numbers."
        return
    values, (low, high) = exam.values, exam.elements.range
    if low == high:
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
    remarks = []
    if too_many_zeros(elements, elements.std, alpha):
        if (sparse := sparse_law(exam, alpha)) is not None:
            exam.explained = (sparse,)
            return
        place = padding(exam)
        remarks.append(
            f"{zeros_in_words(exam)}; the law is that of the others."
            if place is None
            else f"Its vector {place} is zero, as padding of an embedding is."
        )
        elements = elements.part(elements.values[elements.values != 0])
    elif exam.tensor.is_weight and values is exam.values and min(exam.matrix.shape) > 1:
        largest, limit = direction_that_stands_out(exam, alpha)
        if largest > limit:
            exam.remark = (
                f"It looks trained: its largest singular value, {largest:.4g}, stands out; independent draws stay "
                f"below {limit:.4g}."
            )
            return
    exam.explained = explanations(elements, exam.tensor, alpha)
    if not exam.explained and (free := of_any_scale(elements, alpha)) is not None:
        exam.explained = (free,)
    if not exam.explained:
        remarks.append("No law known here has its shape at any std: it looks trained.")
    exam.remark = " ".join([*remarks, elements.grid_in_words]).strip()
