"""Store of references: each is computed once for a network, its laws and a probe, and kept in memory and in files."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections import OrderedDict
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from weightinit.arrays import stream
from weightinit.nn import Network
from weightinit.reference.draws import RESERVED, Draws
from weightinit.reference.observation import QUANTITIES, Observation, Probe
from weightinit.reference.stack import BUDGET, NETWORKS, Reference, operations, reference

VERSION = 3
"""Raised whenever a reference's numbers change."""

KEPT = 64  # references in memory


class Store:
    """References by what they depend on, in ``folder``, or in memory alone where it is None. Threads may share it.

    A file that can't be read is computed again; one that can't be written is left out.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._kept: OrderedDict[str, Reference] = OrderedDict()
        self._lock = threading.Lock()
        self._busy: dict[str, threading.Lock] = {}

    def get(self, network: Network, draws: Draws | str, probe: Probe) -> Reference:
        """Return the reference of ``draws`` (or of the reason why there are none), computed if it is new."""
        if isinstance(draws, str):
            return Reference(None, draws)
        if operations(network, probe) > BUDGET:
            return reference(network, draws, probe)
        key = self._key(network, draws, probe)
        with self._lock:
            busy = self._busy.setdefault(key, threading.Lock())
        with busy:  # a thread that asks for what another computes waits for it
            found = self._kept.get(key) or self._read(key, network, probe)
            if found is None:
                found = reference(network, draws, probe)
                self._write(key, found)
        with self._lock:
            self._kept[key] = found
            self._kept.move_to_end(key)
            while len(self._kept) > KEPT:
                self._busy.pop(self._kept.popitem(last=False)[0], None)
        return found

    def _key(self, network: Network, draws: Draws, probe: Probe) -> str:
        parts = (VERSION, NETWORKS, echo(network, probe), network.dtype, draws.identity)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def _read(self, key: str, network: Network, probe: Probe) -> Reference | None:
        if self.folder is None:
            return None
        layers = tuple(site.name for site in network.sites)
        try:
            content = io.BytesIO((self.folder / f"{key}.npz").read_bytes())
            with np.load(content, allow_pickle=False) as file:
                values = {name: file[name] for name in QUANTITIES}
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return None
        if any(array.shape != (NETWORKS, len(layers)) for array in values.values()):
            return None
        return Reference(Observation(layers, values, probe.x.shape[1]))

    def _write(self, key: str, found: Reference) -> None:
        if self.folder is None or found.observation is None:
            return
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            part = self.folder / f"{key}.{os.getpid()}.part"
            try:
                with part.open("wb") as file:
                    np.savez(file, allow_pickle=False, **found.observation.values)
                part.replace(self.folder / f"{key}.npz")
            finally:
                part.unlink(missing_ok=True)


@lru_cache(maxsize=256)
def echo(network: Network, probe: Probe) -> str:
    """Return a hash of what a network does: its output and gradients for fixed weights of unit size, on the probe.

    It tells architectures, activations, losses and samples apart by what they compute, however they are written.
    """
    params = {}
    for spec in network.weights:
        values = stream(RESERVED, spec.name).standard_normal((1, *spec.shape)) / np.sqrt(spec.fans.fan_in)
        params[spec.name] = values.astype(network.dtype)
    tape = network.tape(1, probe.x.shape[1])
    with np.errstate(all="ignore"):
        output = network.forward(params, network.state(1), probe.x, tape, phase="probe")
        probe.loss(output, probe.y, tape.d_output)
        gradient = network.backward(params, tape.d_output, tape)
    heard = hashlib.sha256(probe.digest.encode())
    heard.update(np.ascontiguousarray(output).tobytes())
    for name in sorted(gradient):
        heard.update(f"{name} {gradient[name].shape}".encode() + np.ascontiguousarray(gradient[name]).tobytes())
    return heard.hexdigest()
