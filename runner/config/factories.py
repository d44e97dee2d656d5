"""Parts of a trial: each group's target, located and checked, and the object made of it. Equal parts share one object.

A target from outside the lab keeps the same contract as the lab's own (``CONTRACTS``).
"""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from runner.config import functions, internals
from runner.config.mistakes import in_terms_of, unknown_key
from runner.data import Dataset
from runner.optimizers import Optimizer
from runner.torch.network import ModuleNetwork
from weightinit.activations import LARGEST, Activation
from weightinit.nn import Network
from weightinit.nn.architectures import Form
from weightinit.schemes import Ruled, Scheme, Tailoring, require

Values = Mapping[str, Any]
# Addresses of the lab's own targets; of all others the source takes part in a trial's key.
_LAB = ("weightinit.", "runner.")
# Address of the architecture whose network is a module of a person's own.
_MODULE = "runner.torch.network.module"
# Modules that hold no part, and much that should not be called in the hope of one. A function of math's may be meant
# as an activation, and is told what it lacks.
_PYTHON = sys.stdlib_module_names - {"math"}


class Contract(NamedTuple):
    """A group's promise: ``returns`` is the type of the object that its target returns, ``described`` that type for
    people. The lab calls the target with so many ``positional`` arguments and with others by name (``given``)."""

    returns: type
    described: str
    positional: int = 0
    given: tuple[str, ...] = ()


CONTRACTS: Mapping[str, Contract] = {
    "architecture": Contract(Network, "a weightinit.nn.Network", 3, ("dtype", "form")),
    "activation": Contract(Activation, "a weightinit.activations.Activation"),
    "scheme": Contract(Callable, "a scheme: a callable (network, seeds, batch=None)"),  # type: ignore[arg-type]
    "data": Contract(Dataset, "a runner.data.Dataset"),
    "optimizer": Contract(Optimizer, "a runner.optimizers.Optimizer"),
}


@dataclass(frozen=True, eq=False)
class Target:
    """The class or function at an address, with its ``parameters`` by name; located once while it stays the same."""

    address: str
    located: Any
    parameters: Mapping[str, inspect.Parameter]

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """Default values of the parameters that have one."""
        return {
            name: parameter.default
            for name, parameter in self.parameters.items()
            if parameter.default is not parameter.empty
        }

    def source(self) -> str:
        """Return the sha256 of the file that holds the target, or of its address where there is no such file."""
        try:
            path = inspect.getfile(inspect.unwrap(self.located))
            return _hash(path, _stamp(path))
        except (OSError, TypeError):
            return hashlib.sha256(self.address.encode()).hexdigest()


