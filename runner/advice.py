"""Advice: which scheme this network should have. Theory names the few that could suit, a short paired trial decides."""

from __future__ import annotations

import math
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from runner import catalogue
from runner.comparison import SIGNIFICANCE, STEPS, Comparison, compare
from runner.composition import Command, Composer
from runner.forecast import STABLE, Forecast, forecast
from runner.inference import holm, intervals, log, p_values
from runner.text import Column, number, plain, setting, table
from runner.verdicts import METRICS, interval, threshold_text, verdict_lines
from weightinit import gain

FEW = 4  # schemes that are tried
SEEDS = 5
RATES = (1 / 3, 1.0, 3.0)  # of the learning rate that is configured
WIDTH = 100
RATE = "optimizer.learning_rate"
_OWN = ("mode", "scheme", "seed", RATE)  # keys whose values this mode chooses
# Schemes with a number of their own that is set to what the activation needs.
_TUNED = {"variance_scaling": ("scheme.scale", 1.0), "orthogonal": ("scheme.gain", 0.5)}
_AS_WRITTEN = "1.0"  # that number, where their files say what does the same in other libraries


@dataclass(frozen=True)
class Candidate:
    """A scheme with what theory expects of it. ``value``: of its tuned number, empty where it has none."""

    choice: catalogue.Choice
    forecast: Forecast
    value: str = ""

    @property
    def name(self) -> str:
        """The name of its file."""
        return self.choice.name

    @property
    def label(self) -> str:
        """It, for people: ``he``, ``orthogonal gain 1.53``."""
        return f"{self.name} {_TUNED[self.name][0].partition('.')[2]} {self.value}" if self.value else self.name

    @property
    def overrides(self) -> tuple[str, ...]:
        """What chooses it on the command line."""
        return (f"scheme={self.name}", *([f"{_TUNED[self.name][0]}={self.value}"] if self.value else []))

    @property
    def unevenness(self) -> float:
        """How far signal and gradient stray from level through the network: 0 where they don't, infinite if unknown."""
        with np.errstate(divide="ignore"):
            strays = float(np.abs(np.log([self.forecast.reach, self.forecast.gradient])).sum())
        return math.inf if math.isnan(strays) else strays

    @property
    def simplicity(self) -> tuple[bool, int, int]:
        """Smaller is simpler: without a number to set, then in the order of a first reading, then by a short name."""
        kind = self.choice.facts.get("group", "")
        kinds = catalogue.KINDS
        return (bool(self.value), kinds.index(kind) if kind in kinds else len(kinds), len(self.name))


@dataclass(frozen=True)
class Shortlist:
    """The schemes to try, simplest first; why others are not, by reason; ``kept``: overrides that all runs share."""

    tried: tuple[Candidate, ...]
    left_out: Mapping[str, Sequence[str]]
    kept: tuple[str, ...]


def plan(composer: Composer, command: Command) -> tuple[Command, Shortlist]:
    """The command as an ordinary sweep of the schemes that theory names, of learning rates and of seeds.

    Values of ``scheme``, ``seed`` and the learning rate that the command lists are taken as they are. Raises ValueError
    for what can't be advised on.
    """
    given = _given(command)
    kept = tuple(text for text in command.runs[0] if _key(text) not in _OWN)
    (base,) = composer.trials([kept])  # raises what is wrong with the data and the network
    shortlist = _shortlist(composer, kept, given.get("scheme"))
    rates = given.get(RATE) or [f"{base.config['optimizer']['learning_rate'] * factor:.3g}" for factor in RATES]
    seeds = given.get("seed") or [str(seed) for seed in range(SEEDS)]
    runs = tuple(
        (*kept, *candidate.overrides, f"{RATE}={rate}", f"seed={seed}")
        for candidate in shortlist.tried
        for rate in rates
        for seed in seeds
    )
    return replace(command, runs=runs), shortlist


