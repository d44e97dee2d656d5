"""Dropout: noise that is a function of the run, the step, the layer and the element."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from weightinit.arrays import Array
from weightinit.laws import Law
from weightinit.meanfield import SingularValues
from weightinit.nn.layers.base import Layer
from weightinit.nn.moments import Gradient, Moments
from weightinit.nn.tape import Params, Shape, Slot, Tape

NOISE = "noise"  # name, in the state, of the runs' keys (runs,), 64 bits


@dataclass(frozen=True)
class Dropout(Layer):
    """``x`` divided by 1 - rate, or 0 with the probability ``rate`` in training (Srivastava et al. 2014).

    Theory is that of the probe, which drops nothing.
    """

    name: str
    rate: float

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise ValueError(f"{self.name}: a dropout rate must be from 0 to below 1; got {self.rate}.")

    def slots(self, entering: Shape) -> tuple[Slot, ...]:
        return (
            Slot(self.name, "dropped", entering, gradient="shared"),
            Slot(self.name, "mask", entering),
        )

    def forward(self, params: Params, x: Array, tape: Tape) -> Array:
        if tape.phase != "train" or self.rate == 0:
            return x
        mask = tape[self.name, "mask"]
        kept = uniform_bits(tape, self.name, mask[0].size) >= np.uint64(self.rate * 2.0**64)
        mask[...] = kept.reshape(mask.shape)
        mask *= mask.dtype.type(1.0 / (1.0 - self.rate))
        return np.multiply(x, mask, out=tape[self.name, "dropped"])

    def backward(self, params: Params, d_output: Array, tape: Tape, *, into: Array | None) -> Array | None:
        if into is None:
            return None
        if tape.phase != "train" or self.rate == 0:
            into[...] = d_output
        else:
            np.multiply(d_output, tape[self.name, "mask"], out=into)
        return into

    def expect(self, moments: Moments, laws: Mapping[str, Law]) -> Moments:
        return moments

    def expect_gradient(self, gradient: Gradient, moments: Moments, laws: Mapping[str, Law]) -> Gradient:
        return gradient

    def expect_jacobian(self, values: SingularValues, moments: Moments, laws: Mapping[str, Law]) -> SingularValues:
        return values


def uniform_bits(tape: Tape, name: str, size: int) -> Array:
    """Return 64 uniform bits (runs, size) for each element of a layer, by SplitMix64 (Steele et al. 2014).

    They depend on the run's key, the step, the layer and the place of the element, and on nothing else.
    """
    keys = tape.state.get(NOISE)
    if keys is None:
        raise ValueError(f"{name} draws noise; the state must hold {NOISE!r}, a key for each run")
    xp = tape.xp
    place = ("", f"counter/{size}")
    if place not in tape.input:
        tape.input[place] = xp.arange(size, dtype=np.uint64)[None] * np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):
        salt = np.uint64(crc32(name.encode()) << 32) + np.uint64(tape.step)
        start = _mixed(_mixed(keys) ^ salt)
        return _mixed(tape.input[place] + start[:, None])


def _mixed(z: Array) -> Array:
    with np.errstate(over="ignore"):
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed: Array = z ^ (z >> np.uint64(31))
    return mixed
