"""Hydra's config loader, which reads and merges files once per distinct choice of groups instead of once per job.

What the files say depends on the choice of groups alone: Hydra applies values (``seed=3``, ``+a.b=1``, ``~a.b``) to the
finished merge. That merge is kept for all commands of a process until a file changes, and each job's values are applied
to a copy, by Hydra's own code.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from copy import copy
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from hydra import __version__, version
from hydra.conf import ConfigSourceInfo
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobRuntime
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import AnyNode, DictConfig, Node, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from runner.config import aliases, schema
from runner.config.internals import (
    CachingConfigRepository,
    ConfigLoaderImpl,
    ConfigRepository,
    create_defaults_list,
    get_overrides_dirname,
)
from runner.config.secrets import Secrets


class Loader(ConfigLoaderImpl):
    """Gives what ``ConfigLoaderImpl`` gives, faster from the second job on.

    Files are taken to stay as they are as long as the loader is in use; the next one looks whether they have changed.
    """

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        super().__init__(config_search_path)
        self._kept = _kept(tuple(_stamps(config_search_path)))
        self.repository = _Files(config_search_path, self._kept.files)
        self._parser = OverridesParser.create()
        self._parsed: dict[str, Override] = {}
        self._sources: dict[str | None, CachingConfigRepository] = {}
        self._is_group: dict[tuple[str | None, str], bool] = {}
        self.secrets = Secrets()

    def load_configuration(self, *args: Any, **options: Any) -> DictConfig:
        config = super().load_configuration(*args, **options)
        self._hide(config)
        return config

    def _hide(self, config: DictConfig) -> None:
        """Takes users and passwords off the tracking address, as a file may give it, by itself or for a sweep."""
        for place, keys in (("tracking", ("uri",)), ("hydra.sweeper.params", None)):
            values = OmegaConf.select(config, place)
            for key in keys or values or () if isinstance(values, DictConfig) else ():
                node = values._get_node(key)
                if isinstance(node, Node) and isinstance(text := node._value(), str):
                    node._set_value(self.secrets.hide(text))

    @classmethod
    def like(cls, loader: ConfigLoader) -> Loader:
        """A loader that looks where ``loader`` looks."""
        return cls(loader.get_search_path())

    def parse(self, text: str) -> Override:
        """One override, parsed; raises OverrideParseException."""
        if text not in self._parsed:
            (override,) = self._parser.parse_overrides([text])
            override._value = whole(override.key_or_group, override._value)  # training.steps=1e3
            self._parsed[text] = override
        return self._parsed[text]

    def _load_configuration_impl(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        self.ensure_main_config_source_available()
        parsed = [self.parse(text) for text in overrides]
        if any(_decides_early(override) for override in parsed):
            return super()._load_configuration_impl(
                config_name, overrides, run_mode, from_shell, validate_sweep_overrides
            )
        if validate_sweep_overrides:
            self.validate_sweep_overrides_legal(parsed, run_mode, from_shell)
        groups, values = self._sorted(config_name, parsed)
        config: DictConfig = pickle.loads(self._merge(config_name, groups, run_mode).whole)
        self._apply_overrides_to_config(values, config)
        return _signed(config, config_name, parsed)

    def load_task(self, config_name: str, overrides: list[str], run_mode: RunMode) -> tuple[DictConfig, dict[str, Any]]:
        """Return the configuration without its node ``hydra``, as a job's code sees it, and the choice in each group.

        It is ``load_configuration``'s, in a third of the time where no override is about Hydra. Raises as that does.
        """
        try:
            parsed = [self.parse(text) for text in overrides]
            if not any(override.is_sweep_override() or _is_hydras(override) for override in parsed):
                groups, values = self._sorted(config_name, parsed)
                merged = self._merge(config_name, groups, run_mode)
                task: DictConfig = pickle.loads(merged.task)
                self._apply_overrides_to_config(values, task)
                self._hide(task)
                return task, merged.choices
        except (HydraException, OmegaConfBaseException):
            pass  # the whole configuration says it better
        config = self.load_configuration(config_name, overrides, run_mode)
        choices = dict(config.hydra.runtime.choices)
        with open_dict(config):
            del config["hydra"]
        return config, choices

    def target(self, group: str, choice: str) -> str | None:
        """Return the ``_target_`` that the file of a choice names, by itself or by its defaults, if it names one."""
        targets = self._kept.targets
        if (group, choice) not in targets:
            name, target = f"{group}/{choice}", None
            if self.repository.config_exists(name):
                found = create_defaults_list(self.repository, name, [], prepend_hydra=False, skip_missing=True)
                config = self._compose_config_from_defaults_list(found.defaults, self.repository)
                target = OmegaConf.select(config, f"{group}._target_", throw_on_missing=False)
            targets[group, choice] = target
        return targets[group, choice]

    def _sorted(self, config_name: str | None, parsed: list[Override]) -> tuple[tuple[str, ...], list[Override]]:
        """The overrides that choose in a group, as typed, and those that set a value; without listed values."""
        groups, values = [], []
        for override in parsed:
            if not override.is_sweep_override():
                if self._chooses(config_name, override):
                    groups.append(str(override.input_line))
                else:
                    values.append(override)
        return tuple(groups), values

    def _chooses(self, config_name: str | None, override: Override) -> bool:
        """Whether an override is about a group rather than a value: Hydra's own rule."""
        key = (config_name, override.key_or_group)
        if key not in self._is_group:
            if config_name not in self._sources:
                _, self._sources[config_name] = self._parse_overrides_and_create_caching_repo(config_name, [])
            self._is_group[key] = self._sources[config_name].group_exists(override.key_or_group)
        return self._is_group[key] and not isinstance(override.value(), dict)

    def _merge(self, config_name: str | None, groups: tuple[str, ...], run_mode: RunMode) -> _Merged:
        """The files for a choice of groups, merged and closed against new keys.

        A multirun leaves out a group that waits for its choice, and a run can't. All else is the same for both.
        """
        merged = self._merge_chosen(config_name, groups, waits=True)
        if run_mode == RunMode.RUN and "???" in merged.choices.values():
            return self._merge_chosen(config_name, groups, waits=False)
        return merged

    def _merge_chosen(self, config_name: str | None, groups: tuple[str, ...], *, waits: bool) -> _Merged:
        """The merged files; raises Hydra's error for a group without a choice unless it ``waits`` for one."""
        key, merges = (config_name, groups, waits), self._kept.merges
        if key not in merges:
            parsed, repository = self._parse_overrides_and_create_caching_repo(config_name, list(groups))
            defaults = create_defaults_list(
                repo=repository,
                config_name=config_name,
                overrides_list=parsed,
                prepend_hydra=True,
                skip_missing=waits,
            )
            config = self._compose_config_from_defaults_list(defaults=defaults.defaults, repo=repository)
            OmegaConf.set_struct(config, True)
            if (tags := OmegaConf.select(config, "tracking.tags")) is not None:
                OmegaConf.set_struct(tags, False)  # a person names them
            OmegaConf.set_readonly(config.hydra, False)
            with open_dict(config.hydra):
                config.hydra.runtime.choices.update(defaults.overrides.known_choices)
            config.hydra.runtime.version = __version__
            config.hydra.runtime.version_base = version.getbase()
            config.hydra.runtime.config_sources = [
                ConfigSourceInfo(path=source.path, schema=source.scheme(), provider=source.provider)
                for source in repository.get_sources()
            ]
            choices: Any = OmegaConf.to_container(config.hydra.runtime.choices)
            whole = pickle.dumps(config)
            with open_dict(config):
                del config["hydra"]
            merges[key] = _Merged(whole, pickle.dumps(config), choices)
        return merges[key]


