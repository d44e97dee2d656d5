"""Encoding of a table as numbers, fitted on its training part: imputed gaps, categories, parts of dates.

scikit-learn's transformers do the work. An encoder travels with the model that was trained on its numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from runner.data.columns import FEATURES, MOST_VALUES, Column, dates, texts
from weightinit.arrays import Array

if TYPE_CHECKING:
    import pandas as pd

Missing = Literal["refuse", "impute", "drop"]
Categories = Literal["refuse", "onehot", "ordinal"]
ABSENT = "(missing)"  # category of a cell without a value
PARTS = ("year", "month", "day", "day_of_week", "hour")


class Encoder:
    """Encoder of the ``columns`` of a table but those that are left out: identifiers, names, single values.

    A number is itself. A date becomes its parts. Categories become columns of 0 and 1, or whole numbers, at most
    ``MOST_VALUES`` a column: rarer ones, and those that training did not show, share one. With ``missing=impute`` the
    median of the training part stands for a missing number, and a missing category is one of its own.
    """

    def __init__(self, columns: Sequence[Column], missing: Missing, categories: Categories) -> None:
        from sklearn.compose import ColumnTransformer
        from sklearn.impute import SimpleImputer
        from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

        self.columns = [column for column in columns if column.kind in FEATURES]
        kinds = {kind: [c.name for c in self.columns if c.kind == kind] for kind in ("number", "date", "category")}
        numbers = [*kinds["number"], *(f"{name} {part}" for name in kinds["date"] for part in PARTS)]
        if categories == "ordinal":
            encoder: Any = OrdinalEncoder(
                handle_unknown="use_encoded_value", unknown_value=-1, max_categories=MOST_VALUES
            )
        else:
            encoder = OneHotEncoder(
                handle_unknown="infrequent_if_exist", max_categories=MOST_VALUES, sparse_output=False
            )
        gaps: Any = SimpleImputer(strategy="median", keep_empty_features=True) if missing == "impute" else "passthrough"
        self._transformer = ColumnTransformer(
            [("numbers", gaps, numbers), ("categories", encoder, kinds["category"])],
            sparse_threshold=0,
            verbose_feature_names_out=False,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the numbers that a row becomes."""
        return tuple(map(str, self._transformer.get_feature_names_out()))

    def fit(self, frame: pd.DataFrame) -> Encoder:
        """Learn medians and categories from the training part."""
        self._transformer.fit(self._typed(frame))
        return self

    def __call__(self, frame: pd.DataFrame) -> Array:
        """Return the rows of a raw table as numbers, float64 (rows, numbers). Raises ValueError for missing columns."""
        if absent := [column.name for column in self.columns if column.name not in frame.columns]:
            raise ValueError(f"the table must have the columns of the training data; it lacks {', '.join(absent)}.")
        found: Array = np.ascontiguousarray(self._transformer.transform(self._typed(frame)), np.float64)
        return found

    def gaps(self, frame: pd.DataFrame) -> Array:
        """Return which rows of a raw table lack a value."""
        typed = self._typed(frame)
        return np.asarray((typed.isna() | (typed == ABSENT)).any(axis=1))

    def _typed(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the columns with one type each: numbers, and texts of categories."""
        import pandas as pd

        typed: dict[str, Any] = {}
        for column in self.columns:
            cells = frame[column.name]
            if column.kind == "date":
                moments = dates(cells, column.format)
                typed |= {f"{column.name} {part}": getattr(moments.dt, part).astype(np.float64) for part in PARTS}
            elif column.kind == "category":
                typed[column.name] = texts(cells).fillna(ABSENT).astype(object)
            else:
                if pd.api.types.is_timedelta64_dtype(cells.dtype):
                    cells = cells.dt.total_seconds()
                values = pd.to_numeric(cells, errors="coerce").to_numpy(np.float64, na_value=np.nan, copy=True)
                values[~np.isfinite(values)] = np.nan
                typed[column.name] = values
        return pd.DataFrame(typed, index=frame.index)


def notes(columns: Sequence[Column], missing: Missing) -> tuple[str, ...]:
    """Return sentences on what the encoding leaves out, joins and makes up."""
    said = []
    reasons = {"row number": "a number for each row", "name": "names or free text", "constant": "a single value"}
    for kind, reason in reasons.items():
        if names := [repr(column.name) for column in columns if column.kind == kind]:
            said.append(f"left out of the features, {reason}: {', '.join(names)}")
    for column in columns:
        if column.kind == "category" and column.values > MOST_VALUES:
            said.append(
                f"{column.name!r} has {column.values:,} values: the {MOST_VALUES - 1} most frequent of the training "
                "part are kept, the rest count as one"
            )
        if column.kind == "date" and column.format.startswith(("%d/", "%m/")):
            said.append(f"{column.name!r} is read as {'day' if column.format[1] == 'd' else 'month'} first")
    gaps = [f"{column.name!r} ({column.missing:,})" for column in columns if column.missing and column.kind in FEATURES]
    if gaps and missing == "impute":
        said.append(
            f"missing cells are imputed in {', '.join(gaps[:6])}{f' and {len(gaps) - 6} more' * (len(gaps) > 6)}"
        )
    return tuple(said)


def table_hashes(frame: pd.DataFrame) -> Array:
    """Return a hash of each row of a table and of the names of its columns, uint64 (rows + columns,)."""
    import pandas as pd

    rows = np.zeros(len(frame), np.uint64)
    for name in frame.columns:
        cells = frame[name]
        plain = pd.api.types.is_numeric_dtype(cells.dtype) or cells.dtype.kind in "mM"
        rows *= np.uint64(1_000_003)
        rows += pd.util.hash_pandas_object(cells if plain else texts(cells).fillna(""), index=False).to_numpy()
    return np.concatenate([rows, pd.util.hash_array(np.array(list(frame.columns), object))])
