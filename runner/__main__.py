"""``python -m runner``: from the command line to a table, and an exit status.

0: every run finished, or diverged, which is a result. 1: a run failed, or what was compared has changed. 2: the command
can't be carried out, and nothing was done. 130: interrupted; what had finished is kept, and the same command with
``resume=true`` does the rest.
"""

from __future__ import annotations

import argparse
import gc
import os
import re
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from functools import cache
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from runner.config import catalogue, schema
from runner.config.composition import Command, Composer
from runner.config.internals import get_args_parser
from runner.config.trial import Trial
from runner.modes.forecast import forecast
from runner.records import Outcome, Session, Tracking
from runner.report import forecast as forecast_text
from runner.text import look_lines

# What trains imports tables, figures and MLflow where it begins: a forecast is to answer at once.
if TYPE_CHECKING:
    from runner.execution.sweep import Resources
    from runner.modes.advise import Shortlist
    from runner.tracking import Recorder
    from runner.tracking.store import Status

FAILED, MISTAKE, INTERRUPTED = 1, 2, 130


def main() -> int:
    """The exit status of this process's command line."""
    arguments = _arguments()
    line = sys.argv[1:]
    signal.signal(signal.SIGTERM, _interrupt)
    gc.set_threshold(20_000, 10, 10)  # configurations are many small objects: looking through them costs a fifth
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # so that scheme._target_=mine.Scheme finds mine.py here
    schema.register()
    session = None
    try:
        with ExitStack() as stack:
            try:
                _check_flags(arguments)
                composer = Composer(arguments.config_dir)
                if arguments.help:
                    print(catalogue.help_page(composer.folders))
                    return 0
                if arguments.hydra_help or arguments.shell_completion or arguments.experimental_rerun:
                    _job()
                    return 0
                advises = "mode=advise" in arguments.overrides
                command = composer.command(arguments.overrides, multirun=arguments.multirun or advises)
                if arguments.cfg or arguments.info:
                    _job()
                    return 0
                if command.config.mode.name == "schemes":
                    print(catalogue.schemes_page(composer.folders))
                    return 0
                if command.config.mode.name == "forecast":
                    print(_forecast(composer, command))
                    return 0
                if command.config.mode.name == "compare":
                    return _compare(command)
                from runner.execution import launcher, sweep
                from runner.modes import advise
                from runner.tracking import Recorder

                if command.multirun:
                    launcher.check(command.config.hydra.launcher)
                shortlist = None
                if command.config.mode.name == "advise":
                    command, shortlist = advise.plan(composer, command)
                trials = sweep.named(composer.trials(command.runs))
                session = sweep.session(command, trials)
                recorder = Recorder(session, _tracking(command, trials), [trial.key for trial in trials])
                if recorder.complete:
                    _say(f"nothing is left to do in {_relative(session.directory)}")
                    print(_page(session, command, trials, shortlist=shortlist))
                    return FAILED if _failed(session) else 0
                # The processes of a long sweep start while the recorder opens its store.
                known = command.multirun and bool(trials)
                given = (
                    launcher.given(command.config.hydra.launcher, trials) if known else nullcontext(sweep.Resources())
                )
                resources = stack.enter_context(given)
                stack.enter_context(recorder)
            except (ValueError, TypeError) as error:
                _say(str(error))
                return MISTAKE
            return _train(command, composer, trials, recorder, resources, shortlist)
    except OSError as error:
        _say(f"stopped, since nothing can be recorded ({error}). What had finished is kept.{_rest(session, line)}")
        return FAILED
    except KeyboardInterrupt:
        _say(f"interrupted; what had finished is kept.{_rest(session, line)}")
        return INTERRUPTED


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def _job(config: DictConfig) -> float:
    """One job of Hydra's: a run, and as its value what an optimizing sweeper makes small."""
    from runner.execution import launcher

    assert launcher.active is not None
    settings: Any = HydraConfig.get()
    outcome = launcher.active.outcome(config, settings)
    if outcome.fate == "failed" and settings.mode == RunMode.MULTIRUN:
        raise RuntimeError(outcome.error)  # for the job's JobReturn; a single run's report says it
    return launcher.objective(outcome)


def _train(
    command: Command,
    composer: Composer,
    trials: Sequence[Trial],
    recorder: Recorder,
    resources: Resources,
    shortlist: Shortlist | None,
) -> int:
    """Runs the command's trials, as Hydra's jobs unless they are advice's, and prints what they showed; the exit
    status."""
    from runner.execution import launcher
    from runner.execution.progress import Progress
    from runner.report import artifacts
    from runner.tracking import read

    session = recorder.session
    kind = "sweep" if command.multirun else "run"
    gc.freeze()  # what is loaded by now stays: the collector would look through it again and again
    sys.argv.insert(1, f"hydra.{kind}.dir={_quoted(session.directory)}")
    with Progress(session.total, sum(trial.plan.steps for trial in trials)) as progress:
        launcher.active = jobs = launcher.Jobs(recorder, progress, composer, trials, resources)
        if recorder.resumed:
            _say(f"going on in {_relative(session.directory)}, where {len(jobs.outcomes)} of {session.total} runs are")
        elif command.config.resume:
            _say(f"nothing to resume below {_relative(session.directory.parent)}: starting anew")
        status: Status | None = None
        try:
            if shortlist is not None:
                jobs.run(trials, **resources)
            else:
                _job()
        except SystemExit:  # Hydra has said why
            status = "FAILED"
        except CompactHydraException as error:
            print(error, file=sys.stderr)
            status = "FAILED"
        if not jobs.outcomes or (status and shortlist is not None):
            recorder.finish(status="FAILED")
            return FAILED
        page = cache(lambda: _page(session, command, trials, jobs.outcomes, shortlist))
        recorder.finish(
            figures=lambda: artifacts.draw(session, *read(session.directory)),
            text=lambda: re.sub(r"\033\[\d+m|\n+look: .*", "", page(), flags=re.DOTALL),
            status=status,
        )
    print(page())
    return FAILED if status or _failed(session) else 0


