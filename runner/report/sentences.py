"""Sentences on results: the answer of a sweep, and its evidence."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import pandas as pd

from runner.analysis.comparison import Comparison
from runner.analysis.intervals import FEWEST, p_more_often, smallest_shown
from runner.analysis.pairs import AHEAD, NOT_DISTINGUISHED, SIGNIFICANCE
from runner.scores import SCORES
from runner.text import label, number, plain

METRICS = {f"test_{name}": score.word for name, score in SCORES.items()}
HEADERS = {f"test_{name}": f"test {score.header}" for name, score in SCORES.items()}
WIDTH = 100
SINGLY = 5  # groups that get a sentence each
SHOWN = 40  # sentences
SETTINGS = 3  # contexts that the answer goes into one by one


def answer(comparison: Comparison) -> str:
    """Return the result of a sweep, a sentence for each setting; ``evidence`` supports it."""
    groups = comparison.groups.sort_values("place")
    if not groups["seeds"].sum():
        return "Every run failed."
    if comparison.untrained:
        return "These networks were not trained: they are shown as they begin."
    if len(groups) == 1:
        (row,) = groups.to_dict("records")
        counted = f"{row['seeds']} seeds" if row["seeds"] > 1 else "one seed"
        if row["diverged"] == row["seeds"]:
            return f"{row['label']} diverged in every run, of {counted}."
        few = ", too few for an interval" if row["seeds"] == FEWEST - 1 else ""
        return f"{row['label']} reaches {_reached(row)} over {counted}{few}."
    if groups["seeds"].max() < FEWEST:
        return f"No ranking: {_seeds(comparison)} each does not show chance. Add seed='range(0,5)'."
    ranked = [rows for _, rows in groups.groupby("context") if (rows["verdict"] != "").any()]
    if not ranked:
        return "No ranking: no two groups have three seeds in common."
    if len(ranked) <= SETTINGS:
        text = ". ".join(_top(comparison, rows) for rows in ranked)
        return f"{text}."
    firsts: dict[str, int] = {}
    for rows in ranked:
        for row in rows[rows["verdict"].isin(AHEAD)].to_dict("records"):
            name = _name(comparison, row)
            firsts[name] = firsts.get(name, 0) + 1
    order = sorted(firsts.items(), key=lambda item: -item[1])[:SINGLY]
    counts = ", ".join(f"{name} in {n} of {len(ranked)}" for name, n in order)
    return f"Best, or not distinguished from the best: {counts} settings."


def _seeds(comparison: Comparison) -> str:
    """Return how many seeds there are, where they are few: ``one seed``."""
    return "one seed" if comparison.groups["seeds"].max() <= 1 else "two seeds"


def _top(comparison: Comparison, groups: pd.DataFrame) -> str:
    """Return who is ahead in one context, whose groups are in the order of the places."""
    rows = groups.to_dict("records")
    (best,) = (row for row in rows if row["verdict"] == "best")
    top = [row for row in rows if row["verdict"] in ("best", NOT_DISTINGUISHED)]
    names = [_name(comparison, row) for row in top]
    setting = label(best, comparison.context)
    prefix = f"With {setting}, " if setting else ""
    if len(top) > 1:
        level = comparison.pairs["group"].isin(groups.index[groups["verdict"] == NOT_DISTINGUISHED])
        few = any(too_few(comparison, pair) for pair in comparison.pairs[level].to_dict("records"))
        by = " by so few seeds" if few else ""
        text = f"{prefix}{_listed(names)} are not distinguished{by}; {names[0]} has {_reached(top[0])}"
    elif (groups["verdict"].isin(["", "better"]) & (groups["seeds"] > 0)).any():
        text = f"{prefix}{names[0]} is first on validation data, with {_reached(best)}"
    else:
        text = f"{prefix}{names[0]} is best: {_reached(best)}"
    open_ones = comparison.pairs["group"].isin(groups.index[groups["verdict"].isin([NOT_DISTINGUISHED, ""])])
    for words, found in zip(("faster", "slower"), _speeds(comparison, comparison.pairs[open_ones]), strict=True):
        if found:
            verb = "is" if len(found) == 1 else "are"
            text += f"; {_listed(found)} {verb} {words} than {_name(comparison, best)}"
    for verdict, words in (("better", "better on test data"), ("worse", "worse"), ("diverged", "more often")):
        if others := [_name(comparison, row) for row in rows if row["verdict"] == verdict]:
            who = _listed(others) if len(others) <= SETTINGS else f"{len(others)} others"
            does = ("is", "diverges") if len(others) == 1 else ("are", "diverge")
            text += f"; {who} {does[verdict == 'diverged']} {words}"
    for lost, words in ((True, "diverged in every run"), (False, "finished too few seeds in common with it")):
        if others := [
            _name(comparison, row)
            for row in rows
            if not row["verdict"] and row["seeds"] and (row["diverged"] == row["seeds"]) == lost
        ]:
            text += f"; {_listed(others) if len(others) <= SETTINGS else f'{len(others)} others'} {words}"
    return text


def _speeds(comparison: Comparison, pairs: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Return the names of the groups of ``pairs`` that are faster, and slower, to the threshold than the best."""
    shown = pairs[pairs["speed_p"] < SIGNIFICANCE].to_dict("records")
    names = [(_name(comparison, comparison.groups.loc[pair["group"]].to_dict()), pair["ratio"]) for pair in shown]
    return [name for name, ratio in names if ratio < 1], [name for name, ratio in names if ratio > 1]


