"""Text on the differences between two recordings of the same trials."""

from __future__ import annotations

from runner.analysis.diff import Changes
from runner.text import Column, number, table

SHOWN = 30


def changes_lines(found: Changes) -> list[str]:
    """Return lines on the differences."""
    total = found.by_key + found.by_config
    how = f" ({found.by_config} by configuration, their keys differ)" if found.by_config else ""
    lines = [f"{_counted(total)} in both{how}"]
    for names, side in ((found.lost, "in the other only"), (found.new, "in this one only")):
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            lines.append(f"{_counted(len(names))} {side}: {', '.join(names[:5])}{more}")
    if not found.changed:
        return [*lines, "nothing has changed: every number is equal to the last bit"]
    equal = total - len(found.changed)
    lines.append(f"{_counted(len(found.changed))} changed, {equal} equal to the last bit")
    rows = found.quantities.head(SHOWN).to_dict("records")
    columns = [
        Column("quantity", [row["quantity"] for row in rows], left=True),
        Column("trials", [str(row["trials"]) for row in rows]),
        Column("first", [_first(row["step"], row["layer"]) for row in rows], left=True),
        Column("largest relative change", [number(row["difference"]) for row in rows]),
        Column("in", [row["trial"] for row in rows], left=True),
    ]
    left = len(found.quantities) - SHOWN
    return [*lines, "", *table(columns), *[f"... and {left} more quantities"] * (left > 0)]


def _first(step: int, layer: str) -> str:
    return " ".join([f"step {step}" if step >= 0 else "summary", *[layer] * bool(layer)])


def _counted(trials: int) -> str:
    return f"{trials} trial{'s' * (trials != 1)}"
