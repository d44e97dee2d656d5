"""Text on a run and on a sweep for the terminal; printing is the caller's."""

from __future__ import annotations

import math
import re
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from runner.analysis.best_rates import Tuned
from runner.analysis.comparison import STEPS, Comparison, compare
from runner.analysis.search import Search
from runner.analysis.signal import measured_signal
from runner.analysis.transfer import transfers
from runner.config.trial import called
from runner.records import Outcome
from runner.report.audits import audit_sentence
from runner.report.best_rates import tuned_lines
from runner.report.experiment import Experiment
from runner.report.judgements import layer_name, run_words, sweep_sentence, theory_words
from runner.report.notes import notes
from runner.report.search import search_lines
from runner.report.sentences import (
    HEADERS,
    METRICS,
    interval,
    score,
    steps_text,
    threshold_text,
    verdict_lines,
)
from runner.report.signals import predicted_words, rms_words, signal_header, signal_or_fate, signal_words
from runner.report.transfer import transfer_lines
from runner.scores import AUTO, deciding
from runner.text import Column, bold, label, look_lines, number, plain, setting, short, table
from runner.tracking.frames import frames
from weightinit.nn import trunk

if TYPE_CHECKING:
    from runner.config.trial import Trial

WIDTH = 100
LAYERS = 9  # columns of a single run's table
SHOWN = 40  # groups in a sweep's table
MARKS = "*†‡§"
UNBALANCED = 0.8  # share of the most frequent class from which accuracy says little
DEEP = 30  # layers that a footnote looks ahead to


# ------------------------------------------------------------------------------------------------------- one run


def run_text(
    trial: Trial, outcome: Outcome, *, directory: Path | None = None, viewer: str | None = None, color: bool = False
) -> str:
    """Return the text on one run; ``directory``: where its files are; ``viewer``: what opens MLflow."""
    runs = compare(*frames([(trial, outcome)])).runs
    names = [
        called(trial, group) for group in ("scheme", "activation") if group == "scheme" or trial.network.activations
    ]
    names += [trial.network.shape, called(trial, "data"), f"seed {trial.config['seed']}"]
    steps = int(max(outcome.rows.step, default=0)) if outcome.diverged_at_step is None else outcome.diverged_at_step
    took = f"{steps:,} step{'s' * (steps != 1)}, {outcome.end_time - outcome.start_time:.1f} s"
    lines = [bold(f"{' · '.join(names):<50} {took}", color)]
    if outcome.fate == "failed":
        lines += textwrap.wrap(f"failed     {outcome.error}", WIDTH, subsequent_indent=" " * 11)
    else:
        lines += [*_initial_lines(outcome, runs), _training_line(trial, outcome)]
    if outcome.summary.get("distinct_units") == 1:
        lines.append("all units of a layer are equal and stay equal: equal weights get equal gradients")
    lines += [*audit_lines(runs), *majority_lines(runs)]
    for note in outcome.notes:
        lines += note_lines(note)
    lines += [compare_line(trial), *look_lines(directory, viewer)]
    return "\n".join(lines)


def compare_line(trial: Trial) -> str:
    """Return the command that repeats this run over seeds, against another scheme where it has no settings here."""
    kept = [text for text in trial.overrides if not re.match(r"[+~]*(seed|hydra\b[^=]*)(=|$)", text)]
    scheme = trial.choices["scheme"]
    if scheme != "custom" and not any(text.lstrip("+~").startswith("scheme.") for text in kept):
        rivals = "xavier,he" if scheme in ("xavier", "he") else f"{scheme},he"
        kept = [f"scheme={rivals}", *(text for text in kept if not text.startswith("scheme="))]
    return " ".join(["compare:  python -m runner", *map(shlex.quote, kept), "seed='range(0,5)'", "-m"])


