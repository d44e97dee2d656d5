"""Numbers, settings and tables, written for people."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

PAGE = "report.html"  # the page among a command's files
ECHOED = 200  # characters of a value in a message
# Control characters of both sets, and those that break lines or turn the direction of writing.
UNPRINTABLE = re.compile("[\\x00-\\x1f\\x7f-\\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def number(value: float, digits: int = 3) -> str:
    """Return ``value`` to so many digits, as people write it: 1.14, .0125, 3.1e-9."""
    if math.isnan(value):
        return "–"
    if value == 0 or math.isinf(value):
        return f"{value:g}"
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])
    if -5 < exponent < 5:
        return plain(f"{value:.{max(0, digits - 1 - exponent)}f}")
    mantissa, _, power = f"{value:.1e}".partition("e")
    return f"{mantissa.removesuffix('.0')}e{int(power)}"


def printable(text: str) -> str:
    """Return ``text`` in one line, with its control characters as spaces: a terminal would obey them."""
    return UNPRINTABLE.sub(" ", text)


def shortened(value: object, most: int = ECHOED) -> str:
    """Return the text of a value for a message, cut after so many characters."""
    text = str(value)
    return text if len(text) <= most else f"{text[:most]}..."


def plain(text: str) -> str:
    """Return the number in ``text`` without a zero before its point."""
    return re.sub(r"^(-?)0\.", r"\1.", text)


def setting(value: Any) -> str:
    """Return a configured value as a user might type it; empty for none."""
    if value is None or value != value:
        return ""
    return str(value) if isinstance(value, str | bool | np.bool_) else plain(f"{value:.6g}")


def label(row: Mapping[Any, Any], columns: Sequence[str]) -> str:
    """Return the values of these columns as a row's label: ``tanh he``, ``depth 10``."""
    words = [(name, setting(row[name])) for name in columns]
    return " ".join(f"{short(name)} {value}" if "." in name else value for name, value in words if value)


def short(column: str) -> str:
    """Return a column's name for people: ``optimizer.learning_rate`` is learning rate."""
    return column.rpartition(".")[2].replace("_", " ")


@dataclass(frozen=True)
class Column:
    """Column of a table: its header, in which a line may end, and its cells; aligned right, or ``left``."""

    header: str
    cells: Sequence[str]
    left: bool = False


def table(columns: Sequence[Column], *, broken: bool = False, sections: Mapping[int, str] | None = None) -> list[str]:
    """Return lines of a table; ``broken``: headers on as many lines as they have; ``sections``: titles above rows."""
    headers = [column.header.split("\n") if broken else [column.header.replace("\n", " ")] for column in columns]
    widths = [max(map(len, [*header, *column.cells])) for header, column in zip(headers, columns, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if column.left else cell.rjust(width)
            for cell, width, column in zip(cells, widths, columns, strict=True)
        ]
        return "  ".join(padded).rstrip()

    tall = max(map(len, headers))
    lines = [line(cells) for cells in zip(*([""] * (tall - len(header)) + header for header in headers), strict=True)]
    for row, cells in enumerate(zip_longest(*(column.cells for column in columns), fillvalue="")):
        lines += [title] if (title := (sections or {}).get(row)) else []
        lines.append(line(cells))
    return lines


def look_lines(directory: Path | None, viewer: str | None) -> list[str]:
    """Return lines on where to look further: what shows the runs (a command or an address), their files, the page."""
    given = {
        "look": viewer,
        "files": directory,
        "page": page if directory is not None and (page := directory / PAGE).exists() else None,
    }
    return [f"{name + ':':<9} {value}" for name, value in given.items() if value is not None]


def bold(text: str, color: bool) -> str:
    """Return ``text`` in bold for a terminal that shows ``color``."""
    return f"\033[1m{text}\033[0m" if color else text


def relative(path: Path) -> Path:
    """Return the path from the working directory on, where it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
