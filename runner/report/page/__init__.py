"""Page of a sweep, ``report.html``: one file that needs no network.

The answer first, then its evidence: tables, and charts of the groups that the sweep compared, drawn by Plotly, which
the page carries along. Texts of users are escaped.
"""

from __future__ import annotations

import base64
import gzip
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.analysis.best_rates import Tuned
from runner.analysis.comparison import WITHOUT_EFFECT, Comparison
from runner.analysis.search import Search
from runner.analysis.transfer import Transfer, by_axis, transfers
from runner.config.secrets import without_password
from runner.report.best_rates import tuned_columns
from runner.report.experiment import Experiment
from runner.report.figures.canvas import Group
from runner.report.figures.sweep import groups as drawn_groups
from runner.report.figures.tables import by_block
from runner.report.judgements import sweep_sentence, theory_sentence
from runner.report.notes import notes
from runner.report.page import layers, training
from runner.report.page.blocks import blocks
from runner.report.page.chart import COLORS, SYMBOLS, Figure, color
from runner.report.page.jacobian import jacobian
from runner.report.page.transfer import transfer
from runner.report.ranking import ranking
from runner.report.search import IMPORTANCE, best_command, best_words, importance_columns
from runner.report.sentences import answer, evidence
from runner.report.transfer import drift_sentence, transfer_columns
from runner.text import Column, setting
from weightinit.arrays import Array

if TYPE_CHECKING:
    import pandas as pd

ROWS = 200  # of a table
DRIFTS = 4  # of best learning rates, among the answers


@dataclass(frozen=True)
class Section:
    """Part of the page: figures under a title; ``detail``: folded on a phone."""

    id: str
    title: str
    figures: Sequence[Figure]
    detail: bool = True


