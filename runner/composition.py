"""From a command line to the configurations of its runs, with errors that say how to mend them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import setup_globals
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from runner import schema, trial
from runner.loader import Loader

CONF = Path(__file__).resolve().parent.parent / "conf"
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
        schema.register()
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
        parsed = OverridesParser.create(config_loader=self.loader).parse_overrides([*params, *overrides])
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
            config = self._compose(overrides, RunMode.RUN)
            choices = config.hydra.runtime.choices
            with open_dict(config):
                del config["hydra"]  # nor does a job's own code see it
            result.append(trial.from_hydra(config, choices, own(overrides)))
        return result

    def jobs(self, master: DictConfig, runs: Sequence[Sequence[str]]) -> Iterator[DictConfig]:
        """The whole configuration of each job of a sweep, ``hydra`` included, as Hydra's launchers compose it.

        ``master``: that of the sweep, as a launcher gets it.
        """
        for overrides in runs:
            yield self.loader.load_sweep_config(master, list(overrides))

    def _compose(self, overrides: Sequence[str], mode: RunMode, **options: Any) -> DictConfig:
        try:
            return self.loader.load_configuration(CONFIG_NAME, list(overrides), mode, **options)
        except OverrideParseException as error:
            raise ValueError(
                f"{error.override!r} can't be read as an override. Write key=value, as in scheme=he, and quote what the "
                "shell would change: seed='range(0,5)'."
            ) from error
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            raise ValueError(self._explain(error, overrides, mode)) from error

    def _explain(self, error: Exception, overrides: Sequence[str], mode: RunMode) -> str:
        """One clear message for what Hydra found wrong."""
        root: BaseException = error
        while root.__cause__ is not None:
            root = root.__cause__
        text = f"{error}\n{root}"
        if found := re.search(r"Could not find '([\w./-]+)'", text):
            return self._unknown_choice(found[1])
        if found := re.search(r"Config group override must be a string or a list|Could not override|Key '([^']+)' is not in struct", text):
            ...
        return ""


def own(overrides: Sequence[str]) -> tuple[str, ...]:
    """The overrides that speak to the lab rather than to Hydra."""
    return tuple(override for override in overrides if not override.lstrip("+~").startswith("hydra"))
