"""Mistakes in a command, said in the command line's own terms: what was wrong, what is allowed, how to mend it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from hydra.core.override_parser.types import Override, Sweep, ValueType
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from runner.config import schema
from runner.config.loader import Loader
from runner.config.schema import CUSTOM

# The keys that a group's target takes, given the values of the group; None for any.
Taken = Callable[[str, Mapping[str, Any]], Collection[str] | None]


# What people write for keys elsewhere.
_ABBREVIATIONS = {"lr": "learning_rate", "wd": "weight_decay", "bs": "batch_size", "max_steps": "steps"}


def unknown_key(key: str, allowed: Sequence[str]) -> str:
    """Return the message for a key that doesn't exist, with those that do."""
    group, _, name = key.rpartition(".")
    meant = f"{group}.{_ABBREVIATIONS.get(name, name)}"
    close = [meant] if meant in allowed else get_close_matches(key, allowed, n=1)
    mend = f" Did you mean {close[0]}?" if close else ""
    return f"{key} is not a key here; allowed: {', '.join(allowed) or 'none'}; got {key}.{mend}"


def in_terms_of(group: str, keys: Iterable[str], message: str) -> str:
    """Return the message with the arguments it names written as on the command line: ``scheme.mode=fan_in``."""
    for key in keys:
        message = re.sub(rf"(?<![\w.]){key}=(?:(['\"])(\w+)\1)?", rf"{group}.{key}=\2", message)
        message = re.sub(rf"^{key}(?= )", f"{group}.{key}", message)
    return message if group in message else f"{group}: {message}"


def explain(error: Exception, overrides: Sequence[str], loader: Loader, taken: Taken) -> str:
    """Return one clear message for the error that Hydra or OmegaConf raised while it composed ``overrides``."""
    text, root = str(error), _root(error)
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override, error.message)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
        return _unknown_choice(loader, *str(error.missing_cfg_file).rpartition("/")[::2])
    if isinstance(root, OmegaConfBaseException):
        place = f"{found[1]}: " if (found := re.match(r"(In '[^']*'): ", text)) else ""
        unknown = isinstance(root, ConfigKeyError | ConfigAttributeError)
        return place + (_unknown_key(root, taken) if unknown else _wrong_value(root, overrides))
    for override in map(loader.parse, overrides):
        if message := _wrong_form(override, text, loader):
            return message
    problem, _, details = (text or str(root)).partition("\nTo append")[0].partition("\n    full_key: ")
    return " ".join([*(f"{key}:" for key in details.split()[:1]), *problem.split()])


def _wrong_form(override: Override, text: str, loader: Loader) -> str | None:
    """The message for an override of the wrong form, if Hydra's ``text`` is about this override."""
    line, group = str(override.input_line), override.key_or_group
    options = _options(loader, group) if group else []
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
            return _unknown_choice(loader, group, override.get_value_element_as_str())
    return None


def _options(loader: Loader, group: str) -> list[str]:
    names = [name for name in loader.get_group_options(group) if not name.startswith("_")]
    return sorted(names, key=lambda name: name == CUSTOM)


def _unknown_choice(loader: Loader, group: str, name: str) -> str:
    while not (options := _options(loader, group)) and "/" in group:
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


def _unknown_key(error: OmegaConfBaseException, taken: Taken) -> str:
    """Lists the keys beside the one that was looked for; a key that the target takes beyond them can be added."""
    key, node = str(error.full_key), error.parent_node
    group, _, name = key.rpartition(".")
    if not isinstance(node, DictConfig):
        return unknown_key(key, [])
    allowed: Collection[str] = [str(name) for name in node if str(name) not in ("hydra", "_target_")]
    if group in schema.VARIANTS:
        target = OmegaConf.select(node, "_target_", throw_on_missing=False)
        of_target = taken(group, {"_target_": target, **dict.fromkeys(allowed)})
        if of_target is None or name in of_target:
            return (
                f"{key} isn't in the file of this {group}, but its target takes it. Add it with a plus: +{key}=VALUE."
            )
        allowed = of_target
    return unknown_key(key, [f"{group}.{name}" if group else name for name in allowed])


def _wrong_value(error: OmegaConfBaseException, overrides: Sequence[str]) -> str:
    key, problem = str(error.full_key), str(error).partition("\n")[0]
    given = next(
        (text.partition("=")[2] for text in reversed(overrides) if text.lstrip("+").startswith(f"{key}=")), None
    )
    if given is None or (words := schema.expected(key)) is None:
        if problem.startswith("Cannot merge DictConfig with ListConfig"):
            return f"{key} takes one value, or keys with values; got a list. Pass {key}=VALUE."
        return f"{key}: {problem}. Pass another value."
    default = OmegaConf.select(OmegaConf.create(schema.DEFAULTS), key, throw_on_missing=False)
    mend = f" Pass {key}={default}." if isinstance(default, str | int | float) else ""
    return f"{key} must be {words}; got {given}.{mend}"


def _root(error: BaseException) -> BaseException:
    """The first of the errors behind this one that names a key, or else the first of all."""
    chain = [error]
    while (before := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(before)
    named = (cause for cause in reversed(chain) if isinstance(cause, OmegaConfBaseException) and cause.full_key)
    return next(named, chain[-1])