def _initial_lines(outcome: Outcome, runs: pd.DataFrame) -> list[str]:
    """Return activations by layer beside theory, and a line on the signal and on what correct networks show."""
    rows = outcome.rows
    measured = {layer: value for _, layer, value in rows.select("init_activation_rms")}
    theory = {layer: value for _, layer, value in rows.select("predicted_activation_rms")}
    hidden = trunk(list(measured))
    if len(hidden) >= LAYERS:
        hidden = [hidden[round(index * (len(hidden) - 1) / (LAYERS - 2))] for index in range(LAYERS - 1)]
    layers = hidden + [layer for layer in measured if layer == "output"]
    if not layers:
        return []
    names = [layer.removeprefix("hidden/") for layer in layers]
    names[0] = layer_name(layers[0])
    columns = [Column("at initialization", ["  activation rms", *["  theory"] * bool(theory)], left=True)]
    for name, layer in zip(names, layers, strict=True):
        cells = [number(measured[layer]), *[number(theory.get(layer, math.nan))] * bool(theory)]
        columns.append(Column(name, cells))
    said = [*[_signal_words(runs)] * bool(hidden), run_words(outcome), theory_words(outcome)]
    if "no_theory" in outcome.labels:
        said.append(f"no theory: {outcome.labels['no_theory']}")
    words = "; ".join(filter(None, said))
    return [*table(columns), *textwrap.wrap(words, WIDTH, initial_indent="  ", subsequent_indent="  ")]


def _signal_words(runs: pd.DataFrame) -> str:
    """Return the signal of a single run as the start of a sentence."""
    signal = measured_signal(runs)
    words = signal_words(signal)
    if signal.label.startswith("gradient"):
        return f"{words} on its way back"
    return f"signal {words}{' (its mean square)' if words != signal.label else ''}"


def _training_line(trial: Trial, outcome: Outcome) -> str:
    if outcome.diverged_at_step is not None:
        return f"training   diverged at step {outcome.diverged_at_step}: the loss was not a finite number"
    if not max(outcome.rows.step, default=0):
        return "training   none"
    threshold = trial.config["training"]["threshold"]
    reached = outcome.summary.get(f"{STEPS}{threshold:g}")
    when = "never" if reached is None else f"at step {reached:.0f}"
    metric = deciding("test", outcome.summary, trial.config["report"].get("score")) or "test_loss"
    share = " of the constant's" if "test_r2" in outcome.summary else ""
    words = [f"loss < {plain(f'{threshold:g}')}{share} {when}"]
    for part in ("validation", "test"):
        value = outcome.summary.get(metric.replace("test", part), math.nan)
        name = "" if metric == "test_accuracy" else f"{METRICS[metric]} "
        words.append(f"{part} {name}{score(value, metric)}")
    return "training   " + "   ".join(words)


# ------------------------------------------------------------------------------------------------------- a sweep


