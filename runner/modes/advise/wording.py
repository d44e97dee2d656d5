"""Text of the advice: theory, the trial, the chosen scheme and the lines that use it."""

from __future__ import annotations

import math
import shlex
import textwrap
from collections.abc import Sequence

import numpy as np

from runner.analysis.intervals import intervals, log
from runner.config import catalogue
from runner.modes.advise.decision import Decision, steps_by_seed
from runner.modes.advise.shortlist import RATE, Candidate, Shortlist
from runner.report.sentences import METRICS, interval, threshold_text, verdict_lines
from runner.report.signals import signal_words
from runner.text import Column, bold, number, plain, setting, table

WIDTH = 100
_AS_WRITTEN = "1.0"  # a tuned number, where the files of the schemes say what does the same in other libraries


def text(shortlist: Shortlist, decision: Decision, *, look: Sequence[str] = (), color: bool = False) -> str:
    """Return the advice and its evidence; ``look``: lines on where to look further."""
    candidate = _candidates(shortlist, decision)[decision.chosen]
    names, shape = candidate.forecast.names, candidate.forecast.shape
    title = " · ".join(["advice", names["activation"], shape, names["data"]])
    rate = f"{decision.rates[candidate.name]:g}"
    tag = f"scheme {candidate.label}, learning rate {plain(rate)}"
    blocks = [
        [bold(title, color)],
        [line for name, words in _theory(shortlist) for line in _filled(name, words)],
        [*_table(shortlist, decision), _rates_text(decision), *verdict_lines(decision.comparison)],
        [bold(f"advice     {tag}", color), *_filled("why", _why(shortlist, decision)), *_caution(decision, candidate)],
        [f"this lab   {command(shortlist, decision)}", *_elsewhere(candidate)],
        list(look),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def command(shortlist: Shortlist, decision: Decision) -> str:
    """Return the command that runs the advised scheme over the seeds of the trial."""
    candidate = _candidates(shortlist, decision)[decision.chosen]
    rate = f"{RATE}={decision.rates[candidate.name]:g}"
    seeds = sorted(set(map(int, decision.comparison.runs["seed"])))
    together = seeds == list(range(seeds[0], seeds[-1] + 1))
    listed = f"range({seeds[0]},{seeds[-1] + 1})" if together else ",".join(map(str, seeds))
    words = [*candidate.overrides, rate, *shortlist.kept, f"seed={listed}"]
    return shlex.join(["python", "-m", "runner", *words, "-m"])


def _candidates(shortlist: Shortlist, decision: Decision) -> dict[int, Candidate]:
    """Return the candidate of each of the comparison's groups."""
    by_name = {candidate.name: candidate for candidate in shortlist.tried}
    runs = decision.comparison.runs.drop_duplicates("group")
    return {group: by_name[name] for group, name in zip(runs["group"], runs["scheme"], strict=True)}


def _theory(shortlist: Shortlist) -> list[tuple[str, str]]:
    depth = shortlist.tried[0].forecast.depth
    stable = [candidate.label for candidate in shortlist.tried if candidate.forecast.stability.label == "stable"]
    words = f"over {depth} layers signal and gradient are stable with {', '.join(stable)}"
    lines = [("theory", words if stable else f"no scheme keeps signal and gradient stable over {depth} layers")]
    others = [
        f"{candidate.label} ({signal_words(candidate.forecast.stability)})"
        for candidate in shortlist.tried
        if candidate.label not in stable
    ]
    if others:
        lines.append(("also", f"not stable, yet tried: {', '.join(others)}"))
    for why, names in shortlist.left_out.items():
        lines.append(("" if lines[-1][0] in ("", "left out") else "left out", f"{why}: {', '.join(names)}"))
    return lines


def _table(shortlist: Shortlist, decision: Decision) -> list[str]:
    comparison, candidates = decision.comparison, _candidates(shortlist, decision)
    rows = comparison.groups.sort_values("place").reset_index().to_dict("records")
    chosen = [candidates[row["index"]] for row in rows]
    metric = METRICS[rows[0]["metric"]]
    columns = [
        Column("scheme", [candidate.label for candidate in chosen], left=True),
        Column("learning\nrate", [setting(decision.rates[candidate.name]) for candidate in chosen]),
        Column(
            f"test {metric}", [interval(row["test"], row["test_low"], row["test_high"], row["metric"]) for row in rows]
        ),
        Column(f"steps to\n{threshold_text(comparison)}", [_count(row["steps"]) for row in rows]),
        Column("diverged", [f"{row['diverged']} of {row['seeds']}" for row in rows]),
        Column("rms\nlast/first\n(theory)", [number(math.sqrt(c.forecast.signal.total)) for c in chosen]),
        Column("gradient\nfirst/last\n(theory)", [number(math.sqrt(c.forecast.gradient.total)) for c in chosen]),
    ]
    return table(columns, broken=True)


def _count(steps: float) -> str:
    return "never" if math.isinf(steps) else "–" if math.isnan(steps) else plain(f"{steps:g}")


def _rates_text(decision: Decision) -> str:
    rates, seeds = ", ".join(map(setting, decision.tried)), int(decision.comparison.groups["seeds"].max())
    chosen = f"each at its best learning rate of {rates} on validation data; " if len(decision.tried) > 1 else ""
    return f"{chosen}{seeds} seeds, the same for all"


def _why(shortlist: Shortlist, decision: Decision) -> str:
    """Return the reason for the choice in one or two sentences."""
    groups, labels = decision.comparison.groups, {k: c.label for k, c in _candidates(shortlist, decision).items()}
    chosen, best = labels[decision.chosen], METRICS[groups["metric"].iloc[0]]
    if len(groups) > 1 and not (groups["verdict"] != "").any():
        return f"no two schemes finished two seeds in common, so none is distinguished; {chosen} is a guess"
    if len(decision.leading) == 1:
        return f"its {best} is better than that of each of the others"
    leading = ", ".join(labels[group] for group in decision.leading)
    said = f"These seeds do not distinguish {leading} in {best}. "
    if math.isinf(groups["steps"][decision.fastest]):
        return f"{said}None reaches {threshold_text(decision.comparison)}; {chosen} is the simplest"
    if len(decision.as_fast) == 1:
        steps = steps_by_seed(decision.comparison)
        others = [group for group in decision.leading if math.isfinite(groups["steps"][group])]
        others.remove(decision.chosen)
        ratio = log(steps.loc[others].to_numpy()) - log(steps.loc[decision.chosen].to_numpy())
        centre, low, high = np.exp(intervals(ratio))
        times = [
            f"{number(centre[row], 2)}x [{number(low[row], 2)}, {number(high[row], 2)}] faster than {labels[group]}"
            for row, group in enumerate(others)
        ]
        faster = ", ".join(times) or "no other reaches it"
        return f"{said}{chosen} is the fastest to {threshold_text(decision.comparison)}: {faster}"
    as_fast = ", ".join(labels[group] for group in decision.as_fast)
    return f"{said}Nor do they distinguish {as_fast} in speed. Of these, {chosen} is the simplest"


def _caution(decision: Decision, candidate: Candidate) -> list[str]:
    """Return a warning where the best learning rate may lie beyond those that were tried."""
    rate, rates = decision.rates[candidate.name], decision.tried
    if len(rates) < 2 or rate not in (rates[0], rates[-1]):
        return []
    way = 3.0 if rate == rates[-1] else 1 / 3
    further = ",".join(f"{value:.3g}" for value in sorted((rate / way, rate, rate * way)))
    end = "largest" if way > 1 else "smallest"
    return _filled("but", f"{plain(f'{rate:g}')} is the {end} learning rate tried: look further with {RATE}={further}")


def _elsewhere(candidate: Candidate) -> list[str]:
    """Return the lines that do the same in other libraries, for each layer."""
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
