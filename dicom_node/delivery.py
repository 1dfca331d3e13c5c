"""Sends what is in the outbox: a courier for each configured destination, and a watch for rows that none will take."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dicom_node import delivery_events, logs
from dicom_node.backoff import Backoff
from dicom_node.breaker import Breaker
from dicom_node.config import Config
from dicom_node.config_destinations import Destination
from dicom_node.courier import Courier
from dicom_node.demands import demand_of
from dicom_node.destinations import open_destination
from dicom_node.profiles import Demand
from dicom_node.retraction import Retraction
from dicom_node.stores import Stores
from storage.errors import StorageUnavailable
from storage.events import Events
from storage.outbox import Outbox

STOP_S = 10.0
WATCH_S = 5.0

log = logs.get("delivery")


class Delivery:
    def __init__(self, config: Config, stores: Stores) -> None:
        self._stores = stores
        self._served = _settings(config)
        self._couriers = {name: self._courier(served, None) for name, served in self._served.items()}
        # Those that were told to stop; the last of each name.
        self._leaving: dict[str, Courier] = {}
        self._retraction = Retraction(_telling(config), stores.outbox, stores.objects)
        self._watch = Watch(stores.outbox, stores.events, self._couriers)

    def start(self) -> None:
        for courier in self._couriers.values():
            courier.start()
        self._watch.start()
        self._retraction.start()

    def wake(self) -> None:
        """There is something new in the outbox; without this the couriers find it at their next poll."""
        for courier in self._couriers.values():
            courier.wake()

    def use(self, config: Config) -> None:
        """Serve these destinations from now on. Returns at once.

        Where nothing of a destination changed, its courier goes on. Else it ends after the study that it is sending, and
        the next one begins then, with all that waits. What waits for a destination that is gone stays.
        """
        wanted = _settings(config)
        for name, courier in tuple(self._couriers.items()):
            if wanted.get(name) != self._served[name]:
                courier.stop()
                self._leaving[name] = self._couriers.pop(name)
        for name, served in wanted.items():
            if name not in self._couriers:
                self._couriers[name] = self._courier(served, self._leaving.get(name))
                self._couriers[name].start()
        self._served = wanted
        self._retraction.use(_telling(config))
        self._watch.use(wanted)

    def stop(self) -> None:
        """End after the studies that are being sent, STOP_S at most. One that takes longer is sent again at next start."""
        self._watch.stop()
        self._retraction.stop(STOP_S)
        for courier in self._couriers.values():
            courier.stop()
        deadline = time.monotonic() + STOP_S
        for courier in (*self._leaving.values(), *self._couriers.values()):
            courier.join(max(0.0, deadline - time.monotonic()))

    def _courier(self, served: _Served, after: Courier | None) -> Courier:
        settings, stores = served.settings, self._stores
        return Courier(
            open_destination(settings, served.node_ae_title),
            stores.outbox,
            stores.events,
            stores.objects,
            backoff=Backoff(settings.retry.first_s, settings.retry.max_s, settings.retry.for_s),
            breaker=Breaker(settings.breaker.failures, settings.breaker.pause_s),
            demand=served.demand,
            after=after,
        )


@dataclass(frozen=True, slots=True)
class _Served:
    """All that makes a courier what it is."""

    settings: Destination
    node_ae_title: str
    demand: Demand


def _settings(config: Config) -> dict[str, _Served]:
    return {
        settings.name: _Served(settings, config.node.ae_title, demand_of(config, settings))
        for settings in config.destinations
    }


def _telling(config: Config) -> tuple[str, ...]:
    """Destinations that want to be told of results which do not count any more."""
    return tuple(settings.name for settings in config.destinations if settings.reject_superseded)


class Watch:
    """Raises one alarm for each destination that has rows and is not configured (any more). The rows are kept."""

    def __init__(self, outbox: Outbox, events: Events, configured: Iterable[str]) -> None:
        self._outbox = outbox
        self._events = events
        self._configured = frozenset(configured)
        self._told: set[str] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="outbox-watch", daemon=True)

    def use(self, configured: Iterable[str]) -> None:
        """These are configured from now on; one that is gone again is news again."""
        self._configured = frozenset(configured)
        self._told -= self._configured

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(STOP_S)

    def look(self) -> None:
        for name, waiting in no_such_destination(self._outbox.counts(), self._configured).items():
            if name not in self._told:
                self._events.record(delivery_events.no_such_destination(name, waiting))
                log.error("no such destination", destination=name, results=waiting)
                self._told.add(name)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.look()
            except StorageUnavailable as error:
                log.error("outbox cannot be watched", error=error)
            self._stopping.wait(WATCH_S)


def no_such_destination(counts: Mapping[tuple[str, str], int], configured: Iterable[str]) -> dict[str, int]:
    """Destinations that results wait for and that nobody configured, with the number of results.

    counts: results in each (destination, state), as Outbox.counts gives them.
    """
    known = frozenset(configured)
    return {name: count for (name, state), count in counts.items() if state == "waiting" and name not in known}
