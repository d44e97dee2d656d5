"""Shortlist of schemes that theory expects to suit a network, and the sweep that tries them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from runner.config import catalogue
from runner.config.composition import Command, Composer, own
from runner.modes.forecast import forecast
from runner.torch.network import require_of_the_lab
from weightinit import gain
from weightinit.forecasting import Forecast

FEW = 4  # schemes that are tried
SEEDS = 5
ENOUGH = 3  # seeds from which on a comparison says something
RATES = (1 / 3, 1.0, 3.0)  # of the configured learning rate, and of what depth leaves of it
DEPTH = 6  # up to which the configured one is good; a deeper network takes one that is smaller by its depth
RATE = "optimizer.learning_rate"
BUDGET = "no time within mode.budget"
_CHOSEN = ("mode", "mode.budget", "scheme", "seed", RATE)  # keys of this mode, and those whose values it chooses
# Schemes with a number that is set to the value that the activation needs.
_TUNED = {"variance_scaling": ("scheme.scale", 1.0), "orthogonal": ("scheme.gain", 0.5)}


@dataclass(frozen=True)
class Candidate:
    """Scheme with its forecast. ``value``: of its tuned number, empty without one."""

    choice: catalogue.Choice
    forecast: Forecast
    value: str = ""

    @property
    def name(self) -> str:
        """Name of the scheme's file."""
        return self.choice.name

    @property
    def label(self) -> str:
        """Name for people: ``he``, ``orthogonal gain 1.53``."""
        return f"{self.name} {_TUNED[self.name][0].partition('.')[2]} {self.value}" if self.value else self.name

    @property
    def overrides(self) -> tuple[str, ...]:
        """Overrides that choose the scheme on the command line."""
        return (f"scheme={self.name}", *([f"{_TUNED[self.name][0]}={self.value}"] if self.value else []))

    @property
    def unevenness(self) -> float:
        """Distance of signal and gradient from level through the network: 0 if both are level, infinite if unknown."""
        with np.errstate(divide="ignore"):
            strays = float(np.abs(np.log([self.forecast.signal.total, self.forecast.gradient.total])).sum())
        return math.inf if math.isnan(strays) else strays

    @property
    def simplicity(self) -> tuple[bool, bool, int, int]:
        """Order by simplicity: a line in another library, no number to set, early at a first reading, a short name."""
        kind, kinds = self.choice.facts.get("group", ""), catalogue.KINDS
        place = kinds.index(kind) if kind in kinds else len(kinds)
        return ("pytorch" not in self.choice.facts, bool(self.value), place, len(self.name))