class _Merged(NamedTuple):
    """Merged files, with and without the node ``hydra``: pickles, which copy in a fifth of ``deepcopy``'s time."""

    whole: bytes
    task: bytes
    choices: dict[str, Any]


class _Kept(NamedTuple):
    """Files of one state as they were read: each file and each merge, as pickles, and the target of each choice."""

    files: dict[str, bytes]
    merges: dict[tuple[str | None, tuple[str, ...], bool], _Merged]
    targets: dict[tuple[str, str], str | None]


@lru_cache(maxsize=8)
def _kept(stamps: tuple[tuple[str, str, int, int], ...]) -> _Kept:
    return _Kept({}, {}, {})


def _stamps(search_path: ConfigSearchPath) -> Iterator[tuple[str, str, int, int]]:
    """Folders of the search path in their order, with path, time and size of each of their files."""
    for element in search_path.get_path():
        yield element.provider, element.path, 0, 0
        if "://" not in element.path or element.path.startswith("file://"):
            for folder, folders, files in os.walk(element.path.removeprefix("file://")):
                folders.sort()
                for path in (os.path.join(folder, name) for name in sorted(files)):
                    found = os.stat(path)
                    yield folder, path, found.st_mtime_ns, found.st_size


class _Files(ConfigRepository):
    """Hydra's repository, which reads each file once, into ``kept``; what it gives may be changed."""

    _read: dict[str, bytes]

    def __init__(self, config_search_path: ConfigSearchPath, kept: dict[str, bytes]) -> None:
        super().__init__(config_search_path)
        self._read = kept

    def initialize_sources(self, config_search_path: ConfigSearchPath) -> None:
        super().initialize_sources(config_search_path)
        self._read = {}  # these may be other files under the same names

    def load_config(self, config_path: str) -> ConfigResult | None:
        if config_path not in self._read:
            source = self._find_object_source(config_path, ObjectType.CONFIG)
            if source is not None and source.scheme() == "file":
                aliases.check(Path(source.path, f"{config_path.removesuffix('.yaml')}.yaml"))
            found = super().load_config(config_path)
            if found is not None and isinstance(found.config, DictConfig):
                package = found.header.get("package") or config_path.rpartition("/")[0].replace("/", ".")
                _make_whole(found.config, "" if package == "_global_" else f"{package}.")
            self._read[config_path] = pickle.dumps(found)
        result: ConfigResult | None = pickle.loads(self._read[config_path])
        return result

    def __deepcopy__(self, memo: object) -> _Files:
        """Return a copy for each composition of Hydra's: it may look elsewhere, but reads the same files."""
        return copy(self)


