"""Sources of files: CSV, Parquet and NPZ."""

from __future__ import annotations

import difflib
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from runner.data.dataset import Samples, source
from runner.data.tables import assemble, check_columns, listed, table
from weightinit.arrays import Array
from weightinit.auditing.files import check_unpacked

if TYPE_CHECKING:
    import pandas as pd

Content = TypeVar("Content")

LONGEST_LINE = 1 << 26


@source
def csv(
    *,
    path: str,
    target: str | Sequence[str],
    task: str = "auto",
    drop: Sequence[str] = (),
    separator: str = ",",
    image_shape: Sequence[int] | None = None,
) -> Samples:
    """Read the table of a CSV file whose first line names the columns.

    ``target``: the column to predict, or several for a regression with several outputs. Every other column
    that is not in ``drop`` is a feature and holds numbers or true and false. ``task``: auto, classification or
    regression. Auto takes text, true and false, and whole numbers with at most 20 different values for class labels.
    ``image_shape``: (height, width[, channels]) if the features are the pixels of an image, row by row.

    Raises FileNotFoundError, and ValueError with the line of pandas that mends the table.
    """
    import pandas as pd

    if not isinstance(separator, str) or not separator:
        raise ValueError(f"data.separator must be a character; got {separator!r}. Pass \"data.separator=','\".")

    def read(file: Path) -> pd.DataFrame:
        with file.open(encoding="utf-8", errors="replace") as lines:
            check_columns(lines.readline(LONGEST_LINE).count(separator) + 1, file.name)
        return pd.read_csv(file, sep=separator, low_memory=False)

    frame = _read(path, "CSV", read)
    if len(frame.columns) == 1 and (found := _separator_in(str(frame.columns[0]))):
        raise ValueError(
            f"{path} has a single column, {frame.columns[0]!r}, when split at {separator!r}. "
            f"Pass \"data.separator='{found}'\"."
        )
    return table(frame, target, task, drop, where=Path(path).name, name=Path(path).stem, image_shape=image_shape)


@source
def parquet(
    *,
    path: str,
    target: str | Sequence[str],
    task: str = "auto",
    drop: Sequence[str] = (),
    image_shape: Sequence[int] | None = None,
) -> Samples:
    """Read the table of a Parquet file; parameters and errors as in ``csv``."""
    import pandas as pd
    from pyarrow.parquet import read_metadata

    def read(file: Path) -> pd.DataFrame:
        check_columns(read_metadata(file).num_columns, file.name)
        return pd.read_parquet(file)

    frame = _read(path, "Parquet", read)
    return table(frame, target, task, drop, where=Path(path).name, name=Path(path).stem, image_shape=image_shape)


@source
def npz(*, path: str, task: str = "auto", image_shape: Sequence[int] | None = None) -> Samples:
    """Read the arrays ``x`` and ``y`` of a file by ``np.savez(path, x=x, y=y)``; pickled objects are never loaded.

    ``x``: (samples, features), or images (samples, height, width[, channels]). ``y``: (samples,) labels or numbers, or
    (samples, outputs) numbers. ``task`` and errors as in ``csv``.
    """
    x, y = _read(path, "NPZ", _load_arrays)
    if not 2 <= x.ndim <= 4 or x.dtype.kind not in "buif" or x.size == 0:
        raise ValueError(
            f"x in {path} must hold numbers of shape (samples, features) or (samples, height, width[, channels]); "
            f"got {x.dtype} of shape {x.shape}"
        )
    if y.ndim not in (1, 2) or len(y) != len(x) or y.size == 0 or y.dtype.kind not in "buifUS":
        raise ValueError(
            f"y in {path} must hold a label or number for each of the {len(x)} samples of x, of shape ({len(x)},), "
            f"or numbers of shape ({len(x)}, outputs); got {y.dtype} of shape {y.shape}"
        )
    flat_x, flat_y = x.reshape(len(x), -1), y.reshape(len(y), -1)
    for name, array in {"x": flat_x, "y": flat_y}.items():
        if array.dtype.kind == "f" and (count := np.count_nonzero(~np.isfinite(array))):
            raise ValueError(
                f"{name} in {path} must hold finite numbers; got {count} that are NaN or infinite. Keep the other "
                f"samples: keep = np.isfinite({name}.reshape(len({name}), -1)).all(axis=1); "
                "np.savez(path, x=x[keep], y=y[keep])."
            )
    return assemble(
        flat_x,
        (flat_y[:, 0] if flat_y.shape[1] == 1 else y).astype(np.str_ if y.dtype.kind == "S" else y.dtype),
        task,
        where=Path(path).name,
        name=Path(path).stem,
        image_shape=x.shape[1:] if image_shape is None and x.ndim > 2 else image_shape,
    )


def _separator_in(header: str) -> str | None:
    return next((mark for mark in (";", "\t", "|", ",") if mark in header), None)


def _read(path: str, kind: str, read: Callable[[Path], Content]) -> Content:
    if not isinstance(path, str):
        raise TypeError(f"data.path must be text, the path of a file; got {path!r}. Quote it: data.path=\"'...'\".")
    file = Path(path).expanduser()
    if not file.is_file():
        near = difflib.get_close_matches(file.name, [other.name for other in file.parent.glob("*")], n=1)
        hint = f" Pass data.path={file.parent / near[0]}, if that is meant." if near else ""
        raise FileNotFoundError(
            f"data.path must name a file in {kind} format; there is none at {file.absolute()}.{hint}"
        )
    try:
        return read(file)
    except Exception as error:  # the readers raise many kinds, all for the file's content
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"data.path must name a file in {kind} format; {path} can't be read as one: {reason}"
        ) from error


def _load_arrays(file: Path) -> tuple[Array, Array]:
    if not zipfile.is_zipfile(file):
        raise ValueError("it wasn't written by np.savez(path, x=x, y=y)")
    check_unpacked(file)
    with np.load(file, allow_pickle=False) as arrays:
        if not {"x", "y"} <= set(arrays):
            raise ValueError(
                f"it must hold x and y; got {listed(list(arrays))}. Write it with np.savez(path, x=x, y=y)"
            )
        try:
            return arrays["x"], arrays["y"]
        except ValueError as error:
            raise ValueError(
                f"{error}. Write numbers and text: np.savez(path, x=x.astype(float), y=y.astype(str))"
            ) from error
