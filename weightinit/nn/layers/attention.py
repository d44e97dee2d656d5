"""Multi-head self-attention."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement
from typing import Final, Literal, get_args

import numpy as np

from weightinit.arrays import Array, array_module, stream
from weightinit.fans import Fans
from weightinit.laws import Law
from weightinit.nn.layers.base import Layer
from weightinit.nn.layers.dense import add_bias, folded, silent, through_weights
from weightinit.nn.layers.positions import extended, pairs_of
from weightinit.nn.moments import Gradient, Moments, unknown_gradient, unknown_moments
from weightinit.nn.tape import Params, Shape, Slot, Tape, ones_for
from weightinit.nn.weights import ConstantSpec, Part, WeightSpec

Scale = Literal["sqrt", "width"]
PARTS: Final[tuple[Part, ...]] = ("query", "key", "value", "out")
DRAWS, FEW = 1000, 6  # of attention patterns in the Monte Carlo estimate, and the samples that it follows
CACHED = 1 << 14  # numbers of which a few arrays fit in the cache of a core
ZERO = Law("constant", 0.0, 0.0)


@dataclass(frozen=True)
class Attention(Layer):
    """``softmax(q k' / scale) v`` in each of ``heads``, between the weights query, key, value and out.

    Shapes: x is (runs, batch, tokens, units); each weight (runs, units, units). ``causal``: a token attends to itself
    and to those before it. ``scale``: sqrt divides the logits by the root of a head's units (Vaswani et al. 2017),
    width by their number (Yang et al. 2022), so that attention is uniform at the start in wide networks. What the
    logits are multiplied by is a constant, ``logit_scale``, that a scheme may set.

    Theory is a Monte Carlo estimate over 1,000 patterns of attention, drawn at this number of units a head.
    """

    name: str
    units: int
    heads: int
    causal: bool = False
    scale: Scale = "sqrt"
    bias: bool = True

    def __post_init__(self) -> None:
        if self.units % self.heads:
            raise ValueError(f"{self.name}: heads must divide the {self.units} units; got {self.heads}")
        if self.scale not in get_args(Scale):
            raise ValueError(f"{self.name}: scale must be one of {', '.join(get_args(Scale))}; got {self.scale!r}")

    @property
    def weights(self) -> tuple[WeightSpec, ...]:
        fans, shape = Fans(self.units, self.units), (self.units, self.units)
        specs = []
        for part in PARTS:
            specs.append(WeightSpec(f"{self.name}/{part}/weight", shape, fans, "weight", "hidden", part=part))
            if self.bias:
                specs.append(WeightSpec(f"{self.name}/{part}/bias", (1, self.units), fans, "bias", "hidden", part=part))
        return tuple(specs)

    @property
    def constants(self) -> tuple[ConstantSpec, ...]:
        return (ConstantSpec(f"{self.name}/logit_scale", self._factor, "factor of the logits of attention"),)

    @property
    def _factor(self) -> float:
        size = self.units // self.heads
        return 1.0 / size if self.scale == "width" else size**-0.5

    def _logit_scale(self, laws: Mapping[str, Law]) -> float:
        """Return the factor of the logits among the constants, which count as laws."""
        law = laws.get(f"{self.name}/logit_scale")
        return self._factor if law is None else law.mean

    def logits(self, tape: Tape) -> Array:
        """Return the logits of the last forward pass, before any mask: (runs, batch, heads, tokens, tokens)."""
        query, key = (self._by_head(tape[f"{self.name}/{part}", "preactivation"]) for part in PARTS[:2])
        products: Array = tape.xp.matmul(query, key.swapaxes(3, 4))
        products *= tape.constant(f"{self.name}/logit_scale", self._factor, products)
        return products

    def out_shape(self, entering: Shape) -> Shape:
        if len(entering) != 2 or entering[1] != self.units:
            raise ValueError(
                f"{self.name} takes tokens of {self.units} units; got the shape {'x'.join(map(str, entering))}"
            )
        return entering

    def slots(self, entering: Shape) -> tuple[Slot, ...]:
        tokens = entering[0]
        projected = [Slot(f"{self.name}/{part}", "preactivation", entering) for part in PARTS[:3]]
        gradients = [Slot(f"{self.name}/{part}", "d_preactivation", entering) for part in PARTS[:3]]
        return (
            Slot(f"{self.name}/out", "preactivation", entering),
            *projected,
            *gradients,
            Slot(self.name, "attention", (self.heads, tokens, tokens)),
            Slot(self.name, "d_attention", (self.heads, tokens, tokens)),
            Slot(self.name, "context", entering),
            Slot(self.name, "d_context", entering),
        )

    def _by_head(self, x: Array) -> Array:
        """Return (runs, batch, heads, tokens, units of a head) of (runs, batch, tokens, units), as a view."""
        return x.reshape(*x.shape[:3], self.heads, -1).swapaxes(2, 3)

    def forward(self, params: Params, x: Array, tape: Tape) -> Array:
        xp = tape.xp
        tape.input[self.name, "preactivation"] = x
        for part in PARTS[:3]:
            tape.input[f"{self.name}/{part}", "preactivation"] = x
            self._project(part, params, x, tape[f"{self.name}/{part}", "preactivation"], tape)
        query, key, value = (self._by_head(tape[f"{self.name}/{part}", "preactivation"]) for part in PARTS[:3])
        weights = tape[self.name, "attention"]
        xp.matmul(query, key.swapaxes(3, 4), out=weights)
        weights *= tape.constant(f"{self.name}/logit_scale", self._factor, weights)
        if self.causal:
            tokens = weights.shape[-1]
            xp.add(weights, xp.triu(xp.full((tokens, tokens), -xp.inf, weights.dtype), 1), out=weights)
        weights -= _largest(weights)
        xp.exp(weights, out=weights)
        weights /= xp.matmul(weights, xp.ones((weights.shape[-1], 1), weights.dtype))
        context = tape[self.name, "context"]
        xp.matmul(weights, value, out=self._by_head(context))
        out = tape[f"{self.name}/out", "preactivation"]
        tape.input[f"{self.name}/out", "preactivation"] = context
        self._project("out", params, context, out, tape)
        return out

    def _project(self, part: str, params: Params, x: Array, out: Array, tape: Tape) -> None:
        tape.xp.matmul(folded(x), params[f"{self.name}/{part}/weight"], out=folded(out))
        if self.bias:
            add_bias(out, params[f"{self.name}/{part}/bias"])

    def _project_back(
        self, part: str, params: Params, x: Array, d: Array, tape: Tape, into: Array | None
    ) -> Array | None:
        xp, d_z = tape.xp, folded(d)
        tape.keep_gradient(f"{self.name}/{part}/weight", folded(x).swapaxes(1, 2), d_z)
        if self.bias:
            tape.keep_gradient(f"{self.name}/{part}/bias", ones_for(tape, d_z.shape[1]), d_z)
        if into is None:
            return None
        return xp.matmul(d_z, params[f"{self.name}/{part}/weight"].swapaxes(1, 2), out=folded(into))  # type: ignore[no-any-return]

    def backward(self, params: Params, d_output: Array, tape: Tape, *, into: Array | None) -> Array | None:
        xp, x = tape.xp, tape.input[self.name, "preactivation"]
        context, d_context = tape[self.name, "context"], tape[self.name, "d_context"]
        self._project_back("out", params, context, d_output, tape, d_context)
        weights, d_weights = tape[self.name, "attention"], tape[self.name, "d_attention"]
        query, key, value = (self._by_head(tape[f"{self.name}/{part}", "preactivation"]) for part in PARTS[:3])
        d_query, d_key, d_value = (self._by_head(tape[f"{self.name}/{part}", "d_preactivation"]) for part in PARTS[:3])
        d_heads = self._by_head(d_context)
        xp.matmul(weights.swapaxes(3, 4), d_heads, out=d_value)
        xp.matmul(d_heads, value.swapaxes(3, 4), out=d_weights)
        # Through the softmax: A (dA - sum(A dA)).
        column = xp.ones((weights.shape[-1], 1), weights.dtype)
        d_weights -= xp.matmul(d_weights * weights, column)
        d_weights *= weights
        d_weights *= tape.constant(f"{self.name}/logit_scale", self._factor, weights)
        xp.matmul(d_weights, key, out=d_query)
        xp.matmul(d_weights.swapaxes(3, 4), query, out=d_key)
        for number, part in enumerate(PARTS[:3]):
            d_part = tape[f"{self.name}/{part}", "d_preactivation"]
            # The context's gradient has served, and its memory takes what is to be added.
            place = into if into is None or number == 0 else d_context
            self._project_back(part, params, x, d_part, tape, place)
            if into is not None and number:
                into += d_context
        return into

    def expect(self, moments: Moments, laws: Mapping[str, Law]) -> Moments:
        """E[out²] = units Var[w_out] A E[v v'] A', over the patterns A of attention."""
        if moments.reason:
            return moments
        for part in PARTS:
            if reason := silent(laws[f"{self.name}/{part}/weight"]):
                return unknown_moments(reason)
        projected: dict[str, Array] = {part: self._projected(part, moments, laws) for part in PARTS[:3]}
        patterns = self._patterns(projected, self._logit_scale(laws))
        value = projected["value"]
        few, tokens = value.shape[:2]
        context = np.empty((few, tokens, few, tokens))
        for s, t in combinations_with_replacement(range(few), 2):

            def mixed(a: Array, b: Array, v: Array = value[s, :, t]) -> Array:
                return np.matmul(a, np.matmul(v, b.swapaxes(1, 2)))  # type: ignore[no-any-return]

            context[s, :, t] = _mean(mixed, patterns[s], patterns[t])
            context[t, :, s] = context[s, :, t].T
        squares = np.diagonal(context.reshape(few * tokens, -1)).reshape(few, tokens)
        assert moments.squares is not None
        entering = Moments.uneven(extended(squares, moments.squares), 0.0, context)
        sigma_w2 = self.units * laws[f"{self.name}/out/weight"].second_moment
        return through_weights(entering, sigma_w2, laws[f"{self.name}/out/bias"] if self.bias else ZERO)

    def expect_gradient(self, gradient: Gradient, moments: Moments, laws: Mapping[str, Law]) -> Gradient:
        """Return the gradient that comes through values, queries and keys, as if the way back had its own weights."""
        if reason := gradient.reason or moments.reason:
            return unknown_gradient(reason)
        projected: dict[str, Array] = {part: self._projected(part, moments, laws) for part in PARTS[:3]}
        patterns = self._patterns(projected, self._logit_scale(laws))
        sigma = {part: self.units * laws[f"{self.name}/{part}/weight"].second_moment for part in PARTS}
        value, key, query = (projected[part] for part in ("value", "key", "query"))
        few, tokens = value.shape[:2]
        after = sigma["out"] * pairs_of(gradient, few, tokens)
        before = np.zeros((few, tokens, few, tokens))
        logits = self._logit_scale(laws) ** 2 * (
            self.units // self.heads
        )  # square of the scale times the terms of a product
        for s, t in combinations_with_replacement(range(few), 2):
            g, v, k, q = (pairs[s, :, t] for pairs in (after, value, key, query))

            def through(a: Array, b: Array, g: Array = g, v: Array = v, k: Array = k, q: Array = q) -> Array:
                along_a, along_b = np.matmul(a, v), np.matmul(v, b.swapaxes(1, 2))
                total: Array = sigma["value"] * np.matmul(a.swapaxes(1, 2), np.matmul(g, b))
                total += sigma["query"] * logits * g * _centred_products(a, b, along_a, along_b, v, k)
                total += sigma["key"] * logits * _to_keys(a, b, along_a, along_b, v, g * q)
                return total

            before[s, :, t] = _mean(through, patterns[s], patterns[t])
            before[t, :, s] = before[s, :, t].T
        squares = np.diagonal(before.reshape(few * tokens, -1)).reshape(few, tokens)
        assert moments.squares is not None
        sizes = np.asarray(gradient.q) if np.ndim(gradient.q) else np.full(len(moments.squares), gradient.q)
        return gradient.uneven(extended(squares, sizes), before)

    def _projected(self, part: str, moments: Moments, laws: Mapping[str, Law]) -> Array:
        """Return E[z z'] of pairs after one of the first three weights, of a few samples."""
        few = min(FEW, len(np.asarray(moments.correlation)))
        pairs = np.asarray(moments.covariance)[:few, :, :few]
        bias = laws[f"{self.name}/{part}/bias"].second_moment if self.bias else 0.0
        return self.units * laws[f"{self.name}/{part}/weight"].second_moment * pairs + bias

    def _patterns(self, projected: Mapping[str, Array], factor: float) -> Array:
        """Return patterns of attention (samples, draws, tokens, tokens), for queries and keys that are Gaussian."""
        few, tokens = projected["value"].shape[:2]
        mask = np.triu(np.full((tokens, tokens), -np.inf), 1) if self.causal else np.zeros((tokens, tokens))
        size = self.units // self.heads
        query, key = (
            _draws(number, size, few * tokens) @ _root(projected[part].reshape(few * tokens, -1))
            for number, part in enumerate(("query", "key"))
        )
        query, key = (x.reshape(DRAWS, size, few, tokens).transpose(2, 0, 3, 1) for x in (query, key))
        return _softmax(np.matmul(query, key.swapaxes(2, 3)) * factor + mask)


@lru_cache(maxsize=4)
def _draws(number: int, size: int, columns: int) -> Array:
    """Return standard normal numbers (draws, size, columns), the same at each call."""
    return stream(number, "attention").standard_normal((DRAWS, size, columns))


def _root(covariance: Array) -> Array:
    """Return a matrix whose product with its transpose is the covariance."""
    values, vectors = np.linalg.eigh(covariance)
    root: Array = (vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T
    return root


def _softmax(logits: Array) -> Array:
    logits -= _largest(logits)
    np.exp(logits, out=logits)
    logits /= logits.sum(-1, keepdims=True)
    return logits


def _mean(function: Callable[[Array, Array], Array], a: Array, b: Array) -> Array:
    """Return the mean over draws of a function of patterns (draws, queries, keys), some in the cache at a time."""
    values, at_once = np.empty(a.shape), max(1, CACHED // math.prod(a.shape[1:]))
    for start in range(0, len(a), at_once):
        draws = slice(start, start + at_once)
        values[draws] = function(a[draws], b[draws])
    result: Array = values.mean(0)
    return result


def _largest(x: Array) -> Array:
    """Return the largest value along the last axis, of size 1.

    By windows that slide over some rows end to end and double in width: NumPy's maximum over a short axis takes many
    times as long as these passes.
    """
    xp, columns = array_module(x), x.shape[-1]
    rows = x.reshape(-1, columns)
    largest, at_once = xp.empty((len(rows), 1), x.dtype), max(1, CACHED // columns)
    memory = xp.empty((2, at_once * columns), x.dtype)
    for start in range(0, len(rows), at_once):
        values, width, turn = rows[start : start + at_once].reshape(-1), 1, 0
        while width < columns:
            step = min(width, columns - width)
            values = xp.maximum(values[:-step], values[step:], out=memory[turn, : len(values) - step])
            width, turn = width + step, 1 - turn
        largest[start : start + at_once, 0] = values[::columns]
    return largest.reshape(*x.shape[:-1], 1)  # type: ignore[no-any-return]


def _centred_products(a: Array, b: Array, along_a: Array, along_b: Array, v: Array, k: Array) -> Array:
    """Return, for each pair of queries, the sum over keys of Cov[dA, dA'] behind the softmax times E[k k'].

    ``a``, ``b``: patterns (draws, queries, keys) of two samples; ``v``, ``k``: E[v v'] and E[k k'] of their tokens;
    ``along_a``, ``along_b``: a v and v b'.
    """
    b_ = b.swapaxes(1, 2)
    keys_b, keys_a = np.matmul(k, b_), np.matmul(a, k)
    result: Array = np.matmul(np.matmul(a, v * k), b_)
    result -= np.matmul(a, along_b * keys_b)
    result -= np.matmul(along_a * keys_a, b_)
    result += np.matmul(a, along_b) * np.matmul(a, keys_b)
    return result


def _to_keys(a: Array, b: Array, along_a: Array, along_b: Array, v: Array, h: Array) -> Array:
    """Return, for each pair of keys, the sum over queries of ``h`` times Cov[dA, dA'] behind the softmax."""
    a_ = a.swapaxes(1, 2)
    weighed = np.matmul(a_, h)  # keys of the first sample, queries of the second
    result: Array = np.matmul(weighed, b) * v
    result -= np.matmul(weighed * along_b, b)
    result -= np.matmul(a_, np.matmul(h, b) * along_a)
    result += np.matmul(a_, np.matmul(h * np.matmul(along_a, b.swapaxes(1, 2)), b))
    return result
