"""The command line: from what was typed to a table, and an exit status.

0: every run finished, or diverged, which is a result. 1: a run failed, what was compared has changed, or a strict
check was not passed. 2: the command can't be carried out, and nothing was done. 130: interrupted; what had finished is
kept, and the same command with ``resume=true`` does the rest.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from runner.config import catalogue
from runner.config.composition import CONFIG_NAME, Command, Composer
from runner.config.internals import Hydra, get_args_parser
from runner.config.secrets import without_password
from runner.execution.interruption import STATUS, interruptible
from runner.text import ECHOED, look_lines, printable, relative, shortened

# What trains imports tables, figures and MLflow where it begins: a forecast is to answer at once.
if TYPE_CHECKING:
    from runner.analysis.best_rates import Tuned
    from runner.analysis.comparison import Comparison
    from runner.execution.work import Work
    from runner.modes.advise import Shortlist
    from runner.tracking.frames import Tables

FAILED, MISTAKE, INTERRUPTED = 1, 2, STATUS
LONGEST = 2000  # characters of a message
# Errors that values of a command lead to before any work: wrong, too large, nested too deep, in no readable file.
REFUSED = (ValueError, TypeError, ArithmeticError, MemoryError, RecursionError, OSError)


def main() -> int:
    """Return the exit status of this process's command line."""
    parser = get_args_parser()
    arguments = _arguments(parser)
    with interruptible():
        return _carry_out(arguments, parser)


