"""Advice as a person reads it: what theory says, what the trial showed, what to take and how."""

from __future__ import annotations

import math
import shlex
import textwrap
from collections.abc import Sequence

import numpy as np

from runner.analysis.intervals import intervals, log
from runner.config import catalogue
from runner.modes.advise.decision import Judgement, steps_by_seed
from runner.modes.advise.shortlist import RATE, Candidate, Shortlist
from runner.report.sentences import METRICS, interval, threshold_text, verdict_lines
from runner.text import Column, number, plain, setting, table
from weightinit.forecasting import STABLE

WIDTH = 100
_AS_WRITTEN = "1.0"  # a tuned number, where the files of the schemes say what does the same in other libraries


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
        [f"this lab   {command(shortlist, judged)}", *_elsewhere(candidate)],
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
        Column("rms\nlast/first\n(theory)", [number(math.sqrt(one.forecast.signal.whole)) for one in own]),
        Column("gradient\nfirst/last\n(theory)", [number(math.sqrt(one.forecast.gradient.whole)) for one in own]),
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
        steps = steps_by_seed(judged.comparison)
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
