"""Audits of initial weights: of runs that differ from their declared laws, the sizes behind the first finding."""

from __future__ import annotations

import pandas as pd


def audited_std(runs: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Return by run's key the std of the first weight that differs, ``audit_std``, and its law's, ``audit_law_std``.

    Runs whose audit found nothing, and recordings from before there was an ``audit_tensor``, are absent.
    """
    names = {"audit_std": "init_weight_std", "audit_law_std": "init_weight_expected_std"}
    empty = pd.DataFrame({name: pd.Series(dtype=float) for name in names})
    if "audit_tensor" not in runs or runs["audit_tensor"].isna().all():
        return empty
    wrong = runs.loc[runs["audit_tensor"].notna(), ["key", "audit_tensor"]].astype(str)
    wrong["layer"] = wrong["audit_tensor"].str.removesuffix("/weight")
    points = curves[curves["quantity"].isin(list(names.values()))].astype({"key": str, "quantity": str, "layer": str})
    table = wrong.merge(points, on=["key", "layer"]).drop_duplicates(["key", "quantity"])
    found = table.pivot(index="key", columns="quantity", values="value")
    return found.reindex(columns=list(names.values())).set_axis(list(names), axis=1)