@dataclass(frozen=True)
class Part:
    """A group's target with the values it is called with, checked.

    Equal parts read the same to the letter (2 and 2.0 don't), mean the same object in memory, and name files that have
    not changed: the object made of them may be shared.
    """

    group: str
    target: Target
    text: str
    files: tuple[tuple[int, int], ...]
    derivative: Target | None
    values: Values = field(compare=False, repr=False)

    @classmethod
    def of(cls, group: str, values: Values) -> Part:
        """Return the part that a group's values describe.

        Raises ValueError for a target that can't be found, for unknown keys, and for flags that are none.
        """
        if group == "activation" and values.get("derivative", "") is None:
            values = {key: value for key, value in values.items() if key != "derivative"}
        target = locate(f"{group}._target_", values.get("_target_"))
        derives = "derivative" in values and _is_function(group, target, values)
        part = cls(
            group,
            target,
            repr(values),
            tuple(_stamp(value) for key, value in values.items() if isinstance(value, str) and key != "_target_"),
            locate("activation.derivative", values["derivative"]) if derives else None,
            values,
        )
        part.check()
        return part

    @property
    def is_function(self) -> bool:
        """Whether the target is an activation function itself, rather than what makes an activation."""
        return _is_function(self.group, self.target, self.values)

    @property
    def keys(self) -> list[str] | None:
        """The keys that the part takes; None if it takes any."""
        return _keys(self.group, self.target, self.values)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that a person should read about the part."""
        if not self.is_function:
            return ()
        return functions.notes(self.target.address, given=self.derivative is not None)

    def sources(self) -> dict[str, str]:
        """Return the hash of each source file outside the lab that the part depends on."""
        targets = {"source": self.target} | ({"derivative_source": self.derivative} if self.derivative else {})
        if self.target.address == _MODULE:
            targets["module_source"] = locate("architecture.module", str(self.values["module"]).replace(":", "."))
        rules = self.values.get("rules") if self.group == "scheme" else None
        for pattern, entry in (rules or {}).items():
            key = f"rules.{pattern}"
            targets[f"{key}.source"] = locate(f"scheme.{key}._target_", entry["_target_"])
        return {name: target.source() for name, target in targets.items() if not target.address.startswith(_LAB)}

    def check(self) -> None:
        """Raises ValueError for unknown keys and for flags that are none."""
        allowed, known = self.keys, self.target.parameters
        for key, value in self.values.items():
            if allowed is not None and not key.startswith("_") and key not in allowed:
                if (self.group, key) == ("activation", "derivative"):
                    raise ValueError(
                        f"activation.derivative is for a function of arrays; got {value}, and {self.target.address} "
                        "makes an activation, which has its own. Leave activation.derivative out."
                    )
                raise ValueError(unknown_key(f"{self.group}.{key}", [f"{self.group}.{name}" for name in allowed]))
            # Python would take any text for true.
            if key in known and known[key].annotation in (bool, "bool") and not isinstance(value, bool):
                raise ValueError(
                    f"{self.group}.{key} must be true or false; got {value!r}. Pass {self.group}.{key}=true."
                )

    def make(self, *args: Any, **kwargs: Any) -> Any:
        """Return a new object; raises ValueError as the target does, TypeError for one of the wrong type."""
        if self.is_function:
            arguments = {key: value for key, value in self.values.items() if key not in ("_target_", "derivative")}
            derivative = None if self.derivative is None else self.derivative.located
            return functions.activation(partial(self.target.located, **arguments), derivative)
        contract = CONTRACTS[self.group]
        try:
            made = instantiate(self.values, *args, _convert_="all", **kwargs)
        except SystemExit as error:
            raise ValueError(
                f"{self.group}: {self.target.address} ended the program, where it should return"
            ) from error
        except InstantiationException as error:
            cause = error.__cause__
            if isinstance(cause, ValueError | TypeError | OSError):
                raise ValueError(in_terms_of(self.group, self.values, str(cause))) from error
            problem = f"{type(cause).__name__}: {cause}" if cause is not None else str(error)
            raise ValueError(f"{self.group}: {self.target.address} raised {problem}") from error
        if not isinstance(made, contract.returns):
            raise TypeError(
                f"{self.group}._target_ must return {contract.described}; got {type(made).__name__} "
                f"from {self.target.address}."
            )
        return made


def with_whole_numbers(group: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return a group's values, floats such as 1e1 as integers where the target's parameter is annotated as one.

    Raises ValueError where there are such floats and no target.
    """
    if "_target_" not in values:
        return values
    floats = [key for key, value in values.items() if isinstance(value, float) and value.is_integer()]
    if not floats:
        return values
    known = locate(f"{group}._target_", values.get("_target_")).parameters
    kinds = {key: str(known[key].annotation) for key in floats if key in known}
    whole = {key: int(values[key]) for key, kind in kinds.items() if kind in ("int", "int | None", str(int))}
    return {**values, **whole}


def make_dataset(part: Part) -> Dataset:
    """Return the data set of a part, the same object for as long as somebody holds it."""
    dataset = _datasets.get(part)
    if dataset is None:
        dataset = _datasets[part] = part.make()
        _latest.append(dataset)
    return dataset


def adopt(values: Values, dataset: Dataset) -> None:
    """Takes a data set, made elsewhere, for that of a group's values."""
    _datasets[Part.of("data", values)] = dataset


_datasets: WeakValueDictionary[Part, Dataset] = WeakValueDictionary()
_latest: deque[Dataset] = deque(maxlen=2)


@lru_cache(maxsize=1024)
def make(part: Part) -> Any:
    """Return the object of a part that needs nothing but its values: an activation, an optimizer, a scheme."""
    return part.make()