def _forecast(composer: Composer, command: Command) -> str:
    """What theory says of the command's networks; draws it too where a folder is named."""
    forecasts = [forecast(*configuration) for configuration in composer.configurations(command.runs)]
    text = forecast_text.sweep_text(forecasts) if len(forecasts) > 1 else forecast_text.run_text(*forecasts)
    if folder := command.config.mode.figures:
        from runner.report import figures

        paths = figures.save(figures.forecast_figures(forecasts), folder)
        text += f"\n\nfigures:  {'  '.join(map(str, paths.values()))}"
    return text


def _compare(command: Command) -> int:
    """Prints what recorded sweeps showed; the exit status."""
    from runner.modes.compare import review

    settings: Any = OmegaConf.to_container(command.config)
    return review(settings, _tracking(command, ()))


def _failed(session: Session) -> bool:
    """Whether a run has failed."""
    from runner.tracking import read

    runs, _ = read(session.directory)
    return bool((runs["fate"] == "failed").any())


def _page(
    session: Session,
    command: Command,
    trials: Sequence[Trial],
    outcomes: Mapping[str, Outcome] | None = None,
    shortlist: Shortlist | None = None,
) -> str:
    """What a command showed. ``outcomes``: of a single run, read from files where not given; ``shortlist``: of what is
    asked for advice on."""
    from runner.analysis import best_rates, comparison
    from runner.modes import advise
    from runner.report import terminal
    from runner.tracking import files, read
    from runner.tracking.address import viewer

    runs, curves = read(session.directory)
    color, directory = sys.stdout.isatty(), _relative(session.directory)
    opener = viewer(_tracking(command, trials))
    if shortlist is not None:
        judged = advise.judge(shortlist, runs, curves)
        return advise.text(shortlist, judged, look=look_lines(directory, opener), color=color)
    if session.multirun:
        settings: Any = trials[0].config["report"] if trials else OmegaConf.to_container(command.config.report)
        compared = comparison.compare(runs, curves)
        tuned = best_rates.tuned(compared, runs, curves)
        return terminal.sweep_text(
            compared, tuned=tuned, report=settings, directory=directory, viewer=opener, color=color
        )
    outcome = (outcomes or files.outcomes(session.directory))[trials[0].key]
    return terminal.run_text(trials[0], outcome, directory=directory, viewer=opener, color=color)


def _arguments() -> argparse.Namespace:
    """The parsed command line. Overrides may stand behind flags too: they are put first, where Hydra wants them."""
    parser = get_args_parser()
    arguments, late = parser.parse_known_args()
    if any(text.startswith("-") for text in late):
        parser.parse_args()  # says what is wrong, and exits
    arguments.overrides += late
    sys.argv[1:] = [*arguments.overrides, *(text for text in sys.argv[1:] if text not in arguments.overrides)]
    return arguments


def _check_flags(arguments: argparse.Namespace) -> None:
    """Refuses flags that would have Hydra compose another configuration than the lab's."""
    for flag, value in (("--config-name", arguments.config_name), ("--config-path", arguments.config_path)):
        if value is not None:
            raise ValueError(
                f"{flag} can't be changed: what the lab runs begins with its own conf/config.yaml; got {value!r}. "
                "Put your file in my_conf/experiment/NAME.yaml and pass --config-dir my_conf experiment=NAME."
            )


def _tracking(command: Command, trials: Sequence[Trial]) -> Tracking:
    if trials:
        return trials[0].tracking
    settings: Any = OmegaConf.to_container(command.config.tracking, resolve=True)
    return Tracking(outputs=Path(command.config.outputs).absolute(), **settings)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    print(f"runner: {text}", file=sys.stderr)


def _rest(session: Session | None, line: Sequence[str]) -> str:
    """How the rest of an interrupted command can be done."""
    if session is None:
        return ""
    given = [text for text in line if not text.startswith("resume=")]
    return f" To do the rest: {shlex.join(['python', '-m', 'runner', *given, 'resume=true'])}"


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _quoted(path: Path) -> str:
    """The path as a value that Hydra's grammar takes as it is."""
    text = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"


if __name__ == "__main__":
    status = main()
    if status == INTERRUPTED:
        # A worker may be in the midst of a long step, and nothing of its is wanted.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
