"""Text of the advice: theory, the trial, the chosen scheme and the lines that use it."""

from __future__ import annotations

import math
import shlex
import textwrap
from collections.abc import Sequence

from runner.config import catalogue
from runner.modes.advise.decision import Decision
from runner.modes.advise.shortlist import RATE, Candidate, Shortlist
from runner.report.sentences import METRICS, interval, score, steps_text, threshold_text, times_faster, verdict_lines
from runner.report.signals import signal_words
from runner.text import Column, bold, number, plain, setting, table

WIDTH = 100
_OTHERS = {  # reasons against those that do not lead, by verdict
    "worse": "are worse",
    "better": "are better only where they do not diverge",
    "diverged": "diverge more often",
    "": "diverged too often to tell",
}
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
    return {group: by_name[name] for group, name in decision.schemes.items()}


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
    metric = rows[0]["metric"]
    sign = -1 if metric == "test_loss" else 1
    columns = [
        Column("scheme", [candidate.label for candidate in chosen], left=True),
        Column("learning\nrate", [setting(decision.rates[candidate.name]) for candidate in chosen]),
        Column(f"validation\n{METRICS[metric]}", [score(sign * row["validation"], metric) for row in rows]),
        Column(
            f"test\n{METRICS[metric]}",
            [interval(row["test"], row["test_low"], row["test_high"], metric) for row in rows],
        ),
        Column(f"steps to\n{threshold_text(comparison)}", [steps_text(row) for row in rows]),
        Column("diverged", [f"{row['diverged']} of {row['seeds']}" for row in rows]),
        Column("rms\nlast/first\n(theory)", [number(math.sqrt(c.forecast.signal.total)) for c in chosen]),
        Column("gradient\nfirst/last\n(theory)", [number(math.sqrt(c.forecast.gradient.total)) for c in chosen]),
    ]
    return table(columns, broken=True)


def _rates_text(decision: Decision) -> str:
    rates, seeds = ", ".join(map(setting, decision.tried)), int(decision.comparison.groups["seeds"].max())
    chosen = f"each at its best learning rate of {rates} on validation data; " if len(decision.tried) > 1 else ""
    return f"{chosen}{seeds} seeds, the same for all"


def _why(shortlist: Shortlist, decision: Decision) -> str:
    """Return the reason for the choice in one or two sentences."""
    comparison, labels = decision.comparison, {k: c.label for k, c in _candidates(shortlist, decision).items()}
    groups, chosen = comparison.groups, labels[decision.chosen]
    metric = f"validation {METRICS[groups['metric'].iloc[0]]}"
    if len(groups) > 1 and not (groups["verdict"] != "").any():
        return f"its mean {metric} is the highest, but no two schemes have three seeds in common: {chosen} is a guess"
    if len(decision.leading) == 1:
        others = [_OTHERS[verdict] for verdict in groups["verdict"] if verdict in _OTHERS]
        return f"its {metric} is the best; the others {' or '.join(dict.fromkeys(others))}" if others else "it is alone"
    said = f"These seeds do not distinguish {', '.join(labels[group] for group in decision.leading)} in {metric}. "
    best = int(groups.index[groups["verdict"] == "best"][0])
    pairs = {pair["group"]: pair for pair in comparison.pairs.to_dict("records")}
    simplest = f"{'Of these, ' * (len(decision.fastest) > 1)}{chosen} is the simplest"
    if all(groups["never"][group] == groups["seeds"][group] for group in decision.leading):
        return f"{said}None reaches {threshold_text(comparison)}; {chosen} is the simplest"
    if best not in decision.fastest:
        faster = [f"{labels[group]} is {times_faster(pairs[group])} than {labels[best]}" for group in decision.fastest]
        return f"{said}{', '.join(faster)}{f'. {simplest}' if len(faster) > 1 else ''}"
    slower = [group for group in decision.leading if group not in decision.fastest]
    if slower:
        faster = [f"{times_faster(pairs[group])} than {labels[group]}" for group in slower]
        said += f"{labels[best]} is {', '.join(faster)}"
        if len(decision.fastest) == 1:
            return said
        said += ". "
    as_fast = ", ".join(labels[group] for group in decision.leading if group in decision.fastest)
    return f"{said}Nor do they distinguish {as_fast} in speed. {simplest}"


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
