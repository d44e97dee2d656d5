"""``python -m runner``: from the command line to a table, and an exit status.

0: every run finished, or diverged, which is a result. 1: a run failed. 2: the command can't be carried out, and nothing
was done. 130: interrupted; what had finished is kept.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from runner import catalogue, comparison, launcher, report, schema, sweep
from runner.composition import Command, Composer, own
from runner.progress import Progress
from runner.tracking import Recorder, read
from runner.trial import from_hydra

FAILED, MISTAKE, INTERRUPTED = 1, 2, 130
# Flags that Hydra answers by itself, without running anything.
HYDRAS_OWN = ("hydra_help", "cfg", "shell_completion", "info", "experimental_rerun")


def main() -> int:
    """The exit status of this process's command line."""
    arguments = get_args_parser().parse_args()
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # so that scheme._target_=mine.Scheme finds mine.py here
    schema.register()
    try:
        composer = Composer(arguments.config_dir)
        if arguments.help:
            print(catalogue.help_page(composer.folders))
            return 0
        if arguments.hydra_help or arguments.shell_completion or arguments.experimental_rerun:
            _job()
            return 0
        command = composer.command(arguments.overrides, multirun=arguments.multirun)
        if arguments.cfg or arguments.info:
            _job()
            return 0
        if command.config.mode.name == "schemes":
            print(catalogue.schemes_page(composer.folders))
            return 0
        return _train(command, composer)
    except (ValueError, TypeError) as error:
        print(f"runner: {error}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        print("runner: interrupted; what had finished is kept", file=sys.stderr)
        return INTERRUPTED


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def _job(config: DictConfig) -> float:
    """One job of Hydra's: a run, and as its value what an optimizing sweeper makes small."""
    assert launcher.active is not None
    settings = HydraConfig.get()
    trial = from_hydra(config, settings.runtime.choices, own(settings.overrides.task))
    return launcher.objective(launcher.active.outcome(trial))


def _train(command: Command, composer: Composer) -> int:
    """Runs the command's trials as Hydra's jobs, and prints what they showed; the exit status."""
    trials = sweep.named(composer.trials(command.runs))
    session = sweep.session(command, trials)
    kind = "sweep" if command.multirun else "run"
    sys.argv.insert(1, f"hydra.{kind}.dir={_quoted(session.directory)}")
    with (
        Recorder(session, trials[0].tracking) as recorder,
        Progress(len(trials), sum(trial.plan.steps for trial in trials)) as progress,
    ):
        launcher.active = jobs = launcher.Jobs(recorder, progress, trials)
        _job()
        arrays = {} if command.multirun else jobs.outcomes[trials[0].key].arrays
        recorder.finish(figures=lambda: sweep.draw(session, *read(session.directory), arrays))
    runs, curves = read(session.directory)
    color, directory = sys.stdout.isatty(), _relative(session.directory)
    if command.multirun:
        compared = comparison.compare(runs, curves)
        print(report.sweep_text(compared, report=trials[0].config["report"], directory=directory, color=color))
    else:
        print(report.run_text(trials[0], jobs.outcomes[trials[0].key], directory=directory, color=color))
    return FAILED if (runs["fate"] == "failed").any() else 0


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _quoted(path: Path) -> str:
    """The path as a value that Hydra's grammar takes as it is."""
    text = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"


if __name__ == "__main__":
    sys.exit(main())
