"""Tells destinations that ask for it which of the results they hold do not count any more.

A report names the one that it replaces, but a Segmentation or a picture cannot, and many a PACS shows old and new side by
side. What was delivered and then superseded is listed in a Key Object Selection that rejects it, which goes to that
destination like any result. It is found by what stands in the outbox, so neither a crash nor a delivery that was under way
when its result was superseded leaves one out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from io import BytesIO
from itertools import groupby

from pydicom import Dataset, dcmread

from dicom_node import logs
from dicom_node.result_objects import put_result
from dicom_node.results.ko import encode_rejection
from dicom_node.results.writing import part10
from storage.errors import StorageUnavailable
from storage.objects.protocol import ObjectStore
from storage.outbox import Outbox
from storage.records.events import Event
from storage.records.results import Delivery

LOOK_S = 1.0
FAULT_PAUSE_S = 60.0

log = logs.get("delivery")


class Retraction:
    """destinations: the names of those that want to be told."""

    def __init__(
        self,
        destinations: Iterable[str],
        outbox: Outbox,
        objects: ObjectStore,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._destinations = tuple(destinations)
        self._outbox = outbox
        self._objects = objects
        self._clock = clock
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retraction", daemon=True)

    def use(self, destinations: Iterable[str]) -> None:
        """These want to be told from now on."""
        self._destinations = tuple(destinations)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def step(self) -> int:
        """Queue a Key Object Selection for each study and destination that holds superseded results; how many results."""
        count = 0
        for destination in self._destinations:
            held = self._outbox.held_superseded(destination)
            for _, group in groupby(held, key=lambda item: item.result.study_instance_uid):
                count += self._retract(destination, tuple(group))
        return count

    def _retract(self, destination: str, held: Sequence[Delivery]) -> int:
        results = [item.result for item in held]
        example = self._read(held[0])
        at = datetime.fromtimestamp(self._clock(), UTC)
        document = encode_rejection(results, example, told=destination, at=at)
        kept = put_result(
            self._objects,
            [part10(document)],
            kind="ko",
            sop_class_uid=str(document.SOPClassUID),
            sop_instance_uid=str(document.SOPInstanceUID),
            series_instance_uid=str(document.SeriesInstanceUID),
            study_instance_uid=results[0].study_instance_uid,
            description=str(document.SeriesDescription),
        )
        noun = "result" if len(held) == 1 else "results"
        event = Event(
            "results_rejected",
            f"{destination} is told to reject {len(held)} {noun} that it holds, since later ones supersede them",
            study_instance_uid=results[0].study_instance_uid,
            job_id=held[0].job_id,
        )
        self._outbox.withdraw_delivered(held, kept, events=[event])
        log.info("superseded results rejected", destination=destination, results=len(held))
        return len(held)

    def _read(self, delivery: Delivery) -> Dataset:
        return dcmread(BytesIO(self._objects.get(delivery.result.object_key)), stop_before_pixels=True)

    def _run(self) -> None:
        wait_s = LOOK_S
        while not self._stopping.wait(wait_s):
            try:
                self.step()
                wait_s = LOOK_S
            except StorageUnavailable as error:
                log.error("superseded results cannot be rejected now", error=error)
                wait_s = LOOK_S
            except Exception as error:  # noqa: BLE001 - a thread that ends in silence would leave them standing for ever
                log.error("superseded results cannot be rejected", error=error)
                wait_s = FAULT_PAUSE_S
