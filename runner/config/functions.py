"""Activation functions from outside the lab: a function of arrays, with or without its derivative, as an activation."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any

import numpy as np

from weightinit import activations
from weightinit.activations import Activation
from weightinit.arrays import Array

Function = Callable[..., Any]
# Between the kinks that functions usually have, in two dimensions so that a sum over one of them shows.
_POINTS = np.linspace(-3.1, 2.9, 24).reshape(4, 6)


def activation(function: partial[Any], derivative: Function | None) -> Activation:
    """Return the activation of ``function(z)``, whose other arguments are bound; ``derivative`` gets those it names.

    Without ``derivative`` it is found numerically. Raises ValueError for functions that don't work element by element.
    """
    phi = update_wrapper(function, function.func)
    _check_elementwise("activation._target_", phi)
    slope = derivative and partial(derivative, **_named(derivative, function.keywords))
    if slope is not None:
        _check_elementwise("activation.derivative", update_wrapper(slope, slope.func))
    try:
        return activations.get(phi, derivative=slope) if slope else activations.get(phi)
    except (TypeError, ValueError) as error:
        raise ValueError(f"activation: {error}") from error


def notes(address: str, *, given: bool) -> tuple[str, ...]:
    """Return the sentence that a person should read about the derivative of a function, none if it is ``given``."""
    if given:
        return ()
    name = address.rpartition(".")[2]
    return (
        f"the derivative of {name} is found numerically, which takes six evaluations of {name} a step; "
        "pass +activation.derivative=my.module.function to give it",
    )


def _named(function: Function, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that the function takes."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return arguments
    names = {parameter.name for parameter in parameters}
    return {name: value for name, value in arguments.items() if name in names}


def _check_elementwise(key: str, function: Function) -> None:
    name = getattr(function, "__name__", type(function).__name__)
    try:
        values: Array = np.asarray(function(_POINTS.copy()))
        alone: Array = np.asarray(function(_POINTS.ravel()))
    except Exception as error:
        raise ValueError(
            f"{key} must be a function of arrays, element by element; {name} raised {type(error).__name__}: {error}. "
            "Write it with NumPy functions (numpy.tanh, not math.tanh; numpy.where, not if)."
        ) from error
    if values.shape != _POINTS.shape:
        raise ValueError(
            f"{key} must return an array of the shape of its input, element by element; got shape {values.shape} "
            f"from {name} for an input of shape {_POINTS.shape}."
        )
    if not np.allclose(values.ravel(), alone, equal_nan=True):
        raise ValueError(
            f"{key} must work element by element; got values from {name} that depend on other elements of its input."
        )
