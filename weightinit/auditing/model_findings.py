"""Findings on a model: what was measured of each piece in words, tensors alike together, and one verdict for all."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Final

import numpy as np

from weightinit.auditing.elements import elements_of
from weightinit.auditing.examination import Examination
from weightinit.auditing.expectations import Chosen
from weightinit.auditing.expected import Expected
from weightinit.auditing.explanations import slip
from weightinit.auditing.likes import error_of
from weightinit.auditing.model_report import Group, ModelFinding, ModelReport, ModelVerdict, Weight, named, number
from weightinit.auditing.overall import record
from weightinit.auditing.pieces import LARGEST, Piece
from weightinit.auditing.report import Finding, TensorReport, Verdict
from weightinit.auditing.tests_of_law import largest_z
from weightinit.laws import Law
from weightinit.model import Model

BY_CAUSE: Final = ("law", "scale", "trained")
"""Kinds of findings whose words end with a cause: tensors alike are joined where they share that."""


def report_on(
    model: Model,
    pieces: list[Piece],
    chosen: Chosen,
    level: float,
    alpha: float,
    buffers: tuple[ModelFinding, ...] = (),
) -> ModelReport:
    """Return the report on pieces that have been examined and settled, with findings on ``buffers`` beside them."""
    votes = Counter(each.name for piece in pieces if piece.exam for each in piece.exam.explained)
    for piece in pieces:
        _say(piece, votes, largest_z(alpha))
    _say_grains(pieces)
    findings = (*_findings(pieces), *buffers, *chosen.findings)
    faults = [finding for finding in findings if finding.verdict == "fault"]
    judged = [piece for piece in pieces if piece.expectation is not None and piece.exam is not None]
    weights = [piece for piece in judged if piece.spec.role == "weight" and len(piece.shape) > 1]
    moved = [piece for piece in weights if any(kind == "trained" for kind, _, _ in piece.found)]
    verdict: ModelVerdict = "differs" if faults else "follows" if judged else "unjudged"
    if moved and 2 * len(moved) >= len(weights):
        verdict = "trained"
        sentence = (
            f"No verdict: {len(moved)} of {len(weights)} weights look trained, or drawn by a rule unknown here. "
            "Audit a model before its first step."
        )
    elif faults:
        held = {name for finding in buffers for name in finding.tensors}
        count = len({name for finding in faults for name in finding.tensors})
        sentence = f"{len(faults)} fault{'s' * (len(faults) > 1)}, in {count} of {len(pieces) + len(held)} tensors."
    elif judged:
        sentence = f"All {len(judged)} tensors that could be judged are what they should be, by {chosen.words}; "
        sentence += f"honest draws fail with a chance of {level:g}."
        if len(judged) < len(pieces):
            sentence += f" {len(pieces) - len(judged)} could not be judged."
    else:
        sentence = "Not judged: no tensor has values." if all(p.exam is None for p in pieces) else "Not judged."
    return ModelReport(model.name, _groups(pieces), findings, verdict, sentence, level)


def _say(piece: Piece, votes: Counter[str], limit: float) -> None:
    """Put what an examination found into words."""
    exam = piece.exam
    if exam is None:
        return
    law, label = exam.tensor.law, piece.expectation.label if piece.expectation else ""
    if exam.differs and law is not None:
        mistakes = {mistake.name for mistake in exam.tensor.mistakes}
        first = max(exam.explained, key=lambda each: (each.name in mistakes, votes[each.name]))
        cause = first.remark.rstrip(".")
        if first.name not in mistakes:
            cause = f"it looks like {first.name}" + (f", {cause}" if cause else "")
        piece.fault("law", f"{_measured(exam, law, label)}: {cause}")
    for finding in exam.findings:
        if finding.kind == "not_finite":
            continue
        if finding.kind == "trained" and law is not None and _rounded(piece, exam, law, finding):
            off = (piece.mean - law.mean) * math.sqrt(math.prod(piece.shape)) / law.std
            said = f"; their mean is {off:+.1f} standard errors off" if abs(off) > limit else ""
            kind = _kind_of(piece)
            piece.fault(
                "coarse", f"drawn in {kind}, whose random numbers are not {label}'s{said}: draw in float32, cast"
            )
        elif finding.kind in BY_CAUSE and law is not None:
            piece.fault(finding.kind, f"{_measured(exam, law, label)}: {_cause(piece, exam, finding, law)}")
        else:
            measured = finding.measured[0].lower() + finding.measured[1:]
            piece.fault(finding.kind, f"{measured}. {finding.advice}".rstrip("."))
    if law is not None and law.std > 0 and piece.part is None and piece.tensor.padding is None:
        _say_mean(piece, law, limit)


def _say_mean(piece: Piece, law: Law, limit: float) -> None:
    """Note random numbers of few bits, and a mean of all elements that is off, as theirs is."""
    off = (piece.mean - law.mean) * math.sqrt(math.prod(piece.shape)) / law.std
    shifted = f"their mean is {off:+.1f} standard errors off" if abs(off) > limit else ""
    if piece.coarse:
        bits = piece.coarse.partition(", which")[0]
        said = "; ".join(part for part in (bits[0].lower() + bits[1:], shifted) if part)
        piece.fault("coarse", f"{said}: draw in float32, then cast")
    elif shifted and not piece.found and math.prod(piece.shape) > LARGEST:
        if piece.grain >= 2.0**-10:
            piece.fault("coarse", f"drawn in {_kind_of(piece)}; {shifted}: draw in float32, then cast")
        else:
            piece.fault("mean", f"mean {number(piece.mean)}, expected {number(law.mean)}; {shifted}")


def _say_grains(pieces: list[Piece]) -> None:
    """Note the few tensors of float32 whose numbers are those of half precision, where the others have all bits."""
    wide = [piece for piece in pieces if piece.grain and piece.tensor.dtype == "float32"]
    few = [piece for piece in wide if piece.grain >= 2.0**-10]
    if 2 * len(few) < len(wide):
        for piece in few:
            kind = _kind_of(piece)
            piece.fault("coarse", f"drawn in {kind} and stored as float32, with the bounds and steps of {kind}")


def _kind_of(piece: Piece) -> str:
    return "bfloat16" if piece.grain >= 2.0**-7 else "float16"


def _rounded(piece: Piece, exam: Examination, law: Law, finding: Finding) -> bool:
    """Whether elements of half precision have the size of their law, and only their distribution is not its own."""
    near = law.std > 0 and abs(exam.std / law.std - 1) < 0.02
    return near and piece.grain >= 2.0**-10 and not finding.measured.startswith("Its largest singular value")


def _cause(piece: Piece, exam: Examination, finding: Finding, law: Law) -> str:
    if law.std == 0:
        return "it was drawn"
    if finding.kind == "trained":
        return "it looks trained, or partly overwritten: " + finding.advice.rstrip(".").replace(": ", ", ")
    if finding.kind == "law":
        return finding.measured
    ratio = exam.std / law.std
    if abs(ratio - 1) > 5 * error_of(piece):
        missed = slip(exam.std, exam.tensor.spec.fans, error_of(piece)) if exam.tensor.spec.role == "weight" else ""
        return f"{ratio:.3g} times what it should be" + (f"; it is {missed}" if missed else "")
    return finding.measured.partition(";")[0]


def _measured(exam: Examination, law: Law, label: str) -> str:
    """``std .0200, expected .00408 = .02/sqrt(2*12)``; of means and constants alike."""
    if law.std == 0:
        said = f"mean {number(exam.mean)}, std {number(exam.std)}" if exam.std else f"{number(exam.mean)} everywhere"
        return f"{said}, expected {number(law.mean)} everywhere"
    said, wanted = "", number(law.std)
    if abs(exam.mean - law.mean) > 5 * exam.std / math.sqrt(max(min(math.prod(exam.tensor.shape), LARGEST), 1)):
        said = f"mean {number(exam.mean)}, expected {number(law.mean)}; "
    return f"{said}std {number(exam.std)}, expected {wanted}" + (f" = {label}" if label and label != wanted else "")


def _findings(pieces: list[Piece]) -> list[ModelFinding]:
    """Findings of one kind and cause in tensors alike, joined; faults first."""
    findings = _clones(pieces)
    alike: dict[tuple[str, str, str, str], list[tuple[Piece, str]]] = {}
    for piece in pieces:
        for kind, weight, said in piece.found:
            cause = said.rpartition(": ")[2] if kind in BY_CAUSE else kind
            alike.setdefault((piece.tensor.pattern, kind, weight, cause), []).append((piece, said))
    for (pattern, kind, weight, _), members in alike.items():
        names = tuple(dict.fromkeys(piece.name for piece, _ in members))
        if parts := list(dict.fromkeys(piece.part.name for piece, _ in members if piece.part)):
            pattern += f"[{','.join(parts)}]"
        said = members[0][1]
        if kind not in BY_CAUSE and len(names) > 1 and len({words for _, words in members}) > 1:
            said += " (the first; the others alike)"
        verdict: Weight = "fault" if weight == "fault" else "note"
        findings.append(ModelFinding(names, verdict, kind, pattern, f"{named(pattern, names)}: {said}"))
    return sorted(findings, key=lambda finding: finding.verdict)


def _clones(pieces: list[Piece]) -> list[ModelFinding]:
    """Blocks in which all that is drawn repeats one earlier block: one finding in place of one for each tensor."""
    blocks: dict[tuple[str, int], list[Piece]] = {}
    for piece in pieces:
        if piece.tensor.block and piece.exam and piece.exam.std > 0 and piece.comparable:
            blocks.setdefault((piece.tensor.block.path, piece.tensor.block.index), []).append(piece)
    originals = {piece.name: piece.tensor.block for piece in pieces}
    clones: dict[tuple[str, int], list[int]] = {}
    for (path, index), members in blocks.items():
        of = [originals.get(piece.exam.same_as or "") if piece.exam else None for piece in members]
        first = of[0]
        if first is not None and all(each == first for each in of) and first.path == path and first.index != index:
            clones.setdefault((path, first.index), []).append(index)
    findings = []
    for (path, first_index), indices in clones.items():
        cloned = [piece for index in indices for piece in blocks[path, index]]
        for piece in cloned:
            piece.found = [each for each in piece.found if each[0] != "copy"]
            piece.cloned = True
        listed = ", ".join(f"{path}.{index}" for index in indices)
        said = (
            f"{listed} ({len(cloned)} tensors): equal to {path}.{first_index} in every bit: drawn once and cloned "
            "(copy.deepcopy); draw each block for itself"
        )
        findings.append(ModelFinding(tuple(piece.name for piece in cloned), "fault", "copy", f"{path}.*", said))
    return findings


def _groups(pieces: list[Piece]) -> tuple[Group, ...]:
    """Tensors alike in name, shape, law and verdict; parts of one tensor together where they are alike too."""
    groups: dict[tuple[str, ...], list[tuple[Piece, TensorReport]]] = {}
    for piece in pieces:
        tensor = _tensor_report(piece)
        law = ("", "") if tensor.law is None else (tensor.label, str(tensor.law.std))
        key = (piece.tensor.pattern, tensor.shape_text, *law, tensor.verdict, _remark(piece))
        groups.setdefault(key, []).append((piece, tensor))
    result = []
    for (pattern, *_, remark), members in groups.items():
        parts = list(dict.fromkeys(piece.part.name for piece, _ in members if piece.part))
        name = members[0][0].tensor.name if len({piece.tensor.name for piece, _ in members}) == 1 else pattern
        if parts:
            name += f"[{','.join(parts)}]"
        result.append(Group(name, tuple(tensor for _, tensor in members), remark))
    return tuple(result)


def _remark(piece: Piece) -> str:
    words = [piece.remark, "" if piece.tensor.trained else "frozen"]
    if piece.tensor.also:
        words.append(f"tied to {piece.tensor.also[0]}" + (" ..." if len(piece.tensor.also) > 1 else ""))
    if piece.tensor.parametrized:
        words.append(f"under {piece.tensor.parametrized}")
    return ", ".join(word for word in words if word)


def _tensor_report(piece: Piece) -> TensorReport:
    exam = piece.exam
    if exam is None:
        nothing = Expected(np.empty(0), piece.shape, piece.spec, piece.tensor.fans, None, "", None)
        exam = Examination(nothing, np.empty(0), elements_of(np.empty(0)), math.nan, math.nan, 0)
    faulty = piece.cloned or any(weight == "fault" for _, weight, _ in piece.found)
    verdict: Verdict = "differs" if faulty else "unjudged" if exam.tensor.law is None else "follows"
    if any(kind == "trained" for kind, _, _ in piece.found):
        verdict = "trained"
    label = piece.expectation.label if piece.expectation else ""
    made = record(exam, tuple(each.name for each in exam.explained), verdict, exam.findings, exam.remark)
    said = ". ".join(words for _, _, words in piece.found)
    return replace(made, name=piece.name, shape=piece.shape, label=label, remark=said or made.remark)
