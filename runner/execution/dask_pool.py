"""Dask: stacks train on the workers of a cluster that others keep, or of one that is started here.

Workers may join and leave at any time. A stack whose worker dies begins again elsewhere.
"""

from __future__ import annotations

import math
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import dask
import distributed
from distributed.client import FutureCancelledError

from runner.config.trial import Trial
from runner.execution.pool import PoolLost, StackLost, Steps
from runner.records import Outcome
from runner.training import parcels, versions, worker

# Seconds between two looks at which workers there are.
LOOK = 1.0
# Contents travel in task graphs, of which Dask says from 10 MB on that they are large.
QUIET = {"distributed.admin.large-graph-warning-threshold": "10GB"}

# Dask looks at a fixed port for its dashboard's server, and warns where another cluster of this machine has it.
WITHOUT_DASHBOARD: dict[str, Any] = {
    "dashboard_address": None,
    "scheduler_kwargs": {"dashboard_address": "127.0.0.1:0"},
}


class Cancelled(BaseException):
    """Ends a stack that nobody waits for; no ``Exception``, so that it passes what catches a failing run."""


class DaskPool:
    """Pool of the workers of a Dask cluster, as they come and go."""

    AWAITED = "no worker has joined the Dask scheduler; training begins with the first"

    def __init__(
        self, client: distributed.Client, max_workers: int | None, share: float, say: Callable[[str], object]
    ) -> None:
        """``share``: of the workers' memory that stacks may take; ``say``: hears what a person should know of them."""
        self.client, self.max_workers, self.share, self.say = client, max_workers, share, say
        self._packer, self._contents = parcels.Packer(), dict[str, distributed.Future]()
        self._tasks: dict[int, distributed.Future] = {}
        self._steps, self._count = Steps(), 0
        self._topic = f"weightinit-{uuid.uuid4().hex}"
        self._known: dict[str, Any] = {}
        self.names = set[str]()
        self._said: set[str] = set()
        self._looked_at = -math.inf
        client.subscribe_topic(self._topic, self._hear)
        self._look()

    @property
    def workers(self) -> int:
        """Number of stacks that train at a time: one on each thread of a worker, or as many as are allowed."""
        self._look()
        threads: int = sum(info["nthreads"] for info in self._known.values())
        return min(threads, self.max_workers or threads)

    @property
    def memory(self) -> float:
        """Bytes that the stacks of all workers may take together, if all have as much as the smallest."""
        limits = [info["memory_limit"] / info["nthreads"] for info in self._known.values() if info["memory_limit"]]
        return self.workers * self.share * min(limits, default=math.inf)

    @property
    def room(self) -> float:
        """Number of stacks in the scheduler's hands: those that train, and the next ones."""
        return min(2 * self.workers, self.max_workers or math.inf)

    def submit(self, trials: Sequence[Trial]) -> Future[list[Outcome]]:
        """Return the promise of a stack's outcomes."""
        number, self._count = self._count, self._count + 1
        promise: Future[list[Outcome]] = Future()
        parcel = self._packer.pack(trials)
        with dask.config.set(QUIET):
            for name in parcel.contents:
                if name not in self._contents:
                    # A task with the bytes, unlike bytes that are scattered, outlives the worker that holds its result.
                    key = f"content-{name}"
                    self._contents[name] = self.client.submit(bytes, self._packer.contents[name], key=key)
            needed = {name: self._contents[name] for name in parcel.contents}
            key = f"stack-{self._topic}-{number}"
            task = self.client.submit(_train, parcel, needed, self._topic, number, key=key, pure=False)
        self._tasks[number] = task
        total = sum(trial.plan.steps for trial in trials)

        def finished(task: distributed.Future) -> None:
            try:
                outcomes = task.result()
            except distributed.KilledWorker as error:
                promise.set_exception(
                    StackLost(f"{error.allowed_failures + 1} workers died of it, the last one {error.last_worker}")
                )
            except (FutureCancelledError, OSError):
                promise.set_exception(PoolLost("the scheduler of the Dask cluster is gone"))
            except Exception as error:  # what a worker lacks to begin at all
                promise.set_exception(StackLost(f"{type(error).__name__}: {error}"))
            else:
                self._steps.tell(number, total)
                promise.set_result(outcomes)
            self._tasks.pop(number, None)

        # Dask calls from one thread, and a result lost with its worker comes only after its stack has trained again.
        task.add_done_callback(lambda done: threading.Thread(target=finished, args=(done,), daemon=True).start())
        return promise

    def steps(self) -> int:
        """Return the number of steps since the last call."""
        self._look()
        return self._steps.take()

    def stop(self) -> None:
        """Drop the stacks that wait, and have those that train end at their next step."""
        if self.client.status == "running":
            self.client.cancel(list(self._tasks.values()))

    def _hear(self, event: tuple[float, Any]) -> None:
        number, passed = event[1]
        self._steps.tell(number, passed)

    def look(self) -> None:
        """Look at once which workers there are."""
        self._looked_at = -math.inf
        self._look()

    def _look(self) -> None:
        """Looks, now and then, which workers there are, and whether new ones compute as this process does."""
        if (now := time.monotonic()) - self._looked_at < LOOK or self.client.status != "running":
            return
        self._looked_at = now
        found: Mapping[str, Any] = self.client.scheduler_info(n_workers=-1)["workers"]
        new = [address for address in found if address not in self._known]
        self._known = dict(found)
        self.names.update(str(info["name"]) for info in found.values())
        if not found:
            self._say_once(self.AWAITED)
        if not new:
            return
        answers = self.client.run(versions.versions, workers=new, on_error="return")
        for address, theirs in answers.items():
            if isinstance(theirs, OSError):
                continue  # it has left already
            if isinstance(theirs, BaseException):
                text = f"a worker can't train: {type(theirs).__name__}: {theirs}. Install weightinit[runner,dask] there"
            elif different := versions.differences(theirs):
                text = f"results may differ in the last digits, since a worker has other versions: {different}"
            else:
                continue
            self._say_once(text, f" (first seen at {address})")

    def _say_once(self, text: str, where: str = "") -> None:
        if text not in self._said:
            self._said.add(text)
            self.say(text + where)


