"""Tables of numbers to draw, from rows of curves."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from weightinit.arrays import Array

if TYPE_CHECKING:
    import pandas as pd


def by_step(curves: pd.DataFrame, quantity: str, *, columns: str = "key") -> pd.DataFrame:
    """Return values of a quantity by step (rows) and run or layer (columns), NaN where none was recorded."""
    rows = curves[curves["quantity"] == quantity]
    return _pivot(rows if columns == "key" else rows[rows["layer"] != ""], "step", columns)


def initial(curves: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """Return values of a quantity at initialization by layer (rows, in the network's order) and run (columns).

    They are the probe's, or else those of step 0; NaN where none was recorded.
    """
    rows = curves[curves["quantity"] == f"init_{quantity}"]
    if rows.empty:
        rows = curves[(curves["quantity"] == quantity) & (curves["step"] == 0)]
    rows = rows[rows["layer"] != ""]
    return _pivot(rows, "layer", "key").reindex(network_order(rows["layer"].unique()))


def by_block(curves: pd.DataFrame) -> pd.DataFrame:
    """Return curves in which a residual block is one layer, as networks without blocks stay as they are.

    A quantity that is measured at the block itself is that; of another the layers on the block's branch count together,
    by their geometric mean.
    """
    import pandas as pd

    names = [name for name in curves["layer"].unique() if name]
    around = {name: block for name in names if (block := block_of(name, names))}
    if not around:
        return curves
    layers = curves["layer"].astype(str)
    inside = layers.isin(list(around))
    within = curves[inside].assign(layer=layers[inside].map(around), key=curves.loc[inside, "key"].astype(str))
    keys = ["key", "step", "quantity", "layer"]
    outside = curves[~inside].assign(layer=layers[~inside], key=curves.loc[~inside, "key"].astype(str))
    within = within[(within["value"] > 0) & np.isfinite(within["value"])]
    within = within.assign(value=np.log(within["value"]), quantity=within["quantity"].astype(str))
    means = np.exp(within.groupby(keys, sort=False)["value"].mean()).reset_index()
    whole = pd.concat([outside.assign(quantity=outside["quantity"].astype(str)), means], ignore_index=True)
    whole = whole.drop_duplicates(keys)
    order = {name: place for place, name in enumerate(dict.fromkeys(around.get(name, name) for name in names))}
    place = whole["layer"].map(order).fillna(-1)
    ordered: pd.DataFrame = whole.loc[place.sort_values(kind="stable").index]
    return ordered


def block_of(layer: str, layers: Collection[str]) -> str:
    """Return the outermost of ``layers`` within whose name a layer lies, or an empty text."""
    parts = layer.split("/")
    outer = ("/".join(parts[:count]) for count in range(1, len(parts)))
    return next((name for name in outer if name in layers), "")


def _pivot(rows: pd.DataFrame, index: str, columns: str) -> pd.DataFrame:
    rows = rows[rows["value"].notna()]
    names = {name: rows[name].astype(str) for name in (index, columns) if name != "step"}
    return rows.assign(**names).groupby([index, columns])["value"].first().unstack(columns)


def network_order(layers: Iterable[str]) -> list[str]:
    """Return distinct layers in the network's order: numbers by value, names as they first appear, the output last."""
    distinct = list(dict.fromkeys(layers))
    seen: dict[str, int] = {}
    for layer in distinct:
        for part in layer.split("/"):
            seen.setdefault(part, len(seen))
    parts = {layer: [(0, int(p)) if p.isdecimal() else (1, seen[p]) for p in layer.split("/")] for layer in distinct}
    return sorted(distinct, key=lambda layer: (layer == "output", parts[layer]))


def completed(table: pd.DataFrame, diverged: Collection[str]) -> pd.DataFrame:
    """Return ``table`` by step and run without gaps between recorded steps, infinite after a diverged run's end."""
    table = table.dropna(how="all")
    if not table.isna().any(axis=None):
        return table
    filled = table.interpolate(method="index", limit_area="inside")
    ended = filled.isna() & filled.bfill().isna() & [key in diverged for key in filled.columns]
    return filled.mask(ended, np.inf)


def smooth(table: pd.DataFrame) -> pd.DataFrame:
    """Return a running median over 4% of the steps, centred; infinite values stay."""
    window = max(1, len(table) // 25) | 1
    return table.rolling(window, center=True, min_periods=1).median().mask(np.isinf(table), np.inf)


def over_runs(table: Array) -> tuple[Array, Array, Array]:
    """Return the 5%, 50% and 95% quantile of each row; NaN is absent, infinity larger than every number."""
    if table.shape[1] == 1:
        return table[:, 0], table[:, 0], table[:, 0]
    huge = 1e300  # interpolating between a number and infinity would give NaN
    known = ~np.isnan(table).all(axis=1)
    result = np.full((3, len(table)), np.nan)
    result[:, known] = np.nanquantile(np.minimum(table[known], huge), (0.05, 0.5, 0.95), axis=1)
    result[result > 1e-10 * huge] = np.inf
    return result[0], result[1], result[2]


def finite(values: Any) -> Array:
    """Return ``values`` as float64, with NaN for values that are not finite; NaN is not drawn."""
    array = np.asarray(values, np.float64)
    return np.where(np.isfinite(array), array, np.nan)


def spread_evenly(count: int, most: int) -> list[int]:
    """Return at most ``most`` of the indices below ``count``, evenly spread, both ends among them."""
    return [round(i) for i in np.linspace(0, count - 1, min(count, most))]