@dataclass(frozen=True)
class Shortlist:
    """Schemes to try, simplest first; those ``left_out`` by reason; ``kept``: overrides that all runs share.

    ``rates``, ``seeds``: values that each scheme is tried with; ``given``: the keys whose values a person chose.
    """

    tried: tuple[Candidate, ...]
    left_out: Mapping[str, Sequence[str]]
    kept: tuple[str, ...]
    rates: tuple[str, ...] = ()
    seeds: tuple[str, ...] = ()
    given: frozenset[str] = frozenset()

    @property
    def runs(self) -> tuple[tuple[str, ...], ...]:
        """Overrides of each run of the trial."""
        return tuple(
            (*self.kept, *candidate.overrides, f"{RATE}={rate}", f"seed={seed}")
            for candidate in self.tried
            for rate in self.rates
            for seed in self.seeds
        )

    def smaller(self) -> Iterator[Shortlist]:
        """Return smaller trials, each a part of the one before.

        First go seeds, down to three; then the schemes whose signal is least even, down to two; then all learning
        rates but the middle one. What a person chose stays.
        """
        part = self
        while "seed" not in self.given and len(part.seeds) > ENOUGH:
            part = replace(part, seeds=part.seeds[:-1])
            yield part
        while "scheme" not in self.given and len(part.tried) > 2:
            last = max(part.tried, key=lambda candidate: candidate.unevenness)
            left = dict(part.left_out)
            left[BUDGET] = [*left.get(BUDGET, ()), last.label]
            part = replace(part, tried=tuple(each for each in part.tried if each is not last), left_out=left)
            yield part
        if RATE not in self.given and len(part.rates) > 1:
            yield replace(part, rates=(part.rates[len(part.rates) // 2],))


def plan(composer: Composer, command: Command) -> tuple[Command, Shortlist]:
    """Return the command as an ordinary sweep of the shortlist's schemes, of learning rates and of seeds.

    Values of ``scheme``, ``seed`` and the learning rate that the command lists are taken as they are. Raises ValueError
    for what can't be advised on.
    """
    given = _given(command)
    kept = tuple(text for text in own(command.runs[0]) if _key(text) not in _CHOSEN)
    # Raises what is wrong with the data, the network, and the values that are taken as they are.
    base, *_ = composer.trials([kept, *((*kept, f"{RATE}={rate}") for rate in given.get(RATE, ()))])
    require_of_the_lab(
        base.network,
        "mode=advise picks schemes by theory of",
        "Compare schemes on a module of your own with scheme=as_built,he,xavier seed='range(0,5)' -m.",
    )
    if not base.network.activations:
        raise ValueError(
            "mode=advise advises on hidden layers; this network has none. Pass architecture.depth=6 or another depth."
        )
    shortlist = _shortlist(composer, kept, given.get("scheme"))
    middle = base.config["optimizer"]["learning_rate"] * min(1.0, DEPTH / max(shortlist.tried[0].forecast.depth, 1))
    rates = given.get(RATE) or [f"{middle * factor:.3g}" for factor in RATES]
    seeds = given.get("seed") or [str(seed) for seed in range(SEEDS)]
    shortlist = replace(shortlist, rates=tuple(rates), seeds=tuple(seeds), given=frozenset(given))
    return replace(command, runs=shortlist.runs), shortlist


def _given(command: Command) -> dict[str, list[str]]:
    """Return the values that a command lists for the keys that this mode chooses; raises for other swept keys."""
    if not command.runs:
        raise ValueError("mode=advise makes its own sweep; got an optimizing sweeper. Leave hydra/sweeper out.")
    values: dict[str, list[str]] = {}
    for text in dict.fromkeys(text for run in command.runs for text in run):
        values.setdefault(_key(text), []).append(text.partition("=")[2])
    for key, found in values.items():
        if key.startswith("scheme.") or key.startswith("+scheme."):
            raise ValueError(f"mode=advise chooses the scheme and its numbers; got {key}={found[0]}. Leave it out.")
        if len(found) > 1 and key not in _CHOSEN:
            raise ValueError(f"mode=advise advises on one network; got {key}={','.join(found)}. Pass one value.")
    for key, example in (("scheme", "scheme=he,orthogonal"), ("seed", "seed='range(0,5)'")):
        if len(values.get(key, "..")) < 2:
            raise ValueError(
                f"mode=advise compares several {key}s; got {key}={values[key][0]} alone. "
                f"Pass several, as in {example}, or leave it out."
            )
    return values


def _key(override: str) -> str:
    return override.partition("=")[0]


def _shortlist(composer: Composer, kept: Sequence[str], named: Sequence[str] | None) -> Shortlist:
    """Return the schemes worth a trial; those ``named`` by the user regardless of theory."""
    choices = {choice.name: choice for choice in catalogue.choices("scheme", composer.folders)}
    if named is not None:
        found = [_candidate(composer, kept, choices.get(name) or catalogue.Choice(name, "")) for name in named]
        return Shortlist(tuple(found), {}, tuple(kept))
    candidates, left_out = [], dict[str, list[str]]()
    for name, choice in choices.items():
        if name != "custom":
            try:
                candidates.append(_candidate(composer, kept, choice, tune=name in _TUNED))
            except (ValueError, TypeError):
                left_out.setdefault("not for this network", []).append(name)
    suited: dict[tuple[object, ...], Candidate] = {}
    for candidate in sorted(candidates, key=lambda candidate: candidate.simplicity):
        expected = candidate.forecast
        law = (expected.family == "orthogonal", round(expected.sigma_w2, 2), round(expected.sigma_b2, 2))
        signal = expected.stability.label
        if signal == "unknown":
            reason = "no theory (they depend on data, or their weights have a mean)"
        elif not expected.stability.trainable:
            lost = signal if signal.startswith("gradient") else f"signal {signal}"
            reason = f"{lost} over {expected.depth} layers"
        elif law in suited:
            reason = f"same hidden layers in theory as {suited[law].label}"
        else:
            suited[law] = candidate
            continue
        left_out.setdefault(reason, []).append(candidate.name)
    best = sorted(suited.values(), key=lambda candidate: candidate.unevenness)
    for candidate in best[FEW:]:
        left_out.setdefault(f"less stable than the {FEW} that are tried", []).append(candidate.label)
    if len(best) < 2:  # something has to be held against it
        rest = sorted(candidates, key=lambda candidate: candidate.unevenness)
        best += [
            candidate for candidate in rest if candidate not in best and candidate.forecast.stability.label != "unknown"
        ][: 2 - len(best)]
        back = {candidate.name for candidate in best}
        left_out = {reason: [name for name in names if name not in back] for reason, names in left_out.items()}
    tried = sorted(best[:FEW], key=lambda candidate: candidate.simplicity)
    return Shortlist(tuple(tried), {reason: names for reason, names in left_out.items() if names}, tuple(kept))


def _candidate(composer: Composer, kept: Sequence[str], choice: catalogue.Choice, *, tune: bool = False) -> Candidate:
    """Return the scheme with its forecast; ``tune``: its number set to the critical point, or kept mean square."""

    def expected(*overrides: str) -> Forecast:
        (configuration,) = composer.configurations([[*kept, *overrides]])
        return forecast(*configuration)

    untuned = Candidate(choice, expected(f"scheme={choice.name}"))
    if not tune or untuned.forecast.activation is None:
        return untuned
    critical = untuned.forecast.critical
    sigma_w2 = critical.sigma_w2 if critical is not None else gain(untuned.forecast.activation) ** 2
    tuned = replace(untuned, value=f"{sigma_w2 ** _TUNED[choice.name][1]:.4g}")
    return untuned if tuned.value == "1" else replace(tuned, forecast=expected(*tuned.overrides))
