"""A trained network with all that its inputs go through: raw features in, class probabilities or values out."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from weightinit.arrays import Array
from weightinit.nn import Network


@dataclass(frozen=True, eq=False)
class Preparation:
    """Preparation of features (samples, features): ``(x - mean) / std``, 0 where the std is 0.

    With ``scale_samples``, each sample is then scaled to mean x² = 1; a sample of zeros stays zero. Of a table,
    ``columns`` names the features in order, or ``encode`` makes them of its cells.
    """

    mean: Array
    std: Array
    scale_samples: bool
    columns: tuple[str, ...] = ()
    encode: Callable[[Any], Array] | None = None

    def features(self, raw: Any) -> Array:
        """Features (samples, features), float64, of raw samples: arrays of any shape (samples, ...), or a table."""
        if self.encode is not None:
            return self.encode(raw)
        if self.columns and hasattr(raw, "columns"):
            raw = raw[list(self.columns)]
        x = np.asarray(raw, np.float64)
        return x.reshape(len(x), -1)

    def __call__(self, x: Array, out: Array | None = None) -> Array:
        """The prepared features, float64; in ``out``, which may be ``x`` itself."""
        x = np.subtract(x, self.mean, out=out, dtype=np.float64)
        x /= np.where(self.std > 0, self.std, 1)
        x[:, self.std == 0] = 0
        if self.scale_samples:
            rms = np.sqrt(np.mean(x**2, axis=1, keepdims=True))
            x /= np.where(rms > 0, rms, 1)
        return x


@dataclass(frozen=True, eq=False)
class Predictor:
    """A network, its weights ``params`` (1, *shape) by name, and the preparation of its inputs.

    ``probabilities``: the outputs are logits of classes; otherwise values, in units of ``target_std`` about
    ``target_mean`` (both empty where they are none of a regression's); ``state``: running statistics and constants of
    the network, likewise.
    """

    network: Network
    params: Mapping[str, Array]
    preparation: Preparation
    probabilities: bool
    target_mean: Array
    target_std: Array
    state: Mapping[str, Array] = field(default_factory=dict)

    def predict(self, x: Any) -> Array:
        """Probabilities of the classes, or values, float64 (samples, *outputs), for raw samples (samples, ...).

        A network that was trained on a table takes a table (a DataFrame) with its columns.
        """
        prepared = self.preparation(self.preparation.features(x)).astype(self.network.dtype)
        tape = self.network.tape(1, len(x), phase="evaluate")
        y: Array = self.network.forward(self.params, self.state, prepared[None], tape, phase="evaluate")[0].astype(
            np.float64
        )
        if self.probabilities:
            y = np.exp(y - y.max(axis=-1, keepdims=True))
            y /= y.sum(axis=-1, keepdims=True)
        return y * self.target_std + self.target_mean if self.target_mean.size else y

    def save(self, path: Path) -> None:
        """Write the predictor to a file for ``load``."""
        path.write_bytes(pickle.dumps(self))


def load(path: str | Path) -> Predictor:
    """The predictor in a file; it holds a pickle, which runs code: open those that you trust."""
    predictor: Predictor = pickle.loads(Path(path).read_bytes())
    return predictor


_load_pyfunc = load  # the name by which MLflow asks for it
