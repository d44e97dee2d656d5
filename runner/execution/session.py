"""Session: the record of a command, and the directory that it writes to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from runner.config.composition import Command
from runner.config.trial import Trial
from runner.records import Session
from runner.tracking import files, sessions


@contextmanager
def session(command: Command, trials: Sequence[Trial]) -> Iterator[Session]:
    """The record of this command. Its directory is made here, or is that of the command which it resumes.

    The same overrides in the same order are the same command: its ``sweep_id`` says so. Where the configuration files
    have changed since, so that runs are there that it no longer asks for, it resumes nothing. A command that ends
    without a recorded run leaves no directory; the next command removes that of a killed one. Raises ValueError where
    none can be made.
    """
    beside = ("tracking", "outputs", "resume", "hydra")
    relevant = [text for text in command.overrides if not text.lstrip("+~").startswith(beside)]
    sweep_id = hashlib.sha256("\n".join(relevant).encode()).hexdigest()
    hydra = command.config.hydra
    kind = "sweep" if command.multirun else "run"
    if not hydra[kind].dir:
        raise ValueError(f"hydra.{kind}.dir must not be empty. Leave it out.")
    directory = Path(hydra[kind].dir).absolute()
    earlier = None
    if command.config.resume and (found := sessions.latest(directory.parent, sweep_id, multirun=command.multirun)):
        keys = {trial.key for trial in trials}
        earlier = found if not trials or files.keys(found) <= keys else None
    made_here = directory.is_relative_to(Path(command.config.outputs).absolute())
    sessions.sweep_up(directory.parent, keep=earlier, made_here=made_here)
    new = [folder for folder in directory.parents if not folder.exists()]
    directory = earlier or _claim(directory)
    try:
        yield Session(
            name=" ".join(relevant) or "defaults",
            directory=directory,
            overrides=tuple(text for text in command.overrides if not text.lstrip("+").startswith("resume=")),
            multirun=command.multirun,
            sweep_id=sweep_id,
            total=len(trials) or int(hydra.sweeper.get("n_trials", 0)),
            searched=command.searched,
            fixed=command.fixed,
        )
    finally:
        sessions.discard(directory, new)
        for path in (directory / "multirun.yaml", *directory.glob("**/runner.log"), *directory.glob("**/.hydra/*")):
            with suppress(OSError):
                path.chmod(0o600)  # what was typed, and the machine's names, are for their owner


def _claim(directory: Path) -> Path:
    """``directory``, or one beside it with a number where another command got there first; made on the spot."""
    candidate, number = directory, 2
    while True:
        try:
            candidate.mkdir(parents=True)
            return candidate
        except FileExistsError as error:
            if not candidate.is_dir():
                raise _unusable(candidate, "a file of that name is there") from error
            candidate, number = directory.with_name(f"{directory.name}-{number}"), number + 1
        except (OSError, ValueError) as error:
            raise _unusable(candidate, getattr(error, "strerror", None) or str(error)) from error


def _unusable(directory: Path, reason: str) -> ValueError:
    return ValueError(
        f"outputs must be a folder that can be written; {directory} can't be made ({reason}). The same holds for "
        "a hydra.sweep.dir or hydra.run.dir of yours. Pass outputs=... with another."
    )