def sweep_text(
    comparison: Comparison,
    *,
    tuned: Tuned | None = None,
    search: Search | None = None,
    directory: Path | None = None,
    viewer: str | None = None,
    color: bool = False,
) -> str:
    """Return the final table of a sweep, its meaning, and what failed.

    ``tuned``: the groups at chosen learning rates, where those were swept; ``search``: the sweep as one;
    ``directory``: where its files are; ``viewer``: what opens MLflow.
    """
    experiment = Experiment.of(comparison.runs)
    if search is not None:
        comparison = search.comparison
        experiment = experiment.showing(search.metric)
    groups = comparison.groups.sort_values("place")
    shown, marked = groups.head(SHOWN), _footnotes(comparison, groups.head(SHOWN))
    marks = ["".join(note.mark for note in marked if row in note.rows) for row in range(len(shown))]
    said = [bold(experiment.title, color), experiment.question, *experiment.answers(comparison)]
    blocks = [[line for text in said for line in textwrap.wrap(text, WIDTH, subsequent_indent="  ")]]
    blocks.append(_sweep_table(comparison, shown, marks, experiment, color))
    if len(groups) > SHOWN:
        blocks[-1].append(f"... and {len(groups) - SHOWN} more groups, in runs.parquet")
    below = [f"{note.mark} {note.text}" for note in marked]
    if {*shown["signal"], *shown["predicted_signal"]} - {"stable", "unknown"}:
        below.append("theory, signal: the activations' mean square (rms²) from layer to layer, at initialization")
    blocks[-1] += [line for text in below for line in textwrap.wrap(text, WIDTH, subsequent_indent="  ")]
    blocks += [
        _found_lines(comparison, tuned, search),
        transfer_lines(transfers(comparison)),
        judged_lines(comparison.runs),
        [line for note in notes(comparison.runs) for line in note_lines(note)],
        audit_lines(comparison.runs),
        majority_lines(comparison.runs),
        _failures(comparison.runs, color),
        look_lines(directory, viewer),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _found_lines(comparison: Comparison, tuned: Tuned | None, search: Search | None) -> list[str]:
    if search is not None:
        return search_lines(search)
    return tuned_lines(tuned) if tuned is not None else verdict_lines(comparison)


def _sweep_table(
    comparison: Comparison, groups: pd.DataFrame, marks: Sequence[str], experiment: Experiment, color: bool
) -> list[str]:
    """Return the table in the first of its layouts that fits, else in the narrowest."""
    rows = groups.to_dict("records")
    sectioned = len(comparison.context) < len(comparison.by)
    columns_by = [name for name in comparison.by if not (sectioned and name in comparison.context)]
    sections = {}
    for index, row in enumerate(rows):
        if sectioned and comparison.context and (index == 0 or row["context"] != rows[index - 1]["context"]):
            sections[index] = bold(label(row, comparison.context), color)
    names = [
        Column(_header(name, columns_by).replace(" ", "\n"), [setting(row[name]) or "–" for row in rows], left=True)
        for name in columns_by
    ]
    if not columns_by:
        names = [Column("scheme", [row["label"] for row in rows], left=True)]
    seeds = [Column("seeds", [str(row["seeds"]) for row in rows])]
    metrics = [HEADERS[name] for name in dict.fromkeys(row["metric"] for row in rows)]
    layers = set(groups["layer"].dropna())
    layer = layer_name(layers.pop()) if len(layers) == 1 else "last layer"
    gradient: list[Column] = []
    numbers = [] if comparison.untrained else [
        Column(
            " / ".join(metrics),
            [interval(row["test"], row["test_low"], row["test_high"], row["metric"]) for row in rows],
        ),
        Column(f"steps to\n{threshold_text(comparison)}", [steps_text(row) for row in rows]),
    ]  # fmt: skip
    if groups["rms"].notna().any():
        numbers.append(Column(f"rms {layer}\n(theory)", [rms_words(row) for row in rows]))
        gradient.append(Column("gradient\nW1", [number(row["gradient"]) for row in rows]))
    extra = experiment.extra(rows)
    theory = [predicted_words(row) for row in rows]
    expected = [Column("theory", theory, left=True)] * any(text != "–" for text in theory)
    header = signal_header(groups)
    state, brief_state = (
        [*expected, Column(title, [signal_or_fate(r, brief=brief) + m for r, m in zip(rows, marks, strict=True)], True)]
        for title, brief in ((header, False), (header.replace(" or ", "\nor "), True))
    )
    alike = len({row["seeds"] for row in rows}) == 1
    fewer = names if alike else names + seeds
    layouts = [
        (names + seeds + numbers + gradient + extra + state, False, []),
        (names + seeds + numbers + gradient + extra + state, True, []),
        (fewer + numbers + gradient + extra + state, True, []),
        (fewer + numbers + extra + state, True, []),
        (fewer + numbers + gradient + state, True, extra),
        (fewer + numbers + gradient + brief_state, True, extra),
        (fewer + numbers + brief_state, True, extra),
    ]
    drawn = [table(columns, broken=broken, sections=sections) for columns, broken, _ in layouts]
    chosen = next((index for index, lines in enumerate(drawn) if max(map(len, lines)) <= WIDTH), len(drawn) - 1)
    lines, (columns, broken, below) = drawn[chosen], layouts[chosen]
    tall = 1 + max(column.header.count("\n") for column in columns) * broken
    lines[:tall] = [bold(line, color) for line in lines[:tall]]
    if columns[len(names)] is not seeds[0]:
        lines.append("one seed each" if rows[0]["seeds"] == 1 else f"{rows[0]['seeds']} seeds each")
    return lines + (["", *table(names + below, broken=True, sections=sections)] if below else [])


@dataclass(frozen=True)
class _Footnote:
    """Sentence on the table's ``rows`` that bear ``mark``."""

    mark: str
    rows: list[int]
    text: str


def _footnotes(comparison: Comparison, groups: pd.DataFrame) -> list[_Footnote]:
    """Return from theory why the signals of these groups shrink or grow."""
    found: dict[str, tuple[list[int], dict[int, str]]] = {}
    runs = comparison.runs.drop_duplicates("group").set_index("group").loc[groups.index]
    for row, (group, run) in enumerate(zip(groups.to_dict("records"), runs.to_dict("records"), strict=True)):
        factor, kept = group["growth_predicted"], group["kept"]
        if _changes(group) and str(group["layer"]).startswith("block/") and 1.1 < factor < math.inf:
            cause = f"each residual block multiplies the mean square by {number(factor, 2)}."
            rows, after = found.setdefault(cause, ([], {}))
            rows.append(row)
            blocks = int(run["hidden"]) - 1
            after[blocks] = f"after {blocks} blocks rms = {number(group['rms_predicted'])}"
            continue
        if not _changes(group) or not (0 < factor < math.inf and kept > 0) or abs(math.log(factor)) < 0.1:
            continue
        share = {"0.50": "halves", "1.00": "keeps"}.get(f"{kept:.2f}", f"keeps {number(kept, 2)} of")
        cause = f"{run['activation']} {share} the mean square; "
        variance = number(factor / kept, 2).removesuffix(".0")
        if run["geometric"]:
            verb = "does not compensate" if factor < 1 else "overcompensates"
            cause += f"a variance of {variance}/fan_in {verb}."
        else:
            verb = "keep the rest" if variance == "1" else f"multiply it by {variance}"
            cause += f"weights and biases {verb} on average over the layers."
        rows, after = found.setdefault(cause, ([], {}))
        rows.append(row)
        depth, rms = int(run["hidden"]), group["rms_predicted"]
        after[depth] = f"after {depth} layers rms = {number(rms)}"
        if run["geometric"] and depth < DEEP:
            after.setdefault(DEEP, f"after {DEEP} it would be {number(rms * factor ** ((DEEP - depth) / 2))}")
    notes = []
    for mark, (cause, (rows, after)) in zip(MARKS, found.items(), strict=False):
        text = ", ".join(part for _, part in sorted(after.items()))
        notes.append(_Footnote(mark, rows, f"{cause} {text[:1].upper()}{text[1:]}"))
    return notes


def _changes(group: Mapping[Any, Any]) -> bool:
    """Return whether a group's cell shows a signal that shrinks or grows."""
    hidden_by = group["diverged"] or group["equal_units"] or 0 < group["dead"] < group["seeds"]
    return not hidden_by and group["signal"] in ("decays", "grows", "vanishes", "explodes")


def judged_lines(runs: pd.DataFrame) -> list[str]:
    """Return lines on the runs whose layers are not those of correct networks; none where there is nothing to say."""
    sentence = sweep_sentence(runs)
    return textwrap.wrap(f"layers:   {sentence}", WIDTH, subsequent_indent=" " * 10) if sentence else []


def majority_lines(runs: pd.DataFrame) -> list[str]:
    """Return lines on classes out of balance, where runs are not compared by a score for these; none otherwise."""
    share = runs["test_majority"].max() if "test_majority" in runs else 0.0
    asked = set(runs["report.score"]) if "report.score" in runs else {AUTO}
    if not share > UNBALANCED or not asked <= {AUTO, "accuracy"}:
        return []
    sentence = (
        f"always the most frequent class is right in {plain(f'{share:.3f}')} of the test data. "
        "Pass report.score=balanced_accuracy (or macro_f1, auc) to compare by a score that sees the others."
    )
    return textwrap.wrap(f"classes:  {sentence}", WIDTH, subsequent_indent=" " * 10)


def note_lines(note: str) -> list[str]:
    """Return a note as lines of the terminal."""
    return textwrap.wrap(f"note:     {note}", WIDTH, subsequent_indent=" " * 10)


def audit_lines(runs: pd.DataFrame) -> list[str]:
    """Return lines on the runs whose weights differ from their declared law; none where all follow it."""
    sentence = audit_sentence(runs)
    return textwrap.wrap(f"audit:    {sentence}", WIDTH, subsequent_indent=" " * 10) if sentence else []


def _failures(runs: pd.DataFrame, color: bool) -> list[str]:
    """Return a table of the runs that failed, each with its cause."""
    failed = runs[runs["fate"] == "failed"]
    if failed.empty:
        return []
    width = max(map(len, failed["name"]))
    lines = [bold(f"{len(failed)} of {len(runs)} runs failed", color)]
    for name, error in zip(failed["name"], failed["error"], strict=True):
        cause = " ".join(str(error).split())
        lines += textwrap.wrap(f"{name:<{width}}  {cause}", WIDTH, subsequent_indent=" " * (width + 2))
    return lines


def _header(name: str, among: Sequence[str]) -> str:
    """Return the short name of a swept column, or the whole where several share it."""
    return short(name) if sum(short(other) == short(name) for other in among) == 1 else name
