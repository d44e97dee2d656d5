"""Sources of files: CSV, Parquet and NPZ."""

from __future__ import annotations

import codecs
import difflib
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from runner.data.dataset import Samples, source
from runner.data.tables import Policy, assemble, check_columns, listed, table
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
    missing: str = "refuse",
    categories: str = "refuse",
    group: str | None = None,
    separator: str = ",",
    decimal: str = ".",
    encoding: str = "utf-8",
    image_shape: Sequence[int] | None = None,
) -> Samples:
    """Read the table of a CSV file whose first line names the columns.

    ``target``: the column to predict, or several for a regression with several outputs. Every other column
    that is not in ``drop`` is a feature. ``task``: auto, classification or regression. Auto takes text, true and false,
    and whole numbers with at most 20 different values for class labels. ``missing``: impute cells without a value, or
    drop their rows; ``categories``: onehot or ordinal; ``group``: a column whose rows stay in one part of the data.
    ``separator``, ``decimal``: marks between cells and in numbers; ``encoding``: of the text, as Python names it; a
    byte order mark overrules it. ``image_shape``: (height, width[, channels]) if the features are the pixels of an
    image, row by row.

    Raises FileNotFoundError, and ValueError with the words that mend the command.
    """
    import pandas as pd

    if not isinstance(separator, str) or not separator:
        raise ValueError(f"data.separator must be a character; got {separator!r}. Pass \"data.separator=','\".")

    if not isinstance(decimal, str) or len(decimal) != 1 or decimal == separator:
        raise ValueError(f"data.decimal must be a mark other than data.separator; got {decimal!r}. Leave it out.")
    policy = Policy(target, task, drop, missing, categories, group)

    def read(file: Path) -> pd.DataFrame:
        used = _encoding(file, encoding)
        with file.open(encoding=used, errors="replace") as lines:
            header = lines.readline(LONGEST_LINE)
        check_columns(header.count(separator) + 1, file.name)
        if separator not in header and (found := _separator_in(header)):
            raise ValueError(
                f"it has a single column, {header.strip()[:40]!r}, when split at {separator!r}. "
                f"Pass \"data.separator='{found}'\"."
            )
        try:
            return pd.read_csv(file, sep=separator, decimal=decimal, encoding=used, low_memory=False)
        except UnicodeDecodeError as error:
            raise ValueError(f"it is no text in {encoding}. Pass data.encoding={_guessed(file)}.") from error

    frame = _read(path, "CSV", read)
    return table(frame, policy, where=Path(path).name, name=Path(path).stem, image_shape=image_shape)


@source
def parquet(
    *,
    path: str,
    target: str | Sequence[str],
    task: str = "auto",
    drop: Sequence[str] = (),
    missing: str = "refuse",
    categories: str = "refuse",
    group: str | None = None,
    image_shape: Sequence[int] | None = None,
) -> Samples:
    """Read the table of a Parquet file; parameters and errors as in ``csv``."""
    import pandas as pd
    from pyarrow.parquet import read_metadata

    def read(file: Path) -> pd.DataFrame:
        check_columns(read_metadata(file).num_columns, file.name)
        return pd.read_parquet(file)

    policy = Policy(target, task, drop, missing, categories, group)
    frame = _read(path, "Parquet", read)
    return table(frame, policy, where=Path(path).name, name=Path(path).stem, image_shape=image_shape)


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


def _encoding(file: Path, named: str) -> str:
    """Return the encoding that a byte order mark at the start of a file names, else the one that was named."""
    try:
        codecs.lookup(named)
    except LookupError as error:
        raise ValueError(f"data.encoding must be one that Python knows; got {named!r}. Pass cp1252.") from error
    with file.open("rb") as content:
        start = content.read(4)
    return next((encoding for mark, encoding in _MARKS.items() if start.startswith(mark)), named)


_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def _guessed(file: Path) -> str:
    """Return the first usual encoding of one byte a character that a whole file can be read in."""
    try:
        codecs.decode(file.read_bytes(), "cp1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "cp1252"


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
