"""Laws that may explain an array: defaults of libraries, and mistakes that are often made in place of its own law."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from weightinit.auditing.distributions import DRAWN, before_truncation
from weightinit.auditing.elements import Elements
from weightinit.auditing.expected import Expected, LawStating
from weightinit.auditing.named_laws import rule
from weightinit.auditing.tests_of_law import fit, largest_z
from weightinit.fans import Fans, compute_fans
from weightinit.initializers import truncated_moments
from weightinit.laws import Law

CLOSE = 5.0
"""Log-likelihood below the best up to which a law still counts: the data prefer the best by exp(5) at most."""

DEFAULT: Final = "Was the initializer ever applied to this layer?"

KNOWN: Final[dict[str, str]] = {
    "pytorch": f"the default of PyTorch's Linear and Conv layers, U(±1/sqrt(fan_in)). {DEFAULT}",
    "glorot_uniform": f"the default of Keras' Dense and Conv layers. {DEFAULT}",
    "lecun_normal(distribution='truncated_normal')": f"the default of Flax' Dense and Conv layers. {DEFAULT}",
    "he": "",
    "xavier": "",
    "glorot_normal": "",
    "he_uniform": "",
    "lecun_uniform": "",
    "he(distribution='truncated_normal')": "what Keras and JAX call he_normal: they truncate it.",
    "glorot_normal(distribution='truncated_normal')": "what Keras and JAX call glorot_normal: they truncate it.",
    "he(mode='fan_out')": "He's for the way back.",
    "he_uniform(mode='fan_out')": "",
    "xavier(mode='fan_out')": "",
    "lecun_uniform(mode='fan_out')": "",
    "random": "",
    "normal(std=0.02)": "the habit of transformers: the fans don't count.",
    "truncated_normal(std_before=0.02)": "the habit of transformers: the fans don't count.",
    "normal(std=0.05)": "the default of Keras' RandomNormal.",
    "uniform(low=-0.05, high=0.05)": "the default of Keras' RandomUniform.",
    "normal": "plain standard_normal, not multiplied by anything; the default of PyTorch's Embedding.",
    "uniform": "plain uniform numbers, not multiplied by anything.",
    "uniform(low=0.0, high=1.0)": "plain rand, neither centred nor multiplied by anything.",
}
"""Laws by name that a weight may follow, each with what is to be said of it; the likeliest to be met first."""

LIBRARY_DEFAULTS: Final = ("pytorch", "glorot_uniform", "lecun_normal(distribution='truncated_normal')")
"""Names among ``KNOWN`` that a layer has if its initializer was never applied: the first to think of."""

FACTORS: Final = {
    "sqrt(2)": math.sqrt(2),
    "1/sqrt(2)": math.sqrt(0.5),
    "sqrt(3)": math.sqrt(3),
    "1/sqrt(3)": math.sqrt(1 / 3),
    "2": 2.0,
    "1/2": 0.5,
}


@dataclass(frozen=True)
class Explanation:
    """A law that an array may follow; ``remark`` says how that comes about, and how to mend it."""

    name: str
    law: Law
    remark: str


def explanations(elements: Elements, tensor: Expected, alpha: float) -> tuple[Explanation, ...]:
    """Return the known laws that explain the elements, those about as likely as the likeliest; the most usual first."""
    if not elements.std > 0:
        return ()
    known = [each for each in _known(tensor) if each.law.family in DRAWN and each.law.std > 0]
    scores = [elements.log_likelihood(each.law) for each in known]
    best = max(scores, default=-math.inf)
    named: dict[str, Explanation] = {}
    for each, score in zip(known, scores, strict=True):
        if math.isfinite(best) and score >= best - CLOSE and fit(elements, each.law).passes(alpha):
            named.setdefault(each.name, each)
    return tuple(named.values())


def of_any_scale(elements: Elements, alpha: float) -> Explanation | None:
    """Return the likeliest family whose shape the elements have, at the mean and std measured; None without one."""
    centred = abs(elements.mean) <= largest_z(alpha) * elements.std / math.sqrt(elements.size)
    mean = 0.0 if centred else elements.mean
    std = math.hypot(elements.std, elements.mean - mean)
    if not 0 < std < math.inf:
        return None
    low, high = elements.range if mean else (-max(map(abs, elements.range)), max(map(abs, elements.range)))
    location = f"mean={mean:.4g}, " if mean else ""
    free = [
        Explanation(f"normal({location}std={std:.4g})", Law("normal", mean, std), ""),
        Explanation(f"uniform(low={low:.4g}, high={high:.4g})", _uniform(low, high), ""),
        *(_cut_of_any_scale(above, mean, std, 0.0 if mean else high, location) for above in (2.0, 1.0)),
    ]
    shaped = [each for each in free if not elements.outside(each.law) and fit(elements, each.law).has_shape(alpha)]
    return max(shaped, key=lambda each: elements.log_likelihood(each.law), default=None)


def _cut_of_any_scale(above: float, mean: float, std: float, largest: float, location: str) -> Explanation:
    """A normal cut at ``above`` sigma, of this std; the largest element tells a cut at one better than the std."""
    kept = truncated_moments(-above, above)[1]
    sigma = largest if largest and above == 1 else max(std / kept, largest / above)
    cut, at = sigma * kept, "" if above == 2 else f", cut at {above:g} sigma"
    law = Law("truncated_normal", mean, cut, (mean - sigma * above, mean + sigma * above))
    return Explanation(f"truncated_normal({location}std_after={cut:.4g}{at})", law, "")


def slip(std: float, fans: Fans, error: float) -> str:
    """Return the usual slip that a std is nearest to, within four of its relative standard errors; empty if none."""
    fan_in, fan_out = fans
    sizes = {
        "2/fan_in, He's variance: its root is missing": 2 / fan_in,
        "1/fan_in, a variance: its root is missing": 1 / fan_in,
        "2/(fan_in+fan_out), Glorot's variance: its root is missing": 2 / (fan_in + fan_out),
        "that of U(±1/fan_in): the root of the fan is missing": 1 / (math.sqrt(3) * fan_in),
    }
    nearest = min(sizes, key=lambda name: abs(std / sizes[name] - 1))
    return nearest if abs(std / sizes[nearest] - 1) < 4 * error else ""


def factor(ratio: float, error: float) -> str:
    """Return the usual factor that a ratio of stds is, within two of its standard errors; empty if none."""
    return next((f", a factor {name}" for name, size in FACTORS.items() if abs(ratio / size - 1) < 2 * error), "")


def _known(tensor: Expected) -> Iterator[Explanation]:
    yield from (Explanation(*mistake) for mistake in tensor.mistakes)
    if tensor.spec.role != "weight":
        yield from _known_of_biases(tensor)
        return
    for name in LIBRARY_DEFAULTS:
        yield Explanation(name, rule(name).law(tensor.spec), KNOWN[name])
    if tensor.source is not None:
        yield from _other_fans(tensor, tensor.source)
    if tensor.law is not None:
        yield from _slips(tensor, tensor.law)
    for name, remark in KNOWN.items():
        yield Explanation(name, rule(name).law(tensor.spec), remark)
    if tensor.law is None:
        return
    if tensor.law.family == "normal" and tensor.law.mean == 0:
        cut = _cut(tensor.law.std / truncated_moments(-2.0, 2.0)[1])
        yield Explanation(f"{tensor.label}, cut at two sigma", cut, "the std is right, but the tails are missing.")
    for name in ("he", "xavier", "glorot_normal", "he_uniform", "lecun_uniform", "glorot_uniform"):
        if rule(name) != tensor.source:
            yield from _other_fans(replace(tensor, label=name), rule(name))


def _known_of_biases(tensor: Expected) -> Iterator[Explanation]:
    if tensor.fans is not None:
        remark = f"the default of PyTorch's layers, U(±1/sqrt(fan_in)). {DEFAULT}"
        yield Explanation("pytorch", rule("pytorch").bias_law(tensor.spec), remark)
        yield Explanation("sklearn", rule("sklearn").bias_law(tensor.spec), "the default of scikit-learn's MLP.")


def _other_fans(tensor: Expected, source: LawStating) -> Iterator[Explanation]:
    """The same rule with fans miscounted."""
    spec = tensor.spec
    fan_in, fan_out = spec.fans
    if fan_in != fan_out:
        yield Explanation(
            f"{tensor.label} with fan_out for fan_in",
            source.law(replace(spec, fans=Fans(fan_out, fan_in))),
            "this looks like fan_out. Swap the fans, or name the layout of the array: 'in_out' or 'out_in'.",
        )
    if len(spec.shape) > 2:
        yield Explanation(
            f"{tensor.label} without the kernel in its fans",
            source.law(replace(spec, fans=Fans(*spec.shape[-2:]))),
            "fan_in is the product of the kernel's axes and the inputs, not the inputs alone.",
        )
        *kernel, inputs, outputs = spec.shape
        for fans, mistake in (
            (compute_fans((outputs, inputs, *kernel)), "(out, in, *kernel) were read as (*kernel, in, out)"),
            (compute_fans(spec.shape, in_axis=1, out_axis=0), "(*kernel, in, out) were read as (out, in, *kernel)"),
        ):
            yield Explanation(
                f"{tensor.label} with its axes misread",
                source.law(replace(spec, fans=fans)),
                f"{mistake}. Say which axes are which.",
            )


def _slips(tensor: Expected, law: Law) -> Iterator[Explanation]:
    """The same law with a usual slip in its standard deviation, its truncation or its bounds."""
    if law.family not in DRAWN or law.mean != 0:
        return
    label, std = tensor.label, law.std
    if law.family == "truncated_normal":
        for uncut in (before_truncation(law)[1], std):
            yield Explanation(
                f"{label}, not cut",
                Law("normal", 0.0, uncut),
                "bounds that are meant in sigma may have been taken for absolute values; PyTorch's trunc_normal_ cuts "
                "at ±2 whatever its std. Multiply the bounds by the std.",
            )
    if law.family != "uniform":
        yield Explanation(
            f"{label} without the correction for truncation",
            _cut(std),
            "cutting at two sigma leaves 0.8796 of the std. Divide the std by 0.87962566 before cutting.",
        )
    yield Explanation(
        f"{label} with its std for the bound of a uniform distribution",
        _uniform(-std, std),
        "a uniform distribution reaches to sqrt(3) times its std.",
    )
    variance = std * std
    for other in (Law("normal", 0.0, variance), _uniform(-math.sqrt(3) * variance, math.sqrt(3) * variance)):
        yield Explanation(f"{label} with its variance for the std", other, "the square root is missing.")


def _uniform(low: float, high: float) -> Law:
    return Law("uniform", (low + high) / 2, (high - low) / math.sqrt(12), (low, high))


def _cut(sigma: float) -> Law:
    """A normal of std ``sigma`` cut at two of it."""
    return Law("truncated_normal", 0.0, sigma * truncated_moments(-2.0, 2.0)[1], (-2 * sigma, 2 * sigma))
