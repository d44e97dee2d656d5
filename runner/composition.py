"""From a command line to the configurations of its runs, with errors that say how to mend them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from hydra import initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from runner import schema, trial

CONF = Path(__file__).resolve().parent.parent / "conf"
CONFIG_NAME = "config"


@dataclass(frozen=True)
class Command:
    """What a command line asks for: its overrides, the configuration without its sweeps (``hydra`` included), and each
    run's overrides."""

    overrides: tuple[str, ...]
    config: DictConfig
    multirun: bool
    runs: tuple[tuple[str, ...], ...]


class Composer:
    """Composes configurations from ``conf/`` and, before it, a folder of the user's own."""

    def __init__(self, config_dir: str | None = None) -> None:
        if config_dir is not None and not Path(config_dir).is_dir():
            raise ValueError(f"--config-dir must be a folder; got {config_dir!r}, which is none. Check the path.")
        self.config_dir = config_dir

    @property
    def folders(self) -> list[Path]:
        """Where choices are looked for, in this order."""
        return [Path(self.config_dir), CONF] if self.config_dir is not None else [CONF]

    @contextmanager
    def _hydra(self) -> Iterator[GlobalHydra]:
        schema.register()
        GlobalHydra.instance().clear()
        with initialize_config_dir(config_dir=str(CONF), job_name="runner", version_base="1.3"):
            instance = GlobalHydra.instance()
            if self.config_dir is not None:
                path = instance.config_loader().get_search_path()
                path.prepend("command-line", f"file://{Path(self.config_dir).resolve()}")
            yield instance
        GlobalHydra.instance().clear()

    def command(self, overrides: Sequence[str], *, multirun: bool) -> Command:
        """The runs that ``overrides`` ask for, in Hydra's order; raises ValueError for what can't be composed."""
        with self._hydra() as instance:
            mode = RunMode.MULTIRUN if multirun else RunMode.RUN
            config = _compose(instance, list(overrides), mode)
            if not multirun and config.hydra.mode == RunMode.MULTIRUN:
                multirun, config = True, _compose(instance, list(overrides), RunMode.MULTIRUN)
            if not multirun:
                return Command(tuple(overrides), config, False, (tuple(overrides),))
            params = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
            parsed = OverridesParser.create(config_loader=instance.config_loader()).parse_overrides([*params, *overrides])
            try:
                (runs,) = BasicSweeper.split_arguments(parsed, None)
            except HydraException as error:
                raise ValueError(f"this sweep can't be listed: {error}. Pass lists, range() or choice().") from error
            return Command(tuple(overrides), config, True, tuple(tuple(run) for run in runs))

    def trials(self, runs: Sequence[Sequence[str]]) -> list[trial.Trial]:
        """The trial of each run's overrides; raises ValueError, TypeError or FileNotFoundError for the first that is wrong."""
        with self._hydra() as instance:
            result = []
            for overrides in runs:
                config = _compose(instance, list(overrides), RunMode.RUN)
                result.append(trial.from_hydra(config, config.hydra.runtime.choices, own(overrides)))
            return result


def own(overrides: Sequence[str]) -> tuple[str, ...]:
    """The overrides that speak to the lab rather than to Hydra."""
    return tuple(override for override in overrides if not override.lstrip("+~").startswith("hydra"))


def _compose(instance: GlobalHydra, overrides: list[str], mode: RunMode) -> DictConfig:
    assert instance.hydra is not None
    try:
        return instance.hydra.compose_config(
            config_name=CONFIG_NAME, overrides=overrides, run_mode=mode, with_log_configuration=False
        )
    except OverrideParseException as error:
        raise ValueError(
            f"{error.override!r} is no override that can be read; write key=value, as in scheme=he, and quote what the "
            f"shell would change: seed='range(0,5)'. ({' '.join(str(error).split())})"
        ) from error
    except (ConfigCompositionException, OmegaConfBaseException, HydraException) as error:
        raise ValueError(_explain(error, instance, overrides, mode)) from error


def _explain(error: Exception, instance: GlobalHydra, overrides: list[str], mode: RunMode) -> str:
    """One clear message for what Hydra found wrong."""
    root: BaseException = error
    while root.__cause__ is not None:
        root = root.__cause__
    text = f"{error}\n{root}"
    if found := re.search(r"Could not find '([\w./-]+)'", text):
        return _unknown_choice(found[1], instance)
    if found := re.search(r"Could not override '([^']+)'|Key '([^']+)' is not in struct", text):
        key = getattr(root, "full_key", None) or found[1] or found[2]
        return _unknown_key(str(key), instance, overrides, mode)
    if isinstance(root, OmegaConfBaseException) and root.full_key:
        given = next((text for text in overrides if text.lstrip("+~").startswith(f"{root.full_key}=")), root.full_key)
        return f"{root.full_key} can't take this value: {str(root).partition(chr(10))[0]}; got {given}. Pass another."
    if "Ambiguous value" in text:
        given = next((text for text in overrides if "," in text), overrides[0])
        return f"{given} lists several values, and this is a single run. Add -m to sweep over them, or write a list: [1,2]."
    return " ".join(text.split("\n")[0].split())


def _unknown_choice(path: str, instance: GlobalHydra) -> str:
    group, _, name = path.rpartition("/")
    options = [option for option in instance.config_loader().get_group_options(group) if not option.startswith("_")]
    close = get_close_matches(name, options, n=1)
    mend = f"Pass {group}={close[0]}." if close else f"Pass one of them, as in {group}={options[0]}." if options else ""
    return f"{group} must be one of {', '.join(sorted(options))}; got {name!r}. {mend}"


def _unknown_key(key: str, instance: GlobalHydra, overrides: list[str], mode: RunMode) -> str:
    """Lists the keys that stand where ``key`` was looked for, read from the configuration without it."""
    rest = [text for text in overrides if not text.lstrip("+~").startswith((f"{key}=", f"{key}."))]
    parent = key.rpartition(".")[0]
    allowed: list[str] = []
    if len(rest) < len(overrides):
        config = _compose(instance, rest, mode)
        node = OmegaConf.select(config, parent) if parent else config
        if isinstance(node, DictConfig):
            names = [str(name) for name in node if str(name) != "hydra"]
            allowed = [f"{parent}.{name}" if parent else name for name in names]
    return trial.unknown_key(key, allowed)

