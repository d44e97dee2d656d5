"""Tables of the groups at their best learning rates, beside one rate that all share."""

from __future__ import annotations

from runner.analysis.best_rates import RATE, Tuned
from runner.report.sentences import HEADERS, interval, steps_text, threshold_text, verdict_lines
from runner.text import Column, setting, short, table


def tuned_columns(tuned: Tuned) -> list[Column]:
    """Return columns of the groups in their order: at each one's best learning rate, and at the common one."""
    best, common = tuned.best.groups.sort_values("place"), tuned.common.groups
    columns = [
        Column(short(name), [setting(value) or "–" for value in best[name]], left=True) for name in tuned.best.by
    ]
    metric = " / ".join(HEADERS[name] for name in best["metric"].unique())
    shared = best[list(tuned.best.by)].merge(common, on=list(tuned.best.by), how="left")
    for which, groups in (("best", best), ("common", shared)):
        rows = groups.to_dict("records")
        columns += [
            Column(f"{which}\nlearning rate", [setting(row[RATE]) or "–" for row in rows]),
            Column(
                f"at it\n{metric}",
                [interval(row["test"], row["test_low"], row["test_high"], row["metric"]) for row in rows],
            ),
            Column(f"steps to\n{threshold_text(tuned.best)}", [steps_text(row) for row in rows]),
        ]
    return columns


def tuned_lines(tuned: Tuned) -> list[str]:
    """Return lines on the groups at their best learning rates."""
    lines = ["each at its best learning rate on validation data, beside one rate that all share"]
    return [*lines, *table(tuned_columns(tuned), broken=True), "", *verdict_lines(tuned.best)]