def _train(parcel: parcels.Parcel, contents: Mapping[str, bytes], topic: str, number: int) -> list[Outcome]:
    """Trains a stack, on a worker. The worker ends it where the client no longer asks for it, or is gone."""
    here = distributed.get_worker()
    key = here.get_current_task()

    def tell(passed: int) -> None:
        task = here.state.tasks.get(key)
        if task is None or task.state == "cancelled":
            raise Cancelled
        here.log_event(topic, [number, passed])

    return parcels.train(parcel, contents.__getitem__, worker.Paced(tell))


@contextmanager
def dask_pool(settings: Any, cores: int, processes: bool, say: Callable[[str], object]) -> Iterator[DaskPool]:
    """Pool of the cluster that the settings of the launcher name; with none, of one started here, on so many cores.

    ``processes``: whether workers that start here may be processes; else they are threads.
    Raises ValueError where no scheduler answers.
    """
    cluster = None
    if not settings.address and not settings.scheduler_file:
        number = settings.max_workers or cores
        cluster = distributed.LocalCluster(
            n_workers=number if processes else 1,
            threads_per_worker=1 if processes else number,
            processes=processes,
            host="127.0.0.1",
            **WITHOUT_DASHBOARD,
        )
    try:
        try:
            client = distributed.Client(
                cluster or settings.address,
                scheduler_file=settings.scheduler_file,
                timeout="10s",
                set_as_default=False,
            )
        except (OSError, ValueError) as error:
            key, value = next((k, v) for k, v in settings.items() if k in ("address", "scheduler_file") and v)
            raise ValueError(
                f"hydra.launcher.{key} must lead to a Dask scheduler; none answers at {value}. "
                f"Start one with `dask scheduler`, and workers with `dask worker`."
            ) from error
        with client:
            yield DaskPool(client, settings.max_workers, settings.memory, say)
    finally:
        if cluster is not None:
            cluster.close()
