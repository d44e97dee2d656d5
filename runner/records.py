"""Records that the stages hand on: frozen, of plain values and arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from weightinit.arrays import Array

Fate = Literal["finished", "diverged", "failed"]
# Labels of the initial state: its signal as measured and by theory; the layer that is out of the ordinary and what of
# it, or why no layer was judged; why theory has no number; whether the weights follow their declared laws.
LABELS = (
    *("measured_fate", "predicted_fate", "alarm_layer", "alarm_fault", "not_judged", "no_theory"),
    *("audit", "audit_tensor", "audit_finding"),
)
# Names of a run's summary numbers; steps_to_loss_... has the threshold at its end.
SUMMARY = (
    *(f"{part}_{number}" for part in ("train", "validation", "test") for number in ("accuracy", "r2", "loss")),
    *(f"{part}_{number}" for part in ("validation", "test") for number in ("balanced_accuracy", "macro_f1", "auc")),
    "test_majority",
    *("init_activation_ratio", "predicted_activation_ratio", "init_backward_ratio", "predicted_backward_ratio"),
    *("init_gradient_ratio", "init_activation_deviation", "init_gradient_deviation", "expected_deaths"),
    *(f"{side}_jacobian_{number}" for side in ("init", "predicted") for number in ("mean_s2", "spread")),
    *("distinct_units", "audit_faults"),
)


@dataclass(frozen=True)
class Rows:
    """Tidy measurements of one run, one row each, held as columns of equal length.

    ``step``: training step (0 is the state before the first update); ``quantity``: name of what was measured, as in
    ``train_loss`` or ``activation_rms``; ``layer``: name of the layer or weight, ``""`` for the whole network;
    ``value``: float64.
    """

    step: Array
    quantity: tuple[str, ...]
    layer: tuple[str, ...]
    value: Array

    @classmethod
    def of(cls, rows: Iterable[tuple[int, str, str, float]]) -> Rows:
        """Rows from tuples (step, quantity, layer, value)."""
        step, quantity, layer, value = zip(*rows, strict=True) if (rows := list(rows)) else ((), (), (), ())
        return cls(np.array(step, np.int64), tuple(quantity), tuple(layer), np.array(value, np.float64))

    def __len__(self) -> int:
        return len(self.quantity)

    def select(
        self, quantity: str, *, step: int | None = None, layer: str | None = None
    ) -> list[tuple[int, str, float]]:
        """(step, layer, value) of the rows of one quantity, in the order recorded."""
        return [
            (int(self.step[place]), self.layer[place], float(self.value[place]))
            for place in _places(self.quantity).get(quantity, ())
            if (step is None or self.step[place] == step) and (layer is None or self.layer[place] == layer)
        ]


@lru_cache(maxsize=16)
def _places(quantities: tuple[str, ...]) -> Mapping[str, Sequence[int]]:
    """Return the rows of each quantity; the runs of a stack share their quantities."""
    places: dict[str, list[int]] = {}
    for place, quantity in enumerate(quantities):
        places.setdefault(quantity, []).append(place)
    return places


@dataclass(frozen=True)
class Outcome:
    """Record of one run.

    ``key``: the trial's; ``fate``: finished, diverged (a result) or failed (an error, whose text is ``error``);
    ``rows``: every measurement; ``summary``: one number per name (``test_accuracy``, ``steps_to_loss_0.5``; a number
    that does not exist is absent); ``start_time``, ``end_time``: seconds since the epoch; ``diverged_at_step``: that of
    the first loss that was not finite; ``arrays``: histograms, bin centres and counts (2, bins), of the initial state
    (``histogram/weight/hidden/1``) and of the final one (``final_histogram/...``), likewise the ``singular_values``
    of the Jacobian at a few samples, and on request weights (``initial/hidden/1/weight``, ``final/...``); ``notes``:
    sentences that a scheme wants a person to read; ``labels``: of the initial state, under the names of ``LABELS``.
    """

    key: str
    fate: Fate
    rows: Rows
    summary: Mapping[str, float]
    start_time: float
    end_time: float
    diverged_at_step: int | None = None
    arrays: Mapping[str, Array] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    error: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Session:
    """Command that records: a single run or a sweep.

    ``name``: for people; ``directory``: where it writes; ``overrides``: as given, not expanded; ``sweep_id``: hash of
    the ordered overrides that matter to results, the same for the same command; ``total``: runs expected;
    ``searched``: keys that the sweeper chooses values for, none where the command lists its runs; ``fixed``: overrides
    that all runs of such a search share.
    """

    name: str
    directory: Path
    overrides: tuple[str, ...]
    multirun: bool
    sweep_id: str
    total: int
    searched: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tracking:
    """Record of where runs go beside the local Parquet files.

    ``uri``: an MLflow server or database, None for ``mlflow.db`` below ``outputs``; ``experiment``: that of MLflow;
    ``figures``: whether to draw them; ``log_model``: which trained networks become models of MLflow's; ``whole``: the
    URI with the user and password that it was given with, for nobody but MLflow; ``register``: name under which logged
    models are registered there; ``tags``: a person's own, on each run.
    """

    backend: Literal["mlflow", "none"]
    uri: str | None
    experiment: str
    figures: bool
    outputs: Path
    log_model: Literal["none", "best", "all"] = "none"
    whole: str | None = field(default=None, repr=False)
    register: str | None = None
    tags: Mapping[str, object] = field(default_factory=dict, hash=False)
