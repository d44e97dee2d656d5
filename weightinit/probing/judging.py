"""Judgement of a model at initialization: what in its readings is a fault, in sentences that say how to mend it.

Each sentence is a claim about rates: docs/your-model.md gives how often it is said of sound models.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal, TypeAlias

import numpy as np

from weightinit.meanfield import Stability, signal_stability
from weightinit.probing.readings import Draw, FirstStep, Place

Kind: TypeAlias = Literal[
    "not_finite", "signal", "gradient", "first_loss", "dead", "saturated", "alike", "input", "norm", "stuck", "equal",
    "step",
]  # fmt: skip

EXCESS: Final = 2.0
"""Nats by which the first loss may lie above an ignorant model's. He's law on an output layer of relu costs about 1."""

RATIO: Final = 4.0
"""The same for losses that aren't cross entropies, as a factor."""

DEAD: Final = 0.5
"""Share of dead units beyond which a layer is called dead, by more than three standard errors."""

SATURATED: Final = 0.5
ALIKE: Final = 0.99
DISTINCT: Final = 0.9
DIFFERENCE: Final = 1e-3
ERRORS: Final = 3.0
QUIET: Final = 0.5
LOUD: Final = 1.9
"""Sizes beyond which a norm's output isn't 1; a gain of 1 in a norm that multiplies by 1 + gain makes 2."""

VALUES: Final = 8
"""Values that a unit must have seen before it can be called dead."""


@dataclass(frozen=True)
class ProbeFinding:
    """One fault: its kind, the modules or parameters that show it, and a sentence that says how to mend it."""

    kind: Kind
    places: tuple[str, ...]
    sentence: str


@dataclass(frozen=True)
class Chain:
    """Places that a signal passes one after the other: the blocks of a list, or the layers of a plain network.

    ``signal``: factor of the rms from one place to the next, geometric mean over places and draws; ``gradient``: the
    same of the gradient's norm, on the way back; ``spread``: standard deviation over draws of the logarithm of the
    rms's growth in all; ``stability``: what they amount to, as everywhere in the lab.
    """

    name: str
    places: tuple[str, ...]
    signal: float
    gradient: float
    spread: float
    stability: Stability


def chains(places: Sequence[Place], draws: Sequence[Draw]) -> tuple[Chain, ...]:
    """Return the chains of a model, ``places`` in the order of their execution.

    Lists of blocks below one module (``layer1``, ``layer2``) are one chain. Without blocks a chain has the layers
    with weights that lead to an output, but for this one; several outputs (of an actor and a critic) have one each.
    """
    lists: dict[str, list[str]] = {}
    for place in places:
        if place.chain:
            lists.setdefault(place.chain.rpartition(".")[0], []).append(place.name)
    if not lists:
        ways = _ways([place for place in places if place.weighted])
        lists = {f"layers to {way[-1]}" if len(ways) > 1 else "layers": way[:-1] for way in ways}
    found = []
    for path, names in lists.items():
        if len(names) < 2:
            continue
        label = next((place.chain for place in places if place.name == names[0]), "") or path
        found.append(_chain(label, names, draws))
    return tuple(found)


def _ways(layers: Sequence[Place]) -> list[list[str]]:
    """The layers on the way to each output; in the order of their execution where no way is known."""
    after = {place.name: place.after for place in layers}
    if not any(after.values()):
        return [list(after)]
    ways = []
    for end in after.keys() - {name for names in after.values() for name in names}:
        way = [end]
        while before := [name for name in after if name in after[way[-1]]]:
            way.append(before[-1])
        ways.append(way[::-1])
    return sorted(ways, key=lambda way: list(after).index(way[-1]))


def _chain(label: str, names: Sequence[str], draws: Sequence[Draw]) -> Chain:
    with np.errstate(all="ignore"):
        forward = np.log([[draw.readings[name].rms for name in names] for draw in draws])
        backward = np.log([[draw.readings[name].backward for name in names] for draw in draws])
        growth, back = forward[:, -1] - forward[:, 0], backward[:, 0] - backward[:, -1]
        last = float(np.exp(forward[:, -1].mean()))
        spread = float(growth.std(ddof=1)) if len(draws) > 2 else math.nan
        steps = len(names) - 1
        mean, mean_back = float(growth.mean()), float(back.mean())
        if not np.isfinite(forward).all():  # zero or infinite somewhere on its way
            last = float(np.exp(forward.mean()))
        stability = signal_stability(last, mean, mean_back, steps, scatter=spread, networks=len(draws))
        factors = float(np.exp(mean / steps)), float(np.exp(mean_back / steps))
    return Chain(label, tuple(names), *factors, spread, stability)


