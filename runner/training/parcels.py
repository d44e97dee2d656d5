"""Parcels: stacks on their way to another machine, small, and the contents that they name.

A parcel says of each run how its configuration differs from one that all runs of a sweep share. That configuration and
the data are *contents*: bytes under their sha256, which a worker fetches once.
"""

from __future__ import annotations

import hashlib
import pickle
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.config import factories
from runner.config.key import canonical
from runner.config.trial import Trial, build
from runner.records import Outcome
from runner.training import worker

# Contents that a worker process keeps. A sweep over data sets uses them one after the other, mostly.
KEPT = 8
# Stands for a key that a configuration lacks and the base has.
_ABSENT = ...


@dataclass(frozen=True)
class Parcel:
    """A stack: hashes of the ``base`` of its configurations and of its ``dataset``, and its runs.

    Each run: its trial's key, what its configuration has other than the base, choices likewise, overrides and name.
    """

    base: str
    dataset: str
    runs: tuple[tuple[str, dict[str, Any], dict[str, Any], tuple[str, ...], str], ...]

    @property
    def contents(self) -> tuple[str, str]:
        """The hashes of the contents that the parcel needs."""
        return self.base, self.dataset


class Packer:
    """Makes parcels of the stacks of a sweep; ``contents``: what the parcels so far name, by hash."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self._base: Trial | None = None
        self._base_hash = ""
        self._datasets: dict[str, str] = {}

    def pack(self, trials: Sequence[Trial]) -> Parcel:
        """Return the parcel of a stack."""
        if self._base is None:
            self._base = trials[0]
            self._base_hash = self._keep((dict(self._base.config), dict(self._base.choices)))
        base = self._base
        first = trials[0]
        what = canonical([first.config["data"], first.dataset.digest])
        if what not in self._datasets:
            self._datasets[what] = self._keep(first.dataset)
        runs = tuple(
            (
                trial.key,
                _changes(base.config, trial.config),
                _changes(base.choices, trial.choices),
                trial.overrides,
                trial.name,
            )
            for trial in trials
        )
        return Parcel(self._base_hash, self._datasets[what], runs)

    def _keep(self, value: Any) -> str:
        content = pickle.dumps(value, protocol=5)
        name = hashlib.sha256(content).hexdigest()
        self.contents[name] = content
        return name


def train(parcel: Parcel, fetch: Callable[[str], bytes], progress: Callable[[int], None] | None) -> list[Outcome]:
    """Return the outcomes of a parcel's stack; ``fetch`` returns the content of a hash that is not known here yet.

    A run that this process can't build, or builds otherwise than who sent it since its sources differ, fails.
    """
    trials, outcomes = [], dict[int, Outcome]()
    for place, (key, differs, chosen, overrides, name) in enumerate(parcel.runs):
        try:
            config, choices = _content(parcel.base, fetch)
            values = _changed(config, differs)
            factories.adopt(values["data"], _content(parcel.dataset, fetch))
            trial = build(values, _changed(choices, chosen), overrides, name)
            if trial.key != key:
                raise RuntimeError("its sources differ from the client's, so that it builds a trial of another key")
            trials.append(trial)
        except Exception as error:
            text = f"a worker on {platform.node()} can't do what the client can: {type(error).__name__}: {error}"
            outcomes[place] = worker.failed(key, text, time.time())
    trained = iter(worker.train(trials, progress) if trials else ())
    return [outcomes[place] if place in outcomes else next(trained) for place in range(len(parcel.runs))]


_contents: dict[str, Any] = {}


def _content(name: str, fetch: Callable[[str], bytes]) -> Any:
    if name not in _contents:
        content = fetch(name)
        if hashlib.sha256(content).hexdigest() != name:
            raise OSError(f"the content {name[:12]} has arrived damaged")
        _contents[name] = pickle.loads(content)
        while len(_contents) > KEPT:
            _contents.pop(next(iter(_contents)), None)
    return _contents[name]


def _changes(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``values`` have other than ``base``, nested as they are."""
    changes: dict[str, Any] = {key: _ABSENT for key in base if key not in values}
    for key, value in values.items():
        before = base.get(key, _ABSENT)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            if nested := _changes(before, value):
                changes[key] = nested
        elif value != before or type(value) is not type(before) or isinstance(value, list | tuple):
            changes[key] = value
    return changes


def _changed(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with the changes of ``_changes``."""
    values = dict(base)
    for key, change in changes.items():
        if change is _ABSENT:
            del values[key]
        elif isinstance(change, Mapping) and isinstance(base.get(key), Mapping):
            values[key] = _changed(base[key], change)
        else:
            values[key] = change
    return values
