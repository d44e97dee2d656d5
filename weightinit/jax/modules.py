"""Modules of Flax and Equinox, and plain pytrees: role, axes, fans and usual law of each array."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any, Final

from weightinit.fans import Fans, compute_fans
from weightinit.laws import UNKNOWN, Law
from weightinit.nn.weights import WeightSpec
from weightinit.schemes.base import ONE, ZERO
from weightinit.schemes.rules import FlaxDense, Normal, Orthogonal, PyTorchLinear, VarianceScaling
from weightinit.uses import Use, alone, law_by_fans, parts, vector

Shapes = dict[str, tuple[int, ...]]

STATES: Final = re.compile(r"^h[ifgornz]$")
"""Paths of the layers that a recurrent cell of Flax applies to its state."""

HEADS: Final = re.compile(r"^(query|key|value)$")
"""Paths of the layers of attention whose outputs are heads and their units."""

WEIGHTS: Final = ("kernel", "w", "W", "weight", "weights")


def uses(owner: Any, kind: str, path: str, shapes: Shapes) -> dict[str, Use]:
    """Return the use of each array that lies beside others in one module or container.

    ``owner``: the module, or the container, ``kind`` its class, ``path`` its own name where it lies.
    """
    if type(owner).__module__.partition(".")[0] == "equinox":
        found = _equinox(owner, kind, shapes)
    elif "kernel" in shapes or kind.endswith("Norm") or "embedding" in shapes:
        found = _flax(owner, kind, path, shapes)
    else:
        found = _plain(shapes)
    return {name: found.get(name) or alone(name, shape) for name, shape in shapes.items()}


def _equinox(owner: Any, kind: str, shapes: Shapes) -> dict[str, Use]:
    """Equinox draws as PyTorch does, and lays weights out alike, ``(out, in / groups, *kernel)``, transposed too."""
    if kind.endswith("Norm"):
        return _norm("weight", "bias", shapes)
    if kind == "PReLU":
        return {name: vector("gain", shape) for name, shape in shapes.items()}
    if kind == "Embedding":
        weight = shapes["weight"]
        return {"weight": Use("embedding", (0,), (1,), Fans(1, weight[1]), law_by_fans(Normal(), Fans(1, 1)))}
    if kind in ("GRUCell", "LSTMCell"):
        units = int(owner.hidden_size)
        law = law_by_fans(PyTorchLinear(), Fans(units, units))
        gates = parts("ifgo" if kind == "LSTMCell" else "rzn", units)
        return {
            name: Use("recurrent", (1,), (0,), Fans(*reversed(shape)), law, parts=gates)
            if len(shape) == 2
            else vector("bias", shape, law, Fans(units, units))
            for name, shape in shapes.items()
        }
    if len(shapes.get("weight", ())) < 2:
        return {}
    fans = compute_fans(shapes["weight"], groups=int(getattr(owner, "groups", 1)), in_axis=1, out_axis=0)
    law = law_by_fans(PyTorchLinear(), fans)
    role: Any = "convolution" if "Conv" in kind else "dense"
    found = {"weight": Use(role, (1,), (0,), fans, law, int(getattr(owner, "groups", 1)))}
    if "bias" in shapes:
        found["bias"] = vector("bias", shapes["bias"], law, fans)
    return found


def _flax(owner: Any, kind: str, path: str, shapes: Shapes) -> dict[str, Use]:
    """``kernel`` of ``(*kernel, inputs, outputs)``, each of one axis or several; ``embedding``, ``scale``, ``bias``."""
    if "kernel" not in shapes and "embedding" not in shapes:
        return _norm("scale", "bias", shapes)
    found = {}
    if "embedding" in shapes:
        rows, width = shapes["embedding"]
        law = law_by_fans(VarianceScaling(scale=1.0), Fans(width, rows))
        found["embedding"] = Use("embedding", (0,), (1,), Fans(1, width), law)
    if "kernel" in shapes:
        kernel = _kernel(owner, kind, path, shapes)
        found["kernel"] = kernel
        if "bias" in shapes:
            found["bias"] = vector("bias", shapes["bias"], ZERO, kernel.fans)
    return found


def _kernel(owner: Any, kind: str, path: str, shapes: Shapes) -> Use:
    shape = shapes["kernel"]
    axes = len(shape)
    if axes < 2:
        return vector("parameter", shape)
    if "Conv" in kind:
        groups = int(getattr(owner, "feature_group_count", 1))
        fans = compute_fans(shape, groups=groups)
        return Use("convolution", (axes - 2,), (axes - 1,), fans, law_by_fans(FlaxDense(), fans), groups)
    inputs = axes - _outputs(owner, path, shapes)
    fans = Fans(math.prod(shape[:inputs]), math.prod(shape[inputs:]))
    state = STATES.search(path) is not None
    law = Orthogonal().law(WeightSpec("", shape, fans, "weight", "hidden")) if state else law_by_fans(FlaxDense(), fans)
    return Use("recurrent" if state else "dense", tuple(range(inputs)), tuple(range(inputs, axes)), fans, law)


def _outputs(owner: Any, path: str, shapes: Shapes) -> int:
    """Axes of a dense kernel's outputs: what the module says, its bias shows, or the names of attention."""
    shape, bias = shapes["kernel"], shapes.get("bias", ())
    said = getattr(owner, "out_features", None)
    if isinstance(said, tuple):
        return len(said)
    if 0 < len(bias) < len(shape) and shape[-len(bias) :] == bias:
        return len(bias)
    return len(shape) - 1 if HEADS.search(path) else 1


def _norm(gain: str, bias: str, shapes: Shapes) -> dict[str, Use]:
    roles: dict[str, tuple[Any, Law]] = {gain: ("gain", ONE), bias: ("bias", ZERO)}
    return {name: vector(roles[name][0], shape, roles[name][1]) for name, shape in shapes.items() if name in roles}


def _plain(shapes: Shapes) -> dict[str, Use]:
    """A matrix beside a vector, or of a weight's name: inputs first, unless the vector shows that outputs are."""
    matrices = [name for name, shape in shapes.items() if len(shape) >= 2]
    vectors = [name for name, shape in shapes.items() if len(shape) == 1]
    if len(matrices) != 1 or not (matrices[0] in WEIGHTS or len(shapes) == 2 == len(vectors) + 1):
        return {}
    shape = shapes[matrices[0]]
    biases = [name for name in vectors if shapes[name][0] in (shape[0], shape[-1])]
    outputs_first = bool(biases) and shapes[biases[0]][0] != shape[-1]
    axes = len(shape)
    if outputs_first:
        weight = Use("dense", (1,), (0,), compute_fans(shape, in_axis=1, out_axis=0))
    else:
        weight = Use("dense", (axes - 2,), (axes - 1,), compute_fans(shape))
    weight = weight if axes == 2 else replace(weight, role="convolution")
    return {matrices[0]: weight} | {name: vector("bias", shapes[name], UNKNOWN, weight.fans) for name in biases}
