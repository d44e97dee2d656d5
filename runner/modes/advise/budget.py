"""Time that a trial takes, said beforehand, and trials cut to fit a budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from runner.config.composition import Command, Composer
from runner.config.trial import Trial
from runner.execution.work import known_trials
from runner.modes.advise.duration import duration, pace
from runner.modes.advise.shortlist import Shortlist, plan


def prepared(composer: Composer, command: Command) -> tuple[Command, Shortlist, list[Trial], str]:
    """Return what advice needs to be trained: the plan with its trials, and the sentence on how long it takes.

    The sentence is empty where an earlier trial is resumed. Raises ValueError as the steps of training do.
    """
    command, shortlist = plan(composer, command)
    trials = known_trials(composer, command)
    return (command, shortlist, trials, "") if command.config.resume else _timed(command, shortlist, trials)


def _timed(
    command: Command, shortlist: Shortlist, trials: Sequence[Trial]
) -> tuple[Command, Shortlist, list[Trial], str]:
    """Return the plan that fits the command's budget, with its trials, and the sentence on how long it takes.

    Trains the first stack for a moment. Raises ValueError where even the smallest trial takes longer.
    """
    budget = command.config.mode.budget
    limit = math.inf if budget is None else budget
    if not limit > 0:
        raise ValueError(f"mode.budget must be seconds above 0, or null; got {budget}. Pass mode.budget=60.")
    workers = getattr(command.config.hydra.launcher, "max_workers", 1)  # of other launchers
    found, by_run = pace(trials, workers), dict(zip(command.runs, trials, strict=True))
    for smaller in (shortlist, *shortlist.smaller()):
        chosen = [by_run[run] for run in smaller.runs]
        takes = duration(chosen, found, workers)
        if takes.high <= limit:
            rates = "learning rate" + "s" * (len(smaller.rates) > 1)
            counted = f"{len(smaller.tried)} schemes, {len(smaller.rates)} {rates}, {len(smaller.seeds)} seeds"
            cut = "" if smaller is shortlist else f", cut from {len(trials)} to fit mode.budget={budget:g}"
            sentence = f"{len(chosen)} runs ({counted}){cut}: about {takes} on this machine"
            return replace(command, runs=smaller.runs), smaller, chosen, sentence
    raise ValueError(
        f"mode.budget={budget:g} is too short: the smallest trial, of {len(chosen)} runs, takes about {takes} on this "
        f"machine. Pass mode.budget={math.ceil(takes.high)}, or fewer training.steps."
    )
