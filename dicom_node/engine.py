"""Hands jobs to Dask: worker processes of this machine, or those of a scheduler elsewhere.

The only code that imports Dask. The engine keeps no truth: it runs what it is given and says how that ended. Losing it
loses nothing, since the database holds every job's state.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import Any, Literal

import dask
from distributed import Client, Future, KilledWorker, LocalCluster, Security, Status
from distributed.scheduler import NoValidWorkerError

from dicom_node.errors import NodeError

# A worker that dies takes its task with it at once: whether to try again is the dispatcher's decision, which counts
# attempts in the database. Dask's own retries would hide them.
_SETTINGS = {
    "distributed.scheduler.allowed-failures": 0,
    "distributed.worker.daemon": True,
    # Else the cluster gives up a worker that is not back 15 s after it died, as on a slow disk or when it died twice.
    "distributed.deploy.lost-worker-timeout": "3650 days",
    "distributed.admin.tick.limit": "30s",
    # Nobody looks at how its loops and its workers keep time: fifty and a hundred times a second while nothing is done.
    "distributed.admin.tick.interval": "1s",
    "distributed.worker.profile.enabled": False,
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    # Workers of this machine may use all of its memory: a paused worker would only look like a hung job.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
}
START_TIMEOUT_S = 60.0
GATHER_TIMEOUT_S = 30.0
GONE_TIMEOUT_S = 10.0

_ENDED = (Status.closing, Status.closing_gracefully, Status.closed, Status.failed)

Key = tuple[int, int]


class EngineLost(NodeError):
    """The engine cannot run jobs any more. A new one can: what was running is found in the database."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How one attempt of a job ended. done: `value` is what the job returned; else `reason` says what went wrong."""

    key: Key
    outcome: Literal["done", "failed", "killed"]
    value: Any = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """scheduler: "local", or the address of a Dask scheduler. preload: a module that local workers import at start."""

    scheduler: str
    workers: int
    threads_per_worker: int
    memory_limit_bytes: int | None
    scratch_folder: str
    preload: str
    environment: Mapping[str, str] = field(default_factory=dict)