def _given(command: Command) -> dict[str, list[str]]:
    """The values that a command lists for the keys that this mode would choose; raises for others that it sweeps."""
    if not command.runs:
        raise ValueError("mode=advise makes its own sweep; got an optimizing sweeper. Leave hydra/sweeper out.")
    values: dict[str, list[str]] = {}
    for text in dict.fromkeys(text for run in command.runs for text in run):
        values.setdefault(_key(text), []).append(text.partition("=")[2])
    for key, found in values.items():
        if key.startswith("scheme.") or key.startswith("+scheme."):
            raise ValueError(f"mode=advise chooses the scheme and its numbers; got {key}={found[0]}. Leave it out.")
        if len(found) > 1 and key not in _OWN:
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
    """The schemes worth a trial; those ``named`` by the user, whatever theory says of them."""
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
        if expected.fate == "unknown":
            reason = "no theory of them (they depend on data, or their weights have a mean)"
        elif expected.fate != "stable":
            reason = f"{expected.fate} over {expected.depth} layers"
        elif law in suited:
            reason = f"as {suited[law].label} in the hidden layers, to theory"
        else:
            suited[law] = candidate
            continue
        left_out.setdefault(reason, []).append(candidate.name)
    best = sorted(suited.values(), key=lambda candidate: candidate.unevenness)
    for candidate in best[FEW:]:
        left_out.setdefault(f"less level than the {FEW} that are tried", []).append(candidate.label)
    if len(best) < 2:  # something has to be held against it
        rest = sorted(candidates, key=lambda candidate: candidate.unevenness)
        best += [one for one in rest if one not in best and one.forecast.fate != "unknown"][: 2 - len(best)]
        back = {candidate.name for candidate in best}
        left_out = {reason: [name for name in names if name not in back] for reason, names in left_out.items()}
    tried = sorted(best[:FEW], key=lambda candidate: candidate.simplicity)
    return Shortlist(tuple(tried), {reason: names for reason, names in left_out.items() if names}, tuple(kept))


def _candidate(composer: Composer, kept: Sequence[str], choice: catalogue.Choice, *, tune: bool = False) -> Candidate:
    """The scheme with its forecast; ``tune``: its number set to the critical point, or to hold the second moment."""

    def expected(*overrides: str) -> Forecast:
        (configuration,) = composer.configurations([[*kept, *overrides]])
        return forecast(*configuration)

    plain_one = Candidate(choice, expected(f"scheme={choice.name}"))
    if not tune or plain_one.forecast.activation is None:
        return plain_one
    critical = plain_one.forecast.critical
    sigma_w2 = critical.sigma_w2 if critical is not None else gain(plain_one.forecast.activation) ** 2
    tuned = replace(plain_one, value=f"{sigma_w2 ** _TUNED[choice.name][1]:.4g}")
    return plain_one if tuned.value == "1" else replace(tuned, forecast=expected(*tuned.overrides))


@dataclass(frozen=True, eq=False)
class Judgement:
    """What the trial showed: ``comparison`` of the schemes, each at its own best learning rate; ``rates``, these, by
    scheme; ``tried``: all learning rates; ``tied``: the schemes that accuracy can't tell from the best (indices into
    the comparison's groups); ``alike``: those of them that are as fast as the ``fastest``; ``chosen``: the simplest."""

    comparison: Comparison
    rates: Mapping[str, float]
    tried: Sequence[float]
    tied: Sequence[int]
    fastest: int
    alike: Sequence[int]
    chosen: int


def judge(shortlist: Shortlist, runs: pd.DataFrame, curves: pd.DataFrame) -> Judgement:
    """What the recorded runs of a plan say.

    Learning rates are chosen on validation data, where a diverged or failed run counts as worst. Of the schemes that
    test data can't tell from the best on validation data, the fastest to the threshold is chosen; of those that are not
    told from it either (paired over seeds, corrected by Holm), the simplest.
    """
    chosen = _own_best(runs)
    at_best = runs[runs[RATE] == runs["scheme"].map(chosen)]
    comparison = compare(at_best.drop(columns=RATE), curves)
    groups = comparison.groups
    names = comparison.runs.drop_duplicates("group").set_index("group")["scheme"]
    tied = groups.index[groups["verdict"].isin(["best", "tied", "better"])].tolist() or groups.index.tolist()
    steps = _steps(comparison)
    order = [candidate.name for candidate in shortlist.tried]
    ranked = sorted(tied, key=lambda group: (groups["steps"].fillna(math.inf)[group], order.index(names[group])))
    fastest = ranked[0]
    others = [group for group in ranked[1:] if math.isfinite(groups["steps"][group])]
    slower = log(steps.loc[others].to_numpy()) - log(steps.loc[fastest].to_numpy())
    p = holm(p_values(slower))
    alike = [fastest, *(group for group, value in zip(others, p, strict=True) if not value < SIGNIFICANCE)]
    if math.isinf(groups["steps"][fastest]):
        alike = ranked
    choice = min(alike, key=lambda group: order.index(names[group]))
    return Judgement(comparison, chosen, sorted(set(runs[RATE])), ranked, fastest, alike, choice)


