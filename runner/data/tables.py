"""Raw samples from checked tables and arrays; errors say how to mend them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from runner.data.dataset import Samples, Task
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


def assemble(x: Array, y: Array, task: str, *, where: str, **fields: Any) -> Samples:
    """Return the samples of checked arrays; ``where``: their origin; ``fields``: those of ``Samples``."""
    chosen = choose_task(y, task)
    if chosen == "regression":
        y = y.reshape(len(y), -1).astype(np.float64)
    elif y.dtype.kind == "f" and bool((y == np.round(y)).all()):
        y = y.astype(np.int64)  # classes are called 1 and 2, not 1.0 and 2.0
    return Samples(task=chosen, x=x, y=y, source=f"{where}, {len(x)} samples, {chosen}", **fields)


def table(
    frame: pd.DataFrame, target: str | Sequence[str], task: str, drop: Sequence[str], *, where: str, **fields: Any
) -> Samples:
    """The samples of a table: ``target`` columns to predict, and all others but those in ``drop`` as features.

    Raises ValueError for columns that aren't there, that have no name, that hold no numbers or miss values; each
    message has the line of pandas that mends a table ``df``.
    """
    frame = frame.set_axis(frame.columns.map(str), axis=1)
    targets, dropped = (_names(key, names) for key, names in (("target", target), ("drop", drop)))
    for key, names in {"target": targets, "drop": dropped}.items():
        for name in names:
            if name not in frame.columns:
                raise ValueError(_missing_column(key, name, list(frame.columns), where))
    if both := [name for name in dropped if name in targets]:
        raise ValueError(f"data.drop must not name the target; got {both[0]!r} in both. Take it out of data.drop.")
    rest = frame.drop(columns=[*targets, *dropped])
    if unnamed := [name for name in rest.columns if name.startswith("Unnamed: ")]:
        raise ValueError(
            f"{where} has a column without a name, often row numbers, which may give the target away. "
            f'Write the file with df.to_csv(path, index=False), or pass "data.drop={unnamed}".'
        )
    if not targets or rest.empty:
        raise ValueError(
            f"{where} must hold samples, features and a target; "
            f"got {len(rest)} samples, {len(rest.columns)} features, {len(targets)} targets"
        )
    y = _labels(frame[targets], where)
    return assemble(_numbers(rest, where), y, task, where=where, feature_names=tuple(rest.columns), **fields)


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
    return f"{message} Pass data.{key}={near[0]}." if near else f"{message} Pass one of them."


def _numbers(frame: pd.DataFrame, where: str) -> Array:
    """Return the features, float64 (samples, columns)."""
    import pandas as pd

    numeric = frame.select_dtypes(["number", "bool", "boolean"]).select_dtypes(exclude="timedelta")
    wrong, remedies, categories, incomplete = [], [], [], []
    for name in frame.columns.difference(numeric.columns, sort=False):
        stray = pd.to_numeric(frame[name].astype(str), errors="coerce").isna()
        if stray.mean() > 0.5:
            categories.append(name)
            continue
        # mostly numbers: stray cells among them want another remedy than categories
        example = f", {stray.sum()} of them such as {frame[name][stray].iloc[0]!r}" if stray.any() else ""
        wrong.append(f"column {name!r} of text{example}")
        remedies.append(f"df[{name!r}] = pd.to_numeric(df[{name!r}], errors='coerce')")
        incomplete += [name] if stray.any() else []
    if categories:
        wrong.append(f"columns that are not numeric: {listed(categories)}")
        remedies.append(f"df = pd.get_dummies(df, columns={categories})")
    x: Array = numeric.to_numpy(np.float64, na_value=np.nan)
    if gaps := {name: n for name, n in zip(numeric.columns, (~np.isfinite(x)).sum(axis=0), strict=True) if n}:
        wrong.append(f"NaN or infinite cells in {listed([f'{name} ({n})' for name, n in gaps.items()])}")
        incomplete += gaps
    if np.isinf(x).any():
        remedies.append("df = df.replace([np.inf, -np.inf], np.nan)")
    if incomplete:
        remedies.append(f"df = df.dropna(subset={incomplete})")
    if wrong:
        raise ValueError(
            f"features must be finite numbers; {where} has {'; '.join(wrong)}. "
            f"Mend it: {'; '.join(remedies)}. Or leave columns out with data.drop=[...]."
        )
    return x


def _labels(frame: pd.DataFrame, where: str) -> Array:
    """Return the targets as numbers or text: (samples,) of one column, (samples, columns) of several."""
    import pandas as pd

    columns = []
    for name, column in frame.items():
        numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
        missing = column.replace([np.inf, -np.inf], np.nan).isna() if numeric else column.isna()
        if missing.any():
            raise ValueError(
                f"the target must not miss values; {name!r} in {where} has {missing.sum()} missing or infinite ones. "
                f"Mend it: df = df.replace([np.inf, -np.inf], np.nan).dropna(subset=[{name!r}])."
            )
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
    """Return the first ``most`` names in a line."""
    return ", ".join(map(str, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")
