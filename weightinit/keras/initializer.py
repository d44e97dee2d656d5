"""The library's initializers as one of Keras."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from weightinit.arrays import stream
from weightinit.initializers import by_name, options_of


@keras.saving.register_keras_serializable("weightinit")
class Initializer(keras.initializers.VarianceScaling):
    """An initializer of ``weightinit.initializers`` for the layers of Keras, on any backend.

    ``name``: such as ``he``, ``orthogonal``, ``sparse``; ``options``: its own (``gain=2.0``, ``in_axis``, ``groups``).
    ``seed``: a whole number, or None for numbers that ``keras.utils.set_random_seed`` determines.

    Every call draws anew, so that one instance serves any number of layers: without a seed from fresh numbers; with one
    from the stream of the layer's path below it, so the same layer of the same name has the same bits in any order of
    layers. Paths that Keras numbers (``dense_3``) go on counting in one process: name the layers, or call
    ``keras.utils.clear_session``.

    ``input_axes`` and ``output_axes``: axes of inputs and outputs, all others counting copies. ``EinsumDense`` and the
    attention layers made of it pass theirs by themselves, to whatever is a ``VarianceScaling`` (Keras 3.15). Shapes are
    ``(*kernel, inputs, outputs)`` for all other layers. Those of transposed and depthwise convolutions are not: give
    ``in_axis=-1, out_axis=-2`` and ``in_axis=(), out_axis=(-2, -1), groups=channels``.

    Raises ValueError for an unknown name, TypeError for an unknown option and for a seed that is no whole number; what
    the initializer says of a value when it draws.
    """

    def __init__(
        self,
        name: str = "he",
        *,
        seed: int | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
        **options: Any,
    ) -> None:
        self._draw = by_name(name, options)
        if isinstance(seed, bool) or not isinstance(seed, int | None) or (seed or 0) < 0:
            raise TypeError(f"seed must be a whole number from 0 or None; got {seed!r}. Pass seed=0.")
        if (input_axes is None) != (output_axes is None):
            raise ValueError(
                f"input_axes and output_axes belong together; got {input_axes} and {output_axes}. Pass both."
            )
        # Not by the base's __init__: it has options of its own. It is the base for the axes that layers pass to it.
        self.name, self.seed, self.options = name, seed, {each: _plain(value) for each, value in options.items()}
        self.input_axes = None if input_axes is None else tuple(input_axes)
        self.output_axes = None if output_axes is None else tuple(output_axes)
        self._draws: dict[str, int] = {}

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        """Return a tensor of ``shape`` and ``dtype``, Keras' default where it is None."""
        kind = keras.backend.standardize_dtype(dtype)
        values = self._draw(self._source(), tuple(shape), dtype=kind, **self._options(len(shape)))
        if kind == "bfloat16":  # not every backend takes NumPy's
            values = values.astype(np.float32)
        return keras.ops.convert_to_tensor(values, dtype=kind)

    def get_config(self) -> dict[str, Any]:
        """Return name, seed, axes and options."""
        axes = {"input_axes": self.input_axes, "output_axes": self.output_axes}
        kept = {name: list(each) for name, each in axes.items() if each is not None}
        return {"name": self.name, "seed": self.seed, **kept, **self.options}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Initializer:
        """Return the initializer of a configuration."""
        return cls(**config)

    def _options(self, axes: int) -> dict[str, Any]:
        if self.input_axes is None or self.output_axes is None or "in_axis" not in options_of(self._draw):
            return self.options
        known = {axis % axes for axis in (*self.input_axes, *self.output_axes)}
        copies = tuple(axis for axis in range(axes) if axis not in known)
        return {"in_axis": self.input_axes, "out_axis": self.output_axes, "batch_axis": copies, **self.options}

    def _source(self) -> np.random.Generator:
        if self.seed is None:
            # Python's generator, as Keras' own initializers do: set_random_seed seeds it.
            return np.random.default_rng(random.getrandbits(128))
        path = keras.Variable(0.0, trainable=False, name="draw").path  # the layer that is being built, if any
        self._draws[path] = count = self._draws.get(path, -1) + 1
        return stream(self.seed, f"{path}/{count}")


def _plain(value: Any) -> Any:
    """An option as JSON can hold it."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value