def _own_best(runs: pd.DataFrame) -> dict[str, float]:
    """The learning rate at which each scheme did best on validation data; ties are broken by the validation loss."""
    metric = next((name for name in ("validation_accuracy", "validation_r2") if name in runs), None)
    finished = runs["fate"] == "finished"
    scored = pd.DataFrame({"scheme": runs["scheme"], "rate": runs[RATE]})
    scored["score"] = (
        runs[metric].where(finished, 0.0 if metric == "validation_accuracy" else -math.inf) if metric else 0
    )
    scored["loss"] = -runs["validation_loss"].where(finished, math.inf) if "validation_loss" in runs else -math.inf
    means = scored.groupby(["scheme", "rate"], sort=False).mean().reset_index()
    best = means.sort_values(["score", "loss"], ascending=False, kind="stable").drop_duplicates("scheme")
    return dict(zip(best["scheme"], best["rate"].astype(float), strict=True))


def _steps(comparison: Comparison) -> pd.DataFrame:
    """Steps to the threshold (groups, seeds), NaN where it was never reached."""
    runs, name = comparison.runs, f"{STEPS}{comparison.threshold:g}"
    values = runs[name] if name in runs else pd.Series(math.nan, runs.index)
    return runs.assign(steps=values.clip(lower=1)).pivot(index="group", columns="seed", values="steps")


