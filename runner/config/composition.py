"""From a command line to the configurations of its runs, with errors that say how to mend them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hydra import version
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Sweep, ValueType
from hydra.core.utils import setup_globals
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from runner.config import factories, schema, trial
from runner.config.catalogue import CONF, ROOT, check_conf
from runner.config.internals import BasicSweeper, create_config_search_path
from runner.config.loader import Loader

CONFIG_NAME = "config"
# Sweepers that run every combination of the listed values. What others ask for is theirs to know.
_LISTING = ("hydra._internal.core_plugins.basic_sweeper.", "hydra_plugins.weightinit.")


@dataclass(frozen=True)
class Command:
    """What a command line asks for: its overrides, the configuration without its sweeps (``hydra`` included), and each
    run's overrides; no runs where the sweeper makes them up as it goes."""

    overrides: tuple[str, ...]
    config: DictConfig
    multirun: bool
    runs: tuple[tuple[str, ...], ...]


class Composer:
    """Composes configurations from ``conf/`` and, beside it, a folder of the user's own."""

    def __init__(self, config_dir: str | None = None) -> None:
        check_conf()
        schema.register()
        # Hydra 1.3 looks for plugins along sys.path, where an editable installation doesn't put this folder.
        if str(ROOT) not in sys.path:
            sys.path.append(str(ROOT))
        setup_globals()
        version.setbase("1.3")
        path = create_config_search_path(str(CONF))
        self.folders = [CONF]  # where choices are looked for, in this order
        if config_dir is not None:
            folder = Path(config_dir).resolve()
            _check_folder(config_dir, folder)
            path.prepend("command-line", f"file://{folder}", anchor=SearchPathQuery(provider="schema"))
            self.folders.append(folder)
        self.loader = Loader(path)

    def command(self, overrides: Sequence[str], *, multirun: bool) -> Command:
        """The runs that ``overrides`` ask for, in Hydra's order; raises ValueError for what can't be composed."""
        if not multirun:
            config = self._compose(overrides, RunMode.MULTIRUN, validate_sweep_overrides=False)
            multirun = config.hydra.mode == RunMode.MULTIRUN
        if not multirun:
            return Command(tuple(overrides), self._compose(overrides, RunMode.RUN), False, (tuple(overrides),))
        config = self._compose(overrides, RunMode.MULTIRUN)
        params = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
        parsed = OverridesParser.create(config_loader=self.loader).parse_overrides([*params, *overrides])  # for glob()
        if str(config.hydra.sweeper._target_).startswith(_LISTING):
            return Command(tuple(overrides), config, True, _combinations(parsed))
        swept = [override.key_or_group for override in parsed if override.is_sweep_override()]
        if "experiment" not in swept:
            trial.check_fixed(config, swept)
        return Command(tuple(overrides), config, True, ())

    def trials(self, runs: Sequence[Sequence[str]]) -> list[trial.Trial]:
        """The trial of each run's overrides; raises ValueError or TypeError for the first that is wrong."""
        result = []
        for overrides in runs:
            try:
                result.append(self._trial(overrides))
            except (ValueError, TypeError) as error:
                place = f"{' '.join(own(overrides))}: " if len(runs) > 1 else ""
                raise type(error)(f"{place}{error}") from error
        return result

    def configurations(self, runs: Sequence[Sequence[str]]) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
        """The configuration of each run's overrides as plain values, and the name of the choice in each group."""
        for overrides in runs:
            config = self._compose(overrides, RunMode.RUN)
            yield trial.plain_config(config), trial.chosen(config.hydra.runtime.choices)

    def _trial(self, overrides: Sequence[str]) -> trial.Trial:
        config = self._compose(overrides, RunMode.RUN)
        choices = config.hydra.runtime.choices
        with open_dict(config):
            del config["hydra"]  # nor does the code of a job see it
        return trial.from_hydra(config, choices, own(overrides))

    def jobs(self, master: DictConfig, runs: Sequence[Sequence[str]]) -> Iterator[DictConfig]:
        """The whole configuration of each job of a sweep, ``hydra`` included, as Hydra's launchers compose it.

        ``master``: that of the sweep, as a launcher gets it.
        """
        for overrides in runs:
            yield self.loader.load_sweep_config(master, list(overrides))

    def _compose(self, overrides: Sequence[str], mode: RunMode, **options: Any) -> DictConfig:
        try:
            return self.loader.load_configuration(CONFIG_NAME, list(overrides), mode, **options)
        except Exception as error:  # what Hydra raises for a mistake in an override or a file is of many types
            raise ValueError(self._explain(error, overrides)) from error

    def _explain(self, error: Exception, overrides: Sequence[str]) -> str:
        """One clear message for what Hydra found wrong."""
        text, root = str(error), _root(error)
        if isinstance(error, OverrideParseException):
            return _unreadable(error.override, error.message)
        if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
            return self._unknown_choice(*str(error.missing_cfg_file).rpartition("/")[::2])
        if isinstance(root, OmegaConfBaseException):
            place = f"{found[1]}: " if (found := re.match(r"(In '[^']*'): ", text)) else ""
            unknown = isinstance(root, ConfigKeyError | ConfigAttributeError)
            return place + (_unknown_key(root) if unknown else _wrong_value(root, overrides))
        for override in map(self.loader.parse, overrides):
            if message := self._explain_override(override, text):
                return message
        problem, _, details = (text or str(root)).partition("\nTo append")[0].partition("\n    full_key: ")
        return " ".join([*(f"{key}:" for key in details.split()[:1]), *problem.split()])

    def _explain_override(self, override: Override, text: str) -> str | None:
        """The message for an override of the wrong form, if Hydra's ``text`` is about this one."""
        line, group = str(override.input_line), override.key_or_group
        options = self._options(group) if group else []
        if override.is_sweep_override() and f"'{line}'" in text:
            listed = override.value_type is ValueType.SIMPLE_CHOICE_SWEEP and not options
            mend = f" A list is written {group}=[{line.partition('=')[2]}]." if listed else ""
            return f"{line} asks for several runs, and this is a single one. Add -m to sweep.{mend}"
        if re.search("more than once|force-add", text) and line.startswith("+") and options:
            return f"{line} would be a second {group}. Pass {line.lstrip('+')} to replace the first."
        if "Config group override must be" in text and not isinstance(override.value(), str | list | dict | Sweep):
            if not group:
                return _unreadable(line)
            if options and not override.is_delete():
                return self._unknown_choice(group, override.get_value_element_as_str())
        return None

    def _options(self, group: str) -> list[str]:
        return [name for name in self.loader.get_group_options(group) if not name.startswith("_")]

    def _unknown_choice(self, group: str, name: str) -> str:
        while not (options := self._options(group)) and "/" in group:
            group, _, parent = group.rpartition("/")
            name = f"{parent}/{name}"
        example = [*get_close_matches(name, options, n=1), *options][:1]
        mend = f" Pass {group}={example[0]}." if example else ""
        return f"{group} must be one of {', '.join(options)}; got {name!r}.{mend}"


