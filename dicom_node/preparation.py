"""Packs are made ready while nothing comes in, so that what comes next is on the disk in half the time."""

from __future__ import annotations

import threading
from collections.abc import Callable

from dicom_node import logs
from dicom_node.room import Level
from storage.errors import StorageUnavailable
from storage.objects.protocol import PackStore

_QUIET_S = 0.05  # without an instance: whoever sends a series sends the next image sooner
_PAUSE_S = 0.5

log = logs.get("preparation")


class Preparation:
    """A thread that keeps `packs` packs ready, from `start` to `stop`. quiet_s: since when nothing comes in.

    level: of the room that there is. None are made unless it is ok; before anything else has to wait for room, those that
    are ready are given back.
    """

    def __init__(
        self, objects: PackStore, quiet_s: Callable[[], float], level: Callable[[], Level], packs: int
    ) -> None:
        self._objects = objects
        self._quiet_s = quiet_s
        self._level = level
        self._packs = packs
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="preparation")

    def use(self, packs: int) -> None:
        """Keep so many ready from now on."""
        self._packs = packs

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        packs = self._packs
        while not self._stopping.wait(_PAUSE_S):
            are_too_many, packs = packs > self._packs, self._packs
            try:
                level = self._level()
                if level in ("paused", "full") or are_too_many:
                    self._objects.close()
                while level == "ok" and self._objects.prepare_pack(at_most=packs, may_go_on=self._may_go_on):
                    level = self._level()
            except StorageUnavailable as error:
                # Whatever is stored meanwhile goes to files that grow; and the next one may succeed.
                log.warning("a pack could not be made ready", error=error)

    def _may_go_on(self) -> bool:
        """Wait for quiet; False once this is to stop."""
        while (quiet_s := self._quiet_s()) < _QUIET_S:
            if self._stopping.wait(_QUIET_S - quiet_s):
                return False
        return not self._stopping.is_set()
