"""The audit: a verdict on named arrays, or a description of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from weightinit.arrays import Array
from weightinit.auditing.copies import copies
from weightinit.auditing.description import describe
from weightinit.auditing.examination import TESTS, Examination, examine
from weightinit.auditing.expected import AxisOrder, Expected, Laws, expect
from weightinit.auditing.explanations import KNOWN
from weightinit.auditing.judging import hold_against_law
from weightinit.auditing.named_laws import notation
from weightinit.auditing.report import LOOKS_LIKE, Finding, Report, TensorReport, Verdict
from weightinit.auditing.tests_of_law import largest_z
from weightinit.laws import Law
from weightinit.nn.weights import WeightSpec
from weightinit.statistics import Reading, Summary

SHOWN = 3
"""Laws that a description names before it counts the rest."""


@np.errstate(all="ignore")  # weights of absurd size overflow and then fail their tests
def audit(
    arrays: Mapping[str, Any],
    law: Laws | None = None,
    *,
    layout: AxisOrder = "auto",
    specs: Iterable[WeightSpec] | None = None,
    level: float = 1e-3,
) -> Report:
    """Return a report on whether named arrays of initial weights follow the law they should.

    ``arrays``: by name, in any order. ``law``: for all of them, a name with its options as in a call (``he_normal``,
    ``normal(std=0.02)``, ``pytorch``), a ``Law``, or a rule of ``weightinit.schemes``; biases should then be what the
    rule makes them (zeros, mostly) and the gains of norms 1. Or a mapping of patterns of names (``*.weight``) to
    these, of which the first that matches counts; arrays that none matches are not judged. A law whose pattern takes in
    no weight is that of the biases or gains themselves (``{"*.bias": "uniform(low=-0.1, high=0.1)"}``); a library's
    name (``pytorch``, ``keras``) and a rule with ``bias_std`` then mean their biases. A ``Law`` in a mapping holds for
    whatever it matches. Without a law the report describes each array and judges none: ``unjudged``.

    ``layout``: ``in_out`` (Keras, Flax, NumPy: ``(*kernel, in, out)``) or ``out_in`` (PyTorch: ``(out, in,
    *kernel)``); ``auto`` takes names such as ``fc1.weight`` for PyTorch's. ``specs``: a network's ``weights``, in place
    of what names and shapes tell of fans and roles. ``level``: the chance that an audit of honest draws raises any
    false alarm, however many and however small the arrays are (Bonferroni over arrays and tests).

    A verdict is refused, and the report says ``trained``, if at least half of the weights look trained, or more than
    half of the biases and gains (two at least) have left their law for no library's default. A weight looks trained if
    its largest singular value stands out from what independent elements have, if its elements have the shape of no
    family of laws at any mean and std, or if its std is that of no known law and no one factor explains it and its
    likes. Weights that few steps have moved little may pass.

    Raises ValueError for an unknown law or layout, a pattern that matches nothing, a law of matrices given to biases,
    specs that don't fit and a level outside (0, 1), TypeError for what is no law or no real array.
    """
    return _audit(expect(arrays, law, layout, specs), level, described=law is None)


@np.errstate(all="ignore")
def audit_stack(
    arrays: Mapping[str, Array], laws: Mapping[str, Sequence[Law]], specs: Iterable[WeightSpec], *, level: float = 1e-3
) -> list[Report]:
    """Return the audit of each run of a stack, as :func:`audit` gives it; what runs share is looked at once.

    ``arrays``: by name, (runs, *shape), of floating-point numbers; ``laws``: of each run, by weight's name.
    """
    specs = tuple(specs)
    summaries = {name: Reading(x).summary for name, x in arrays.items()}
    expected: dict[tuple[Law, ...], tuple[Expected, ...]] = {}
    reports = []
    for run in range(len(next(iter(arrays.values())))):
        of_run = {name: by_run[run] for name, by_run in laws.items()}
        alike = tuple(of_run.values())
        if alike not in expected:
            expected[alike] = expect({name: x[run] for name, x in arrays.items()}, of_run, "auto", specs)
        tensors = tuple(replace(tensor, values=arrays[tensor.spec.name][run]) for tensor in expected[alike])
        numbers = {name: Summary(*(part[run : run + 1] for part in whole)) for name, whole in summaries.items()}
        reports.append(_audit(tensors, level, numbers))
    return reports


def _audit(
    tensors: Sequence[Expected],
    level: float,
    summaries: Mapping[str, Summary] | None = None,
    *,
    described: bool = False,
) -> Report:
    """Return the audit of arrays with their laws, or a description; ``summaries``: of their elements, where known."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1; got {level}. Pass level=0.001.")
    alpha = level / (TESTS * len(tensors))
    finite = {t.spec.name: t.values for t in tensors if _comparable(t) and np.isfinite(t.values).all()}
    again = copies(finite)
    exams = []
    for tensor in tensors:
        name = tensor.spec.name
        exam = examine(tensor, again.get(name), None if summaries is None else summaries[name])
        if described:
            describe(exam, alpha)
        else:
            hold_against_law(exam, alpha)
        exam.let_go()
        exams.append(exam)
    votes = Counter(explanation.name for exam in exams for explanation in exam.explained)
    if described:
        sentence = "Described, not judged: no law was given."
        return Report(tuple(_described(exam, votes) for exam in exams), "unjudged", sentence, level, largest_z(alpha))
    return _overall([_judged(exam, votes) for exam in exams], exams, level, largest_z(alpha))


def _comparable(tensor: Expected) -> bool:
    """Whether a copy of this array would be a fault: not if it isn't drawn."""
    return tensor.values.dtype.kind == "f" and (tensor.law is None or tensor.law.family not in ("constant", "unknown"))