def _unreadable(override: str, message: str = "") -> str:
    if found := re.search(r"while evaluating '.*': (.*)", message):
        return f"{override!r} can't be read as an override: {found[1]}. Mend the call, as in seed=range(0,5)."
    return (
        f"{override!r} can't be read as an override. Write key=value, as in scheme=he, and quote what the shell "
        "would change: seed='range(0,5)'."
    )


def _unknown_key(error: OmegaConfBaseException) -> str:
    """Lists the keys that stand where one was looked for; one that the target takes beside them can be added."""
    key, node = str(error.full_key), error.parent_node
    group, _, name = key.rpartition(".")
    if not isinstance(node, DictConfig):
        return factories.unknown_key(key, [])
    names = [str(name) for name in node if str(name) not in ("hydra", "_target_")]
    if group in trial.VARIANTS:
        taken = factories.keys(group, {"_target_": OmegaConf.select(node, "_target_", throw_on_missing=False)})
        if taken is None or name in taken:
            return (
                f"{key} isn't in the file of this {group}, but its target takes it. Add it with a plus: +{key}=VALUE."
            )
        names = taken
    return factories.unknown_key(key, [f"{group}.{name}" if group else name for name in names])


def _wrong_value(error: OmegaConfBaseException, overrides: Sequence[str]) -> str:
    key, problem = str(error.full_key), str(error).partition("\n")[0]
    given = next(
        (text.partition("=")[2] for text in reversed(overrides) if text.lstrip("+").startswith(f"{key}=")), None
    )
    if given is None or (words := schema.expected(key)) is None:
        return f"{key}: {problem}. Pass another value."
    default = OmegaConf.select(OmegaConf.create(schema.DEFAULTS), key, throw_on_missing=False)
    mend = f" Pass {key}={default}." if isinstance(default, str | int | float) else ""
    return f"{key} must be {words}; got {given}.{mend}"


def _root(error: BaseException) -> BaseException:
    """Of the errors that led to this one the first that names a key, or else the first of all."""
    chain = [error]
    while (before := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(before)
    return next((one for one in reversed(chain) if isinstance(one, OmegaConfBaseException) and one.full_key), chain[-1])


def _combinations(parsed: list[Override]) -> tuple[tuple[str, ...], ...]:
    try:
        (runs,) = BasicSweeper.split_arguments(parsed, None)
    except HydraException as error:
        raise ValueError(
            f"this sweep can't be listed: {error}. Pass a,b or range(); interval() is for sweepers that optimize."
        ) from error
    return tuple(tuple(run) for run in runs)


def _check_folder(config_dir: str, folder: Path) -> None:
    if not folder.is_dir():
        raise ValueError(f"--config-dir must be a folder; got {config_dir!r}, which is none. Check the path.")
    for path in sorted(folder.rglob("*.yaml")):
        if (CONF / (name := path.relative_to(folder))).exists():
            raise ValueError(
                f"--config-dir: {path} has the name of the lab's own {name}, which is read first. Give it another name."
            )


def own(overrides: Sequence[str]) -> tuple[str, ...]:
    """The overrides that speak of a trial, rather than to Hydra or of how the command goes about its trials."""
    return tuple(override for override in overrides if not override.lstrip("+~").startswith(("hydra", "resume")))
