"""Losses: one number per run, and the gradient with respect to the network's output."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any, Protocol

from weightinit.arrays import Array, array_module


class Loss(Protocol):
    """A mean over the batch. Targets are ``(runs, batch, outputs)`` like the output."""

    @property
    def name(self) -> str:
        """Name of the loss in ``training.loss``."""

    def __call__(self, output: Array, target: Array, d_output: Array | None = None) -> Array:
        """Return the loss of each run (runs,), float64, and write its gradient into ``d_output``, if given.

        ``d_output`` must not be ``output`` itself.
        """


@dataclass(frozen=True)
class CrossEntropy:
    """Softmax cross-entropy, ``-sum(target * log softmax(output))``; targets are one-hot or probabilities.

    Of outputs by token, (runs, batch, tokens, classes), it is the mean over the tokens that have a target; the others'
    are zeros.
    """

    name: str = "cross_entropy"

    def __call__(self, output: Array, target: Array, d_output: Array | None = None) -> Array:
        if output.ndim > 3:
            return self._by_token(output, target, d_output)
        xp = array_module(output)
        runs, batch, classes = output.shape
        p = xp.empty_like(output) if d_output is None else d_output
        # The largest output by sample, with the samples on the last axis: a maximum over a few classes there is slow.
        columns = p.reshape(runs, classes, batch)
        xp.copyto(columns, output.swapaxes(1, 2))
        xp.subtract(output, columns.max(axis=1)[..., None], out=p)
        log_likelihood = _dot(p, target)
        xp.exp(p, out=p)
        total = xp.matmul(p, _ones(xp, classes, p.dtype))  # a sum over a short axis is slower
        loss: Array = (xp.log(total).sum(axis=(1, 2), dtype=xp.float64) - log_likelihood) / batch
        if d_output is not None:
            p /= total
            p -= target
            p *= p.dtype.type(1.0 / batch)
        return loss

    def _by_token(self, output: Array, target: Array, d_output: Array | None) -> Array:
        xp = array_module(output)
        classes = output.shape[-1]
        ones = _ones(xp, classes, output.dtype)
        p = xp.subtract(output, output.max(axis=-1, keepdims=True), out=d_output)
        told = xp.matmul(target, ones)  # 1 where a token has a target
        log_likelihood = _dot(p, target)
        xp.exp(p, out=p)
        total = xp.matmul(p, ones)
        count = told.reshape(len(told), -1).sum(axis=1, dtype=xp.float64)
        logs = _dot(xp.log(total), told)
        loss: Array = (logs - log_likelihood) / count
        if d_output is not None:
            p /= total
            p *= told
            p -= target
            p *= (1.0 / count).astype(p.dtype).reshape(-1, *[1] * (p.ndim - 1))
        return loss


@dataclass(frozen=True)
class MeanSquaredError:
    """Mean over samples of half the squared distance, ``|output - target|² / 2``.

    Half, and summed over the outputs: the loss whose gradient is the error itself (Saxe et al. 2014, eq. 1).
    """

    name: str = "mse"

    def __call__(self, output: Array, target: Array, d_output: Array | None = None) -> Array:
        error = array_module(output).subtract(output, target, out=d_output)
        batch = output.shape[1]
        loss: Array = _dot(error, error) / (2.0 * batch)
        if d_output is not None:
            error *= error.dtype.type(1.0 / batch)
        return loss


LOSSES: dict[str, Loss] = {loss.name: loss for loss in (CrossEntropy(), MeanSquaredError())}


@lru_cache(maxsize=8)
def _ones(xp: ModuleType, count: int, dtype: Any) -> Array:
    """Return ones (count, 1)."""
    ones: Array = xp.ones((count, 1), dtype)
    return ones


def _dot(x: Array, y: Array) -> Array:
    """Return the inner product of each run (runs,), float64, without an array of the products."""
    xp = array_module(x)
    product: Array = xp.vecdot(x.reshape(len(x), -1), y.reshape(len(y), -1))
    return product.astype(xp.float64)
