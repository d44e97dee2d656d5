"""The verdict on named arrays."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from weightinit.auditing.expected import Expected, Laws, Layout, expect
from weightinit.auditing.judgement import TESTS, Judgement, judge, report
from weightinit.auditing.report import Report, TensorReport, Verdict
from weightinit.auditing.sample import largest_z
from weightinit.auditing.structure import copies
from weightinit.nn.weights import WeightSpec


@np.errstate(all="ignore")  # weights of absurd size overflow and then fail their tests
def audit(
    arrays: Mapping[str, Any],
    law: Laws,
    *,
    layout: Layout = "auto",
    specs: Iterable[WeightSpec] | None = None,
    level: float = 1e-3,
) -> Report:
    """A report on whether named arrays of initial weights follow the law they should.

    ``arrays``: by name, in any order. ``law``: for all of them, a name with its options as in a call (``he_normal``,
    ``normal(std=0.02)``, ``pytorch``), a ``Law``, or a rule of ``weightinit.schemes``; biases should then be what the
    rule makes them (zeros, mostly) and the gains of norms 1. Or a mapping of patterns of names (``*.weight``) to
    these, of which the first that matches counts; arrays that none matches are not judged. A ``Law`` in a mapping holds
    for whatever it matches, a bias too.

    ``layout``: ``in_out`` (Keras, Flax, NumPy: ``(*kernel, in, out)``) or ``out_in`` (PyTorch: ``(out, in,
    *kernel)``); ``auto`` takes names such as ``fc1.weight`` for PyTorch's. ``specs``: a network's ``weights``, in place
    of what names and shapes tell of fans and roles. ``level``: the chance that an audit of honest draws raises any
    false alarm, however many they are (Bonferroni over tensors and tests).

    A verdict is refused, and the report says ``trained``, if at least half of the weights look trained, or more than
    half of the biases and gains (two at least) have left their law for no library's default. A weight looks trained if
    its largest singular value stands out from what independent elements have, if its elements have the shape of no
    family of laws at any mean and std, or if its std is that of no known law and no one factor explains it and its
    likes. Weights that few steps have moved little may pass.

    Raises ValueError for an unknown law or layout, a pattern that matches nothing, specs that don't fit and a level
    outside (0, 1), TypeError for what is no law or no real array.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1; got {level}. Pass level=0.001.")
    tensors = expect(arrays, law, layout, specs)
    alpha = level / (TESTS * len(tensors))
    finite = {t.spec.name: t.values for t in tensors if _comparable(t) and np.isfinite(t.values).all()}
    again = copies(finite)
    judged = [judge(tensor, alpha, again.get(tensor.spec.name)) for tensor in tensors]
    votes = Counter(candidate.name for each in judged for candidate in each.explained)
    return _overall([report(each, votes) for each in judged], judged, level, largest_z(alpha))


def _comparable(tensor: Expected) -> bool:
    """Whether a copy of this tensor would be a fault: not if it isn't drawn."""
    return tensor.values.dtype.kind == "f" and (tensor.law is None or tensor.law.family not in ("constant", "unknown"))


def _overall(tensors: list[TensorReport], judged: list[Judgement], level: float, limit: float) -> Report:
    known = [(t, j.tensor.spec.role == "weight") for t, j in zip(tensors, judged, strict=True) if t.law is not None]
    weights, others = [t for t, weight in known if weight], [t for t, weight in known if not weight]
    moved = [t for t in weights if t.verdict == "trained"]
    scaled = [t for t in weights if any(finding.kind == "scale" for finding in t.findings)]
    if not _one_scale(scaled, limit):
        moved += scaled
    left = [t for t in others if any(finding.kind in ("scale", "trained") for finding in t.findings)]
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
    """Whether one factor on the laws' rms, or one rms for all, explains the tensors: a rule, if an unknown one."""
    errors = np.sqrt([0.5 / math.prod(t.shape) for t in tensors])
    sizes = np.log([math.hypot(t.mean, t.std) for t in tensors])
    expected = np.log([math.sqrt(t.law.second_moment) if t.law and t.law.second_moment else 1.0 for t in tensors])
    allowed = limit * np.hypot(errors[:, None], errors)
    return any((abs(logs[:, None] - logs) <= allowed).all() for logs in (sizes - expected, sizes))
