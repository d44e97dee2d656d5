"""``python -m runner``: from the command line to a table, and an exit status.

0: every run finished, or diverged, which is a result. 1: a run failed. 2: the command can't be carried out, and nothing
was done. 130: interrupted; what had finished is kept.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from runner import catalogue, comparison, report, schema, sweep
from runner.composition import Command, Composer, own
from runner.progress import Progress
from runner.records import Outcome, Session
from runner.tracking import Recorder
from runner.trial import Trial, from_hydra

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


class _Jobs:
    """What Hydra's jobs hand their runs to, and what they have shown so far."""

    def __init__(self, recorder: Recorder, progress: Progress, trials: Sequence[Trial]) -> None:
        self.recorder, self.progress = recorder, progress
        self.names = {trial.key: trial.name for trial in trials}
        self.recorded: list[tuple[Trial, Outcome]] = []
        self.steps = 0
        self.best: float | None = None

    def run(self, trial: Trial) -> Outcome:
        trial = trial.named(self.names.get(trial.key, trial.name))
        (outcome,) = sweep.execute([trial], self.recorder, progress=self.stepped)
        self.recorded.append((trial, outcome))
        for name in ("validation_accuracy", "validation_r2"):
            if name in outcome.summary:
                self.best = max(outcome.summary[name], self.best if self.best is not None else -math.inf)
        self.stepped(0)
        return outcome

    def stepped(self, steps: int) -> None:
        self.steps += steps
        self.progress.update(len(self.recorded), self.steps, self.best)


_jobs: _Jobs | None = None


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def _job(config: DictConfig) -> float:
    """One job of Hydra's: a run, and as its value the validation loss, which an optimizing sweeper makes small."""
    assert _jobs is not None
    settings = HydraConfig.get()
    outcome = _jobs.run(from_hydra(config, settings.runtime.choices, own(settings.overrides.task)))
    return outcome.summary.get("validation_loss", math.inf)


def _train(command: Command, composer: Composer) -> int:
    """Runs the command's trials as Hydra's jobs, and prints what they showed; the exit status."""
    global _jobs
    trials = sweep.named(composer.trials(command.runs))
    session = sweep.session(command, trials)
    kind = "sweep" if command.multirun else "run"
    sys.argv.insert(1, f"hydra.{kind}.dir={_quoted(session.directory)}")
    with (
        Recorder(session, trials[0].tracking) as recorder,
        Progress(len(trials), sum(trial.plan.steps for trial in trials)) as progress,
    ):
        _jobs = _Jobs(recorder, progress, trials)
        _job()
        recorder.finish(figures=lambda: sweep.draw(session, _jobs.recorded))
    print(_report(session, _jobs.recorded))
    return FAILED if any(outcome.fate == "failed" for _, outcome in _jobs.recorded) else 0


def _report(session: Session, recorded: Sequence[tuple[Trial, Outcome]]) -> str:
    color = sys.stdout.isatty()
    (trial, outcome), directory = recorded[0], _relative(session.directory)
    if not session.multirun:
        return report.run_text(trial, outcome, directory=directory, color=color)
    compared = comparison.compare(*comparison.frames(recorded))
    return report.sweep_text(compared, report=trial.config["report"], directory=directory, color=color)


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _quoted(path: Path) -> str:
    """The path as a value that Hydra's grammar takes as it is."""
    text = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"


if __name__ == "__main__":
    sys.exit(main())