def _reached(row: Mapping[Any, Any]) -> str:
    """Return the number that counts for a group: ``test accuracy .959 [.950, .968]``."""
    return f"test {METRICS[row['metric']]} {interval(row['test'], row['test_low'], row['test_high'], row['metric'])}"


def _listed(names: Sequence[str]) -> str:
    if len(names) > SINGLY:
        names = [*names[: SINGLY - 1], f"{len(names) - SINGLY + 1} more"]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def verdict_lines(comparison: Comparison) -> list[str]:
    """Return ``evidence`` as lines of the terminal."""
    return [part for line in evidence(comparison) for part in textwrap.wrap(line, WIDTH, subsequent_indent="  ")]


def evidence(comparison: Comparison) -> list[str]:
    """Return what tells each group from the best of its context, a sentence each, context by context."""
    groups, pairs = comparison.groups, comparison.pairs.to_dict("records")
    if comparison.untrained:
        return []
    if groups["seeds"].max() < FEWEST:
        few = " are too few" if groups["seeds"].max() > 1 else ""
        return [f"no ranking: {_seeds(comparison)}{few}. Add seed='range(0,5)'."]
    ranked = [pair for pair in pairs if groups["verdict"][pair["group"]] or _differs(comparison, pair)]
    if pairs and not ranked:
        return ["no ranking: no two groups have three seeds in common. Sweep the same seeds in each."]
    ranked.sort(key=lambda pair: groups["place"][pair["group"]])
    lines = []
    for best, members in groupby(ranked, key=lambda pair: pair["best"]):
        group_pairs = list(members)
        prefix = f"{label(groups.loc[best].to_dict(), comparison.context)}: " if comparison.context else ""
        if len(group_pairs) > SINGLY:
            lines.append(prefix + _many(comparison, group_pairs))
        else:
            lines += [prefix + _sentence(comparison, pair, alone=len(group_pairs) == 1) for pair in group_pairs]
    if len(lines) > SHOWN:
        lines = [*lines[:SHOWN], f"... and {len(lines) - SHOWN} more"]
    if comparison.tests > 1:
        chosen = len(pairs) > groups["context"].nunique()  # of more than two groups
        how = " against the best on validation data, corrected by Holm and for its choice" if chosen else ""
        lines.append(f"({comparison.tests} tests{how or ', corrected by Holm'})")
    return lines


def _differs(comparison: Comparison, pair: Mapping[Any, Any]) -> bool:
    """Return whether a pair differs in speed, or either group has runs that diverged."""
    lost = comparison.groups.loc[[pair["best"], pair["group"]], "diverged"].any()
    return bool(pair["speed_p"] < SIGNIFICANCE or (lost and not math.isnan(pair["diverged_p"])))


