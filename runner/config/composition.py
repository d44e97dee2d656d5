"""From a command line to the configurations of its runs, with errors that say how to mend them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hydra import version
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import setup_globals
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from runner.config import factories, listing, mistakes, nested, schema, seeds
from runner.config.catalogue import CONF, ROOT, check_conf
from runner.config.internals import create_config_search_path
from runner.config.loader import Loader
from runner.config.schema import CUSTOM, VARIANTS
from runner.config.trial import Trial, check_fixed, check_mode, chosen, from_values, names, plain_config
from runner.records import Tracking

CONFIG_NAME = "config"
# Sweepers that run every combination of the listed values, by the beginning of their address. Others decide as they go.
_LISTING = {
    "hydra_plugins.weightinit.": listing.combinations,
    "hydra._internal.core_plugins.basic_sweeper.": listing.basic,
}

T = TypeVar("T")


@dataclass(frozen=True)
class Command:
    """A command line: its overrides, the configuration without its sweeps (``hydra`` included), and each
    run's overrides; no runs where the sweeper makes them up as it goes, for the keys that are ``searched``, while all
    runs have the overrides that are ``fixed``."""

    overrides: tuple[str, ...]
    config: DictConfig
    multirun: bool
    runs: tuple[tuple[str, ...], ...]
    searched: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()


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
        self.secrets = self.loader.secrets
        self._families: dict[tuple[str, ...], seeds.Family | None] = {}

    def command(self, overrides: Sequence[str], *, multirun: bool) -> Command:
        """Return the runs that ``overrides`` ask for, in Hydra's order; raises ValueError where nothing composes."""
        overrides = [self.secrets.hide(text) for text in overrides]
        load = self.loader.load_configuration
        _check_mixture(overrides)
        if not multirun:
            config = self._compose(load, overrides, RunMode.MULTIRUN, validate_sweep_overrides=False)
            multirun = config.hydra.mode == RunMode.MULTIRUN
        if not multirun:
            config = self._compose(load, overrides, RunMode.RUN)
            check_mode(config.mode.name, config.hydra.runtime.choices.mode)
            return Command(tuple(overrides), config, False, (tuple(overrides),))
        config = self._compose(load, overrides, RunMode.MULTIRUN)
        check_mode(config.mode.name, config.hydra.runtime.choices.mode)
        for name in ("n_trials", "n_jobs", "max_batch_size"):
            if isinstance(count := config.hydra.sweeper.get(name), int) and count < 1:
                raise ValueError(f"hydra.sweeper.{name} must be at least 1; got {count}. Pass hydra.sweeper.{name}=1.")
        params = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
        parsed = OverridesParser.create(config_loader=self.loader).parse_overrides([*params, *overrides])  # for glob()
        if any(override.key_or_group == "mode" and override.is_sweep_override() for override in parsed):
            raise ValueError("mode takes one value, not several. Pass mode=NAME, as in mode=train.")
        for address, listed in _LISTING.items():
            if str(config.hydra.sweeper._target_).startswith(address):
                return Command(tuple(overrides), config, True, tuple(map(tuple, listed(parsed))))
        swept = [override.key_or_group for override in parsed if override.is_sweep_override()]
        if "experiment" not in swept:
            check_fixed(config, swept)
        fixed = [str(override.input_line) for override in parsed if override.key_or_group not in swept]
        searched = [str(o.input_line).partition("=")[0] for o in parsed if o.is_sweep_override()]  # +scheme.NAME too
        return Command(tuple(overrides), config, True, (), tuple(searched), own(fixed))

    def trials(self, runs: Sequence[Sequence[str]]) -> list[Trial]:
        """Return the trial of each run's overrides; raises ValueError or TypeError for the first that is wrong."""
        result = []
        for overrides in runs:
            try:
                result.append(from_values(*self._values(overrides), own(overrides)))
            except (ValueError, TypeError) as error:
                place = f"{' '.join(own(overrides))}: " if len(runs) > 1 else ""
                raise type(error)(f"{place}{error}") from error
        return result

    def tracking(self, command: Command, trials: Sequence[Trial]) -> Tracking:
        """Return the place where a command records; raises ValueError as OmegaConf does for one without a value."""
        if trials:
            outputs, settings = trials[0].outputs, dict(trials[0].config["tracking"])
        else:
            found: Any = plain_config(OmegaConf.masked_copy(command.config, ["outputs", "tracking"]))
            outputs, settings = found["outputs"], found["tracking"]
        uri = settings["uri"] and self.secrets.hide(settings["uri"])
        whole = self.secrets.whole(uri)
        return Tracking(**settings | {"uri": uri, "outputs": Path(outputs).absolute(), "whole": whole})

    def configurations(self, runs: Sequence[Sequence[str]]) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
        """Yield the configuration of each run's overrides as plain values, and the names of its choices."""
        for overrides in runs:
            values, choices = self._values(overrides)
            yield values, names(values, choices)

    def named(self, group: str, command: Command) -> set[str]:
        """Return the choices of a group that a command names; empty where it names none."""
        named = [run for run in command.runs if any(override.startswith(f"{group}=") for override in run)]
        return {str(self._values(run)[1][group]) for run in named}

    def _values(self, overrides: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
        """The configuration of a run as plain values, and the choice in each group; shared parts are one object."""
        if (parts := seeds.parted(overrides)) is None:
            return self._composed(overrides)[1:]
        others, seed = parts
        if (family := self._families.get(others)) is not None:
            return family.with_seed(seed), dict(family.choices)
        config, values, choices = self._composed(overrides)
        if others not in self._families:
            unresolved: Any = OmegaConf.to_container(config)
            self._families[others] = seeds.Family.of(unresolved, values, choices, seed)
        return values, choices

    def _composed(self, overrides: Sequence[str]) -> tuple[DictConfig, dict[str, Any], dict[str, str]]:
        """The configuration of a run as it was composed and as plain values, and the choice in each group."""
        config, found = self._compose(self.loader.load_task, overrides, RunMode.RUN)
        values, choices = plain_config(config), chosen(found)
        values["scheme"] = nested.expanded(values["scheme"], self.folders)
        if isinstance(tracking := values.get("tracking"), dict) and isinstance(tracking.get("uri"), str):
            tracking["uri"] = self.secrets.hide(tracking["uri"])  # an interpolation may have brought some
        self._check_targets(values, choices)
        values |= {
            group: factories.with_whole_numbers(group, values[group]) for group in choices.keys() & set(VARIANTS)
        }
        return config, values, choices

    def _check_targets(self, values: Mapping[str, Any], choices: Mapping[str, str]) -> None:
        """Raises ValueError where a group's target isn't that of its choice: the choice's name would be recorded."""
        for group in choices.keys() & set(VARIANTS):
            target, choice = values[group].get("_target_"), choices[group]
            of_file = self.loader.target(group, choice)
            if of_file not in (None, "???", target) and isinstance(target, str):
                raise ValueError(
                    f"{group}._target_ must be {of_file} with {group}={choice}, whose name is recorded; "
                    f"got {target!r}. Pass {group}={CUSTOM} {group}._target_={target}."
                )

    def _compose(self, load: Callable[..., T], overrides: Sequence[str], mode: RunMode, **options: Any) -> T:
        try:
            return load(CONFIG_NAME, list(overrides), mode, **options)
        except RecursionError as error:
            raise ValueError(
                "an override or a file of the configuration is nested too deep, or names itself."
            ) from error
        except Exception as error:  # Hydra raises errors of many types for a mistake in an override or a file
            raise ValueError(mistakes.explain(error, overrides, self.loader, factories.taken)) from error


def _check_folder(config_dir: str, folder: Path) -> None:
    if not folder.is_dir():
        raise ValueError(f"--config-dir must be a folder; got {config_dir!r}, which is none. Check the path.")
    for path in sorted(folder.rglob("*.yaml")):
        if (CONF / (name := path.relative_to(folder))).exists():
            raise ValueError(
                f"--config-dir: {path} has the name of the lab's own {name}, which is read first. Give it another name."
            )


def _check_mixture(overrides: Sequence[str]) -> None:
    """Raise ValueError for a module of one's own beside other architectures, whose keys are others."""
    chosen = next((text for text in reversed(overrides) if text.startswith("architecture=")), "")
    names = [name.strip() for name in chosen.partition("=")[2].split(",")]
    if len(names) > 1 and "torch" in names:
        others = ",".join(name for name in names if name != "torch")
        raise ValueError(
            f"architecture=torch must be alone in its sweep, for architecture.module is no key of {others}; got "
            f"{chosen}. Pass architecture=torch in one command and architecture={others} in another, and set them side "
            "by side with mode=compare."
        )


def own(overrides: Sequence[str]) -> tuple[str, ...]:
    """The overrides that speak of a trial, rather than to Hydra or of how the command goes about its trials."""
    return tuple(override for override in overrides if not override.lstrip("+~").startswith(("hydra", "resume")))
