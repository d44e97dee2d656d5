"""Work of an allocation: its processes are workers of a Dask scheduler. Imports little, so that it starts fast."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import distributed
import submitit

# Seconds that a worker may take to reach the scheduler.
REACH = 60


@dataclass(frozen=True)
class Serve:
    """Task of an allocation: so many ``workers``, of ``memory`` bytes each if that is known, for a Dask scheduler."""

    address: str
    security: distributed.Security
    workers: int
    memory: int

    def __call__(self) -> None:
        """Serve until the scheduler is gone."""
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        task = submitit.JobEnvironment()
        nannies = [
            distributed.Nanny(
                self.address,
                name=f"{task.job_id}/{task.global_rank}/{number}",
                nthreads=1,
                memory_limit=self.memory,
                security=self.security,
                death_timeout=REACH,
            )
            for number in range(self.workers)
        ]
        await asyncio.gather(*nannies)
        await asyncio.gather(*(nanny.finished() for nanny in nannies))
