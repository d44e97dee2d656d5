"""The lab's runner: YAML in; networks initialized, measured, trained, recorded and compared.

``python -m runner`` from the shell; :func:`run` from Python.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["run"]


def run(overrides: Sequence[str] = (), *, config_dir: str | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables ``(runs, curves)`` of the runs that ``overrides`` ask for, recorded as from the shell.

    ``overrides`` are those of the command line, sweeps included: ``run(["scheme=xavier,he", "seed=range(0,5)"])``.
    ``runs`` has one row a run: what it was and what came out. ``curves`` is tidy: key, step, quantity, layer, value.

    Raises ImportError without the packages of the extra ``runner``, ValueError for what the command line would refuse.
    A run that fails is a row with its ``error``.
    """
    from runner import requirements

    requirements.check()
    from runner.analysis import best_rates
    from runner.config.composition import Composer
    from runner.execution import naming, sweep
    from runner.execution.resources import check, check_memory, resources
    from runner.execution.session import session as session_of
    from runner.report import artifacts
    from runner.tracking import Recorder, read

    composer = Composer(config_dir)
    command = composer.command(overrides, multirun=True)
    if not command.runs:
        raise ValueError(
            "run() takes sweeps that list their values; one that makes them up as it goes needs the shell."
        )
    if (mode := command.config.mode.name) != "train":
        raise ValueError(
            f"run() trains, so mode must be train; got {mode!r}. Use the shell: python -m runner mode={mode}."
        )
    settings = command.config.hydra.launcher
    check(settings)
    trials = naming.named(composer.trials(command.runs))
    check_memory(trials)
    with session_of(command, trials) as session:
        recorder = Recorder(session, composer.tracking(command, trials), [trial.key for trial in trials])
        if not recorder.complete:
            # Without trials, threads: processes would start the caller's script again.
            with recorder, resources(settings) as given:
                missing = [trial for trial in trials if recorder.recall(trial) is None]
                sweep.execute(missing, recorder, **given)

                def figures() -> Mapping[str, Path]:
                    tables = read(session.directory)
                    return artifacts.draw(session, *tables, best_rates.compared(*tables))

                recorder.finish(figures=figures)
        return read(session.directory)
