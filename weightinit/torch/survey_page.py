"""The page of a survey: its figures, the models ranked by what their faults cost, and the strongest cases."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any, Final

DEAD: Final = 1e-3
"""Share of an output that depends on the input, below which a signal counts as dead."""

LOUD: Final = 1.0
"""First loss above ln(classes) from which on it counts as a cost."""

LISTED: Final = 40
"""Models in the ranked table."""

CASES: Final = 8
"""Cases that are told in full."""

COMMAND: Final = "weightinit survey transformers"


PART: Final = ", a fair sample: types are mixed, always alike. The command goes on where it stopped"


@dataclass(frozen=True)
class Case:
    """A model with something to report: ``rank`` orders cases by cost, ``cost`` says it, ``sentences`` the findings."""

    record: Mapping[str, Any]
    rank: tuple[float, ...]
    cost: str
    sentences: tuple[str, ...]


def page(records: Sequence[Mapping[str, Any]], of: int, versions: str) -> str:
    """Return the page in Markdown of the records of some of ``of`` model types."""
    built = [each for each in records if "failed" not in each]
    cases = sorted((case for each in built if (case := _case(each)) is not None), key=lambda case: case.rank)
    lines = [
        "# Survey of transformers",
        "",
        *_filled(
            f"Every model type of {versions} that can be built small from its configuration, audited: widths divided "
            "by up to 16, two layers of each kind, at most 600 tokens and 4 experts, seed 0, no checkpoint. What its "
            "own initialization writes on purpose (zeros, fixed values) is no finding. By way of meta: made on meta "
            "and initialized afterwards, as `from_pretrained` does with keys that a checkpoint lacks. "
            f"{len(records)} of {of} types were run one after another in "
            f"{sum(each['seconds'] for each in records) / 60:.0f} minutes{'' if len(records) == of else PART}."
        ),
        "",
        *_filled(
            f"`{COMMAND}` makes this page again, in the environment of `make test-adapters`; `--types` prints some "
            "types, and `--minutes` sets a limit."
        ),
        "",
        *_figures(records, built, cases),
        "",
        "## Ranked by what they cost",
        "",
        *_filled(
            f"Dead signals come first, then memory that is never written, first losses more than {LOUD:g} above "
            "ln(classes), the audit's faults, and weights that keep their std when their configuration's scale "
            "doubles; some of those have a law of their own on purpose. Models that share code share findings."
        ),
        "",
        "| model type | class | cost | first finding |",
        "|---|---|---|---|",
        *(
            f"| {case.record['type']} | {case.record['class']} | {case.cost} | {_cell(case.sentences)} |"
            for case in cases[:LISTED]
        ),
        *([f"\n{len(cases) - LISTED} more are in the record."] if len(cases) > LISTED else []),
        "",
        "## The strongest cases",
        "",
    ]
    for number, case in enumerate(cases[:CASES], 1):
        lines += [f"### {number}. {case.record['class']}", "", *_filled(f"{case.cost[0].upper()}{case.cost[1:]}."), ""]
        lines += [
            line
            for said in case.sentences[:3]
            for line in wrap(f"- {said}", 118, subsequent_indent="  ", break_long_words=False)
        ]
        lines += ["", f"See it: `{COMMAND} --types {case.record['type']}`.", ""]
    lines += ["## Not built", "", "| cause | types |", "|---|---|"]
    failed: dict[str, list[str]] = {}
    for each in records:
        if "failed" in each:
            failed.setdefault(_cause(each["failed"]), []).append(each["type"])
    lines += [
        f"| {cause} | {', '.join(sorted(names))} |"
        for cause, names in sorted(failed.items(), key=lambda item: -len(item[1]))
    ]
    return "\n".join(lines) + "\n"


def text(record: Mapping[str, Any]) -> str:
    """Return what was found of one model type, as lines."""
    if "failed" in record:
        return f"{record['type']}: not built: {record['failed']}"
    case = _case(record)
    if case is None:
        return f"{record['type']} ({record['class']}): nothing found"
    return "\n".join([f"{record['type']} ({record['class']}): {case.cost}", *(f"  {said}" for said in case.sentences)])


def _figures(
    records: Sequence[Mapping[str, Any]], built: Sequence[Mapping[str, Any]], cases: Sequence[Case]
) -> list[str]:
    kinds = Counter(kind for each in built for kind in {fault["kind"] for fault in faults(each)})
    losses = sorted(each["signal"]["above"] for each in built if each["signal"].get("above") is not None)
    scaled = [each for each in built if "deaf" in each["scale"]]
    late = [each for each in built if "unwritten" in each["meta"]]
    lit = [each for each in built if "share" in each["signal"] or _silent(each)]
    rows = [
        ("types run", len(records)),
        ("of these built and audited", len(built)),
        ("not built", len(records) - len(built)),
        ("without a fault in the audit", sum(not faults(each) for each in built)),
        *((f"with a fault of kind `{kind}`", count) for kind, count in kinds.most_common()),
        (
            f"with drawn weights that keep their std when the configuration's scale doubles, of {len(scaled)}",
            _count(scaled, "scale", "deaf"),
        ),
        (f"with memory never written by way of meta, of {len(late)}", _count(late, "meta", "unwritten")),
        (f"with another law by way of meta, of {len(late)}", _count(late, "meta", "other")),
        (f"whose output depends on its input by less than {DEAD:g}, of {len(lit)}", sum(map(_dead, lit))),
        (
            f"whose first loss is more than {LOUD:g} above ln(classes), of {len(losses)}",
            sum(loss > LOUD for loss in losses),
        ),
        ("in the ranking", len(cases)),
    ]
    found = ["| models | count |", "|---|---|", *(f"| {name} | {count} |" for name, count in rows)]
    if losses:
        found += ["", f"The median first loss is {losses[len(losses) // 2]:.3g} above ln(classes)."]
    return found


def _case(record: Mapping[str, Any]) -> Case | None:
    scale, meta, signal = record["scale"], record["meta"], record["signal"]
    unwritten, deaf, other = meta.get("unwritten", 0), scale.get("deaf", 0), meta.get("other", 0)
    above, found = signal.get("above") or 0.0, faults(record)
    dead = _dead(record)
    costs, sentences = [], [fault["sentence"] for fault in found]
    if signal.get("finite") is False:
        costs.append("its output is not finite")
    elif dead:
        share = signal.get("share", 0.0)
        costs.append(
            f"{share:.1g} of its output depends on its input" if share else "its output is the same for all inputs"
        )
    if unwritten:
        costs.append(f"{unwritten} tensor{'s' * (unwritten > 1)} never written by way of meta")
        sentences.append(f"never written when made on meta: {', '.join(meta['unwritten_groups'][:4])}")
    if above > LOUD:
        costs.append(f"first loss {above:.3g} above ln({signal['classes']})")
    if found:
        count = sum(fault["tensors"] for fault in found)
        costs.append(f"{count} tensor{'s' * (count > 1)} with faults")
    if deaf:
        costs.append(
            f"{deaf} of {scale['drawn']} drawn weights keep their std when {', '.join(scale['names'])} doubles"
        )
        sentences.append(f"same std when {', '.join(scale['names'])} doubles: {', '.join(scale['groups'][:4])}")
    if other:
        costs.append(f"{other} tensor{'s' * (other > 1)} with another law by way of meta")
        sentences.append(f"another law by way of meta: {', '.join(meta['other_groups'][:4])}")
    if not costs:
        return None
    dark = sum(fault["tensors"] for fault in found if fault["kind"] == "dead")
    if dark:
        costs.insert(0, f"{dark} weights of a dead part")
    rank = (
        -float(dead or bool(dark) or signal.get("finite") is False),
        -float(unwritten > 0), -above if above > LOUD else 0.0,
        -float(len(found)), -deaf / max(scale.get("drawn", 1), 1), -float(other),
    )  # fmt: skip
    return Case(record, rank, "; ".join(costs), tuple(sentences))


def faults(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the audit's findings of a record that are faults."""
    return [each for each in record["findings"] if each["verdict"] == "fault"]


def _silent(record: Mapping[str, Any]) -> bool:
    """Whether the output is 0 everywhere though no last layer starts at 0."""
    meant = any("starts at 0" in each["sentence"] for each in record["findings"])
    return record["signal"].get("rms") == 0 and not meant


def _dead(record: Mapping[str, Any]) -> bool:
    share = record["signal"].get("share")
    return _silent(record) or (share is not None and math.isfinite(share) and share < DEAD)


def _count(records: Sequence[Mapping[str, Any]], check: str, key: str) -> int:
    return sum(each[check][key] > 0 for each in records)


def _cause(words: str) -> str:
    return words.replace("|", "/").replace("`", "").replace("<", "(").replace(">", ")").split("parameters")[0][:110]


def _cell(sentences: Sequence[str]) -> str:
    return sentences[0].replace("|", "/")[:160] if sentences else "-"


def _filled(text: str) -> list[str]:
    return wrap(text, 118, break_long_words=False, break_on_hyphens=False)
