"""Ranking of a comparison's groups, best first: a table for a page, a paper or a program."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from runner.analysis.comparison import Comparison
from runner.analysis.pairs import NOT_DISTINGUISHED
from runner.report.sentences import (
    HEADERS,
    interval,
    score,
    steps_text,
    threshold_text,
)
from runner.report.signals import rms_words, signal_header, signal_or_fate
from runner.text import Column, number, printable, setting, short

MARKDOWN = re.compile(r"([|\\`*_<>\[\]])")
FORMULA = re.compile(r"\s*[=+\-@]")
ESCAPED = r"\\\1"
LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "²": "$^2$",
    "−": "$-$",
    "–": "--",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def ranked(comparison: Comparison) -> pd.DataFrame:
    """Return one row a group in the order of the places: the columns of ``groups``, and of ``pairs``."""
    pairs = comparison.pairs.drop(columns="best").set_index("group")
    return comparison.groups.join(pairs).sort_values("place")


def ranking(comparison: Comparison) -> list[Column]:
    """Return the ranking for people: names, score with interval, median, steps, verdict, signal at initialization."""
    rows = ranked(comparison).to_dict("records")
    names = [
        Column(short(name), [setting(row[name]) or "–" for row in rows], left=True)
        for name in sorted(comparison.by, key=lambda name: name not in comparison.context)
    ] or [Column("scheme", [row["label"] for row in rows], left=True)]
    metric = " / ".join(HEADERS[name] for name in dict.fromkeys(row["metric"] for row in rows))
    columns = [
        *names,
        Column("seeds", [str(row["seeds"]) for row in rows]),
        Column(
            f"{metric} [95%]", [interval(row["test"], row["test_low"], row["test_high"], row["metric"]) for row in rows]
        ),
        Column("median", [score(row["median"], row["metric"]) for row in rows]),
        Column(f"steps to {threshold_text(comparison)}", [steps_text(row) for row in rows]),
        Column("against the best [95%]", [_difference(row) for row in rows]),
        Column("steps over the best's [95%]", [ratio_cell(row) for row in rows]),
        Column("p (Holm)", [number(row["p"], 2) for row in rows]),
        Column("verdict", [row["verdict"] or "–" for row in rows], left=True),
        Column("rms, last layer (theory)", [rms_words(row) for row in rows]),
        Column(signal_header(comparison.groups), [signal_or_fate(row) for row in rows], left=True),
    ]
    return [column for column in columns if column in names or set(column.cells) != {"–"}]


def _difference(row: Mapping[Any, Any]) -> str:
    if row["verdict"] not in ("better", NOT_DISTINGUISHED, "worse"):
        return "–"
    signed = (
        f"{'+' if row['difference'] > 0 else ''}{interval(row['difference'], row['low'], row['high'], row['metric'])}"
    )
    return signed.replace("-", "−")


def ratio_cell(row: Mapping[Any, Any]) -> str:
    """Return the ratio of steps with its interval, or the bound that is known of it."""
    low, high = row["ratio_low"], row["ratio_high"]
    if math.isnan(low) or (low == 0 and math.isinf(high)):
        return "–"
    if low == 0 or math.isinf(high):
        return f"at most {number(high, 2)}" if low == 0 else f"at least {number(low, 2)}"
    return f"{number(row['ratio'], 2)} [{number(low, 2)}, {number(high, 2)}]"


def csv(comparison: Comparison) -> str:
    """Return the ranking with its numbers in full, for programs; no text is a formula to a spreadsheet."""
    table = ranked(comparison)
    for name in table.columns[[not pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes]]:
        table[name] = table[name].map(lambda cell: f"'{cell}" if FORMULA.match(str(cell)) else cell)
    return table.rename(columns=lambda name: f"'{name}" if FORMULA.match(str(name)) else name).to_csv(index=False)


def markdown(comparison: Comparison) -> str:
    """Return the ranking as a table of GitHub's Markdown."""
    columns = ranking(comparison)
    rules = [":--" if column.left else "--:" for column in columns]
    lines = [[column.header for column in columns], rules, *zip(*(column.cells for column in columns), strict=True)]
    return "".join(f"| {' | '.join(MARKDOWN.sub(ESCAPED, printable(cell)) for cell in line)} |\n" for line in lines)


def latex(comparison: Comparison) -> str:
    r"""Return the ranking as a LaTeX ``tabular`` in the style of booktabs; the best and its equals in bold."""
    columns = ranking(comparison)
    verdicts = ranked(comparison)["verdict"]
    lines = [
        "% \\usepackage{booktabs}; bold: the best on validation data, and those not distinguished from it",
        f"\\begin{{tabular}}{{{''.join('l' if column.left else 'r' for column in columns)}}}",
        "\\toprule",
        _row([column.header for column in columns]),
        "\\midrule",
    ]
    bold = next(index for index, column in enumerate(columns) if column.header.endswith("[95%]"))
    for verdict, *cells in zip(verdicts, *(column.cells for column in columns), strict=True):
        lines.append(_row(cells, bold=bold if verdict in ("best", NOT_DISTINGUISHED) else None))
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def _row(cells: Sequence[str], *, bold: int | None = None) -> str:
    escaped = ["".join(LATEX.get(character, character) for character in cell) for cell in cells]
    if bold is not None:
        escaped[bold] = f"\\textbf{{{escaped[bold]}}}"
    return " & ".join(escaped) + r" \\"


FORMATS: Mapping[str, tuple[str, Callable[[Comparison], str]]] = {
    "latex": ("tex", latex),
    "csv": ("csv", csv),
    "markdown": ("md", markdown),
}