def _sentence(comparison: Comparison, pair: Mapping[Any, Any], *, alone: bool) -> str:
    """Return how a group differs from the best of its context; ``alone``: there are no others."""
    best, other = (comparison.groups.loc[pair[name]].to_dict() for name in ("best", "group"))
    names = {"best": _name(comparison, best), "other": _name(comparison, other)}
    parts = []
    if not math.isnan(pair["p"]):
        parts.append(_score_part(comparison, pair, names, metric=best["metric"], alone=alone))
    speed, never = _speed_parts(comparison, pair, {"best": best, "other": other}, names)
    if speed:
        parts = [
            *(part if pair["pairs"] == pair["speed_pairs"] else f"{part}, {pair['pairs']} pairs" for part in parts)
        ]
        parts.append(f"{speed}, {pair['speed_pairs']} pairs")
    elif parts:
        parts[-1] += f", {pair['pairs']} pairs"
    parts += never
    if not math.isnan(pair["diverged_p"]):
        more, fewer = ("other", "best") if other["diverged"] * best["seeds"] > best["diverged"] * other["seeds"] else (
            "best", "other",
        )  # fmt: skip
        group, against = (other, best) if more == "other" else (best, other)
        counts = f"{group['diverged']} of {group['seeds']} runs, {names[fewer]} in {against['diverged'] or 'none'}"
        if pair["diverged_p"] < SIGNIFICANCE:
            parts.append(f"{names[more]} diverges more often: in {counts}")
        else:
            least = p_more_often(group["seeds"], group["seeds"], 0, against["seeds"]) * pair["choices"]
            told = "too few seeds to tell" if least * comparison.tests >= SIGNIFICANCE else NOT_DISTINGUISHED
            parts.append(f"{names[more]} diverged in {counts} ({told})")
    return "; ".join(parts)


def _score_part(
    comparison: Comparison, pair: Mapping[Any, Any], names: Mapping[str, str], *, metric: str, alone: bool
) -> str:
    """Return by how much one of two groups is better, and that it is not known where it isn't."""
    sign, low, high = pair["difference"], pair["low"], pair["high"]
    winner, loser = ("other", "best") if sign > 0 else ("best", "other")
    by = interval(abs(sign), *((low, high) if sign > 0 else (-high, -low)), metric)
    on = "validation " if comparison.part == "validation" else ""
    if pair["p"] < SIGNIFICANCE:
        what = "" if metric == "test_accuracy" and not on else f" in {on}{METRICS[metric]}"
        than = "" if alone else f" than {names[loser]}"
        return f"{names[winner]} better{than}{what} by {by}"
    told = ": too few seeds to tell" if too_few(comparison, pair) else f" {NOT_DISTINGUISHED}"
    # With one test and no choice nothing is corrected, and the interval leaves zero out where p is below .05.
    unsure = f" ({names[winner]} ahead by {by}, but not after correction)" if low * high > 0 else ""
    both = "" if alone else f"{names['best']} and {names['other']}: "
    return f"{both}{on}{METRICS[metric]}{told}{unsure}"


def _speed_parts(
    comparison: Comparison, pair: Mapping[Any, Any], groups: Mapping[str, Mapping[Any, Any]], names: Mapping[str, str]
) -> tuple[str, list[str]]:
    """Return how many times faster one of two groups is to the threshold, and of each how many runs never get there."""
    speed, at_least = "", ""
    if pair["speed_p"] < SIGNIFICANCE:
        fast, slow = ("best", "other") if pair["ratio"] > 1 else ("other", "best")
        arrives, never = not groups[fast]["never"], groups[slow]["never"]
        # Beyond the budget the slow could take any number of steps.
        times = times_faster(pair, open_ended=arrives and never == groups[slow]["seeds"])
        if "[" not in times:
            at_least = f"{names[fast]} {times}"
        elif not times.startswith("1.0x"):
            within = "" if arrives and not never else f" within {groups['best']['budget']:.0f} steps"
            speed = f"{names[fast]} {times}{within}"
    missing = []
    for role, against in (("best", "other"), ("other", "best")):
        never, seeds = groups[role]["never"], groups[role]["seeds"]
        alone = never == seeds and groups[against]["never"] < groups[against]["seeds"]
        if never and (speed or alone):
            count = "" if never == seeds else f" in {never} of {seeds} runs"
            missing.append(f"{names[role]} never reaches {threshold_text(comparison)}{count}")
    return speed or at_least, missing


