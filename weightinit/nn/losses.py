"""Losses: one number per run, and the gradient with respect to the network's output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from weightinit.arrays import Array, array_module


class Loss(Protocol):
    """A mean over the batch. Targets are ``(runs, batch, outputs)`` like the output."""

    name: str

    def __call__(self, output: Array, target: Array, d_output: Array | None = None) -> Array:
        """The loss of each run (runs,) in float64; writes its gradient into ``d_output``, if given.

        ``d_output`` may not be ``output`` itself.
        """


@dataclass(frozen=True)
class CrossEntropy:
    """Softmax cross-entropy, ``-sum(target * log softmax(output))``; targets are one-hot or probabilities."""

    name: str = "cross_entropy"

    def __call__(self, output: Array, target: Array, d_output: Array | None = None) -> Array:
        xp = array_module(output)
        shifted = output - _row_max(output)
        p = xp.exp(shifted, out=d_output)
        total = _row_sum(p)
        shifted *= target
        loss = (xp.log(total) - _row_sum(shifted))[..., 0].mean(axis=1, dtype=xp.float64)
        if d_output is not None:
            p /= total
            p -= target
            p *= p.dtype.type(1.0 / output.shape[1])
        return loss


@dataclass(frozen=True)
class MeanSquaredError:
    """Mean over samples of half the squared distance, ``|output - target|² / 2``.

    Half, and summed over the outputs: the loss whose gradient is the error itself (Saxe et al. 2014, eq. 1).
    """

    name: str = "mse"

    def __call__(self, output: Array, target: Array, d_output: Array | None = None) -> Array:
        xp = array_module(output)
        error = xp.subtract(output, target, out=d_output)
        loss = 0.5 * _row_sum(error * error)[..., 0].mean(axis=1, dtype=xp.float64)
        if d_output is not None:
            error *= error.dtype.type(1.0 / output.shape[1])
        return loss


LOSSES: dict[str, Loss] = {loss.name: loss for loss in (CrossEntropy(), MeanSquaredError())}


# Over a short last axis (a few classes), a loop over its columns is several times faster than a reduction.
_SHORT = 32


def _row_max(x: Array) -> Array:
    xp = array_module(x)
    if x.shape[-1] > _SHORT:
        return x.max(axis=-1, keepdims=True)
    best = x[..., :1].copy()
    for column in range(1, x.shape[-1]):
        xp.maximum(best, x[..., column : column + 1], out=best)
    return best


def _row_sum(x: Array) -> Array:
    if x.shape[-1] > _SHORT:
        return x.sum(axis=-1, keepdims=True)
    total = x[..., :1].copy()
    for column in range(1, x.shape[-1]):
        total += x[..., column : column + 1]
    return total
