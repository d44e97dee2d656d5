"""Kernels that are written down rather than drawn: the identity, Dirac's, Hadamard's, permutations, signs, deltas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from weightinit.arrays import Array
from weightinit.auditing.matrices import orthogonality

ORTHOGONAL: Final = 1e-2
"""Inequality of the singular values up to which a tap or a matrix of signs is orthogonal, in half precision too."""


@dataclass(frozen=True)
class FixedKernel:
    """A kernel's ``name`` and what it ``does``; ``coincidences``: elements that would have to be so by chance."""

    name: str
    does: str
    coincidences: int


def fixed_kernel(x: Array) -> FixedKernel | None:
    """Return the name of a kernel ``(*kernel, fan_in, fan_out)`` that is written down; None for one that is not.

    A convolution that hands channels on by its centre tap is Dirac's; one with anything else there, and nothing around
    it, is a delta kernel (Xiao et al. 2018). Kernels of one value have their names elsewhere.
    """
    if x.size == np.count_nonzero(x) and abs(x.flat[0]) != abs(x.flat[-1]):
        return None
    sizes = np.abs(x[x != 0])
    if sizes.size < 2:
        return None
    one_size, size = sizes.min() == sizes.max(), float(sizes[0])
    if one_size and sizes.size == x.size:
        return _signs(x.reshape(-1, x.shape[-1]), size)
    if (tap := centre_tap(x)) is None:
        return None
    if one_size and tap.min() >= 0:
        gain = "" if size == 1 else f"(gain={size:.4g})"
        if _is_identity(tap):
            if x.ndim == 2:
                return FixedKernel(f"identity{gain}", "each unit hands on one input", sizes.size - 1)
            return FixedKernel(f"dirac{gain} kernel", "each unit hands on one channel", sizes.size - 1)
        if max(np.count_nonzero(tap, axis=0).max(), np.count_nonzero(tap, axis=1).max()) == 1:
            return FixedKernel(f"permutation{gain}", "each unit hands on an input of its own", sizes.size - 1)
    return _delta(tap, x.size - tap.size) if x.size > tap.size else None


def _signs(matrix: Array, size: float) -> FixedKernel | None:
    if min(matrix.shape) > 1 and orthogonality(matrix)[1] < ORTHOGONAL:
        return FixedKernel(f"Hadamard matrix times {size:.4g}", "its units are orthogonal signs", matrix.size - 1)
    return FixedKernel(f"signs times {size:.4g}", "its elements differ in sign alone", matrix.size - 1)


def _delta(tap: Array, around: int) -> FixedKernel:
    gain, unequal, _ = orthogonality(tap)
    if min(tap.shape) > 1 and unequal < ORTHOGONAL:
        name = f"delta_orthogonal(gain={gain:.4g}) kernel"
        return FixedKernel(name, "it is orthogonal at its centre and zero around it", around)
    return FixedKernel("delta kernel", "it is zero but for its centre", around)


def centre_tap(x: Array) -> Array | None:
    """The centre tap ``(fan_in, fan_out)`` of a kernel whose other taps are zero. An even kernel has two middles."""
    taps = x.reshape(-1, *x.shape[-2:])
    filled = np.flatnonzero(taps.any(axis=(1, 2)))
    if filled.size != 1:
        return None
    place = np.unravel_index(filled[0], x.shape[:-2]) if x.ndim > 2 else ()
    centred = all(at in ((size - 1) // 2, size // 2) for at, size in zip(place, x.shape[:-2], strict=True))
    return taps[filled[0]] if centred else None


def _is_identity(tap: Array) -> bool:
    """Whether a tap hands input ``i`` on to output ``i``, or does so in each of several groups of outputs."""
    inputs, outputs = tap.shape
    by_first_input = np.flatnonzero(tap[0])
    period = int(by_first_input[1]) if by_first_input.size > 1 else outputs
    handed_on = np.arange(outputs) % period
    return np.array_equal(tap != 0, np.arange(inputs)[:, None] == handed_on)