def _carry_out(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # so that scheme._target_=mine.Scheme finds mine.py here
    try:
        _check_flags(arguments)
        composer = Composer(arguments.config_dir)
        arguments.overrides = [composer.secrets.hide(text) for text in arguments.overrides]
        if arguments.help:
            print(catalogue.help_page(composer.folders))
            return 0
        if arguments.hydra_help or arguments.shell_completion:
            return _hydra_answers(composer, arguments, parser)
        multirun = arguments.multirun or not {"mode=advise", "mode=schemes"}.isdisjoint(arguments.overrides)
        command = composer.command(arguments.overrides, multirun=multirun)
        if arguments.cfg or arguments.info:
            return _hydra_answers(composer, arguments, parser)
        if command.config.mode.name in ("schemes", "forecast", "compare", "coordinate_check"):
            return _answer(command, composer)
    except BrokenPipeError:  # of what prints: who reads it has seen enough
        raise
    except REFUSED as error:
        return _refused(error)
    return _train(command, composer, [composer.secrets.hide(word) for word in sys.argv[1:]])


def _answer(command: Command, composer: Composer) -> int:
    """Does what a mode without training says; returns the exit status. Raises ValueError or TypeError for a mistake."""
    mode = command.config.mode.name
    if mode == "schemes":
        print(catalogue.schemes_page(composer.folders, composer.named("scheme", command)))
        return 0
    if mode == "forecast":
        from runner.modes import forecast

        print(forecast.text(composer, command))
        return 0
    if mode == "coordinate_check":
        from runner.modes import coordinate_check

        text, transfers = coordinate_check.check(composer, command)
        print(text)
        return FAILED if command.config.strict and not transfers else 0
    from runner.modes.compare import review

    settings: Any = OmegaConf.to_container(command.config)
    return review(settings, composer.tracking(command, ()))


def _train(command: Command, composer: Composer, line: Sequence[str]) -> int:
    """Trains and records the command's trials, and prints what they showed; returns the exit status.

    ``line``: what was typed, for the sentence that says how to do the rest of what was stopped.
    """
    from runner.analysis import best_rates
    from runner.execution import hydra_jobs
    from runner.execution.jobs import Stopped
    from runner.execution.work import Work, known_trials
    from runner.modes import advise
    from runner.report import artifacts
    from runner.tracking import read

    said = ""  # how to do the rest, once there is a rest
    try:
        with ExitStack() as held:
            try:
                shortlist = None
                if command.config.mode.name == "advise":
                    command, shortlist, trials, takes = advise.prepared(composer, command)
                    if takes:
                        _say(takes)
                else:
                    trials = known_trials(composer, command)
                work = held.enter_context(Work(command, composer, trials, say=_say))
            except REFUSED as error:
                return _refused(error)
            said = _rest(line)
            session, recorder = work.session, work.recorder
            recorded = cache(lambda: read(session.directory))  # complete once the recorder has merged its files
            compared = cache(lambda: best_rates.compared(*recorded()) if session.multirun else None)
            page = cache(lambda: _page(work, recorded(), compared(), shortlist))
            if work.complete:
                _say(f"nothing is left to do in {relative(session.directory)}")
                print(page())
                return FAILED if _failed(recorded()) else 0
            if recorder.resumed:
                directory = relative(session.directory)
                _say(f"going on in {directory}, where {len(work.outcomes)} of {session.total} runs are")
            elif command.config.resume:
                _say(f"nothing to resume below {relative(session.directory.parent)}: starting anew")
            trouble: Exception | None = None
            if shortlist is None and hydra_jobs.wanted(command):
                try:
                    work.train(by_hydra=True)
                except Exception as error:  # of a job, of a callback, or of somebody's sweeper
                    trouble = error
                    if all(outcome.error != str(error) for outcome in work.outcomes.values()):
                        _say(f"stopped: {str(error) or type(error).__name__}")
            else:
                hydra_jobs.prepare(session.directory, command.config)
                work.train()
            if not work.outcomes:
                recorder.finish(status="FAILED")
                return FAILED
            recorder.finish(
                figures=lambda: artifacts.draw(session, *recorded(), compared()),
                text=lambda: re.sub(r"\033\[\d+m|\n+look: .*", "", page(), flags=re.DOTALL),
                status=None if trouble is None else "FAILED",
            )
        print(page())
        return FAILED if trouble is not None or recorder.lost or _failed(recorded()) else 0
    except Stopped as stopped:
        _say(f"stopped, since {stopped}. What had finished is kept.{said}{stopped.hint and f' {stopped.hint}'}")
        return FAILED
    except BrokenPipeError:  # of what prints: who reads it has seen enough
        raise
    except OSError as error:
        _say(f"stopped, since nothing can be recorded ({error}). What had finished is kept.{said}")
        return FAILED
    except KeyboardInterrupt:
        _say(f"interrupted; what had finished is kept.{said}")
        return INTERRUPTED


def _page(
    work: Work, tables: Tables, compared: tuple[Comparison, Tuned | None] | None, shortlist: Shortlist | None
) -> str:
    """Return what a command showed.

    ``tables``: the runs and curves that it recorded; ``compared``: of a sweep, its comparison and its groups at chosen
    learning rates; ``shortlist``: of what is asked for advice on.
    """
    from runner.analysis.search import search
    from runner.modes import advise
    from runner.report import terminal

    runs, curves = tables
    color, directory, viewer = sys.stdout.isatty(), relative(work.session.directory), work.recorder.viewer
    if shortlist is not None:
        decision = advise.decide(shortlist, runs, curves)
        return advise.text(shortlist, decision, look=look_lines(directory, viewer), color=color)
    if compared is not None:
        comparison, tuned = compared
        found = search(comparison, work.command.searched, work.command.fixed)
        return terminal.sweep_text(
            comparison, tuned=tuned, search=found, directory=directory, viewer=viewer, color=color
        )
    (trial,) = work.trials
    return terminal.run_text(trial, work.outcomes[trial.key], directory=directory, viewer=viewer, color=color)


def _failed(tables: Tables) -> bool:
    """Whether a run has failed."""
    runs, _ = tables
    return bool((runs["fate"] == "failed").any())


def _arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Return the parsed command line, in which overrides may stand behind flags too."""
    arguments, late = parser.parse_known_args()
    if any(text.startswith("-") for text in late):
        parser.parse_args()  # says what is wrong, and exits
    arguments.overrides += late
    return arguments


def _multirun_first(line: str) -> str:
    """Return a line under completion with its ``-m`` in front: behind one, Hydra's parser takes no overrides."""
    program, *words = line.split(" ")
    flags = [word for word in words[:-1] if word in ("-m", "--multirun")]
    others = [word for word in words[:-1] if word not in flags]
    return " ".join([program, *flags, *others, *words[-1:]])


def _check_flags(arguments: argparse.Namespace) -> None:
    """Refuses flags that would have Hydra compose another configuration than the lab's, or none."""
    for flag, value in (("--config-name", arguments.config_name), ("--config-path", arguments.config_path)):
        if value is not None:
            raise ValueError(
                f"{flag} can't be changed: what the lab runs begins with its own conf/config.yaml; got {value!r}. "
                "Put your file in my_conf/experiment/NAME.yaml and pass --config-dir my_conf experiment=NAME."
            )
    if arguments.experimental_rerun is not None:
        raise ValueError("--experimental-rerun is not for the lab: type a run's command again to repeat the run.")


def _hydra_answers(composer: Composer, arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Has Hydra print what its own flags ask for; returns the exit status."""
    hydra = Hydra(task_name="runner", config_loader=composer.loader)
    if arguments.hydra_help:
        hydra.hydra_help(config_name=CONFIG_NAME, args_parser=parser, args=arguments)
    elif arguments.shell_completion:
        if "COMP_LINE" in os.environ:
            os.environ["COMP_LINE"] = _multirun_first(os.environ["COMP_LINE"])
        hydra.shell_completion(config_name=CONFIG_NAME, overrides=arguments.overrides)
    elif arguments.cfg:
        hydra.show_cfg(CONFIG_NAME, arguments.overrides, arguments.cfg, arguments.package, arguments.resolve)
    else:
        hydra.show_info(arguments.info, config_name=CONFIG_NAME, overrides=arguments.overrides)
    return 0


def _say(text: str) -> None:
    print(f"runner: {without_password(text)}", file=sys.stderr)


def _refused(error: Exception) -> int:
    """Says what is wrong with a command; returns the exit status."""
    what = str(error) if isinstance(error, ValueError | TypeError) else f"{type(error).__name__}: {error}"
    _say(shortened(re.sub(rf"(\S{{{ECHOED}}})\S+", r"\1...", printable(what)), LONGEST))
    return MISTAKE


def _rest(line: Sequence[str]) -> str:
    """Return the sentence on how to do the rest of a command that ended early."""
    given = [text for text in line if not text.startswith("resume=")]
    return f" To do the rest: {shlex.join(['python', '-m', 'runner', *given, 'resume=true'])}"
