"""The scheme of a module of one's own: what its code draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from weightinit.arrays import Array
from weightinit.nn.network import Network
from weightinit.schemes.initialized import Initialized
from weightinit.schemes.needs import require


@dataclass(frozen=True)
class AsBuilt:
    """The weights that a module's own code draws when it is built, from PyTorch's generator at the run's seed."""

    name: ClassVar[str] = "as_built"
    needs: ClassVar[tuple[str, ...]] = ("module",)

    def __call__(self, network: Network, seeds: Sequence[int], batch: Array | None = None) -> Initialized:
        require(self, network)
        raise ValueError("as_built draws nothing itself; a module is built at each seed where it is trained.")
