"""Reports as tables: HTML as a notebook shows it, and a data frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

LEFT = "style='text-align:left'"


class Tabled:
    """A report that a notebook shows as a table, and pandas takes as one.

    What inherits has ``_shown()``: the table with its heads first, and the sentences above it, the verdict first; and
    ``_rows()``: the whole of it, a mapping for each row.
    """

    def _shown(self) -> tuple[Sequence[Sequence[str]], Sequence[str]]:
        raise NotImplementedError

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        raise NotImplementedError

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with a row for each row of the report. Raises ImportError without pandas."""
        try:
            import pandas as pd
        except ImportError:
            raise ImportError("to_frame needs pandas, which is not installed: pip install pandas.") from None
        return pd.DataFrame(list(self._rows()))

    def _repr_html_(self) -> str:
        """The report as a notebook shows it."""
        table, (verdict, *found) = self._shown()
        heads = "".join(f"<th {LEFT}>{escape(cell)}</th>" for cell in table[0])
        body = "".join(
            "<tr>" + "".join(f"<td {LEFT}>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table[1:]
        )
        said = f"<ul>{''.join(f'<li>{escape(sentence)}</li>' for sentence in found)}</ul>" if found else ""
        rows = f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>" if body else ""
        return f"<p><b>{escape(verdict)}</b></p>{said}{rows}"
