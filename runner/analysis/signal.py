"""What became of a run: read off its initial state, and said in a few words."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from runner.analysis.intervals import log
from runner.training.initial_state import signal_fate


def initial_state(curves: pd.DataFrame) -> pd.DataFrame:
    """By run's key, from the probe of the initial state and from theory: what is said of signal and gradient.

    ``log_growth``: of the rms, from the first hidden layer to the last, and ``scatter``, its standard deviation over
    networks; ``log_gradient``: growth of the gradient from the last hidden layer back to the first; of both what is
    ``_predicted``; ``kept``: share of the mean square that the activation lets pass; ``geometric``: in theory, every
    layer does the same to it.
    """
    names = {
        "rms": "init_activation_rms",
        "before": "init_preactivation_rms",
        "gradient": "init_gradient_std",
        "gradient_predicted": "predicted_gradient_std",
        "rms_predicted": "predicted_activation_rms",
        "before_predicted": "predicted_preactivation_rms",
        "scatter": "predicted_scatter",
    }
    rows = curves[curves["quantity"].isin(list(names.values())) & ~curves["layer"].isin(["", "output"])]
    rows = rows.astype({"key": str, "quantity": str, "layer": str}).drop_duplicates(["key", "quantity", "layer"])
    layers = rows.loc[rows["quantity"] == names["rms"], ["key", "layer"]]
    for name, quantity in names.items():
        found = rows.loc[rows["quantity"] == quantity, ["key", "layer", "value"]].rename(columns={"value": name})
        layers = layers.merge(found, on=["key", "layer"], how="left")
    first = layers.drop_duplicates("key").set_index("key")
    last = layers.drop_duplicates("key", keep="last").set_index("key")
    state = last[["layer", "rms", "rms_predicted"]].copy()
    state["hidden"] = layers.groupby("key").size()
    state["gradient"] = first["gradient"]
    for name in ("rms", "rms_predicted"):
        state[name.replace("rms", "log_growth")] = log(last[name]) - log(first[name])
    for name in ("gradient", "gradient_predicted"):
        state[f"log_{name}"] = log(first[name]) - log(last[name])
    state["scatter"] = np.sqrt((last["scatter"] ** 2 - first["scatter"] ** 2).clip(lower=0))
    kept = log(layers["rms_predicted"]) - log(layers["before_predicted"])
    step = log(layers["rms_predicted"]).groupby(layers["key"]).diff()
    varying = pd.DataFrame({"kept": kept, "step": step}).groupby(layers["key"]).agg(["min", "max"])
    level = [(varying[name]["max"] - varying[name]["min"]) < 0.01 for name in ("kept", "step")]
    state["geometric"] = level[0] & level[1] & (state["hidden"] > 2)
    later = layers["key"].duplicated()
    kept = kept.fillna(log(layers["rms"]) - log(layers["before"]))[later]
    state["kept"] = np.exp(2 * kept.groupby(layers["key"][later]).mean())
    return state


def fate_text(runs: pd.DataFrame) -> str:
    """What became of a group's runs, or of the signal in their initial state, in a few words."""
    diverged = runs["diverged_at_step"].dropna()
    if len(diverged) == len(runs):
        at = sorted({int(diverged.min()), int(diverged.max())})
        return f"diverged {'at' if len(at) == 1 else 'by'} step {at[-1]}"
    if len(diverged):
        return f"{len(diverged)} of {len(runs)} diverged"
    if "distinct_units" in runs and (runs["distinct_units"] == 1).all():
        return "all units equal"
    return signal_text(runs)


def signal_text(runs: pd.DataFrame) -> str:
    """What becomes of the activations' mean square from the first hidden layer to the last, at initialization."""
    dead = int((runs["rms"] == 0).sum())
    if dead:
        return "vanishes" if dead == len(runs) else f"{dead} of {len(runs)} born dead"
    if np.isinf(runs["rms"]).any():
        return "explodes"
    runs = runs[runs["log_growth"].notna()]
    if runs.empty:
        return "–"
    scatter = runs["scatter"].mean()
    if math.isnan(scatter):
        scatter = runs["log_growth"].std() if len(runs) > 1 else 0.0
    growth, gradient = runs["log_growth"].mean(), runs["log_gradient"].mean()
    return signal_fate(runs["rms"].max(), growth, runs["hidden"].max() - 1, gradient, scatter, len(runs))


def theory_text(runs: pd.DataFrame) -> str:
    """The same by theory; ``unknown`` where it says nothing of one of the runs."""
    if runs["hidden"].isna().all():
        return "–"
    names = ["rms_predicted", "log_growth_predicted", "log_gradient_predicted"]
    rms, growth, gradient = runs[names].to_numpy(np.float64).mean(axis=0)
    return signal_fate(rms, growth, runs["hidden"].max() - 1, gradient)
