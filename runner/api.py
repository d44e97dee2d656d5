"""The runner from Python: what the command line does, with tables for answers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from omegaconf import OmegaConf

from runner.analysis import best_rates
from runner.analysis.best_rates import Tuned
from runner.analysis.comparison import Comparison
from runner.config import catalogue
from runner.config.composition import Command, Composer
from runner.config.trial import Trial
from runner.execution.jobs import Stopped
from runner.execution.work import Work, known_trials
from runner.kernel import Shown, is_kernel, show_figures
from runner.modes import advise as advice
from runner.modes import compare as review
from runner.modes import forecast as theory
from runner.records import Session
from runner.report import artifacts, notebook
from runner.report.ranking import ranked
from runner.text import PAGE
from runner.tracking import read


class _Tables(NamedTuple):
    runs: pd.DataFrame
    curves: pd.DataFrame


class Results(_Tables):
    """The tables ``(runs, curves)`` of a command, and the ``directory`` of its files."""

    directory: Path

    @classmethod
    def of(cls, session: Session) -> Results:
        """Return what a session has recorded."""
        found = cls(*read(session.directory))
        found.directory = session.directory
        return found

    @property
    def page(self) -> Path | None:
        """The page, where one was written."""
        page = self.directory / PAGE
        return page if page.exists() else None

    @cached_property
    def compared(self) -> tuple[Comparison, Tuned | None]:
        """The comparison of the runs, and their groups at chosen learning rates where those were swept."""
        return best_rates.compared(self.runs, self.curves)

    @property
    def ranking(self) -> pd.DataFrame:
        """The ranking, one row a group, best first, with the columns of :func:`compare`."""
        return ranked(self.compared[0]).reset_index(drop=True)

    def figures(self) -> dict[str, Any]:
        """Return the figures by name, each a ``matplotlib.figure.Figure`` that a notebook shows."""
        show_figures()
        return artifacts.drawn(self.directory, *self, self.compared)

    def __repr__(self) -> str:
        return f"Results({len(self.runs)} runs, {len(self.curves)} points of curves, {str(self.directory)!r})"


def run(overrides: Sequence[str] = (), *, config_dir: str | None = None) -> Results:
    """Train and record the runs that ``overrides`` ask for, as from the shell; return the tables ``(runs, curves)``.

    ``overrides`` are those of the command line, sweeps included: ``run(["scheme=xavier,he", "seed=range(0,5)"])``.
    ``runs`` has one row a run: what it was and what came out. ``curves`` is tidy: key, step, quantity, layer, value.
    Progress goes where the shell's goes; a notebook shows it, and at the end the ranking with a link to the page.

    Raises ImportError without the packages of the extra ``runner``, ValueError for what the command line would refuse,
    RuntimeError where it would stop. A run that fails is a row with its ``error``.
    """
    composer = Composer(config_dir)
    command = composer.command(overrides, multirun=True)
    if not command.runs:
        raise ValueError(
            "run() takes sweeps that list their values; one that makes them up as it goes needs the shell."
        )
    if (mode := command.config.mode.name) != "train":
        known = mode in ("advise", "compare", "forecast", "schemes")
        way = f"Call runner.{mode}()" if known else f"In the shell, pass python -m runner mode={mode}"
        raise ValueError(f"run() trains, so mode must be train; got {mode!r}. {way}.")
    results = _trained(composer, command, known_trials(composer, command))
    if is_kernel():
        Shown(notebook.sweep_html(results.compared[0], results.directory))
    return results


def advise(overrides: Sequence[str] = (), *, config_dir: str | None = None) -> pd.DataFrame:
    """Train what ``mode=advise`` would, recorded as a sweep, and return the schemes tried, best first.

    One row a scheme at its best learning rate on validation data: ``scheme``, ``optimizer.learning_rate``, ``advised``
    (true of one), then the columns of :func:`compare`. ``table.attrs`` has the ``advice`` as text, the ``command`` that
    follows it, and ``directory``. Raises as :func:`run` does.
    """
    composer = Composer(config_dir)
    command = composer.command([*overrides, "mode=advise"], multirun=True)
    planned, shortlist, trials, takes = advice.prepared(composer, command)
    if takes:
        print(takes, file=sys.stderr)
    results = _trained(composer, planned, trials)
    decision = advice.decide(shortlist, *results)
    text = advice.text(shortlist, decision)
    if is_kernel():
        Shown(notebook.text_html(text, results.directory))
    table = ranked(decision.comparison).drop(columns="scheme", errors="ignore")
    schemes = [decision.schemes[group] for group in table.index]
    table.insert(0, "scheme", schemes)
    table.insert(1, "optimizer.learning_rate", [decision.rates[scheme] for scheme in schemes])
    table.insert(2, "advised", table.index == decision.chosen)
    table.attrs = {"advice": text, "command": advice.command(shortlist, decision), "directory": str(results.directory)}
    return table.reset_index(drop=True)


def compare(overrides: Sequence[str] = (), *, config_dir: str | None = None) -> pd.DataFrame:
    """Return the ranking of recorded sweeps, one row a group, best first, with the columns that ``format=csv`` writes.

    ``overrides``: those of ``mode=compare``, such as ``["sweep=latest"]`` or ``["sweep=[ID,ID]"]``. With ``against=ID``
    one row for each number that differs from that other sweep: ``quantity``, number of ``trials``, the first ``step``
    and ``layer``, the largest relative ``difference`` and the ``trial`` that it is in; none where every bit is equal.
    Nothing is written. Raises ImportError and ValueError as :func:`run` does.
    """
    composer = Composer(config_dir)
    command = composer.command([*overrides, "mode=compare"], multirun=False)
    settings: Any = OmegaConf.to_container(command.config)
    return review.table(settings, composer.tracking(command, ()))


def forecast(overrides: Sequence[str] = (), *, config_dir: str | None = None) -> pd.DataFrame:
    """Return what theory says of the networks that ``overrides`` describe, sweeps included: one row a network.

    Columns: the choice in each group, ``network``, ``signal`` (what becomes of it); factors of the mean square by layer
    ``forward backward``; ``sigma_w2 sigma_b2 critical_sigma_w2 trainable_depth``, NaN where theory has none. Trains
    nothing. Raises ImportError and ValueError as :func:`run` does.
    """
    composer = Composer(config_dir)
    runs = composer.command(overrides, multirun=True).runs
    if not runs:
        raise ValueError("forecast() takes sweeps that list their values. Pass a,b or range().")
    nan = float("nan")
    groups = ("scheme", "activation", "architecture", "data")
    found = [theory.forecast(*configuration) for configuration in composer.configurations(runs)]
    return pd.DataFrame(
        {
            **{group: one.names[group] for group in groups},
            "network": one.shape,
            "signal": one.stability.label,
            "forward": one.signal.per_layer,
            "backward": one.gradient.per_layer,
            "sigma_w2": one.sigma_w2,
            "sigma_b2": one.sigma_b2,
            "critical_sigma_w2": nan if one.critical is None else one.critical.sigma_w2,
            "trainable_depth": nan if one.scales is None else one.scales.trainable_depth,
        }
        for one in found
    )


def schemes(config_dir: str | None = None) -> pd.DataFrame:
    """Return the schemes, one row each by ``name``: ``title``, and the facts that ``mode=schemes`` prints.

    Raises ImportError and ValueError as :func:`run` does.
    """
    found = catalogue.choices("scheme", Composer(config_dir).folders)
    return pd.DataFrame({"name": one.name, "title": one.title, **one.facts} for one in found).set_index("name")


def _trained(composer: Composer, command: Command, trials: Sequence[Trial]) -> Results:
    """Return what the trials of a command have recorded, after training those that are missing."""
    with Work(command, composer, trials, processes=False) as work:
        if not work.complete:
            try:
                work.train()
            except Stopped as stopped:
                raise RuntimeError(f"stopped, since {stopped}. What had finished is kept.") from stopped
            session = work.session
            work.recorder.finish(
                figures=lambda: artifacts.draw(session, *(found := Results.of(session)), found.compared)
            )
        return Results.of(work.session)
