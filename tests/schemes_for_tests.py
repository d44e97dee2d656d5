"""Schemes and an activation of a user's own, some of them broken, for tests to name as ``_target_``."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from weightinit.activations import Activation
from weightinit.arrays import Array
from weightinit.laws import UNKNOWN
from weightinit.nn import Network
from weightinit.schemes import Initialized, MuP, VarianceScaling

HE = VarianceScaling(scale=2.0)


@dataclass(frozen=True)
class RaisesAtSeed:
    """He, but not for one seed."""

    seed: int

    def __call__(self, network: Network, seeds: Sequence[int], batch: Array | None = None) -> Initialized:
        if self.seed in seeds:
            raise RuntimeError(f"seed {self.seed} was refused")
        return HE(network, seeds)


@dataclass(frozen=True)
class DiesAtSeed:
    """He, but for one seed the process ends without a word, as one does that the system takes the memory from."""

    seed: int

    def __call__(self, network: Network, seeds: Sequence[int], batch: Array | None = None) -> Initialized:
        if self.seed in seeds:
            os._exit(9)
        return HE(network, seeds)


@dataclass(frozen=True)
class Transposed:
    """Weights laid out (fan_out, fan_in)."""

    def __call__(self, network: Network, seeds: Sequence[int], batch: Array | None = None) -> Initialized:
        initialized = HE(network, seeds)
        return replace(initialized, params={name: w.swapaxes(1, 2) for name, w in initialized.params.items()})


@dataclass(frozen=True)
class Extra:
    """He, with one more name in the field ``field`` of what it returns."""

    field: str
    name: str

    def __call__(self, network: Network, seeds: Sequence[int], batch: Array | None = None) -> Initialized:
        initialized = HE(network, seeds)
        given = getattr(initialized, self.field)
        value = (UNKNOWN,) * len(seeds) if self.field == "laws" else np.ones(len(seeds))
        return replace(initialized, **{self.field: {**given, self.name: value}})


@dataclass(frozen=True)
class Watching:
    """He, with a note on what it was given."""

    def __call__(self, network: Network, seeds: Sequence[int], batch: Array | None = None) -> Initialized:
        note = f"seeds {', '.join(map(str, seeds))}; batch {batch.shape if batch is not None else None}"
        return replace(HE(network, seeds), notes=((note,),) * len(seeds))


@dataclass(frozen=True)
class Mislabelled:
    """Xavier's weights under the law of He's."""

    def __call__(self, network: Network, seeds: Sequence[int], batch: Array | None = None) -> Initialized:
        return replace(HE(network, seeds), params=VarianceScaling(scale=1.0)(network, seeds).params)


def breaking_activation() -> Activation:
    """Raises wherever it is applied to a batch."""

    def value(z: Array, out: Array) -> Array:
        if z.ndim > 1:
            raise FloatingPointError("broken on purpose")
        out[...] = z
        return out

    return Activation("breaking", value, lambda z, a, out: out)


@dataclass(frozen=True)
class Unlawful:
    """He's weights, and no law of them."""

    def __call__(self, network: Network, seeds: Sequence[int], batch: Array | None = None) -> Initialized:
        initialized = HE(network, seeds)
        return replace(initialized, laws={name: (UNKNOWN,) * len(seeds) for name in initialized.laws})


@dataclass(frozen=True)
class FaultyMuP(MuP):
    """muP with one mistake of those that people make, by its name; with none it is muP."""

    fault: str = "none"

    def __call__(self, network: Network, seeds: Sequence[int], batch: Array | None = None) -> Initialized:
        right = super().__call__(network, seeds)
        assert network.width is not None
        m = network.width / self.base_width
        params, constants, rates = dict(right.params), dict(right.constants), dict(right.learning_rate_scale)
        match self.fault:
            case "output multiplier missing":
                constants["output/multiplier"] = np.ones(len(seeds))
            case "Adam's 1/width missing":
                rates = {name: np.ones(len(seeds)) for name in rates}
            case "embedding scaled":
                params["embedding/weight"] = params["embedding/weight"] / np.float32(m) ** 0.5
            case "1/sqrt(d) attention":
                del constants["block/1/attention/logit_scale"]
            case "tied output counted twice":
                constants["output/multiplier"] = constants["output/multiplier"] / m
        return replace(right, params=params, constants=constants, learning_rate_scale=rates)


@dataclass(frozen=True)
class KillsAWorker:
    """He; but the first process that comes here is killed, and the others wait until there were so many ``processes``.

    ``folder``: where each process leaves a file.
    """

    folder: str
    processes: int

    def __call__(self, network: Network, seeds: Sequence[int], batch: Array | None = None) -> Initialized:
        folder = Path(self.folder)
        (folder / f"process-{os.getpid()}").touch()
        try:
            (folder / "killed").touch(exist_ok=False)
        except FileExistsError:
            deadline = time.monotonic() + 300
            while len(list(folder.glob("process-*"))) < self.processes:
                if time.monotonic() > deadline:
                    raise TimeoutError("too few processes train") from None
                time.sleep(0.05)
            return HE(network, seeds)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("killed")
