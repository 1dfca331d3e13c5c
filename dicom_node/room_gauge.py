"""Reads how much room there is at each place, as often as it is asked, and remembers the level between two readings."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from dicom_node import logs
from dicom_node.config import Config
from dicom_node.refusals import OutOfResources
from dicom_node.room import Level, Marks, Place, Room, judge, marks_from
from dicom_node.stores import Stores
from storage.database import Database
from storage.errors import StorageUnavailable
from storage.objects.protocol import ObjectStore
from storage.usage import Usage

# The object store is looked at for each instance, but where there is room by far: then it is as it was a moment ago. The
# database grows by little, and the quota costs a query.
_REREAD_S = 1.0
_MOMENT_S, _FAR_BYTES = 0.05, 1 << 30
_ENDLESS = 1 << 62

log = logs.get("room")


class Gauge:
    """quota_bytes: what instances and results may take together, judged as a disk of that size; None for no bound.

    Safe to be asked by several threads. `Room` of each answer is judged after the one before, from `begin_at` on.
    """

    def __init__(
        self,
        marks: Marks,
        objects: ObjectStore,
        database: Database,
        usage: Usage,
        *,
        quota_bytes: int | None = None,
        begin_at: Level = "ok",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._marks = marks
        self._objects = objects
        self._database = database
        self._usage = usage
        self._quota_bytes = quota_bytes
        self._level = begin_at
        self._clock = clock
        self._lock = threading.Lock()
        self._seldom: tuple[Place, ...] = ()
        self._seldom_until = 0.0
        self._taken_bytes = 0
        self._easy_bytes = 0
        self._far_until = 0.0

    def use(self, marks: Marks, quota_bytes: int | None) -> None:
        """Judge by these from now on."""
        with self._lock:
            self._marks, self._quota_bytes = marks, quota_bytes
            self._seldom_until = 0.0

    def read(self) -> Room:
        """Raises StorageUnavailable where a place cannot be asked."""
        free = self._objects.free_bytes()
        with self._lock:
            if self._clock() >= self._seldom_until:
                self._seldom, self._taken_bytes = tuple(self._read_seldom()), 0
                self._seldom_until = self._clock() + _REREAD_S
            places = [Place(_OBJECTS, free)] if free is not None else []
            for place in self._seldom:
                taken = self._taken_bytes if place.name == _QUOTA else 0
                places.append(Place(place.name, max(0, place.free_bytes - taken)))
            room = judge(places, self._marks, self._level)
            self._level = room.level
            elsewhere = [place.free_bytes for place in places if place.name != _OBJECTS]
            self._easy_bytes = min(elsewhere, default=_ENDLESS) - self._marks.warn_bytes
            return room

    def check(self, more_bytes: int) -> None:
        """Raises OutOfResources where an instance may not take so many bytes more."""
        try:
            if self._is_easy(more_bytes):
                return
            room = self.read()
        except StorageUnavailable as error:
            log.error("room could not be read", error=error)
            raise OutOfResources() from error
        if room.level == "full":
            raise OutOfResources(f"no room: {room.in_words()}")
        if not room.has_for(more_bytes):
            raise OutOfResources(
                f"no room: {more_bytes} bytes more would leave less than storage.min_free_bytes {room.places[0].name}"
            )

    def took(self, size_bytes: int) -> None:
        """Count against the quota what came in since it was read."""
        with self._lock:
            self._taken_bytes += size_bytes

    def _is_easy(self, more_bytes: int) -> bool:
        """Whether there is room by far, told without much work: it is asked for each instance."""
        if (
            self._level != "ok"
            or self._clock() >= self._seldom_until
            or self._easy_bytes <= self._taken_bytes + more_bytes
        ):
            return False
        now = self._clock()
        if now < self._far_until and more_bytes < _FAR_BYTES // 2:
            return True
        free = self._objects.free_bytes()
        if free is None or free - more_bytes > self._marks.warn_bytes + _FAR_BYTES:
            self._far_until = now + _MOMENT_S
        return free is None or free - more_bytes > self._marks.warn_bytes

    def _read_seldom(self) -> list[Place]:
        places = []
        free = self._database.free_bytes()
        if free is not None:
            places.append(Place(_DATABASE, free))
        if self._quota_bytes is not None:
            places.append(Place(_QUOTA, max(0, self._quota_bytes - self._usage.total_bytes())))
        return places


_OBJECTS, _DATABASE, _QUOTA = "at the object store", "at the database", "of storage.quota_bytes"


def marks_of(config: Config) -> Marks:
    storage = config.storage
    return marks_from(storage.min_free_bytes, storage.pause_free_bytes, storage.warn_free_bytes)


def quota_of(config: Config) -> int | None:
    quota = config.storage.quota_bytes
    return None if quota is None else int(quota)


def open_gauge(config: Config, stores: Stores, begin_at: Level = "ok") -> Gauge:
    return Gauge(
        marks_of(config),
        stores.objects,
        stores.database,
        stores.usage,
        quota_bytes=quota_of(config),
        begin_at=begin_at,
    )
