"""Differences between two recordings of the same trials, bit for bit: which numbers, and by how much."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from runner.analysis.comparison import WITHOUT_EFFECT
from weightinit.arrays import Array

# Columns that are no result of a run: its time and its name.
_OF_THE_OCCASION = ("key", "name", "start_time", "end_time", "trial")
_BEFORE = ("init_", "predicted_")


@dataclass(frozen=True, eq=False)
class Changes:
    """Two recordings of the same trials, ``now`` and ``then``.

    ``by_key``, ``by_config``: trials found in both, by their key or, where keys differ, by their configuration;
    ``lost``, ``new``: names of those that only ``then``, only ``now`` has; ``changed``: names of the trials of which
    something differs; ``quantities``: one row for each number that differs: ``quantity``, how many ``trials``, the
    ``step`` and ``layer`` where it differs first, the largest ``difference`` relative to ``then`` and the ``trial`` of
    that (infinite where a number is missing on one side).
    """

    by_key: int
    by_config: int
    lost: tuple[str, ...]
    new: tuple[str, ...]
    changed: tuple[str, ...]
    quantities: pd.DataFrame

    @property
    def same(self) -> bool:
        """Whether every trial of ``then`` is there and equal to the last bit."""
        return not self.changed and not self.lost


def changes(now: tuple[pd.DataFrame, pd.DataFrame], then: tuple[pd.DataFrame, pd.DataFrame]) -> Changes:
    """Return the differences between the tables ``(runs, curves)`` of two recordings.

    Raises ValueError where they have no trial in common.
    """
    runs = [frame.drop_duplicates("key", keep="last").reset_index(drop=True) for frame in (now[0], then[0])]
    matched = _matched(*runs)
    if not matched:
        raise ValueError(
            "against must be a sweep of the same trials; no trial of the two has the same key or configuration. "
            "Pass against=... with an earlier run of the same command."
        )
    by_key = sum(runs[0]["key"][i] == runs[1]["key"][j] for i, j in matched)
    rows_now, rows_then = (dict(zip(side, range(len(side)), strict=True)) for side in zip(*matched, strict=True))
    sides = []
    for (_, curves), frame, places in zip((now, then), runs, (rows_now, rows_then), strict=True):
        trial = {frame["key"][row]: place for row, place in places.items()}
        sides.append(pd.concat([_summaries(frame, places), _points(curves, trial)], ignore_index=True))
    where = ["trial", "quantity", "step", "layer"]
    both = sides[0].merge(sides[1], on=where, how="outer", suffixes=("_now", "_then"), indicator="side")
    value, earlier = both["value_now"].to_numpy(np.float64), both["value_then"].to_numpy(np.float64)
    alone = (both["side"] != "both").to_numpy()
    unequal = alone | ~_same_bits(value, earlier)
    both = both.assign(difference=_relative_change(value, earlier, alone))[unequal]
    names = [str(runs[0]["name"][i]) for i, _ in matched]
    return Changes(
        by_key=by_key,
        by_config=len(matched) - by_key,
        lost=tuple(runs[1]["name"][j] for j in range(len(runs[1])) if j not in rows_then),
        new=tuple(runs[0]["name"][i] for i in range(len(runs[0])) if i not in rows_now),
        changed=tuple(names[place] for place in sorted(both["trial"].unique())),
        quantities=_quantities(both, names),
    )


def _matched(now: pd.DataFrame, then: pd.DataFrame) -> list[tuple[int, int]]:
    """Rows of the same trials: of the same key, else of the same configuration where that is one trial's alone."""
    keys = {key: row for row, key in enumerate(then["key"])}
    matched = [(row, keys[key]) for row, key in enumerate(now["key"]) if key in keys]
    left = [
        [row for row in range(len(table)) if row not in {pair[side] for pair in matched}]
        for side, table in enumerate((now, then))
    ]
    columns = [_described(table) for table in (now, then)]
    shared = [name for name in columns[0] if name in columns[1]]
    configs = [
        {row: tuple(map(_plain, table.loc[row, shared])) for row in rows}
        for table, rows in zip((now, then), left, strict=True)
    ]
    found: dict[Hashable, list[int]] = {}
    for row, config in configs[1].items():
        found.setdefault(config, []).append(row)
    configs_now = list(configs[0].values())
    matched += [
        (row, found[config][0])
        for row, config in configs[0].items()
        if len(found.get(config, ())) == 1 and configs_now.count(config) == 1
    ]
    return sorted(matched)


def _described(runs: pd.DataFrame) -> list[str]:
    names = [str(name) for name in runs]
    return [
        name for name in names[: names.index("fate")]
        if name.partition(".")[0] not in (*WITHOUT_EFFECT, *_OF_THE_OCCASION)
    ]  # fmt: skip


def _plain(value: object) -> str:
    return "" if value is None or value != value else f"{value:g}" if isinstance(value, int | float) else str(value)


def _summaries(runs: pd.DataFrame, places: dict[int, int]) -> pd.DataFrame:
    """Return fate and summary of each run as rows of curves; texts do not count."""
    names = [str(name) for name in runs]
    results = [name for name in names[names.index("fate") :] if name not in (*_OF_THE_OCCASION, "notes", "error")]
    table = runs.loc[list(places), results].assign(trial=list(places.values()))
    table["fate"] = table["fate"].map({"finished": 0.0, "diverged": 1.0, "failed": 2.0})
    numeric = [name for name in results if pd.api.types.is_numeric_dtype(table[name])]
    rows = table.melt("trial", numeric, "quantity", "value").dropna(subset="value")
    return rows.assign(step=-1, layer="").astype({"value": float})


def _points(curves: pd.DataFrame, trial: dict[str, int]) -> pd.DataFrame:
    points = curves[curves["key"].isin(list(trial))].astype(dict.fromkeys(("key", "quantity", "layer"), str))
    points = points.assign(trial=points["key"].map(trial))
    return points.drop_duplicates(["trial", "quantity", "step", "layer"])[
        ["trial", "quantity", "step", "layer", "value"]
    ]


def _same_bits(now: Array, then: Array) -> Array:
    """Return whether numbers are equal to the last bit, zeros with their signs; all NaN are equal."""
    equal: Array = (now.view(np.int64) == then.view(np.int64)) | (np.isnan(now) & np.isnan(then))
    return equal


def _relative_change(now: Array, then: Array, alone: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        change: Array = np.abs(now - then) / np.abs(then)
    return np.where(
        alone | ~np.isfinite(now) | ~np.isfinite(then) | np.isnan(change), np.where(now == then, 0.0, np.inf), change
    )


def _quantities(both: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Return one row a quantity, those of initialization first."""
    rows = []
    for quantity, points in both.groupby("quantity"):
        first = points.sort_values(["step", "layer"]).iloc[0]
        largest = points.iloc[int(points["difference"].argmax())]
        rows.append(
            {
                "quantity": quantity, "trials": points["trial"].nunique(), "step": int(first["step"]),
                "layer": first["layer"], "difference": float(largest["difference"]), "trial": names[largest["trial"]],
            }
        )  # fmt: skip
    table = pd.DataFrame(rows, columns=["quantity", "trials", "step", "layer", "difference", "trial"])
    order = [
        (not quantity.startswith(_BEFORE), step)
        for quantity, step in zip(table["quantity"], table["step"], strict=True)
    ]
    return table.iloc[sorted(range(len(table)), key=lambda row: order[row])].reset_index(drop=True)
