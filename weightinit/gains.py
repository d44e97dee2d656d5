"""Gains: the factor on a weight's standard deviation that makes up for what an activation takes away."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

from weightinit import activations
from weightinit.activations import Activation
from weightinit.gaussian import expectation

Kind = Literal["second_moment", "variance", "backward", "torch"]


def gain(activation: str | Activation | Callable[..., Any], *, q: float = 1.0, kind: Kind = "second_moment") -> float:
    """The gain of an activation for pre-activations sqrt(q) z, z ~ N(0, 1); weights then have std gain / sqrt(fan_in).

    ``second_moment``: gain² E[phi²] = q, so that the second moment q of pre-activations stays from layer to layer; at
    q = 1 it is E[phi²]^-1/2 (He et al. 2015, eq. 10, for relu: sqrt 2). ``variance``: gain² Var[phi] = q, the same for
    activations less their mean. ``backward``: gain² E[phi'²] = 1, so that gradients keep their second moment (He et al.
    2015, eq. 14). These three by quadrature, to 1e-10. ``torch``: the table of PyTorch's ``calculate_gain``, which
    knows no q and is convention in part (tanh 5/3, sigmoid 1, selu 3/4).

    Raises ValueError for an unknown kind or activation, q not positive, q with ``torch``, and where the moment is zero.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}; got {kind!r}.")
    if not 0 < q < math.inf:
        raise ValueError(f"q, the second moment of a pre-activation, must be positive and finite; got {q}.")
    phi = activations.get(activation)
    if kind == "torch":
        if q != 1:
            raise ValueError(f"kind='torch' is a table of constants for q=1; got q={q}. Pass kind='second_moment'.")
        return _torch_gain(phi)
    mean = expectation(phi.phi, q=q, kinks=phi.kinks) if kind == "variance" else 0.0
    if kind == "backward":
        kept, moment = 1.0, expectation(lambda z: phi.dphi(z) ** 2, q=q, kinks=phi.kinks)
    else:
        kept, moment = q, expectation(lambda z: (phi.phi(z) - mean) ** 2, q=q, kinks=phi.kinks)
    if moment <= 1e-24 * mean**2:  # zero, to the rounding of the mean
        raise ValueError(f"{phi.name} has no gain of kind {kind!r} at q={q:g}: the moment to make up for is zero.")
    return math.sqrt(kept / moment)


def _torch_gain(phi: Activation) -> float:
    table = {
        "linear": 1.0,
        "sigmoid": 1.0,
        "tanh": 5 / 3,
        "relu": math.sqrt(2.0),
        "leaky_relu": math.sqrt(2.0 / (1.0 + phi.parameters.get("slope", 0.0) ** 2)),
        "selu": 3 / 4,
    }
    if phi.name not in table:
        raise ValueError(
            f"kind='torch' exists for {', '.join(table)}, as in PyTorch's calculate_gain; got {phi.name!r}. "
            "Pass kind='second_moment', which exists for every activation."
        )
    return table[phi.name]
