"""Error rates of comparisons: made-up sweeps, through the lab's own tests and intervals.

``python -m tests.error_rates`` writes the tables of docs/comparing.md; it takes some minutes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd

from runner.analysis.intervals import holm, intervals, resolution
from runner.analysis.pairs import TESTS, against_best
from weightinit.arrays import Array

BUDGET = 420.0
SCHEMES, SEEDS = (2, 4, 8), (5, 10, 20)


@dataclass(frozen=True)
class Setting:
    """A kind of sweep. Each seed gives all schemes a share of its own, since they are compared over common seeds.

    ``samples`` in the test set, of which a network gets ``accuracy`` right; scatter of that between networks (``own``)
    and between seeds (``shared``); without samples, a score that is normal. ``known``: correlation of the score on
    validation data, which chooses the best, with the network's own share of the score on test data; the number of steps
    knows of it too. ``steps``: median to the threshold, ``spread`` of their logarithm between networks. ``lost``: the
    share of runs that diverge, more of some seeds than of others. ``better`` and ``slower``: all schemes but the last
    against it, by a difference of scores and by a factor of the median steps.
    """

    samples: int = 270
    accuracy: float = 0.95
    own: float = 0.005
    shared: float = 0.005
    known: float = 0.7
    steps: float = 150.0
    spread: float = 0.3
    lost: float = 0.0
    better: float = 0.0
    slower: float = 1.0


IDENTICAL: Mapping[str, Setting] = {
    "accuracy .95 of 270 samples": Setting(),
    "accuracy .999 of 270 samples": Setting(accuracy=0.999, own=0.0003, shared=0.0),
    "normal score, which validation data know": Setting(samples=0, known=1.0),
    "half of the runs arrive": Setting(steps=BUDGET),
    "half arrive, their steps spread widely": Setting(steps=BUDGET, spread=0.8),
    "one run in ten diverges": Setting(lost=0.1),
    "four runs in ten diverge": Setting(lost=0.4),
}
DIFFERENT: Mapping[str, Setting] = {
    "identical schemes": Setting(),
    "accuracy .999 of 270 samples": IDENTICAL["accuracy .999 of 270 samples"],
    "normal score, which validation data know": IDENTICAL["normal score, which validation data know"],
    "a tenth better, twice as slow": Setting(samples=0, better=0.1, slower=2.0),
    "twice as slow, half arrive": Setting(steps=BUDGET / 2, slower=2.0),
    "twice as slow, widely spread": Setting(steps=200.0, slower=2.0, spread=0.6),
    "twice as slow, three in ten diverge": Setting(slower=2.0, lost=0.3),
    "five times as slow, very widely spread": Setting(steps=60.0, slower=5.0, spread=0.8),
    "twice as slow, spread by a factor e": Setting(steps=100.0, slower=2.0, spread=1.0),
}


Sweeps: TypeAlias = tuple[pd.DataFrame, Array, Array, Array]


def sweeps(setting: Setting, schemes: int, seeds: int, count: int, rng: np.random.Generator) -> Sweeps:
    """Return what ``against_best`` takes, of so many sweeps: each is a context of the table."""
    shape = (count, schemes, seeds)
    seed, own, other = rng.normal(size=(count, 1, seeds)), rng.normal(size=shape), rng.normal(size=shape)
    better = setting.better * (np.arange(schemes) < schemes - 1)[:, None]
    right = setting.accuracy + setting.own * own + setting.shared * seed + better
    score = rng.binomial(setting.samples, right.clip(0, 1)) / setting.samples if setting.samples else right
    knows = setting.known * own + math.sqrt(1 - setting.known**2) * other
    slower = np.where(np.arange(schemes) < schemes - 1, setting.slower, 1.0)[:, None]
    noise = (rng.normal(size=shape) - knows) / math.sqrt(2)
    steps = np.ceil(slower * setting.steps * np.exp(setting.spread * (0.7 * seed + noise))).clip(1, BUDGET)
    lost = rng.random(shape) < 2 * setting.lost * rng.random((count, 1, seeds))
    validation = np.where(lost, 0.0, setting.accuracy + setting.own * knows + setting.shared * seed + better)
    groups = pd.DataFrame({
        "context": np.arange(count).repeat(schemes), "validation": validation.mean(axis=2).ravel(), "seeds": seeds,
        "diverged": lost.sum(axis=2).ravel(), "budget": BUDGET,
    })  # fmt: skip
    score, steps = (np.where(lost, math.nan, values) for values in (score, steps))
    finest = [resolution(sweep) if setting.samples else 0.0 for sweep in score]
    return groups, score.reshape(-1, seeds), np.repeat(finest, schemes), steps.reshape(-1, seeds)


def told_apart(setting: Setting, schemes: int, seeds: int, count: int, rng: np.random.Generator) -> float:
    """Return the share of sweeps with any sentence that tells two schemes apart."""
    p = against_best(*sweeps(setting, schemes, seeds, count, rng))[TESTS].to_numpy().reshape(count, -1)
    return float(np.mean([(holm(sweep) < 0.05).any() for sweep in p]))


def coverage(setting: Setting, schemes: int, seeds: int, count: int, rng: np.random.Generator) -> tuple[float, ...]:
    """Return the share of intervals that hold the true score, the true difference, the true ratio of mean steps.

    A bound of a ratio counts as an interval without end. Then the share of ratios that have both ends, and of these the
    share that hold the true one.
    """
    groups, score, finest, steps = sweeps(setting, schemes, seeds, count, rng)
    _, truth, _, mean_steps = sweeps(replace(setting, samples=0), schemes, 200, 2_000, rng)
    if setting.accuracy > 0.99:  # clipped at one
        truth = truth.clip(0, 1)
    scheme = np.arange(len(groups)) % schemes
    true_score = np.array([np.nanmean(truth[place::schemes]) for place in range(schemes)])
    true_steps = np.array([np.nanmean(mean_steps[place::schemes]) for place in range(schemes)])
    _, low, high = intervals(score, resolution=finest)
    pairs = against_best(groups, score, finest, steps)
    group, best = scheme[pairs["group"]], scheme[pairs["best"]]
    difference, ratio = true_score[group] - true_score[best], true_steps[group] / true_steps[best]
    low_ratio, high_ratio = pairs["ratio_low"].to_numpy(), pairs["ratio_high"].to_numpy()
    ends = (low_ratio > 0) & np.isfinite(high_ratio)
    printed: list[tuple[Array, Array, Array]] = [
        (low, high, true_score[scheme]),
        (pairs["low"].to_numpy(), pairs["high"].to_numpy(), difference),
        (low_ratio, high_ratio, ratio),
        (np.where(ends, low_ratio, math.nan), high_ratio, ratio),
    ]
    *held, of_these = (
        float(((low <= true) & (true <= high))[np.isfinite(low)].mean()) if np.isfinite(low).any() else math.nan
        for low, high, true in printed
    )
    return *held, float(ends.mean()), of_these


def power(size: float, schemes: int, seeds: int, count: int, rng: np.random.Generator) -> float:
    """Return the share of differences from a better scheme, of ``size`` std over pairs of seeds, that are found."""
    setting = Setting(samples=0, own=0.01, better=-size * 0.01 * math.sqrt(2))
    pairs = against_best(*sweeps(setting, schemes, seeds, count, rng))
    p = np.array([holm(sweep) for sweep in pairs[TESTS].to_numpy().reshape(count, -1)]).reshape(len(pairs), -1)[:, 0]
    better = pairs["best"].to_numpy() % schemes == schemes - 1
    return float(((p < 0.05) & better).mean())


def tables(*, groups: int, rng: np.random.Generator) -> str:
    """Return the tables of docs/comparing.md; ``groups``: in the sweeps for each number, together."""
    head = [f"{schemes} schemes" for schemes in SCHEMES]
    lines = _head("sweeps of identical schemes", head)
    for name, setting in IDENTICAL.items():
        cells = [[f"{100 * told_apart(setting, k, n, groups // k, rng):.1f}" for n in SEEDS] for k in SCHEMES]
        lines.append(f"| {name} | {' | '.join(map(', '.join, cells))} |")
    lines += ["", *_head("intervals", ["score", "difference", "ratio of steps", "both ends", "of these"])]
    for name, setting in DIFFERENT.items():
        shares = [coverage(setting, 4, n, groups // 4, rng) for n in SEEDS]
        cells = [["–" if math.isnan(v) else f"{100 * v:.0f}" for v in kind] for kind in zip(*shares, strict=True)]
        lines.append(f"| {name} | {' | '.join(map(', '.join, cells))} |")
    lines += ["", *_head("a real difference, in std over pairs", head)]
    for size in (1.0, 1.5, 2.0):
        cells = [[f"{100 * power(size, k, n, groups // k, rng):.0f}" for n in SEEDS] for k in SCHEMES]
        lines.append(f"| {size:g} | {' | '.join(map(', '.join, cells))} |")
    return "\n".join(lines)


def _head(first: str, others: Sequence[str]) -> list[str]:
    return [f"| {first} | {' | '.join(others)} |", f"|---{'|--:' * len(others)}|"]


def main() -> None:
    """Rewrite the tables of docs/comparing.md."""
    page = Path(__file__).parent.parent / "docs" / "comparing.md"
    before, start, rest = page.read_text(encoding="utf-8").partition("<!-- python -m tests.error_rates -->\n")
    _, end, after = rest.partition("<!-- end -->")
    page.write_text(
        f"{before}{start}\n{tables(groups=40_000, rng=np.random.default_rng(0))}\n\n{end}{after}", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