def times_faster(pair: Mapping[Any, Any], *, open_ended: bool = False) -> str:
    """Return how many times faster one group of a pair is than the other: ``2.2x faster [1.7, 3.0]``.

    Where the data know no upper end, or it is ``open_ended``: ``at least 1.7x faster``.
    """
    ratio, low, high = pair["ratio"], pair["ratio_low"], pair["ratio_high"]
    if ratio < 1:
        ratio, low, high = 1 / ratio, 1 / high, 1 / low if low > 0 else math.inf
    least = number(low, 2)
    if open_ended or math.isinf(high):
        return "faster" if least == "1.0" else f"at least {least}x faster"
    return f"{number(ratio, 2)}x faster [{least}, {number(high, 2)}]"


def too_few(comparison: Comparison, pair: Mapping[Any, Any]) -> bool:
    """Return whether so many pairs can't show a difference of twice its std over seeds."""
    return smallest_shown(pair["pairs"], comparison.tests * pair["choices"]) > 2


def _many(comparison: Comparison, pairs: Sequence[Mapping[Any, Any]]) -> str:
    """Return one sentence on many groups against the best."""
    best = comparison.groups.loc[pairs[0]["best"]].to_dict()
    unclear = "too few seeds to tell"
    names: dict[str, list[str]] = {name: [] for name in ("better", NOT_DISTINGUISHED, unclear, "worse", "diverged", "")}
    for pair in pairs:
        other = comparison.groups.loc[pair["group"]].to_dict()
        few = other["verdict"] == NOT_DISTINGUISHED and too_few(comparison, pair)
        names[unclear if few else other["verdict"]].append(_name(comparison, other))
    named = {"diverged": "diverges more often", "": "too many runs diverged to tell"}
    words = [f"{named.get(verdict, verdict)}: {_first(found)}" for verdict, found in names.items() if found]
    faster, slower = _speeds(comparison, pd.DataFrame(pairs))
    words += [f"{word}: {_first(found)}" for word, found in (("faster", faster), ("slower", slower)) if found]
    on = "validation " if comparison.part == "validation" else ""
    return f"{on}{METRICS[best['metric']]} against {_name(comparison, best)}: {'; '.join(words)}"


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - SINGLY} more" if len(names) > SINGLY else ""
    return f"{', '.join(names[:SINGLY])}{more}"


def _name(comparison: Comparison, group: Mapping[Any, Any]) -> str:
    """Return the group's label without the settings of its context."""
    columns = [name for name in comparison.by if name not in comparison.context]
    return label(group, columns) if columns else str(group["label"])


def steps_text(row: Mapping[Any, Any]) -> str:
    """Return a group's median steps to the threshold, and how many runs never reach it if only some do."""
    never, seeds = row["never"], row["seeds"]
    middle = "never" if row["steps"] == math.inf else "–" if math.isnan(row["steps"]) else plain(f"{row['steps']:g}")
    if never in (0, seeds) or math.isnan(never):  # NaN: a group without runs here
        return middle
    return f"{middle} ({never} of {seeds})" if middle == "never" else f"{middle} (never {never} of {seeds})"


def threshold_text(comparison: Comparison) -> str:
    """Return the threshold that steps are counted to: ``loss .5``, of regressions ``.5 of the constant's loss``."""
    kinds = {name == "test_r2" for name in comparison.groups["metric"]}
    if comparison.threshold is None or len(kinds) > 1:
        return "its threshold"
    text = plain(f"{comparison.threshold:g}")
    return f"{text} of the constant's loss" if kinds == {True} else f"loss {text}"


def score(value: float, metric: str) -> str:
    """Return a value of a test number as people write it: .960."""
    return number(value) if metric == "test_loss" or math.isnan(value) else plain(f"{value:.3f}")


def interval(value: float, low: float, high: float, metric: str) -> str:
    """Return a value of a test number with its interval if it has one: .960 [.951, .969]."""
    bounds = "" if math.isnan(low) else f" [{score(low, metric)}, {score(high, metric)}]"
    return score(value, metric) + bounds
