"""Work: the steps of a command that trains, in their order, for the command line and for Python."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from types import TracebackType

from runner.config.composition import Command, Composer
from runner.config.trial import Trial
from runner.execution import hydra_jobs, naming
from runner.execution.jobs import Jobs
from runner.execution.progress import Progress
from runner.execution.resources import check, check_memory, resources
from runner.execution.session import session
from runner.records import Outcome
from runner.tracking import Recorder, files


def known_trials(composer: Composer, command: Command) -> list[Trial]:
    """Return the trials that a command lists, under their names.

    Raises ValueError for a wrong launcher, callback or storage, and where memory can't hold a trial.
    """
    if command.multirun:
        check(command.config.hydra.launcher)
    hydra_jobs.check(command.config)
    trials = naming.named(composer.trials(command.runs))
    check_memory(trials)
    return trials


class Work:
    """Runs of a command, trained and recorded once; a context manager, which holds the command's directory.

    ``trials``: those that the command lists; ``session`` and ``recorder``: where they go; ``complete``: whether an
    earlier process has recorded them all, so that nothing is left to do.
    """

    def __init__(
        self,
        command: Command,
        composer: Composer,
        trials: Sequence[Trial],
        *,
        processes: bool = True,
        say: Callable[[str], object] = warnings.warn,
    ) -> None:
        """``processes``: whether a long sweep may train in processes, which start the caller's script again.

        ``say``: hears what a person should know of the workers.
        """
        self.command, self.composer, self.trials = command, composer, trials
        self._processes, self._say = processes, say
        self._further: tuple[str, ...] = ()  # overrides of the sweeper's

    def __enter__(self) -> Work:
        """Make the directory and open the records; raise ValueError or OSError where that fails."""
        with ExitStack() as held:
            self.session = held.enter_context(session(self.command, self.trials))
            tracking = self.composer.tracking(self.command, self.trials)
            self.recorder = Recorder(self.session, tracking, [trial.key for trial in self.trials])
            self.complete = self.recorder.complete
            if not self.complete:
                self._open(held)
            self._held = held.pop_all()
        return self

    def _open(self, held: ExitStack) -> None:
        # The processes of a long sweep start while the recorder opens its store.
        listed = self.command.multirun and bool(self.trials)
        with_trials = self.trials if self._processes else ()
        launcher = self.command.config.hydra.launcher
        pool = resources(launcher, with_trials, say=self._say) if listed else nullcontext()
        self._pool = held.enter_context(pool)
        held.enter_context(self.recorder)
        progress = held.enter_context(Progress(self.session.total, sum(trial.plan.steps for trial in self.trials)))
        self.jobs = Jobs(self.recorder, progress, self.trials)
        if hydra_jobs.is_kept(self.command.config) and not self.trials:
            self._continue()

    def _continue(self) -> None:
        """Have a search go on with what an earlier process has tried."""
        from runner.execution import studies

        path, told = self.session.directory / studies.FILE, 0
        for trial in self.composer.trials([(*values, *self.command.fixed) for values in studies.finished(path)]):
            self.jobs.recall(naming.named_by(trial, map(naming.key_of, self.command.searched)))
            told += trial.key in self.outcomes
        quoted = str(path).replace("\\", "\\\\").replace("'", "\\'")
        self._further = (
            f"hydra.sweeper.storage={{_target_: {studies.Kept.__module__}.Kept, path: '{quoted}'}}",
            f"hydra.sweeper.n_trials={self.session.total - told}",
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._held.__exit__(kind, error, trace)

    @property
    def outcomes(self) -> Mapping[str, Outcome]:
        """Outcomes by trial's key, as they finish."""
        return files.outcomes(self.session.directory) if self.complete else self.jobs.outcomes

    def train(self, *, by_hydra: bool = False) -> None:
        """Train what is missing. ``by_hydra``: through Hydra's sweeper and launcher, which may choose the trials.

        Raises ``Stopped`` where nothing can be recorded; through Hydra also what its parts and a failed job raise.
        """
        if by_hydra:
            task = hydra_jobs.Task(self.jobs, self.trials, self._pool)
            hydra_jobs.run(self.command, self.composer, task, self._further)
        else:
            self.jobs.run(self.trials, self._pool)
