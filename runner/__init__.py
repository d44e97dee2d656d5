"""The lab's runner: YAML in; networks initialized, measured, trained, recorded and compared.

``python -m runner`` from the shell; :func:`run`, :func:`forecast` and :func:`schemes` from Python.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["forecast", "run", "schemes"]


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


def forecast(overrides: Sequence[str] = (), *, config_dir: str | None = None) -> pd.DataFrame:
    """Return what theory says of the networks that ``overrides`` describe, sweeps included: one row a network.

    Columns: the choice in each group, ``network``, ``signal`` (what becomes of it); factors of the mean square by layer
    ``forward backward``; ``sigma_w2 sigma_b2 critical_sigma_w2 trainable_depth``, NaN where theory has none. Trains
    nothing. Raises ImportError and ValueError as :func:`run` does.
    """
    from runner import requirements

    requirements.check()
    import pandas as pd

    from runner.config.composition import Composer
    from runner.modes.forecast import forecast as of

    composer = Composer(config_dir)
    runs = composer.command(overrides, multirun=True).runs
    if not runs:
        raise ValueError("forecast() takes sweeps that list their values. Pass a,b or range().")
    nan = float("nan")
    groups = ("scheme", "activation", "architecture", "data")
    found = [of(*configuration) for configuration in composer.configurations(runs)]
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
    from runner import requirements

    requirements.check()
    import pandas as pd

    from runner.config import catalogue
    from runner.config.composition import Composer

    found = catalogue.choices("scheme", Composer(config_dir).folders)
    return pd.DataFrame({"name": one.name, "title": one.title, **one.facts} for one in found).set_index("name")