def text(shortlist: Shortlist, judged: Judgement, *, look: Sequence[str] = (), color: bool = False) -> str:
    """The advice, and what it rests on; ``look``: lines on where to look further."""
    candidate = _candidates(shortlist, judged)[judged.chosen]
    names, shape = candidate.forecast.names, candidate.forecast.shape
    title = " · ".join(["advice", names["activation"], shape, names["data"]])
    rate = f"{judged.rates[candidate.name]:g}"
    tag = f"scheme {candidate.label}, learning rate {plain(rate)}"
    blocks = [
        [_bold(title, color)],
        [line for name, words in _theory(shortlist) for line in _filled(name, words)],
        [*_table(shortlist, judged), _rates_text(judged), *verdict_lines(judged.comparison)],
        [_bold(f"advice     {tag}", color), *_filled("why", _why(shortlist, judged)), *_caution(judged, candidate)],
        [*_filled("here", command(shortlist, judged)), *_elsewhere(candidate)],
        list(look),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def command(shortlist: Shortlist, judged: Judgement) -> str:
    """The command that runs what is advised over the seeds of the judged."""
    candidate = _candidates(shortlist, judged)[judged.chosen]
    rate = f"{RATE}={judged.rates[candidate.name]:g}"
    seeds = sorted(set(map(int, judged.comparison.runs["seed"])))
    together = seeds == list(range(seeds[0], seeds[-1] + 1))
    listed = f"range({seeds[0]},{seeds[-1] + 1})" if together else ",".join(map(str, seeds))
    words = [*candidate.overrides, rate, *shortlist.kept, f"seed={listed}"]
    return shlex.join(["python", "-m", "runner", *words, "-m"])


def _candidates(shortlist: Shortlist, judged: Judgement) -> dict[int, Candidate]:
    """The candidate of each of the comparison's groups."""
    by_name = {candidate.name: candidate for candidate in shortlist.tried}
    runs = judged.comparison.runs.drop_duplicates("group")
    return {group: by_name[name] for group, name in zip(runs["group"], runs["scheme"], strict=True)}


def _theory(shortlist: Shortlist) -> list[tuple[str, str]]:
    level = [one.label for one in shortlist.tried if one.forecast.fate == "stable"]
    depth = shortlist.tried[0].forecast.depth
    said = f"signal and gradient stay within a factor of {STABLE:g} over {depth} layers with {', '.join(level)}"
    lines = [("theory", said if level else f"expects no scheme to keep signal and gradient level over {depth} layers")]
    if uneven := [f"{one.label} ({one.forecast.fate})" for one in shortlist.tried if one.label not in level]:
        lines.append(("beside", f"tried all the same: {', '.join(uneven)}"))
    for why, names in shortlist.left_out.items():
        lines.append(("" if lines[-1][0] in ("", "left out") else "left out", f"{why}: {', '.join(names)}"))
    return lines


def _table(shortlist: Shortlist, judged: Judgement) -> list[str]:
    comparison, candidates = judged.comparison, _candidates(shortlist, judged)
    rows = comparison.groups.sort_values("place").reset_index().to_dict("records")
    own = [candidates[row["index"]] for row in rows]
    metric = METRICS[rows[0]["metric"]]
    columns = [
        Column("scheme", [one.label for one in own], left=True),
        Column("learning\nrate", [setting(judged.rates[one.name]) for one in own]),
        Column(
            f"test {metric}", [interval(row["test"], row["test_low"], row["test_high"], row["metric"]) for row in rows]
        ),
        Column(f"steps to\n{threshold_text(comparison)}", [_count(row["steps"]) for row in rows]),
        Column("diverged", [f"{row['diverged']} of {row['seeds']}" for row in rows]),
        Column("rms\nlast/first\n(theory)", [number(one.forecast.reach) for one in own]),
        Column("gradient\nfirst/last\n(theory)", [number(one.forecast.gradient) for one in own]),
    ]
    return table(columns, broken=True)


def _count(steps: float) -> str:
    return "never" if math.isinf(steps) else "–" if math.isnan(steps) else plain(f"{steps:g}")


def _rates_text(judged: Judgement) -> str:
    rates, seeds = ", ".join(map(setting, judged.tried)), int(judged.comparison.groups["seeds"].max())
    own = f"of learning rates {rates} each at its best on validation data; " if len(judged.tried) > 1 else ""
    return f"{own}{seeds} seeds, the same for all"


def _why(shortlist: Shortlist, judged: Judgement) -> str:
    """The reason for the choice in one or two sentences."""
    groups, labels = judged.comparison.groups, {k: c.label for k, c in _candidates(shortlist, judged).items()}
    chosen, best = labels[judged.chosen], METRICS[groups["metric"].iloc[0]]
    if len(groups) > 1 and not (groups["verdict"] != "").any():
        return f"no two schemes finished two seeds in common, so that nothing is told apart; {chosen} is a guess"
    if len(judged.tied) == 1:
        return f"its {best} is better than that of each of the others"
    tied = ", ".join(labels[group] for group in judged.tied)
    said = f"the {best} of {tied} is tied: these seeds can't tell them apart. "
    if math.isinf(groups["steps"][judged.fastest]):
        return f"{said}None reaches {threshold_text(judged.comparison)}; {chosen} is the simplest"
    if len(judged.alike) == 1:
        steps = _steps(judged.comparison)
        others = [group for group in judged.tied if group != judged.chosen and math.isfinite(groups["steps"][group])]
        ratio = log(steps.loc[others].to_numpy()) - log(steps.loc[judged.chosen].to_numpy())
        centre, low, high = np.exp(intervals(ratio))
        times = [
            f"{number(centre[row], 2)}x [{number(low[row], 2)}, {number(high[row], 2)}] faster than {labels[group]}"
            for row, group in enumerate(others)
        ]
        return (
            f"{said}{chosen} is the fastest to {threshold_text(judged.comparison)}: {', '.join(times) or 'alone there'}"
        )
    alike = ", ".join(labels[group] for group in judged.alike)
    return f"{said}Nor are {alike} told apart in speed. Of these, {chosen} is the simplest"


def _caution(judged: Judgement, candidate: Candidate) -> list[str]:
    """A line where the best learning rate may lie beyond those that were tried."""
    rate, rates = judged.rates[candidate.name], judged.tried
    if len(rates) < 2 or rate not in (rates[0], rates[-1]):
        return []
    way = 3.0 if rate == rates[-1] else 1 / 3
    further = ",".join(f"{value:.3g}" for value in sorted((rate / way, rate, rate * way)))
    end = "largest" if way > 1 else "smallest"
    return _filled("but", f"{plain(f'{rate:g}')} is the {end} learning rate tried: look further with {RATE}={further}")


def _elsewhere(candidate: Candidate) -> list[str]:
    """The lines that do the same in other libraries, for each layer."""
    facts = candidate.choice.facts
    lines = [
        f"{name:<11}{facts[name].replace(_AS_WRITTEN, candidate.value) if candidate.value else facts[name]}"
        for name in catalogue.LIBRARIES if name in facts
    ]  # fmt: skip
    if facts.get("group") != "library default" and "pytorch" in facts:
        lines.append("           biases zero, as in Keras and Flax; in PyTorch: torch.nn.init.zeros_(layer.bias)")
    return lines


def _filled(name: str, words: str) -> list[str]:
    return textwrap.wrap(
        f"{name:<11}{words}", WIDTH, subsequent_indent=" " * 11, break_on_hyphens=False, break_long_words=False
    )


def _bold(words: str, color: bool) -> str:
    return f"\033[1m{words}\033[0m" if color else words