def _make_whole(config: DictConfig, above: str) -> None:
    """Turns floats of a file such as 1e3 into integers for shared keys that are whole; ``above``: their beginning."""
    for name in config:
        node = config._get_node(name)
        if isinstance(node, DictConfig) and not (node._is_missing() or node._is_none() or node._is_interpolation()):
            _make_whole(node, f"{above}{name!s}.")
        elif isinstance(node, AnyNode) and (value := whole(f"{above}{name!s}", node._value())) is not node._value():
            node._set_value(value)


def whole(key: str, value: Any) -> Any:
    """Return a value, as an integer where it is a float such as 1e3 of a shared key that is whole."""
    return int(value) if isinstance(value, float) and value.is_integer() and schema.is_whole(key) else value


def _is_hydras(override: Override) -> bool:
    return override.key_or_group.partition(".")[0].partition("/")[0] == "hydra"


def _decides_early(override: Override) -> bool:
    """Whether Hydra looks at this value before it has merged the files, or writes over it after that."""
    key = override.key_or_group
    return key == "hydra" or key.startswith(("hydra.searchpath", "hydra.runtime"))


def _signed(config: DictConfig, config_name: str | None, parsed: list[Override]) -> DictConfig:
    """The config with what Hydra notes of the job in it."""
    hydra = config.hydra
    for override in parsed:
        (hydra.overrides.hydra if override.is_hydra_override() else hydra.overrides.task).append(override.input_line)
    with open_dict(hydra):
        for key in hydra.job.env_copy:
            hydra.job.env_set[key] = os.environ[key]
    hydra.runtime.cwd = os.getcwd()
    if "name" not in hydra.job:
        hydra.job.name = JobRuntime().get("name")
    naming = hydra.job.config.override_dirname
    hydra.job.override_dirname = get_overrides_dirname(
        overrides=[override for override in parsed if not override.is_hydra_override()],
        kv_sep=naming.kv_sep,
        item_sep=naming.item_sep,
        exclude_keys=naming.exclude_keys,
    )
    hydra.job.config_name = config_name
    return config