@lru_cache(maxsize=256)
def make_network(architecture: Part, activation: Part, inputs: int, outputs: int, form: Form, dtype: str) -> Network:
    """Return the network of an architecture; equal networks are one object.

    ``form``: of the data, for an architecture that asks for it.
    """
    given: dict[str, Any] = {"form": form._asdict()} if "form" in architecture.target.parameters else {}
    network: Network = architecture.make(inputs, outputs, make(activation), dtype=dtype, **given)
    if form.per_token and network.out_shape[:-1] != form.shape:
        raise ValueError(
            "the data has a target for each token, and this architecture has one output for all. "
            "Pass architecture=transformer."
        )
    return network


@lru_cache(maxsize=256)
def make_scheme(part: Part, network: Network) -> tuple[Scheme, Network]:
    """Return the scheme of a part, and the network that it initializes: with another activation if the scheme says so.

    Raises ValueError where it can't initialize this network.
    """
    scheme: Scheme = make(part)
    if isinstance(network, ModuleNetwork):
        try:
            network.require(scheme)
        except ValueError as error:
            raise ValueError(in_terms_of("scheme", part.values, str(error))) from error
        return scheme, network
    require(scheme, network)
    if isinstance(scheme, Tailoring):
        try:
            network = scheme.network_for(network)
        except ValueError as error:
            raise ValueError(in_terms_of("scheme", part.values, str(error))) from error
    if isinstance(scheme, Ruled):
        try:
            laws = scheme.rule_for(network).laws(network)
        except (ValueError, OverflowError) as error:
            raise ValueError(in_terms_of("scheme", part.values, str(error))) from error
        for name, law in laws.items():
            if max(abs(law.mean), law.std) > LARGEST:
                raise ValueError(
                    f"scheme must draw weights of size {LARGEST:g} at most; got a mean of {law.mean:g} and a standard "
                    f"deviation of {law.std:g} for {name}. Pass a smaller scale."
                )
    return scheme, network


def locate(key: str, address: Any) -> Target:
    """Return the class or function whose address is the value of ``key``; raises ValueError where there is none."""
    if not isinstance(address, str) or address == "???":
        raise ValueError(f"{key} needs the address of a class or function. Pass {key}=my.module.Mine.")
    if (module := address.partition(".")[0]) in _PYTHON:
        raise ValueError(
            f"{key} must be the address of a part of yours or of the lab's; got {address!r}, and {module} is Python's "
            f"own. Pass {key}=my.module.Mine."
        )
    try:
        if not callable(located := internals.locate(address)):
            raise TypeError(f"it is a {type(located).__name__}")
    except (Exception, SystemExit) as error:
        raise ValueError(
            f"{key} must be the address of a class or function that can be imported; got {address!r} "
            f"({_root(error)}). Check the spelling, and that its folder is on PYTHONPATH."
        ) from error
    target = _targets.get(address)
    if target is None or target.located is not located:
        try:
            parameters = dict(inspect.signature(located).parameters)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{key} must be a class or function whose arguments can be read; got {address!r}."
            ) from error
        target = _targets[address] = Target(address, located, parameters)
    return target


_targets: dict[str, Target] = {}


def taken(group: str, values: Values) -> list[str] | None:
    """Return the keys that a group's target takes; None if it takes any. Raises ValueError as ``locate`` does."""
    return _keys(group, locate(f"{group}._target_", values.get("_target_")), values)


def _keys(group: str, target: Target, values: Values) -> list[str] | None:
    parameters = list(target.parameters.values())
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    contract, is_function = CONTRACTS[group], _is_function(group, target, values)
    names = [
        parameter.name
        for parameter in parameters[1 if is_function else contract.positional :]
        if parameter.kind is not parameter.VAR_POSITIONAL and parameter.name not in contract.given
    ]
    return [*names, "derivative"] if is_function else names


def _is_function(group: str, target: Target, values: Values) -> bool:
    """Whether the target of an activation is the function itself: its first argument is an array, and not a key."""
    if group != "activation" or inspect.isclass(target.located) or not target.parameters:
        return False
    first = next(iter(target.parameters.values()))
    positional = first.kind in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD)
    return positional and first.default is first.empty and first.name not in values


@lru_cache(maxsize=64)
def _hash(path: str, stamp: tuple[int, int]) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _stamp(path: str) -> tuple[int, int]:
    """A pair that changes whenever the file does; zeros where there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return 0, 0
    return status.st_mtime_ns, status.st_size


def _root(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__
