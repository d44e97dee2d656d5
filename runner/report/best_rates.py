"""Each scheme at the learning rate that serves it best, beside one rate that all share, as people read it."""

from __future__ import annotations

from runner.analysis.best_rates import RATE, Tuned
from runner.report.sentences import HEADERS, interval, steps_text, threshold_text, verdict_lines
from runner.text import Column, setting, short, table


def tuned_columns(tuned: Tuned) -> list[Column]:
    """Columns of a table of the groups, in their order: at their own best learning rate, and at the common one."""
    own, common = tuned.own.groups.sort_values("place"), tuned.common.groups
    columns = [Column(short(name), [setting(value) or "–" for value in own[name]], left=True) for name in tuned.own.by]
    metric = " / ".join(HEADERS[name] for name in own["metric"].unique())
    beside = own[list(tuned.own.by)].merge(common, on=list(tuned.own.by), how="left")
    for which, groups in (("own best", own), ("common", beside)):
        rows = groups.to_dict("records")
        columns += [
            Column(f"{which}\nlearning rate", [setting(row[RATE]) or "–" for row in rows]),
            Column(
                f"at it\n{metric}",
                [interval(row["test"], row["test_low"], row["test_high"], row["metric"]) for row in rows],
            ),
            Column(f"steps to\n{threshold_text(tuned.own)}", [steps_text(row) for row in rows]),
        ]
    return columns


def tuned_lines(tuned: Tuned) -> list[str]:
    """What the terminal says of the groups at their own best learning rates."""
    lines = ["each at its own best learning rate, chosen on validation data, beside one that all share"]
    return [*lines, *table(tuned_columns(tuned), broken=True), "", *verdict_lines(tuned.own)]