def findings(
    places: Sequence[Place], draws: Sequence[Draw], found: Sequence[Chain], step: FirstStep | None, nats: bool
) -> Iterator[ProbeFinding]:
    """Yield the faults of a model; ``nats``: whether its loss is a cross entropy."""
    broken = [place.name for place in places if any(not draw.readings[place.name].finite for draw in draws)]
    if broken:
        yield ProbeFinding(
            "not_finite",
            tuple(broken),
            f"{broken[0]} ({_kind(places, broken[0])}) is the first module whose output holds NaN or infinity: look "
            "for memory never written (`trace`), weights of absurd size, or an overflow of its type.",
        )
        return
    yield from _norms(places, draws)
    for chain in found:
        yield from _growth(chain, draws)
    yield from _first_loss(draws, nats)
    yield from _units(places, draws)
    yield from _differences(places, draws, found)
    if step is not None:
        yield from _step(draws, step)


def _norms(places: Sequence[Place], draws: Sequence[Draw]) -> Iterator[ProbeFinding]:
    """Norms whose output isn't of size 1; a gain of 0 is meant, on the last norm of a branch."""
    sizes = {place.name: _typical(draws, place.name, "rms") for place in places if place.norm}
    off = {name: rms for name, rms in sizes.items() if 0 < rms < QUIET or rms > LOUD}
    if off and 2 * len(off) >= len(sizes):
        name, rms = next(iter(off.items()))
        yield ProbeFinding(
            "norm",
            tuple(off),
            f"{len(off)} of {len(sizes)} norms leave a signal of rms {rms:.3g} (the first: {name}), not 1: their gains "
            "were drawn or scaled as weights are, or are 1 where the norm multiplies by 1 + gain. Set the gains of "
            "norms to 1, of 1 + gain to 0.",
        )


def _growth(chain: Chain, draws: Sequence[Draw]) -> Iterator[ProbeFinding]:
    first, last = chain.places[0], chain.places[-1]
    label, steps = chain.stability.label, len(chain.places) - 1
    if label in ("vanishes", "explodes"):
        rms = [_typical(draws, name, "rms") for name in chain.places]
        steepest, factor = _steepest(chain.places, rms)
        said = (
            f"The signal {label}: its rms goes from {rms[0]:.3g} in {first} to {rms[-1]:.3g} in {last}, "
            f"x{chain.signal:.3g} a place over {steps}"
        )
        if steps > 2 and abs(math.log(max(factor, 1e-300))) > 0.5 * abs(_log_ratio(rms[-1], rms[0])):
            said += f"; most of it happens in {steepest} (x{factor:.3g})"
        remedy = "larger weights there" if label == "vanishes" else "smaller weights there"
        yield ProbeFinding(
            "signal",
            (first, last),
            f"{said}. It needs {remedy}: a gain that makes up for the activation (he for relu), norms, or residual "
            "branches that start small.",
        )
    elif label in ("gradient vanishes", "gradient explodes"):
        back = [_typical(draws, name, "backward") for name in chain.places]
        verb = label.split()[1]
        yield ProbeFinding(
            "gradient",
            (last, first),
            f"The gradient {verb} on its way back: its norm goes from {back[-1]:.3g} in {last} to {back[0]:.3g} in "
            f"{first}, x{chain.gradient:.3g} a place over {steps}. Scale the weights to the activation (critical, or "
            "he for relu), start residual branches small, or put the norm before the branch.",
        )


def _first_loss(draws: Sequence[Draw], nats: bool) -> Iterator[ProbeFinding]:
    losses, ignorant = np.array([draw.loss for draw in draws]), np.array([draw.ignorant for draw in draws])
    if not np.isfinite(ignorant).all() or (ignorant <= 0).any():
        return
    over = losses - ignorant if nats else losses / ignorant
    error = over.std(ddof=1) / math.sqrt(len(over)) if len(over) > 2 else 0.0
    if over.mean() - error > (EXCESS if nats else RATIO):
        by = f"{over.mean():.3g} nats above" if nats else f"{over.mean():.3g} times"
        yield ProbeFinding(
            "first_loss",
            (),
            f"The first loss, {losses.mean():.4g}, is {by} that of a model that knows nothing ({ignorant.mean():.4g}): "
            "the outputs start too large, and training first unlearns them. Make the output layer's weights smaller "
            "(std 1/sqrt(fan_in) or below; of tied embeddings about .02), or start them at zero.",
        )


