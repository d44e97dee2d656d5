"""Raw samples from checked tables and arrays; errors say how to mend them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np

from runner.data.columns import FEATURES, Column, as_list, described, for_shell, recognise, remedy
from runner.data.dataset import Samples, Task
from runner.data.encoding import Categories, Encoder, Missing, notes
from weightinit.arrays import Array

if TYPE_CHECKING:
    import pandas as pd

MOST_COLUMNS = 100_000
MOST_CLASSES = 20
"""A target of whole numbers with more different values than this is not taken for class labels by ``task="auto"``."""


def choose_task(y: Array, task: str) -> Task:
    """Return the task of the target ``y``; ``auto`` chooses by its values.

    Text, true and false, and whole numbers with at most ``MOST_CLASSES`` different values make a classification. Other
    numbers, and several columns, make a regression.

    Raises ValueError for an unknown task, and for one that doesn't fit ``y``.
    """
    if task not in ("auto", "classification", "regression"):
        raise ValueError(
            f"data.task must be one of auto, classification, regression; got {task!r}. Pass data.task=auto."
        )
    numbers = y.dtype.kind in "uif"
    if task == "auto":
        labels = not numbers or (y.dtype.kind in "ui" and len(np.unique(y)) <= MOST_CLASSES)
        task = "classification" if labels and y.ndim == 1 else "regression"
    if task == "classification" and y.ndim > 1:
        raise ValueError(f"a classification has one target; got {y.shape[1]}. Pass one, or data.task=regression.")
    if task == "regression" and not numbers:
        raise ValueError(
            f"the targets of a regression must hold numbers; got values such as {str(y.flat[0])!r}. "
            "Pass one target and data.task=classification, or other targets."
        )
    return cast(Task, task)


def assemble(x: Any, y: Array, task: str, *, where: str, **fields: Any) -> Samples:
    """Return the samples of checked arrays, or of a table with its encoder.

    ``where``: their origin; ``fields``: those of ``Samples``.
    """
    chosen = choose_task(y, task)
    if chosen == "regression":
        y = y.reshape(len(y), -1).astype(np.float64)
    elif y.dtype.kind == "f" and bool((y == np.round(y)).all()):
        y = y.astype(np.int64)  # classes are called 1 and 2, not 1.0 and 2.0
    return Samples(task=chosen, x=x, y=y, source=f"{where}, {len(x)} samples, {chosen}", **fields)


@dataclass(frozen=True)
class Policy:
    """Choices of a person about a table, under the names of their keys; ``group``: a column whose rows stay together.

    Raises ValueError for unknown ones.
    """

    target: str | Sequence[str]
    task: str = "auto"
    drop: Sequence[str] = ()
    missing: str = "refuse"
    categories: str = "refuse"
    group: str | None = None

    def __post_init__(self) -> None:
        for key, allowed in (("missing", get_args(Missing)), ("categories", get_args(Categories))):
            if (given := getattr(self, key)) not in allowed:
                raise ValueError(
                    f"data.{key} must be one of {', '.join(allowed)}; got {given!r}. Pass data.{key}={allowed[1]}."
                )


def table(frame: pd.DataFrame, policy: Policy, *, where: str, **fields: Any) -> Samples:
    """The samples of a table: targets to predict, and all columns but the dropped ones as features.

    Raises ValueError for columns that aren't there, that have no name, that hold no numbers or miss values where the
    policy refuses these; each message has the words that mend the command.
    """
    frame = frame.set_axis(frame.columns.map(str), axis=1)
    groups = [policy.group] if policy.group is not None else []
    targets, dropped, groups = (
        _names(key, given) for key, given in (("target", policy.target), ("drop", policy.drop), ("group", groups))
    )
    for key, given in {"target": targets, "drop": dropped, "group": groups}.items():
        for name in given:
            if name not in frame.columns:
                raise ValueError(_missing_column(key, name, list(frame.columns), where))
    for name in targets:
        for key, others in {"drop": dropped, "group": groups}.items():
            if name in others:
                raise ValueError(f"data.{key} must not name the target; got {name!r} in both. Name another column.")
    rest = frame.drop(columns=[*targets, *dropped, *(name for name in groups if name not in dropped)])
    if unnamed := [name for name in rest.columns if name.startswith("Unnamed: ")]:
        raise ValueError(
            f"{where} has a column without a name, often row numbers, which may give the target away. "
            f"Write the file with df.to_csv(path, index=False), or pass {for_shell(f'data.drop={as_list(unnamed)}')}."
        )
    if not targets or rest.empty:
        raise ValueError(
            f"{where} must hold samples, features and a target; "
            f"got {len(rest)} samples, {len(rest.columns)} features, {len(targets)} targets"
        )
    columns = recognise(rest)
    gaps = _gaps(frame[targets])
    lacking = int(np.logical_or.reduce(list(gaps.values())).sum())
    _check(columns, gaps, policy, where)
    present = ~np.logical_or.reduce(list(gaps.values()))
    if policy.missing == "drop":
        incomplete = [column for column in columns if column.kind in FEATURES and column.missing]
        empty = Encoder(incomplete, "drop", "ordinal").gaps(rest) if incomplete else ~present
        present &= ~empty
    said = []
    if not present.all():
        kind = "a target" if policy.missing == "impute" else "all values"
        said.append(f"{len(present) - int(present.sum()):,} of {len(present):,} rows are left out: they lack {kind}")
        frame, rest = frame[present], rest[present]
    y = _labels(frame[targets])
    fields["groups"] = _groups(frame[groups[0]], where) if groups else None
    plain = all(_is_plain(rest[column.name]) for column in columns) and not lacking
    refused = (policy.missing, policy.categories) == ("refuse", "refuse")
    if plain and (refused or not any(column.kind != "number" or column.missing for column in columns)):
        x: Array = rest.to_numpy(np.float64)
        names = tuple(map(str, rest.columns))
        if numbered := [column.name for column in columns if column.kind == "row number"]:
            said.append(f"a number for each row tells nothing: leave it out with data.drop={as_list(numbered)}")
        return assemble(x, y, policy.task, where=where, feature_names=names, columns=names, notes=tuple(said), **fields)
    said += notes(columns, cast(Missing, policy.missing))
    encoder = Encoder(columns, cast(Missing, policy.missing), cast(Categories, policy.categories))
    return assemble(rest, y, policy.task, where=where, encoder=encoder, notes=tuple(said), **fields)


def _is_plain(cells: pd.Series) -> bool:
    import pandas as pd

    return bool(pd.api.types.is_numeric_dtype(cells.dtype)) and not cells.isna().any()


def _check(columns: Sequence[Column], gaps: Mapping[str, Array], policy: Policy, where: str) -> None:
    """Raise ValueError for a table with something in it that the policy refuses, and for one without a feature."""
    numbers = ("number", "row number")
    texts = policy.categories == "refuse" and any(c.kind not in numbers and (c.values or c.format) for c in columns)
    dates = policy.categories == "refuse" and any(c.kind == "date" for c in columns)
    holes = policy.missing == "refuse" and (
        any(c.missing and (c.kind in FEATURES or policy.categories == "refuse") for c in columns)
        or any(gap.any() for gap in gaps.values())
    )
    comma = any(c.kind == "decimal comma" for c in columns)
    found = [c for c in columns if c.kind in FEATURES or c.kind == "decimal comma"]
    if not (texts or dates or holes or comma) and found:
        return
    lacking = [f"{name!r} ({int(gap.sum()):,})" for name, gap in gaps.items() if gap.any()]
    parts = [described(columns), f"a target that misses values, {', '.join(lacking)}" if lacking else ""]
    holds = "; ".join(part for part in parts if part)
    if not found:
        raise ValueError(f"{where} must hold a feature that tells samples apart; it has {holds}. Bring more columns.")
    words = remedy(columns, gaps=bool(lacking), missing=policy.missing, categories=policy.categories)
    raise ValueError(
        f"features must be numbers without gaps; {where} has {holds}. Pass {' '.join(words)} to learn from it."
    )


def _gaps(targets: pd.DataFrame) -> dict[str, Array]:
    """Return the mask of missing or infinite values of each target."""
    import pandas as pd

    found: dict[str, Array] = {}
    for name, column in targets.items():
        numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
        missing = column.replace([np.inf, -np.inf], np.nan).isna() if numeric else column.isna()
        found[str(name)] = missing.to_numpy(bool)
    return found


def _groups(cells: pd.Series, where: str) -> Array:
    """Return the number of each row's group."""
    import pandas as pd

    if cells.isna().any():
        raise ValueError(
            f"data.group must name a column without gaps; {cells.name!r} in {where} misses {int(cells.isna().sum()):,} "
            "values. Fill them, or name another column."
        )
    codes: Array = pd.factorize(cells)[0]
    return codes


