"""What the groups of a configuration name: located, checked, made. Nothing else instantiates."""

from __future__ import annotations

import hashlib
import inspect
import os
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from runner.config import internals
from runner.data import Dataset
from weightinit.nn import Network
from weightinit.schemes import Ruled, Scheme

Values = Mapping[str, Any]
# What a target is called with beside the keys of its group: so many positional arguments, and these by name.
_POSITIONAL = {"architecture": 3}
_GIVEN = {"architecture": ("dtype",)}


@dataclass(frozen=True)
class _Node:
    """A group's keys and values. Equal ones read the same to the letter (2 and 2.0 don't), mean the same object in
    memory, and name files that haven't changed: what is made of them may be shared."""

    group: str
    text: str
    target: int
    files: tuple[tuple[int, int], ...]
    values: Values = field(compare=False, repr=False)
    located: Any = field(compare=False, repr=False)

    @classmethod
    def of(cls, group: str, values: Values) -> _Node:
        located = locate(group, values)
        files = tuple(_stamp(value) for value in values.values() if isinstance(value, str))
        return cls(group, repr(values), id(located), files, values, located)


def make(group: str, values: Values) -> Any:
    """What a group names; raises ValueError for a wrong target, key or value."""
    return _made(_Node.of(group, values))


def make_scheme(values: Values, network: Network) -> Scheme:
    """The scheme that a group names; raises ValueError as ``make`` does, and where it can't initialize this network."""
    return _scheme(_Node.of("scheme", values), network)


def make_network(architecture: Values, activation: Values, *, inputs: int, outputs: int, dtype: str) -> Network:
    """The network of an architecture; raises as ``make`` does. Equal networks are one object."""
    return _network(_Node.of("architecture", architecture), _Node.of("activation", activation), inputs, outputs, dtype)


def make_dataset(values: Values) -> Dataset:
    """The data set that the group ``data`` names, the same object for as long as somebody holds it."""
    node = _Node.of("data", values)
    dataset = _datasets.get(node)
    if dataset is None:
        dataset = _instantiate(node)
        if not isinstance(dataset, Dataset):
            raise TypeError(f"data._target_ must return a runner.data.Dataset; got {type(dataset).__name__}.")
        _datasets[node] = dataset
        _latest.append(dataset)
    return dataset


_datasets: WeakValueDictionary[_Node, Dataset] = WeakValueDictionary()
_latest: deque[Dataset] = deque(maxlen=2)


@lru_cache(maxsize=1024)
def _made(node: _Node) -> Any:
    return _instantiate(node)


@lru_cache(maxsize=256)
def _scheme(node: _Node, network: Network) -> Scheme:
    scheme: Scheme = _made(node)
    if isinstance(scheme, Ruled):
        try:
            scheme.rule_for(network)
        except ValueError as error:
            raise ValueError(_in_terms_of(node, str(error))) from error
    return scheme


@lru_cache(maxsize=256)
def _network(architecture: _Node, activation: _Node, inputs: int, outputs: int, dtype: str) -> Network:
    network = _instantiate(architecture, inputs, outputs, _made(activation), dtype=dtype)
    if not isinstance(network, Network):
        raise TypeError(f"architecture._target_ must return a weightinit.nn.Network; got {type(network).__name__}.")
    return network


def _instantiate(node: _Node, *args: Any, **kwargs: Any) -> Any:
    check_keys(node.group, node.values)
    try:
        return instantiate(node.values, *args, _convert_="all", **kwargs)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, ValueError | TypeError | OSError):
            raise ValueError(_in_terms_of(node, str(cause))) from error
        problem = f"{type(cause).__name__}: {cause}" if cause is not None else str(error)
        raise ValueError(f"{node.group}: {node.values['_target_']} raised {problem}") from error


def _in_terms_of(node: _Node, message: str) -> str:
    """The message with the arguments it names written as they are on the command line: ``scheme.mode=fan_in``."""
    for key in node.values:
        message = re.sub(rf"(?<![\w.]){key}=(?:(['\"])(\w+)\1)?", rf"{node.group}.{key}=\2", message)
        message = re.sub(rf"^{key}(?= )", f"{node.group}.{key}", message)
    return message if node.group in message else f"{node.group}: {message}"


def locate(group: str, values: Values) -> Any:
    """The class or function that a group's ``_target_`` names; raises ValueError where there is none."""
    target = values.get("_target_")
    if not isinstance(target, str) or target == "???":
        raise ValueError(
            f"{group}._target_ needs the address of a class or function. Pass {group}._target_=my.module.Mine."
        )
    try:
        if callable(located := internals.locate(target)):
            return located
        raise TypeError(f"it is a {type(located).__name__}")
    except Exception as error:
        raise ValueError(
            f"{group}._target_ must be the address of a class or function that can be imported; got {target!r} "
            f"({_root(error)}). Check the spelling, and that its folder is on PYTHONPATH."
        ) from error


def parameters(group: str, values: Values) -> dict[str, inspect.Parameter]:
    """The arguments of a group's target, by name."""
    located = locate(group, values)
    try:
        return dict(inspect.signature(located).parameters)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{group}._target_ must be a class or function whose arguments can be read; got {values['_target_']!r}."
        ) from error


def keys(group: str, values: Values) -> list[str] | None:
    """The keys that a group's target takes; None if it takes any."""
    taken = list(parameters(group, values).values())
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken):
        return None
    return [
        parameter.name
        for parameter in taken[_POSITIONAL.get(group, 0) :]
        if parameter.kind is not parameter.VAR_POSITIONAL and parameter.name not in _GIVEN.get(group, ())
    ]


def check_keys(group: str, values: Values) -> None:
    """Raises ValueError for a target that can't be found, unknown keys, and flags that are none."""
    allowed, known = keys(group, values), parameters(group, values)
    for key, value in values.items():
        if allowed is not None and not key.startswith("_") and key not in allowed:
            raise ValueError(unknown_key(f"{group}.{key}", [f"{group}.{name}" for name in allowed]))
        # Python would take any text for true.
        if key in known and known[key].annotation in (bool, "bool") and not isinstance(value, bool):
            raise ValueError(f"{group}.{key} must be true or false; got {value!r}. Pass {group}.{key}=true.")


def unknown_key(key: str, allowed: list[str]) -> str:
    """The message for a key that doesn't exist, with those that do."""
    close = get_close_matches(key, allowed, n=1)
    mend = f" Did you mean {close[0]}?" if close else ""
    return f"{key} is not a key here; allowed: {', '.join(allowed) or 'none'}; got {key}.{mend}"


def defaults(group: str, values: Values) -> dict[str, Any]:
    """Default values of the arguments of a group's target."""
    found = parameters(group, values).items()
    return {name: parameter.default for name, parameter in found if parameter.default is not parameter.empty}


def source_hash(group: str, values: Values) -> str:
    """sha256 of the file that holds a group's target, or of its address where there is no such file."""
    try:
        path = inspect.getfile(inspect.unwrap(locate(group, values)))
        return _hash(path, _stamp(path))
    except (OSError, TypeError):
        return hashlib.sha256(values["_target_"].encode()).hexdigest()


@lru_cache(maxsize=64)
def _hash(path: str, stamp: tuple[int, int]) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _stamp(path: str) -> tuple[int, int]:
    """Changes whenever the file does; zeros where there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return 0, 0
    return status.st_mtime_ns, status.st_size


def _root(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__