def _judged(exam: Examination, votes: Counter[str]) -> TensorReport:
    """Return the record of an array held against its law; of laws that explain it alike, that with most votes leads."""
    label, findings = exam.tensor.label, exam.findings
    explained = sorted(exam.explained, key=lambda explanation: -votes[explanation.name])
    if exam.differs:
        also = f" (or {explained[1].name}, which fits as well)" if len(explained) > 1 else ""
        remark = f": {explained[0].remark}" if explained[0].remark else "."
        advice = f"Looks like {explained[0].name}{also}{remark} The law should be {label}."
        findings = [*findings, Finding("law", exam.differs, advice)]
    verdict: Verdict = "follows" if exam.tensor.law is not None else "unjudged"
    if findings:
        verdict = "trained" if any(finding.kind == "trained" for finding in findings) else "differs"
    return record(exam, tuple(explanation.name for explanation in explained), verdict, findings, exam.remark)


def _described(exam: Examination, votes: Counter[str]) -> TensorReport:
    """Return the record of an array that no law was given for."""
    explained = sorted(exam.explained, key=lambda explanation: -votes[explanation.name])
    words = [
        f"{explanation.name}, {notation(explanation.law)}" if explanation.name in KNOWN else explanation.name
        for explanation in explained[:SHOWN]
    ]
    said = f"{LOOKS_LIKE}{'; or '.join(words)}" if words else ""
    said += f"; or {len(explained) - SHOWN} others." if len(explained) > SHOWN else "." if words else ""
    remark = " ".join(part for part in (said, exam.remark) if part)
    names = tuple(explanation.name for explanation in explained)
    return record(exam, names, "unjudged", exam.findings, remark)


def record(
    exam: Examination, looks_like: tuple[str, ...], verdict: Verdict, findings: Sequence[Finding], remark: str
) -> TensorReport:
    """Return the record of an examination, with the verdict that follows from it."""
    tensor = exam.tensor
    return TensorReport(
        name=tensor.spec.name,
        shape=tensor.shape,
        fans=tensor.fans,
        label=tensor.label,
        law=tensor.law,
        mean=exam.mean,
        std=exam.std,
        mean_z=exam.mean_z,
        std_z=exam.std_z,
        outside=exam.outside,
        zeros=exam.zeros,
        not_finite=exam.not_finite,
        repeated_units=exam.repeated_units,
        negated_units=exam.negated_units,
        repeated_inputs=exam.repeated_inputs,
        negated_inputs=exam.negated_inputs,
        same_as=exam.same_as,
        looks_like=looks_like,
        verdict=verdict,
        findings=tuple(findings),
        remark=remark,
    )


def _overall(tensors: list[TensorReport], exams: list[Examination], level: float, limit: float) -> Report:
    known = [(t, e.tensor.spec.role == "weight") for t, e in zip(tensors, exams, strict=True) if t.law is not None]
    weights, others = [t for t, weight in known if weight], [t for t, weight in known if not weight]
    moved = [t for t in weights if t.verdict == "trained"]
    scaled = [t for t in weights if any(finding.kind == "scale" for finding in t.findings)]
    if not _one_scale(scaled, limit):
        moved += scaled
    left = [t for t in others if any(finding.kind in ("scale", "trained") for finding in t.findings)]
    drawn = [t for t in left if t.law is not None and t.law.std > 0]
    if _one_scale(drawn, limit):  # another law of biases that were drawn
        left = [t for t in left if t.law is None or t.law.std == 0]
    failed = [t for t in tensors if t.findings]
    refused = (moved and 2 * len(moved) >= len(weights)) or (len(left) > 1 and 2 * len(left) > len(others))
    verdict: Verdict = "trained" if refused else "differs" if failed else "follows" if known else "unjudged"
    if refused:
        gone = {t.name for t in moved + left}
        tensors = [replace(t, verdict="trained") if t.name in gone else t for t in tensors]
        sentence = (
            f"No verdict: {len(moved)} of {len(weights)} weights and {len(left)} of {len(others)} biases and gains "
            "look trained, or drawn by a rule unknown here. Audit weights from before training; give biases that were "
            "drawn a law of their own."
        )
    elif failed:
        sentence = f"{len(failed)} of {len(tensors)} tensors don't follow their law or have another fault."
        shared = set.intersection(*({*t.looks_like} for t in failed))
        if shared and len(failed) > 1:
            name = next(name for name in failed[0].looks_like if name in shared)
            sentence += f" All of them look like {name}."
    elif known:
        sentence = f"All {len(known)} tensors with a law follow it; honest draws fail with a chance of {level:g}."
    else:
        sentence = "Not judged: no law is known for any of the tensors."
    if known and (rest := len(tensors) - len(known)):
        sentence += f" {rest} without a law were not judged."
    return Report(tuple(tensors), verdict, sentence, level, limit)


def _one_scale(tensors: Sequence[TensorReport], limit: float) -> bool:
    """Whether one factor on the laws' rms, or one rms for all, explains the arrays: a rule, if an unknown one."""
    errors = np.sqrt([0.5 / math.prod(t.shape) for t in tensors])
    sizes = np.log([math.hypot(t.mean, t.std) for t in tensors])
    expected = np.log([(math.hypot(t.law.mean, t.law.std) if t.law else 0.0) or 1.0 for t in tensors])
    allowed = limit * np.hypot(errors[:, None], errors)
    return any((abs(logs[:, None] - logs) <= allowed).all() for logs in (sizes - expected, sizes))