class Engine:
    """A fixed number of workers, each running one job at a time."""

    def __init__(
        self, settings: EngineSettings, run: Callable[..., Any], *, start_timeout_s: float = START_TIMEOUT_S
    ) -> None:
        self._run = run
        self._settings = settings
        self._ended: queue.SimpleQueue[Ended] = queue.SimpleQueue()
        self._futures: dict[Key, Future] = {}
        self._cluster: LocalCluster | None = None
        dask.config.set(_SETTINGS)
        try:
            self._client = self._connect(start_timeout_s)
        except (OSError, TimeoutError) as error:
            raise NodeError(f"engine.scheduler {settings.scheduler}: no scheduler answers there ({error})") from error

    def _connect(self, timeout_s: float) -> Client:
        settings = self._settings
        if settings.scheduler != "local":
            return Client(settings.scheduler, timeout=timeout_s, set_as_default=False)
        # A scheduler runs whatever reaches its port, so even on loopback only holders of this certificate may speak.
        security = Security.temporary()
        self._cluster = LocalCluster(
            n_workers=settings.workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            protocol="tls://",
            security=security,
            # There is no way to have none: it listens on loopback, on any port, and has no pages (see _SETTINGS).
            dashboard_address="127.0.0.1:0",
            local_directory=settings.scratch_folder,
            memory_limit=settings.memory_limit_bytes or 0,
            env={"OMP_NUM_THREADS": str(settings.threads_per_worker), **settings.environment},
            preload=[settings.preload],
        )
        return Client(self._cluster, set_as_default=False)

    def free(self) -> int:
        """How many more jobs a worker could take at once. A worker that is starting takes none.

        Raises EngineLost where workers of this machine are gone and will not come back.
        """
        self._assert_kept()
        return max(0, len(self._addresses()) - len(self._futures))

    def _addresses(self) -> set[str]:
        """Of the workers that the scheduler knows."""
        if self._cluster is not None:
            return set(self._cluster.scheduler.workers)
        return set(self._client.scheduler_info(n_workers=-1)["workers"])

    def _assert_kept(self) -> None:
        if self._cluster is None:
            return
        kept = [nanny for nanny in self._cluster.workers.values() if nanny.status not in _ENDED]
        if len(kept) < self._settings.workers:
            raise EngineLost(f"{self._settings.workers - len(kept)} worker processes ended and are not started again")

    def submit(self, key: Key, *arguments: Any) -> None:
        """Run one attempt of a job; how it ended comes out of `ended`."""
        name = "job-{}-{}".format(*key)
        future = self._client.submit(self._run, *arguments, key=name, pure=False, retries=0)
        self._futures[key] = future
        future.add_done_callback(lambda done: self._ended.put(_how_it_ended(key, done)))

    def ended(self, wait_s: float) -> Iterator[Ended]:
        """Attempts that ended since the last call, waiting up to wait_s for the first."""
        with contextlib.suppress(queue.Empty):
            item = self._ended.get(timeout=wait_s) if wait_s > 0 else self._ended.get_nowait()
            while True:
                # An attempt that was stopped has been dealt with already.
                if self._futures.pop(item.key, None) is not None:
                    yield item
                item = self._ended.get_nowait()

    def stop_attempt(self, key: Key) -> None:
        """End an attempt that takes too long, by restarting the worker that runs it."""
        future = self._futures.pop(key, None)
        if future is None:
            return
        processing = self._client.processing()
        addresses = {address for address, keys in processing.items() if future.key in keys}
        future.cancel(force=True)
        if self._cluster is None:
            if addresses:
                self._client.restart_workers(list(addresses), timeout=START_TIMEOUT_S, raise_for_error=False)
            return
        # An attempt that was on its way to a worker when we asked may have begun there since, unknown to the scheduler
        # now: then every worker that has nothing else to do is doomed with it.
        others = {other.key for other in self._futures.values()}
        idle = {address for address in self._addresses() if not others & set(processing.get(address, ()))}
        self._kill(addresses or idle)

    def _kill(self, addresses: set[str]) -> None:
        """End workers of this machine; each is replaced as one that died by itself.

        Dask would ask the worker to end, wait for what one that hangs does not hear, and then for its successor: all
        that time nothing else would be dispatched.
        """
        if self._cluster is None:
            return
        # By the scheduler's word which nanny a worker has: the nanny learns the address of a new worker later.
        known = self._cluster.scheduler.workers
        nannies = {known[address].nanny for address in addresses if address in known}
        for nanny in self._cluster.workers.values():
            if nanny.address in nannies and nanny.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(nanny.pid, signal.SIGKILL)
        self._wait_until_gone(addresses)

    def _wait_until_gone(self, addresses: set[str]) -> None:
        """Until the scheduler knows it: what is submitted before would die with the worker."""
        deadline = time.monotonic() + GONE_TIMEOUT_S
        while addresses & self._addresses() and time.monotonic() < deadline:
            time.sleep(0.05)

    def close(self) -> None:
        """Stop the workers of this machine; a scheduler elsewhere goes on."""
        self._futures.clear()
        self._client.close(timeout=5)
        if self._cluster is not None:
            self._cluster.close(timeout=10)


def _how_it_ended(key: Key, future: Future) -> Ended:
    try:
        error = future.exception(timeout=GATHER_TIMEOUT_S)
        if error is None:
            return Ended(key, "done", value=future.result(timeout=GATHER_TIMEOUT_S))
    except (CancelledError, TimeoutError, OSError) as lost:
        return Ended(key, "killed", reason=f"the engine lost the attempt ({type(lost).__name__})")
    if isinstance(error, KilledWorker | NoValidWorkerError):
        return Ended(key, "killed", reason="the worker process ended while it ran the job (killed, or out of memory)")
    return Ended(key, "failed", reason=f"{type(error).__name__}: {error}")
