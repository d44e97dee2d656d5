"""Summary of a run: ratios across layers at initialization, distinct units, steps to a loss."""

from __future__ import annotations

import numpy as np

from runner.config.plan import Plan
from runner.records import Rows
from weightinit.arrays import Array
from weightinit.nn import Network

# Batches over which the training loss is averaged before it is compared with the threshold.
WINDOW = 5


def summary(rows: Rows, losses: Array, plan: Plan, network: Network) -> dict[str, float]:
    """Return one number per name from a run's rows and its losses (steps,); a number that does not exist is absent."""
    numbers: dict[str, float] = {}
    trunk = [site.name for site in network.trunk]
    hidden = [site.name for site in network.sites if site.weight is not None and site.name != "output"]
    if trunk:
        first, last = trunk[0], trunk[-1]
        for name, quantity, (over, under) in (
            ("init_activation_ratio", "init_activation_rms", (last, first)),
            ("predicted_activation_ratio", "predicted_activation_rms", (last, first)),
            ("init_backward_ratio", "init_backward_rms", (first, last)),
            ("predicted_backward_ratio", "predicted_backward_rms", (first, last)),
            ("init_gradient_ratio", f"init_{network.gradient_quantity}", (first, last)),
        ):
            values = {layer: value for _, layer, value in rows.select(quantity)}
            if values.get(under) and over in values:
                numbers[name] = values[over] / values[under]
        distinct = rows.select("final_weight_distinct_units") or rows.select("init_weight_distinct_units")
        units = [value for _, layer, value in distinct if layer in hidden]
        if units:
            numbers["distinct_units"] = min(units)
    reached = np.flatnonzero(_trailing_mean(losses, WINDOW) < plan.threshold_loss)
    if len(reached):
        numbers[f"steps_to_loss_{plan.threshold:g}"] = float(reached[0])
    return numbers


def _trailing_mean(values: Array, window: int) -> Array:
    """Mean of each value and up to ``window - 1`` before it."""
    total = np.cumsum(values)
    count = np.minimum(np.arange(1, len(values) + 1), window)
    total[window:] -= total[:-window].copy()
    return total / count
