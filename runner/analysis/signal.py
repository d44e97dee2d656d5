"""Signals of recorded runs at initialization: how far they reach, as measured and by theory."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from runner.analysis.intervals import log
from weightinit.meanfield import Stability, signal_stability
from weightinit.nn import trunk

UNKNOWN = Stability("unknown", math.nan)


def initial_state(curves: pd.DataFrame) -> pd.DataFrame:
    """Return signal and gradient by run's key, from the probe of the initial state and from theory.

    ``log_growth``: of the rms, from the first layer of the trunk to the last, and ``scatter``, its standard deviation
    over networks of the same laws (NaN where no reference measured it); ``log_gradient``: growth of the gradient from
    the last of them back to the first; of both what is ``_predicted``; ``hidden``: how many layers these are; ``kept``:
    share of the mean square that the activation lets pass; ``geometric``: whether theory has the same factor for every
    layer.
    """
    names = {
        "rms": "init_activation_rms",
        "before": "init_preactivation_rms",
        "gradient": "init_gradient_std",
        "gradient_predicted": "predicted_gradient_std",
        "backward": "init_backward_norm",
        "backward_predicted": "predicted_backward_norm",
        "rms_predicted": "predicted_activation_rms",
        "before_predicted": "predicted_preactivation_rms",
    }
    rows = curves[curves["quantity"].isin(list(names.values())) & ~curves["layer"].isin(["", "output"])]
    rows = rows.astype({"key": str, "quantity": str, "layer": str}).drop_duplicates(["key", "quantity", "layer"])
    order = rows.loc[rows["quantity"] == names["rms"], ["key", "layer"]]
    values = rows.set_index(["key", "layer", "quantity"])["value"].unstack("quantity")
    layers = values.reindex(index=pd.MultiIndex.from_frame(order), columns=list(names.values()))
    layers = layers.set_axis(list(names), axis=1).reset_index()
    layers = _of_trunk(layers)
    first = layers.drop_duplicates("key").set_index("key")
    last = layers.drop_duplicates("key", keep="last").set_index("key")
    state = last[["layer", "rms", "rms_predicted"]].copy()
    state["hidden"] = layers.groupby("key").size()
    state["gradient"] = first["gradient"]
    for name in ("rms", "rms_predicted"):
        state[name.replace("rms", "log_growth")] = log(last[name]) - log(first[name])
    for name in ("gradient", "gradient_predicted"):
        state[f"log_{name}"] = log(first[name]) - log(last[name])
    scatter = curves.loc[curves["quantity"] == "reference_growth_scatter", ["key", "value"]]
    state["scatter"] = scatter.astype({"key": str}).drop_duplicates("key").set_index("key")["value"]
    kept = log(layers["rms_predicted"]) - log(layers["before_predicted"])
    step = log(layers["rms_predicted"]).groupby(layers["key"]).diff()
    varying = pd.DataFrame({"kept": kept, "step": step}).groupby(layers["key"]).agg(["min", "max"])
    level = [(varying[name]["max"] - varying[name]["min"]) < 0.01 for name in ("kept", "step")]
    state["geometric"] = level[0] & level[1] & (state["hidden"] > 2)
    later = layers["key"].duplicated()
    kept = kept.fillna(log(layers["rms"]) - log(layers["before"]))[later]
    state["kept"] = np.exp(2 * kept.groupby(layers["key"][later]).mean())
    return state


def _of_trunk(layers: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of layers on the trunk of their network.

    Where the norm of what is propagated back is recorded, ``gradient`` is that.
    """
    if layers.empty:
        return layers
    order = layers.groupby("key", sort=False)["layer"].agg(tuple)
    names = {found: trunk(found) for found in set(order)}
    kept = layers[
        [layer in names[order[key]] for key, layer in zip(layers["key"], layers["layer"], strict=True)]
    ].copy()
    propagated = kept["backward"].notna().groupby(kept["key"]).transform("any")
    for name, other in (("gradient", "backward"), ("gradient_predicted", "backward_predicted")):
        kept[name] = kept[name].where(~propagated, kept[other])
    return kept


def measured_signal(runs: pd.DataFrame) -> Stability:
    """Return the stability of the activations' mean square at initialization, over runs that did not fail.

    ``unknown`` without hidden layers. It vanishes where any network's last layer is zero.
    """
    if (runs["rms"] == 0).any():
        return Stability("vanishes", 0.0)
    if np.isinf(runs["rms"]).any():
        return Stability("explodes", math.inf)
    runs = runs[runs["log_growth"].notna()]
    if runs.empty:
        return UNKNOWN
    scatter = runs["scatter"].mean()
    if math.isnan(scatter):
        scatter = runs["log_growth"].std() if len(runs) > 1 else math.nan
    growth, gradient = runs["log_growth"].mean(), runs["log_gradient"].mean()
    rms, layers = runs["rms"].max(), int(runs["hidden"].max()) - 1
    return signal_stability(rms, growth, gradient, layers, scatter=scatter, networks=len(runs))


def predicted_signal(runs: pd.DataFrame) -> Stability:
    """Return the same by theory; ``unknown`` where theory has no number for one of the runs."""
    if runs["hidden"].isna().all():
        return UNKNOWN
    names = ["rms_predicted", "log_growth_predicted", "log_gradient_predicted"]
    rms, growth, gradient = runs[names].to_numpy(np.float64).mean(axis=0)
    return signal_stability(rms, growth, gradient, int(runs["hidden"].max()) - 1)
