"""Modules of Flax and Equinox, and plain pytrees: role, axes, fans and usual law of each array."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any, Final

from weightinit.fans import Fans, compute_fans
from weightinit.laws import UNKNOWN, Law
from weightinit.model import TensorRole
from weightinit.nn.weights import WeightSpec
from weightinit.schemes.base import ONE, ZERO
from weightinit.schemes.rules import FlaxDense, Normal, Orthogonal, PyTorchLinear, VarianceScaling
from weightinit.uses import Use, alone, einsum_axes, law_by_fans, parts, vector

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
    if len(shapes.get("weight", ())) < 2 or not math.prod(shapes["weight"]):
        return {}
    fans = compute_fans(shapes["weight"], groups=int(getattr(owner, "groups", 1)), in_axis=1, out_axis=0)
    law = law_by_fans(PyTorchLinear(), fans)
    role: TensorRole = "convolution" if "Conv" in kind else "dense"
    found = {"weight": Use(role, (1,), (0,), fans, law, int(getattr(owner, "groups", 1)))}
    if "bias" in shapes:
        found["bias"] = vector("bias", shapes["bias"], law, fans)
    return found


def _flax(owner: Any, kind: str, path: str, shapes: Shapes) -> dict[str, Use]:
    """``kernel`` of ``(*kernel, inputs, outputs)``, each of one axis or several; ``embedding``, ``scale``, ``bias``."""
    if "kernel" not in shapes and "embedding" not in shapes:
        return _norm("scale", "bias", shapes)
    found = {}
    shapes = {name: shape for name, shape in shapes.items() if math.prod(shape)}  # nothing is drawn of empty ones
    if "embedding" in shapes:
        rows, width = shapes["embedding"][-2:]
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
    if kind == "Einsum" and hasattr(owner, "einsum_str"):  # Flax counts fans as of (*kernel, inputs, outputs)
        given, made, copies = einsum_axes(owner.einsum_str)
        fans = Fans(math.prod(shape[i] for i in given), math.prod(shape[i] for i in made))
        return Use("dense", given, made, fans, law_by_fans(FlaxDense(), compute_fans(shape)), stacked=copies)
    copied, outputs = _copies_and_outputs(owner, kind, path, shapes)
    stacked, rest = tuple(range(copied)), shape[copied:]
    if "Conv" in kind:
        groups = int(getattr(owner, "feature_group_count", 1))
        fans = compute_fans(rest, groups=groups)
        law = law_by_fans(FlaxDense(), fans)
        return Use("convolution", (axes - 2,), (axes - 1,), fans, law, groups, stacked)
    first = axes - outputs
    fans = Fans(math.prod(shape[copied:first]), math.prod(shape[first:]))
    state = STATES.search(path) is not None
    law = Orthogonal().law(WeightSpec("", rest, fans, "weight", "hidden")) if state else law_by_fans(FlaxDense(), fans)
    role: TensorRole = "recurrent" if state else "dense"
    return Use(role, tuple(range(copied, first)), tuple(range(first, axes)), fans, law, stacked=stacked)


def _copies_and_outputs(owner: Any, kind: str, path: str, shapes: Shapes) -> tuple[int, int]:
    """Axes of a kernel that count copies (first, by ``vmap`` and ``scan``), and axes of its outputs (last).

    They are what the module says, what its bias shows, or what the class and the names of attention have.
    """
    shape, bias = shapes["kernel"], shapes.get("bias", ())
    said = getattr(owner, "out_features", None)
    if isinstance(said, tuple):
        return 0, len(said)
    for copies in range(len(bias)):
        outputs = len(bias) - copies
        if copies + outputs < len(shape) and bias == shape[:copies] + shape[-outputs:]:
            return copies, outputs
    if kind.endswith(("Dense", "Linear")):
        return len(shape) - 2, 1
    return 0, len(shape) - 1 if HEADS.search(path) else 1


def _norm(gain: str, bias: str, shapes: Shapes) -> dict[str, Use]:
    roles: dict[str, tuple[TensorRole, Law]] = {gain: ("gain", ONE), bias: ("bias", ZERO)}
    return {name: vector(roles[name][0], shape, roles[name][1]) for name, shape in shapes.items() if name in roles}


def _plain(shapes: Shapes) -> dict[str, Use]:
    """A matrix beside a vector, or of a weight's name: inputs first, unless the vector shows that outputs are."""
    matrices = [name for name, shape in shapes.items() if len(shape) >= 2 and 0 not in shape]
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
