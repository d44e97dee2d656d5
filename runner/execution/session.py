"""Session: the record of a command, and the directory that it writes to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from runner.config.composition import Command
from runner.config.trial import Trial
from runner.records import Session
from runner.tracking import files, sessions


def session(command: Command, trials: Sequence[Trial]) -> Session:
    """The record of this command. Its directory is made here, or is that of the command which it resumes.

    The same overrides in the same order are the same command: its ``sweep_id`` says so. Where the configuration files
    have changed since, so that runs are there that it no longer asks for, it resumes nothing.
    """
    beside = ("tracking", "outputs", "resume", "hydra")
    relevant = [text for text in command.overrides if not text.lstrip("+~").startswith(beside)]
    sweep_id = hashlib.sha256("\n".join(relevant).encode()).hexdigest()
    hydra = command.config.hydra
    directory = Path(hydra.sweep.dir if command.multirun else hydra.run.dir).absolute()
    earlier = None
    if command.config.resume and (found := sessions.latest(directory.parent, sweep_id, multirun=command.multirun)):
        keys = {trial.key for trial in trials}
        earlier = found if not trials or files.keys(found) <= keys else None
    return Session(
        name=" ".join(relevant) or "defaults",
        directory=earlier or _claim(directory),
        overrides=tuple(text for text in command.overrides if not text.lstrip("+").startswith("resume=")),
        multirun=command.multirun,
        sweep_id=sweep_id,
        total=len(trials) or int(hydra.sweeper.get("n_trials", 0)),
    )


def _claim(directory: Path) -> Path:
    """``directory``, or one beside it with a number where another command got there first; made on the spot."""
    candidate, number = directory, 2
    while True:
        try:
            candidate.mkdir(parents=True)
            return candidate
        except FileExistsError:
            candidate, number = directory.with_name(f"{directory.name}-{number}"), number + 1
        except OSError as error:
            raise ValueError(
                f"outputs must be a folder that can be written; {directory} can't be made ({error.strerror}). "
                "Pass outputs=... with another."
            ) from error