def _names(key: str, names: str | Sequence[str]) -> list[str]:
    if isinstance(names, str):
        return [names]
    if not isinstance(names, Sequence):
        raise TypeError(f"data.{key} must name columns; got {names!r}. Pass data.{key}=NAME or data.{key}=[A,B].")
    return [str(name) for name in names]


def _missing_column(key: str, name: str, columns: list[str], where: str) -> str:
    message = f"data.{key} must name columns of {where}: {listed(columns, most=30)}; got {name!r}."
    if all(re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?(\.\d+)?", column) for column in columns):
        return f"{message} Its first line seems to hold data: add a line that names the columns."
    near = difflib.get_close_matches(name, columns, n=1)
    if not near:
        return f"{message} Pass one of them."
    return f"{message} Pass {for_shell(f'data.{key}={as_list(near)[1:-1]}')}."


def _labels(frame: pd.DataFrame) -> Array:
    """Return targets without gaps as numbers or text: (samples,) of one column, (samples, columns) of several."""
    import pandas as pd

    columns = []
    for _, column in frame.items():
        numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
        whole = pd.api.types.is_integer_dtype(column)
        columns.append(column.to_numpy(np.int64 if whole else np.float64 if numeric else np.str_))
    return columns[0] if len(columns) == 1 else np.stack(columns, axis=1)


def check_columns(count: int, where: str) -> None:
    """Raise ValueError for a table that is too wide to be one of samples and features."""
    if count > MOST_COLUMNS:
        raise ValueError(
            f"a table has at most {MOST_COLUMNS:,} columns; got {count:,} in {where}. "
            "Is it transposed? Samples are rows, features are columns."
        )


def listed(names: Sequence[Any], most: int = 6) -> str:
    """Return the first ``most`` names in a line, in quotes where they hold a comma."""
    shown = [repr(name) if "," in str(name) else str(name) for name in names[:most]]
    return ", ".join(shown) + (f" and {len(names) - most} more" if len(names) > most else "")
