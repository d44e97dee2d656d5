"""The library's initializers as functions of JAX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from weightinit.arrays import Array
from weightinit.initializers import by_name

Init: TypeAlias = Callable[..., Any]


def initializer(name: str = "he", **options: Any) -> Init:
    """Return ``init(key, shape, dtype=jnp.float32)``, as Flax (linen and NNX) and ``jax.nn.initializers`` have it.

    ``name``: of one of ``weightinit.initializers``, with its ``options`` (``gain=2.0``, ``in_axis``, ``batch_axis``).
    ``key``: of either kind; the same key gives the same bits, inside ``jit``, ``vmap`` and ``eval_shape`` too, where
    the draw is called back from the compiled function. Numbers are drawn in float64 by NumPy and rounded once, bfloat16
    too. Of complex ones real and imaginary part are independent, each of half the variance. float64 and complex128 are
    halved unless JAX's ``jax_enable_x64`` is set.

    Raises ValueError for an unknown name, TypeError for an unknown option, and what the initializer says of a value
    when it draws.
    """
    draw = by_name(name, options)

    def init(key: Any, shape: Sequence[int], dtype: Any = jnp.float32, out_sharding: Any = None) -> Any:
        kind = jax.dtypes.canonicalize_dtype(dtype)
        sizes = tuple(shape)

        def values(words: Any) -> Array:
            return draw(np.random.default_rng(number_of(words)), sizes, dtype=kind, **options)

        words = jax.random.key_data(key)
        if isinstance(words, jax.core.Tracer):
            result = jax.pure_callback(values, jax.ShapeDtypeStruct(sizes, kind), words, vmap_method="sequential")
        else:
            result = jnp.asarray(values(words))
        return result if out_sharding is None else jax.device_put(result, out_sharding)

    return init


def number_of(words: Any) -> int:
    """Return the words of a key as one whole number."""
    return int.from_bytes(np.asarray(words, np.uint32).tobytes(), "little")
