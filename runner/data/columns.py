"""Recognition of what the columns of a table hold: numbers, categories, dates, names, row numbers, or one value."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["number", "category", "date", "name", "row number", "constant", "decimal comma"]
FEATURES: tuple[Kind, ...] = ("number", "category", "date")
LEFT_OUT: tuple[Kind, ...] = ("name", "row number", "constant")
MOST_VALUES = 50
"""Different texts up to which a column always holds categories, and categories that it is encoded with."""
LOOKED_AT = 2000  # different texts that decide what a column holds
DAYS = ("%d.%m.%Y", "%Y/%m/%d", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%d %b %Y", "%d %B %Y", "%b %d, %Y")
DATES = ("ISO8601", *(f"{day}{time}" for day in DAYS for time in ("", " %H:%M", " %H:%M:%S")))
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


@dataclass(frozen=True)
class Column:
    """A column of a table.

    ``missing``: cells without a value; ``strays``: texts among numbers, which count as missing, such as ``stray``;
    ``values``: different values of a text; ``format``: of a date, as in ``strptime``.
    """

    name: str
    kind: Kind
    missing: int = 0
    strays: int = 0
    stray: str = ""
    values: int = 0
    format: str = ""


def recognise(frame: pd.DataFrame) -> list[Column]:
    """Return what each column of a table holds."""
    return [_column(str(name), frame[name]) for name in frame.columns]


def _column(name: str, cells: pd.Series) -> Column:
    import pandas as pd

    if pd.api.types.is_bool_dtype(cells.dtype):
        column = Column(name, "number", missing=int(cells.isna().sum()))
    elif pd.api.types.is_datetime64_any_dtype(cells.dtype):
        column = Column(name, "date", missing=int(cells.isna().sum()))
    elif pd.api.types.is_numeric_dtype(cells.dtype):
        return _numeric(name, cells)
    elif pd.api.types.is_timedelta64_dtype(cells.dtype):
        column = Column(name, "number", missing=int(cells.isna().sum()))
    else:
        return _textual(name, cells)
    return replace(column, kind="constant") if cells.nunique() <= 1 else column


def _numeric(name: str, cells: pd.Series) -> Column:
    values = cells.to_numpy(np.float64, na_value=np.nan)
    finite = values[np.isfinite(values)]
    column = Column(name, "number", missing=len(values) - len(finite))
    if len(finite) == 0 or (finite == finite[0]).all():
        return replace(column, kind="constant")
    if column.missing == 0 and len(finite) > MOST_VALUES and bool((finite == np.round(finite)).all()):
        dense = finite.max() - finite.min() == len(finite) - 1
        if (dense or re.search(r"(^|[_ ])id$", name, re.IGNORECASE)) and cells.is_unique:
            return replace(column, kind="row number")
    return column


def _textual(name: str, cells: pd.Series) -> Column:
    import pandas as pd

    present = texts(cells).dropna()
    counts = present.value_counts()
    column = Column(name, "category", missing=len(cells) - len(present), values=len(counts))
    if len(counts) <= 1:
        return replace(column, kind="constant")
    looked, known = counts.index[:LOOKED_AT], int(counts.iloc[:LOOKED_AT].sum())

    def share(fits: pd.Series) -> float:
        return float(counts.iloc[:LOOKED_AT].to_numpy()[fits.to_numpy()].sum()) / known

    if share(pd.to_numeric(looked.to_series(), errors="coerce").notna()) > 0.5:
        stray = present[pd.to_numeric(present, errors="coerce").isna()]
        column = replace(column, kind="number", strays=len(stray), missing=column.missing + len(stray))
        return replace(column, stray=str(stray.iloc[0]) if len(stray) else "")
    if share(looked.to_series().str.fullmatch(DECIMAL_COMMA)) > 0.5:
        return replace(column, kind="decimal comma")
    if looked.to_series().str.contains(r"\d").mean() > 0.9:
        for form in DATES:
            if dates(looked.to_series(), form).notna().mean() > 0.99:
                return replace(column, kind="date", format=form)
    if len(counts) > MOST_VALUES and len(counts) > len(present) / 2:
        return replace(column, kind="name")
    return column


def texts(cells: pd.Series) -> pd.Series:
    """Return cells as texts without blanks around them, None where a cell is empty."""
    stripped = cells.astype(object).where(cells.notna(), None).map(lambda cell: cell and str(cell).strip(), "ignore")
    found: pd.Series = stripped.where(stripped.notna() & (stripped != ""), None)
    return found


def dates(cells: pd.Series, form: str) -> pd.Series:
    """Return cells as moments, NaT where one is none of this form."""
    import pandas as pd

    found: pd.Series = pd.to_datetime(cells, format=form or None, errors="coerce", utc=True)
    return found


# What is in a table, by kind, in the order of a message.
_WORDS: Sequence[tuple[str, Callable[[Column], bool], Callable[[Column], str]]] = (
    ("row numbers", lambda c: c.kind == "row number", lambda c: ""),
    ("names or free text", lambda c: c.kind == "name", lambda c: f"{c.values:,} values"),
    ("a single value", lambda c: c.kind == "constant", lambda c: ""),
    ("dates", lambda c: c.kind == "date", lambda c: c.format.replace("ISO8601", "")),
    ("categories", lambda c: c.kind == "category", lambda c: f"{c.values:,} values"),
    ("numbers with a decimal comma", lambda c: c.kind == "decimal comma", lambda c: ""),
    ("text among numbers", lambda c: c.strays > 0, lambda c: f"{c.strays:,} such as {c.stray!r}"),
    (
        "missing cells",
        lambda c: c.missing > c.strays and c.kind not in LEFT_OUT,
        lambda c: f"{c.missing - c.strays:,}",
    ),
)


def described(columns: Sequence[Column], most: int = 6) -> str:
    """Return what is in which column, in words; columns of numbers alone go without saying."""
    parts = []
    for words, holds, detail in _WORDS:
        found = [f"{c.name!r}" + (f" ({detail(c)})" if detail(c) else "") for c in columns if holds(c)]
        if found:
            more = f" and {len(found) - most} more" if len(found) > most else ""
            parts.append(f"{words} in {', '.join(found[:most])}{more}")
    return "; ".join(parts)


def remedy(columns: Sequence[Column], *, gaps: bool, missing: str, categories: str) -> list[str]:
    """Return overrides, as words for a shell, to learn from such a table; ``gaps``: whether targets are missing.

    ``missing``, ``categories``: what the command has passed, and passes again.
    """
    words = []
    if any(column.kind == "decimal comma" for column in columns):
        words.append("data.decimal=\\,")
    if left_out := [column.name for column in columns if column.kind in LEFT_OUT]:
        words.append(f"data.drop={as_list(left_out)}")
    kept = [column for column in columns if column.kind not in LEFT_OUT]
    holes = any(column.missing for column in kept)
    if holes or gaps:
        words.append(f"data.missing={missing if missing != 'refuse' else 'impute' if holes else 'drop'}")
    if any(column.kind in ("category", "date") for column in kept):
        words.append(f"data.categories={categories if categories != 'refuse' else 'onehot'}")
    return [for_shell(word) for word in words]


def for_shell(word: str) -> str:
    """Return a word as a person would quote it for a shell."""
    return f'"{word}"' if "'" in word and not re.search(r'["$`\\!]', word) else shlex.quote(word)


def as_list(names: Sequence[str]) -> str:
    """Return names as a list in an override, those in quotes that would not be read as they are."""
    plain = re.compile(r"(?!(true|false|null|nan|inf)$)[A-Za-z_]\w*", re.IGNORECASE)
    return f"[{','.join(name if plain.fullmatch(name) else _in_quotes(name) for name in names)}]"


def _in_quotes(name: str) -> str:
    escaped = name.replace("\\", "\\\\") if name.endswith("\\") else name
    return "'" + escaped.replace("'", "\\'") + "'"
