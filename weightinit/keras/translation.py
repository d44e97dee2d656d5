"""A model of Keras as the framework-free record of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, Literal

import keras
import numpy as np

from weightinit.arrays import Array
from weightinit.keras.layers import uses
from weightinit.model import Buffer, Model, ModelTensor, blocks_of

RUNNING: Final[Mapping[str, Literal["mean", "variance"]]] = {"moving_mean": "mean", "moving_variance": "variance"}
"""Weights of batch norms that follow the batches."""


def translate(model: Any) -> Model:
    """Return the record of a model or layer; it changes nothing. Running statistics are its buffers.

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
    tensors_in_blocks = tuple(replace(each, block=blocks.get(each.name)) for each in order)
    return Model(type(model).__name__, tensors_in_blocks, buffers=tuple(_buffers(model)))


def _buffers(model: Any) -> Iterator[Buffer]:
    """Running statistics of batch norms, and other weights that are never trained."""
    for layer in model._flatten_layers():
        for variable in layer._non_trainable_variables:
            if keras.backend.is_float_dtype(variable.dtype):
                yield Buffer(variable.path, RUNNING.get(variable.name, ""), False, _reader(variable))


def _reader(variable: Any) -> Callable[[], Array]:
    def read() -> Array:
        values = np.asarray(keras.ops.convert_to_numpy(variable.value))
        return values.astype(np.float32) if values.dtype.name == "bfloat16" else values

    return read
