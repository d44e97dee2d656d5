"""All weights and biases of a dense network, in one call."""

from __future__ import annotations

from difflib import get_close_matches
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from weightinit.arrays import Array, RandomLike, random_source
from weightinit.initializers import INITIALIZERS, Initializer, zeros


def initialize_parameters(
    *sizes: int,
    scheme: str | Initializer = "xavier",
    rng: RandomLike = None,
    dtype: npt.DTypeLike = np.float64,
) -> tuple[Array, ...]:
    """Weights and biases ``W1, b1, W2, b2, ...`` of a dense network whose layers have ``sizes`` units, inputs first.

    ``W`` is ``(n_in, n_out)``, drawn layer after layer from one ``rng``; ``b`` is ``(1, n_out)`` zeros and draws
    nothing; ``z = x @ W + b``. ``scheme``: the name of an initializer, or a callable ``(rng, shape, dtype=...)``, the
    same for every layer. With ``xavier`` a weight is ``rng.standard_normal((n_in, n_out)) * sqrt(1 / n_in)``, with
    ``he`` sqrt(2 / n_in). Raises ValueError for fewer than two sizes, sizes below 1 and an unknown name, TypeError for
    sizes that aren't whole numbers.
    """
    draw = _initializer(scheme)
    if len(sizes) < 2:
        raise ValueError(
            f"initialize_parameters needs at least two sizes, inputs and outputs; got {sizes}. "
            "Pass initialize_parameters(3, 4, 1)."
        )
    for size in sizes:
        if isinstance(size, bool) or not isinstance(size, int | np.integer):
            raise TypeError(f"every size must be a whole number; got {size!r} in {sizes}. Pass sizes such as 3, 4, 1.")
        if size < 1:
            raise ValueError(f"every size must be at least 1; got {size} in {sizes}. Pass sizes such as 3, 4, 1.")
    source = random_source(rng)
    parameters: list[Array] = []
    for n_in, n_out in pairwise(map(int, sizes)):
        parameters += [draw(source, (n_in, n_out), dtype=dtype), zeros(None, (1, n_out), dtype=dtype)]
    return tuple(parameters)


def _initializer(scheme: str | Initializer) -> Initializer:
    if callable(scheme):
        return scheme
    if scheme not in INITIALIZERS:
        nearest = (get_close_matches(str(scheme), INITIALIZERS, 1, 0.0) or ["xavier"])[0]
        raise ValueError(
            f"scheme must be a callable or one of {', '.join(INITIALIZERS)}; got {scheme!r}. Pass scheme={nearest!r}."
        )
    return INITIALIZERS[scheme]
