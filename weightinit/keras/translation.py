"""A model of Keras as the framework-free record of a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from weightinit.arrays import Array
from weightinit.keras.layers import uses
from weightinit.model import Model, ModelTensor, blocks_of


def translate(model: Any) -> Model:
    """Return the record of a model or layer; it changes nothing. Running means of a norm are no parameters of it.

    Raises TypeError for what is no layer of Keras, ValueError for one without weights, as before it is built.
    """
    if not isinstance(model, keras.Layer):
        raise TypeError(
            f"model must be a model or a layer of Keras; got {type(model).__name__}. Pass the model itself."
        )
    tensors: dict[int, ModelTensor] = {}
    for layer in model._flatten_layers():
        own = {variable.name: variable for variable in layer._trainable_variables}
        known = uses(layer, {name: tuple(variable.shape) for name, variable in own.items()})
        for name, variable in own.items():
            if id(variable) not in tensors:
                tensors[id(variable)] = known[name].tensor(
                    variable.path,
                    tuple(variable.shape),
                    dtype=keras.backend.standardize_dtype(variable.dtype),
                    kind=type(layer).__name__,
                    layer=variable.path.rpartition("/")[0],
                    read=_reader(variable),
                    trained=bool(variable.trainable),
                )
    if not tensors:
        raise ValueError(
            f"model must have weights; got {type(model).__name__} without any. Build it first: call it on a batch, or "
            "model.build(shape)."
        )
    order = [tensors[id(variable)] for variable in model.weights if id(variable) in tensors]
    order += [tensor for tensor in tensors.values() if tensor not in order]  # of layers that hold theirs otherwise
    blocks = blocks_of([tensor.name for tensor in order])
    return Model(type(model).__name__, tuple(replace(each, block=blocks.get(each.name)) for each in order))


def _reader(variable: Any) -> Callable[[], Array]:
    def read() -> Array:
        values = np.asarray(keras.ops.convert_to_numpy(variable.value))
        return values.astype(np.float32) if values.dtype.name == "bfloat16" else values

    return read