def _units(places: Sequence[Place], draws: Sequence[Draw]) -> Iterator[ProbeFinding]:
    dead, saturated = {}, {}
    for place in places:
        found = [reading.slopes for draw in draws if (reading := draw.readings[place.name]).slopes is not None]
        known = [slopes for slopes in found if slopes is not None and slopes.values >= VALUES]
        if not known:
            continue
        error = ERRORS * 0.5 / math.sqrt(sum(slopes.units for slopes in known))
        share = float(np.mean([slopes.dead for slopes in known]))
        if share - error > DEAD:
            dead[place.name] = share
        if not known[0].cut and (share := float(np.mean([slopes.saturated for slopes in known]))) - error > SATURATED:
            saturated[place.name] = share
    if dead:
        name, share = max(dead.items(), key=lambda item: item[1])
        yield ProbeFinding(
            "dead",
            tuple(dead),
            f"{share:.0%} of the units of {name} are dead: their slope is 0 for every sample, so nothing before them "
            f"learns through them{_more(dead)}. Look for biases far below zero, inputs that are not centred, or "
            "weights that make all samples alike.",
        )
    if saturated:
        name, share = max(saturated.items(), key=lambda item: item[1])
        yield ProbeFinding(
            "saturated",
            tuple(saturated),
            f"{share:.0%} of the values in {name} are saturated: less than 1% of the gradient passes"
            f"{_more(saturated)}. Make the weights before it smaller, or scale the inputs to mean square 1.",
        )


def _differences(places: Sequence[Place], draws: Sequence[Draw], found: Sequence[Chain]) -> Iterator[ProbeFinding]:
    """Samples and tokens that the model no longer tells apart."""
    for chain in found:
        before, after = _mean(draws, chain.places[0], "entering"), _mean(draws, chain.places[-1], "alike")
        if before < DISTINCT and after > ALIKE:
            yield ProbeFinding(
                "alike",
                chain.places,
                f"The tokens of a sample become alike: their correlation goes from {before:.3f} before "
                f"{chain.places[0]} to {after:.4f} behind {chain.places[-1]}, and attention then tells none from "
                "another. Start the branches of attention smaller beside their skips, or with larger queries and keys.",
            )
    (last,) = places[-1:]
    correlation = _mean(draws, last.name, "correlation")
    head = next((place for place in reversed(places) if place.weighted), last)
    told_apart = any(1 - _mean(draws, name, "correlation") > 10 * DIFFERENCE for name in head.after)
    if told_apart and _typical(draws, head.name, "rms") == _typical(draws, last.name, "rms"):
        return  # a prior in the output's own bias, beside which its weights start small
    if 1 - correlation < DIFFERENCE and _typical(draws, last.name, "rms") > 0:
        difference = math.sqrt(max(1 - correlation, 0.0))
        yield ProbeFinding(
            "input",
            (last.name,),
            f"The output hardly depends on the input: between samples it differs by {difference:.2g} of its size. "
            "The signal of the weights is lost beside biases or positions: scale the weights up, or the biases down.",
        )


def _step(draws: Sequence[Draw], step: FirstStep) -> Iterator[ProbeFinding]:
    if step.stuck:
        yield ProbeFinding(
            "stuck",
            step.stuck,
            f"No gradient reaches {_names(step.stuck)}, neither at the start nor after a few steps: what lies "
            "behind is zero, dead or cut off (two factors of a product that both start at zero, a `detach`).",
        )
    if step.equal:
        yield ProbeFinding(
            "equal",
            step.equal,
            f"The rows of {_names(step.equal)} are equal, and so are their gradients, at the start and after a few "
            "steps: nothing in the model parts them (no positions, symmetric attention). Draw each for itself.",
        )
    before = draws[0].loss
    if step.loss - before > max(1.0, 0.5 * abs(before)) or not math.isfinite(step.loss):
        largest = max(step.updates, key=lambda name: step.updates[name], default="")
        ratio = f" ({largest} changed by {step.updates[largest]:.2g} of its size)" if largest else ""
        yield ProbeFinding(
            "step",
            (largest,) if largest else (),
            f"A first step of {step.optimizer} takes the loss from {before:.4g} to {step.loss:.4g}{ratio}: pass the "
            "optimizer you mean, with a smaller rate or a warm-up.",
        )


def _steepest(names: Sequence[str], values: Sequence[float]) -> tuple[str, float]:
    factors = [after / before if before else math.nan for before, after in pairwise(values)]
    place = max(range(len(factors)), key=lambda i: abs(_log_ratio(factors[i], 1.0)))
    return names[place + 1], factors[place]


def _log_ratio(a: float, b: float) -> float:
    return math.log(a / b) if a > 0 and b > 0 and math.isfinite(a / b) else 0.0


def _typical(draws: Sequence[Draw], name: str, field: str) -> float:
    """Return the geometric mean over draws."""
    with np.errstate(all="ignore"):
        return float(np.exp(np.mean(np.log([getattr(draw.readings[name], field) for draw in draws]))))


def _mean(draws: Sequence[Draw], name: str, field: str) -> float:
    return float(np.mean([getattr(draw.readings[name], field) for draw in draws]))


def _kind(places: Sequence[Place], name: str) -> str:
    return next(place.kind for place in places if place.name == name)


def _more(found: Mapping[str, float]) -> str:
    return f", and of {len(found) - 1} other modules" if len(found) > 1 else ""


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