def write(
    path: Path,
    comparison: Comparison,
    at_best: Tuned | None,
    curves: pd.DataFrame,
    sessions: Sequence[Mapping[str, Any]],
    load: Callable[[str], Mapping[str, Array]] = lambda key: {},
    search: Search | None = None,
) -> Path:
    """Write the page of a comparison; return ``path``.

    ``at_best``: its groups at chosen learning rates, where those were swept; ``curves``: as recorded; ``sessions``: the
    commands that recorded them (name, overrides, multirun, sweep_id, started, versions); ``load``: the arrays of a run
    by its key; ``search``: the sweep as one, where the sweeper chose the values.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(comparison, at_best, curves, sessions, load, search), encoding="utf-8")
    return path


def render(
    comparison: Comparison,
    at_best: Tuned | None,
    curves: pd.DataFrame,
    sessions: Sequence[Mapping[str, Any]],
    load: Callable[[str], Mapping[str, Array]] = lambda key: {},
    search: Search | None = None,
) -> str:
    """Return the text of the page; see ``write``."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    if search is not None:
        comparison, at_best = search.comparison, None
    runs = comparison.runs
    shown = comparison if at_best is None else at_best.best
    whole = shown.ranked_runs
    by = list(shown.by) or ["scheme"]
    groups, left_out = drawn_groups(whole, by) if len(whole) else ([], "")
    shown_curves = by_block(curves[curves["key"].isin([key for group in groups for key in group.keys])])
    transferred = transfers(comparison) if search is None else []
    sections = [
        Section("transfer", "Transfer", _kept(transfer(transferred)), detail=False),
        Section("scores", "Scores", _kept(*_scores(shown, groups)), detail=False),
        Section("rates", "Learning rates", _kept(training.sensitivity(comparison, groups, shown.by)), detail=False),
        Section("learning", "Learning", training.learning(shown_curves, groups)),
        Section("start", "By layer, at initialization", layers.at_start(shown_curves, groups)),
        Section("blocks", "By block, at initialization", _kept(blocks(shown_curves, groups))),
        Section("jacobian", "From input to output, at initialization", _kept(jacobian(shown_curves, groups))),
        Section("shapes", "Distributions", _kept(layers.shapes(groups, load))),
        Section("layers", "By layer, through training", layers.through_training(shown_curves, groups)),
    ]
    sections = [section for section in sections if section.figures]
    figures = [figure for section in sections for figure in section.figures]
    charts = {
        f"chart-{number}-{index}": {"traces": panel.traces, "layout": panel.layout, "group": panel.group}
        for number, figure in enumerate(figures)
        for index, panel in enumerate(figure.panels)
    }
    environment = Environment(
        loader=PackageLoader("runner.report.page", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    experiment = Experiment.of(runs)
    if search is not None:
        experiment = experiment.showing(search.metric)
    return environment.get_template("report.html").render(
        title=experiment.title or _commands(sessions),
        question=experiment.question,
        answers=[
            *experiment.answers(shown),
            *map(drift_sentence, transferred[:DRIFTS]),
            answer(shown) if search is None else _best(search),
        ],
        again="" if search is None else best_command(search),
        evidence=evidence(shown) if (shown.groups["verdict"] != "").any() else [],
        counted=_counted(runs),
        notes=notes(runs),
        initially=[said for said in (sweep_sentence(runs), theory_sentence(runs)) if said],
        tables=[*_transfer_tables(transferred), *_tables(comparison, at_best, experiment, search)],
        groups=[_switch(group) for group in groups],
        left_out=left_out,
        sections=sections,
        lost=_lost(runs),
        settings=_settings(comparison),
        sessions=[_session(session) for session in sessions],
        data=json.dumps({"charts": charts, "colors": COLORS}, separators=(",", ":"), allow_nan=False).replace(
            "<", r"\u003c"
        ),
        style=_asset("report.css") + _inks(),
        script=_asset("report.js"),
        plotly=_plotly(),
    )


def _kept(*figures: Figure | None) -> list[Figure]:
    return [figure for figure in figures if figure is not None]


def _scores(comparison: Comparison, groups: Sequence[Group]) -> tuple[Figure | None, ...]:
    """Return the charts of scores, which networks that were not trained have none of."""
    if comparison.untrained:
        return ()
    return training.scores(comparison, groups), training.crossed(comparison)


def _best(search: Search) -> str:
    """Return the best run of a search as a sentence."""
    return f"{'No best run: ' if search.best is None else 'Best '}{best_words(search)}."


def _tables(
    comparison: Comparison, at_best: Tuned | None, experiment: Experiment, search: Search | None
) -> list[dict[str, Any]]:
    found = []
    if at_best is not None:
        how = (
            "Each at its best learning rate on validation data, and beside it at the one rate that is best for all on "
            "average."
        )
        found.append(_table("Each at its best learning rate", how, tuned_columns(at_best)))
    how = (
        "The best is chosen on validation data; numbers are of test data. Brackets show 95% confidence intervals. Runs "
        "are compared in pairs: seed 3 of one group with seed 3 of the other. Not distinguished: p is .05 or more "
        "after correction for all tests and for the choice of the best; fewer steps come first."
    )
    if search is not None:
        how = (
            f"In the order of the {search.metric.replace('_', ' ')}, which was searched for. The sweeper chose each "
            "row's values after it had seen others, so nothing is tested."
        )
        if columns := importance_columns(search):
            found.append(_table("Importance", IMPORTANCE, columns))
    extra = experiment.extra(comparison.groups.sort_values("place").to_dict("records"))
    found.append(_table("Ranking", how, [*ranking(comparison), *extra]))
    return found


def _transfer_tables(found: Sequence[Transfer]) -> list[dict[str, Any]]:
    """Return a table of best learning rates by width, and one by depth."""
    how = (
        "The rate with the least training loss at the end, between those tried by a parabola. Brackets show 95% "
        "confidence intervals over seeds. A star: at the edge of the rates tried."
    )
    return [
        _table(f"Best learning rate by {along}", how, transfer_columns(along, own, intervals=True))
        for along, own in by_axis(found).items()
    ]


def _table(title: str, how: str, columns: Sequence[Column]) -> dict[str, Any]:
    rows = list(zip(*(column.cells for column in columns), strict=True))
    more = f" {len(rows) - ROWS} more rows are in runs.parquet." if len(rows) > ROWS else ""
    return {
        "title": title,
        "how": how + more,
        "headers": [(column.header.replace("\n", " "), column.left) for column in columns],
        "rows": rows[:ROWS],
    }


def _switch(group: Group) -> dict[str, Any]:
    """Return the look of a group's switch."""
    return {
        "label": group.label, "counted": group.counted, "color": color(group).removeprefix("@"),
        "shape": SYMBOLS[group.marker], "dashed": group.line != "-", "hollow": group.hollow,
    }  # fmt: skip


def _commands(sessions: Sequence[Mapping[str, Any]]) -> str:
    """Return the commands that were typed, as a title."""
    return " and ".join(without_password(str(session["name"])) for session in sessions) or "Comparison"


def _counted(runs: pd.DataFrame) -> str:
    fates = runs["fate"].value_counts()
    return ", ".join(f"{fates[fate]} {fate}" for fate in ("finished", "diverged", "failed") if fate in fates)


def _lost(runs: pd.DataFrame) -> dict[str, Any] | None:
    """Return the runs that diverged or failed, failures first."""
    lost = runs[runs["fate"] != "finished"].sort_values("fate", ascending=False, kind="stable")
    if lost.empty:
        return None
    rows = [
        (
            str(run["name"]),
            str(run["fate"]),
            f"the loss was not finite at step {run['diverged_at_step']:.0f}"
            if run["fate"] == "diverged"
            else " ".join(str(run["error"]).split()),
        )
        for run in lost.head(ROWS).to_dict("records")
    ]
    return {"rows": rows, "more": max(len(lost) - ROWS, 0)}


def _settings(comparison: Comparison) -> list[tuple[str, str]]:
    """Return the settings that all runs share."""
    runs = comparison.runs
    names = [str(name) for name in runs]
    described = [
        name for name in names[: names.index("fate")]
        if name.partition(".")[0] not in (*WITHOUT_EFFECT, "key", "name") and name not in comparison.by
    ]  # fmt: skip
    values = {name: runs[name].dropna().unique() for name in described}
    return [(name, setting(value[0])) for name, value in values.items() if len(value) == 1]


def _session(session: Mapping[str, Any]) -> dict[str, Any]:
    words = ["python", "-m", "runner", *session["overrides"], *["-m"] * bool(session["multirun"])]
    started = datetime.fromtimestamp(session["started"]).astimezone()
    return {
        "command": without_password(shlex.join(words)),
        "again": f"python -m runner mode=compare sweep={session['sweep_id'][:8]}",
        "facts": ", ".join(f"{name} {version}" for name, version in session.get("versions", {}).items()),
        "started": started.strftime("%Y-%m-%d %H:%M"),
        "sweep_id": session["sweep_id"],
    }


def _asset(name: str) -> str:
    return files("runner.report.page").joinpath(name).read_text(encoding="utf-8")


def _inks() -> str:
    """Return the groups' colours as CSS, by light and by dark."""
    roots = {kind: "".join(f"--c{n}:{color};" for n, color in enumerate(colors)) for kind, colors in COLORS.items()}
    inks = "".join(f".ink-{n}{{stroke:var(--c{n});fill:var(--c{n})}}" for n in range(len(COLORS["light"])))
    return f":root{{{roots['light']}}}@media(prefers-color-scheme:dark){{:root{{{roots['dark']}}}}}{inks}"


@lru_cache(maxsize=1)
def _plotly() -> str:
    """Return Plotly's script as the page carries it, compressed to a third."""
    script = files("plotly").joinpath("package_data", "plotly.min.js").read_bytes()
    return base64.b64encode(gzip.compress(script, mtime=0)).decode()
