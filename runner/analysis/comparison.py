"""Recorded runs as tidy tables, and groups of runs compared over common seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from runner.analysis.audits import audited_std
from runner.analysis.intervals import intervals, log, mean, resolution
from runner.analysis.pairs import TESTS, against_best, corrected, places, verdicts
from runner.analysis.signal import initial_state, measured_signal, predicted_signal
from runner.records import LABELS
from runner.scores import SCORES, deciding
from runner.text import label
from weightinit.arrays import Array

REPLICATES = ("seed", "training.seed")
# Groups of settings that make a network and its data: schemes and training compete within one of each.
NETWORK = ("data", "architecture", "activation")
WITHOUT_EFFECT = ("tracking", "mode", "report", "experiment", "outputs", "resume")
# Test numbers that can decide, with their least and largest value.
RANGES = {f"test_{name}": (score.least, score.most) for name, score in SCORES.items()}
STEPS = "steps_to_loss_"


@dataclass(frozen=True, eq=False)
class Comparison:
    """Groups of runs that differ in what was swept, with seeds as replicates.

    ``by``: the swept columns; ``context``: those of them within which groups compete (other data, another network);
    ``threshold``: the training loss that steps are counted to, None where runs have several or none;
    ``part``: the data whose scores are compared, test or validation.

    ``runs``: the runs compared, each with its ``group`` (index into ``groups``) and the signal of its initial state.
    ``groups``: one row a group, its values of ``by`` and ``label context seeds`` (runs that did not fail) ``diverged
    failed``; ``diverged_from diverged_to``, the first and last step at which runs diverged; ``metric`` (the test number
    that counts here) and of it ``test test_low test_high median``; ``validation`` (its mean on validation data, more is
    better, a diverged run has the worst there is); ``steps`` to the threshold (median, infinite where half the runs
    never reach it), ``never`` (how many don't) and ``budget``, the steps that every group of the context had;
    ``layer``, the last hidden one, with ``rms`` and ``rms_predicted`` there, ``gradient`` (std at the first layer),
    ``growth growth_predicted`` (factor of the mean square from one layer to the next), ``kept`` (share of the mean
    square that the activation lets pass), all geometric means; ``signal`` and ``signal_factor``, label and factor of
    the measured ``weightinit.meanfield.Stability``, ``predicted_signal`` and ``predicted_signal_factor`` of theory's;
    ``dead``, runs whose last layer is zero; ``equal_units``, whether all runs have but one distinct unit; ``verdict``
    (best, not distinguished, worse, better or diverged, empty without ranking) and ``place`` (order from 0: contexts as
    they came, groups that are not distinguished by their steps); and the mean of each summary number by its name.
    ``pairs``: each group against the ``best`` of its context (indices into ``groups``) over common seeds: ``pairs
    difference low high p`` (positive is better than the best); ``speed_pairs ratio ratio_low ratio_high speed_p``, of
    mean steps to the threshold over the best's, restricted to the budget: a run that is not there by then counts as the
    budget, one that diverged does not count; ``diverged_p`` of how often runs diverge. All p are corrected together,
    and for the choice of the best by the factor ``choices``.
    """

    by: tuple[str, ...]
    context: tuple[str, ...]
    threshold: float | None
    part: str
    runs: pd.DataFrame
    groups: pd.DataFrame
    pairs: pd.DataFrame

    @property
    def tests(self) -> int:
        """Number of p-values that were corrected together."""
        return int(self.pairs[TESTS].notna().to_numpy().sum())

    @property
    def ranked_runs(self) -> pd.DataFrame:
        """The runs that did not fail, in the order of their groups' places."""
        runs = self.runs[self.runs["fate"] != "failed"]
        return runs.loc[runs["group"].map(self.groups["place"]).sort_values(kind="stable").index]

    @property
    def untrained(self) -> bool:
        """Whether no run was to take a step, so that scores say nothing."""
        return bool((self.groups["budget"] == 0).all())


def swept(runs: pd.DataFrame) -> list[str]:
    """Columns that describe the trials and vary, without seeds and without what merely follows from a varying choice.

    The keys of a group follow from its choice, and the training from the data, unless they vary within one choice.
    """
    described, _ = _columns(runs)
    codes = {name: pd.factorize(runs[name], use_na_sentinel=False)[0] for name in described}
    varying = [name for name, code in codes.items() if len(code) and code.max() > 0]

    def follows(name: str, choice: str) -> bool:
        if choice == name or choice not in varying:
            return False
        pairs = set(zip(codes[choice].tolist(), codes[name].tolist(), strict=True))
        return len(pairs) == len(set(codes[choice].tolist()))

    def counts(name: str) -> bool:
        group = name.partition(".")[0]
        choices = (group, "data") if group == "training" else (group,)
        ignored = name in REPLICATES or group in WITHOUT_EFFECT
        return not ignored and not any(follows(name, choice) for choice in choices)

    return [name for name in varying if counts(name)]


def compare(
    runs: pd.DataFrame, curves: pd.DataFrame, *, by: Sequence[str] | None = None, part: str = "test"
) -> Comparison:
    """Return the groups of a sweep and how they differ; ``by``: the columns that define them, by default those swept.

    Differences are paired over common seeds; the p-values of all are corrected together. The group that the others of
    its context are held against is the best on validation data, where a diverged run counts as worst; ``part``: the
    data whose scores tell them apart, test or validation. With fewer than three common seeds there is no ranking, and
    networks that were not trained have no score. A run recorded twice counts once. Raises ValueError if there is no
    run.
    """
    if runs.empty:
        raise ValueError("a comparison needs at least one run; got none. Check that the sweep recorded any.")
    runs = runs.drop_duplicates("key", keep="last").reset_index(drop=True)
    by = swept(runs) if by is None else list(by)
    context = [name for name in by if name.partition(".")[0] in NETWORK]
    if len(context) == len(by):
        context = [name for name in by if name.partition(".")[0] == "data"]
    _, summary = _columns(runs)
    reached, threshold = _steps(runs)
    runs = runs.join(initial_state(curves), on="key").join(audited_std(runs, curves), on="key")
    runs["group"] = _numbered(runs, by)
    replicate = _numbered(runs, [name for name in REPLICATES if name in runs])
    first = runs.drop_duplicates("group").reset_index(drop=True)
    finished, diverged, failed = (runs["fate"] == fate for fate in ("finished", "diverged", "failed"))

    def matrix(values: pd.Series) -> Array:
        """(groups, replicates), NaN where there is no number."""
        table = np.full((len(first), replicate.max() + 1), math.nan)
        table[runs["group"], replicate] = values.to_numpy(np.float64)
        return table

    groups = first[by].copy()
    columns = by or ["scheme" if "scheme" in first else "name"]
    groups["label"] = [label(row, columns) for row in first.to_dict("records")]
    groups["context"] = _numbered(first, context)
    for name, mask in (("seeds", ~failed), ("diverged", diverged), ("failed", failed)):
        groups[name] = np.bincount(runs.loc[mask, "group"], minlength=len(first))
    taken = runs["key"].map(_last_steps(curves))
    trained = finished & (taken > 0)
    groups["budget"] = _budgets(groups["context"], runs["group"], taken.where(finished))
    scores = {name: matrix(runs[name].where(trained)) for name in summary}
    lost = matrix(diverged) == 1
    asked = first["report.score"].to_numpy() if "report.score" in first else np.full(len(first), None)
    metric, test, validation = _metrics(groups["context"].to_numpy(), scores, lost.shape, asked)
    one_sample = _resolutions(groups["context"].to_numpy(), metric, test)
    groups["metric"] = metric
    groups["test"], low, high = intervals(test, resolution=one_sample)
    least, most = np.transpose([RANGES[name] for name in metric])
    groups["test_low"], groups["test_high"] = low.clip(least, most), high.clip(least, most)
    groups["median"] = pd.DataFrame(test).median(axis=1)
    worst = np.where(least == 0, np.where(metric == "test_loss", -math.inf, 0.0), -math.inf)[:, None]
    groups["validation"] = mean(np.where(lost, worst, validation))
    # A run that diverged never reaches the threshold; one that failed or was not trained says nothing.
    steps = matrix(reached.where(finished, math.inf).fillna(math.inf).where(trained | diverged))
    known = [row[~np.isnan(row)] for row in steps]
    groups["steps"] = [np.median(row) if len(row) else math.nan for row in known]
    groups["never"] = np.isposinf(steps).sum(axis=1)
    groups["layer"] = first["layer"]
    for name in ("rms", "rms_predicted", "gradient", "kept"):
        groups[name] = np.exp(mean(log(matrix(runs[name]))))
    for name in ("growth", "growth_predicted"):
        groups[name] = np.exp(2 * mean(matrix(runs[f"log_{name}"] / (runs["hidden"] - 1))))
    by_group = dict(iter(runs[~failed].groupby("group")))
    members = [by_group.get(group, runs.iloc[:0]) for group in groups.index]
    for prefix, signal in (("", measured_signal), ("predicted_", predicted_signal)):
        found = [signal(table) for table in members]
        groups[f"{prefix}signal"] = [stability.label for stability in found]
        groups[f"{prefix}signal_factor"] = [stability.factor for stability in found]
    groups["dead"] = [int((table["rms"] == 0).sum()) for table in members]
    groups["equal_units"] = [_equal_units(table) for table in members]
    steps_lost = [table["diverged_at_step"].astype(float) for table in members]
    groups["diverged_from"] = [lost.min() for lost in steps_lost]
    groups["diverged_to"] = [lost.max() for lost in steps_lost]
    score = test * np.where(metric == "test_loss", -1.0, 1.0)[:, None] if part == "test" else validation
    if part != "test":
        one_sample = _resolutions(groups["context"].to_numpy(), metric, validation)
    within = np.where(lost, math.nan, np.clip(steps, 1.0, groups["budget"].to_numpy(np.float64)[:, None]))
    pairs = corrected(against_best(groups, score, one_sample, within))
    groups["verdict"] = verdicts(groups, pairs)
    groups["place"] = places(groups, mean(score))
    means = pd.DataFrame({name: mean(matrix(runs[name])) for name in summary})
    return Comparison(tuple(by), tuple(context), threshold, part, runs, groups.join(means), pairs)


def _equal_units(runs: pd.DataFrame) -> bool:
    return "distinct_units" in runs and len(runs) > 0 and bool((runs["distinct_units"] == 1).all())


def _columns(runs: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Names of the columns that describe the trials, and of the summary's.

    Tables of several runs put end to end have keys that only later ones know at the end, so a key's group counts too.
    """
    names = [str(name) for name in runs]
    before = names[: names.index("fate")]
    known = {name.partition(".")[0] for name in before}
    described = before + [name for name in names[len(before) :] if name.partition(".")[0] in known]
    results = {
        "key",
        "name",
        "network",
        "fate",
        "diverged_at_step",
        "start_time",
        "end_time",
        "notes",
        "error",
        *LABELS,
    }
    summary = [name for name in names if name not in results and name not in described]
    return [name for name in described if name not in results], summary


def _numbered(table: pd.DataFrame, columns: Sequence[str]) -> Array:
    """Each row's group (n,), numbered in order of appearance."""
    if not columns:
        return np.zeros(len(table), np.int64)
    return np.asarray(table.groupby(list(columns), sort=False, dropna=False).ngroup())


def _steps(runs: pd.DataFrame) -> tuple[pd.Series, float | None]:
    """Each run's steps to its threshold, NaN where it never got there, and the threshold if all share one."""
    columns = [name for name in map(str, runs) if name.startswith(STEPS)]
    thresholds = {float(name.removeprefix(STEPS)) for name in columns}
    if "training.threshold" in runs:
        thresholds = set(runs["training.threshold"].dropna().astype(float))
    reached = runs[columns].max(axis=1) if columns else pd.Series(math.nan, runs.index)
    return reached, thresholds.pop() if len(thresholds) == 1 else None


def _last_steps(curves: pd.DataFrame) -> Mapping[str, float]:
    """Each run's last recorded step, by its key."""
    last = curves.groupby("key", observed=True)["step"].max()
    return {str(key): float(step) for key, step in last.items()}


def _budgets(contexts: pd.Series, group: pd.Series, steps: pd.Series) -> pd.Series:
    """Steps that every group of a context could take (groups,): ``steps`` are those of finished runs, else NaN."""
    longest = steps.groupby(group).max().reindex(contexts.index)
    return longest.groupby(contexts).transform("min")


def _metrics(
    contexts: Array, scores: Mapping[str, Array], shape: tuple[int, ...], asked: Array
) -> tuple[Array, Array, Array]:
    """By group: name of the test number that counts in its context, its values, and those on validation data.

    ``asked``: the score that each group asks for, if any (groups,). Values are of ``shape`` (groups, replicates); on
    validation data more is better.
    """
    metric = np.full(len(contexts), "test_loss", object)
    test, validation = np.full(shape, math.nan), np.full(shape, math.nan)
    for context in np.unique(contexts):
        rows = contexts == context
        known = [name for name in RANGES if name in scores and not np.isnan(scores[name][rows]).all()]
        if (name := deciding("test", known, asked[rows][0])) is not None:
            sign = -1 if name == "test_loss" else 1
            metric[rows], test[rows] = name, scores[name][rows]
            validation[rows] = sign * scores.get(name.replace("test", "validation"), np.full_like(test, math.nan))[rows]
    return metric, test, validation


def _resolutions(contexts: Array, metric: Array, scores: Array) -> Array:
    """Smallest step of each group's score (groups,): an accuracy is a count out of its context's samples."""
    found = np.zeros(len(contexts))
    for context in np.unique(contexts[metric == "test_accuracy"]):
        found[contexts == context] = resolution(scores[contexts == context])
    return found
