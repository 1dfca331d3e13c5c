"""The only door in: a data set as received becomes a durable instance, or is refused for a reason.

What comes over the fast path goes through `arrivals`: a synced record in a pack, the answer, and the row behind it.
What the library took in whole goes through `receive`: object on the disk, then the row, then the answer. A crash leaves
an object that no row names yet, never a row without its object; `recover` and `sweep` see to both kinds.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from dicom_node import logs
from dicom_node.arrival_record import Stored, instance_of_note, row_of
from dicom_node.arrivals import Arrivals, Shelf
from dicom_node.content import Received, is_uid, judged
from dicom_node.facts import Header
from dicom_node.intake_lock import IntakeLock
from dicom_node.part10 import file_meta
from dicom_node.refusals import OutOfResources, Refused
from dicom_node.room import Level, Marks
from dicom_node.room_gauge import Gauge
from dicom_node.structure import MAX_NESTING
from dicom_node.throttle import Throttle
from storage.errors import StorageError, StorageUnavailable
from storage.events import Events
from storage.instances import Instances
from storage.objects.file import pack_key
from storage.objects.left import LeftPack
from storage.objects.pack import PackWriter, content_sum
from storage.objects.protocol import PackStore
from storage.objects.spares import PACK_BYTES
from storage.records.events import Event
from storage.records.received import Added, Association, NewInstance
from storage.studies import Studies

KEY_PREFIX = "instances/"
_SWEPT_AT_ONCE = 500
_PACKS_KEPT = 16
_NO_ROOM_EVENT_S = 60.0

_T = TypeVar("_T")

log = logs.get("intake")


class Intake:
    """gauge: whether there is room for an instance beside what results and the database need.

    lock_file: the same one for all intakes of a node. sequence_depth: how deep sequences of what comes may nest.
    """

    def __init__(
        self,
        objects: PackStore,
        instances: Instances,
        studies: Studies,
        events: Events,
        *,
        gauge: Gauge,
        lock_file: Path,
        sequence_depth: int = MAX_NESTING,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._objects = objects
        self._instances = instances
        self._studies = studies
        self._events = events
        self._gauge = gauge
        self._sequence_depth = sequence_depth
        self._clock = clock
        self._lock = IntakeLock(lock_file)
        self._no_room = Throttle(_NO_ROOM_EVENT_S, clock)
        self._packs: list[PackWriter] = []
        self._packs_lock = threading.Lock()
        self._active_at = 0.0
        self._shelf = Shelf(
            take_pack=self._take_pack,
            give_back=self._give_back,
            check_room=gauge.check,
            index=self._index,
            not_indexed=self._record_not_indexed,
            refused=self._record,
            sequence_depth=sequence_depth,
            begun=self._begun,
            clock=clock,
        )

    def receive(self, received: Received) -> Added:
        """Take an instance in: durable, object and row, when this returns.

        Its association must be open in the database. Raises a subclass of Refused, which is also recorded.
        """
        try:
            return self._take(received, judged(received, self._sequence_depth))
        except Refused as refusal:
            self._record(received.sop_instance_uid, received.association_id, refusal)
            raise

    def arrivals(self, association: Association) -> Arrivals:
        """What this association brings, taken in as it comes. Its row is written with the first of theirs."""
        return Arrivals(replace(self._shelf, index=partial(self._index, associations=[association])), association)

    def end(self, ended: Sequence[tuple[Association, Arrivals | None]]) -> None:
        """Commit how associations ended, with the rows that still wait of what they brought.

        Raises StorageUnavailable, and then none of it is committed: call it again later.
        """
        rows = [row for _, arrivals in ended if arrivals is not None for row in arrivals.leave()]
        self._index(rows, associations=[association for association, _ in ended])
        for _, arrivals in ended:
            if arrivals is not None:
                arrivals.left()

    def use(self, marks: Marks, quota_bytes: int | None, sequence_depth: int) -> None:
        """Go by these from now on; what an association that brought something brings next may nest as deep as before."""
        self._gauge.use(marks, quota_bytes)
        self._sequence_depth = sequence_depth
        self._shelf = replace(self._shelf, sequence_depth=sequence_depth)

    def recover(self) -> int:
        """Write the rows of what was acknowledged before a crash; returns how many. Called before any are taken in.

        Safe beside other processes that take instances in: their packs are left alone. What cannot be read, or not be
        indexed as the rules have become stricter, stays where it is, with an alarm: a person may still need it.
        Raises StorageUnavailable only where the database fails, or the packs cannot even be listed.
        """
        with self._lock.recovering():
            count = sum(self._recover_pack(left) for left in self._objects.left_packs())
        if count:
            log.warning("instances indexed that were acknowledged before the acceptor ended", count=count)
        return count

    def _recover_pack(self, left: LeftPack) -> int:
        at = {pack_key(left.path, record.span): record for record in left.records}
        known = self._known(list(at))
        trouble = left.trouble
        if trouble is None and left.torn is not None and self._known([pack_key(left.path, left.torn)]):
            trouble = f"record at byte {left.torn.start}: damaged content"
        if trouble is not None:
            self._record_unreadable(left.path.name, trouble)
        found: list[NewInstance] = []
        brought_by: dict[str, Association] = {}
        is_done = trouble is None
        for key, record in at.items():
            if key in known:
                continue
            try:
                new, association = instance_of_note(record.note, self._objects.get(key), key)
            except (StorageError, Refused, ValueError, LookupError, TypeError) as error:  # also another version's note
                self._record_not_indexed(key, error)
                is_done = False
                continue
            found.append(new)
            brought_by[association.association_id] = association
        for association in brought_by.values():
            self._studies.find_lost(association, self._clock())
        for batch in _batches(found):
            is_done &= self._index(batch)
        if is_done:
            _settle(left)
        return len(found)

    def sweep(self) -> int:
        """Remove objects that a crash left without a row; returns how many. Called before this process takes any in.

        Does nothing while another process takes instances in: an orphan there may be an object whose row is about to be
        committed, or an old one whose content is just sent again, and removing it would lose what is acknowledged next.
        """
        with self._lock.alone() as alone:
            if not alone:
                log.info("objects without an instance are left for a later start", reason="another intake is running")
                return 0
            swept = 0
            for keys in _batches(self._objects.keys(KEY_PREFIX)):
                for key in set(keys) - self._instances.known_objects(keys):
                    self._objects.delete(key)
                    swept += 1
        if swept:
            log.info("objects without an instance removed", count=swept)
        return swept

    def close(self) -> None:
        """Let other processes sweep."""
        with self._packs_lock:
            packs, self._packs = self._packs, []
        for pack in packs:
            _close(pack)
        self._lock.close()

    def level(self) -> Level:
        """Of the room that there is. Raises StorageUnavailable."""
        return self._gauge.read().level

    def quiet_s(self) -> float:
        """How long nothing has begun to come over the fast path."""
        return time.monotonic() - self._active_at

    def _begun(self) -> None:
        self._active_at = time.monotonic()

    def _take_pack(self) -> PackWriter:
        with self._packs_lock:
            return self._packs.pop() if self._packs else self._objects.open_pack()

    def _give_back(self, pack: PackWriter) -> None:
        """Another association may go on with it: one that brings a single image needs no file of its own."""
        with self._packs_lock:
            keep = pack.size_bytes < PACK_BYTES and len(self._packs) < _PACKS_KEPT
            if keep:
                self._packs.append(pack)
        if not keep:
            _close(pack)

    def _index(self, arrived: Sequence[NewInstance], associations: Collection[Association] = ()) -> bool:
        """False where content that is kept twice could not be removed. It takes room and is named by no row."""
        added = self._instances.add_all(arrived, associations)
        self._gauge.took(sum(new.size_bytes for new in arrived))
        is_tidy = True
        for new, what in zip(arrived, added, strict=True):
            if what.object_key != new.object_key:
                is_tidy &= self._remove(new.object_key)
        return is_tidy

    def _remove(self, second_copy: str) -> bool:
        try:
            self._objects.delete(second_copy)
        except StorageError as error:  # the rows are committed
            log.error("a second copy could not be removed", error=error)
            return False
        return True

    def _known(self, keys: Sequence[str]) -> set[str]:
        return {key for batch in _batches(keys) for key in self._instances.known_objects(batch)}

    def _take(self, received: Received, header: Header) -> Added:
        key = _object_key(header, received.transfer_syntax_uid, hashlib.sha256(received.payload).hexdigest())
        new = row_of(
            header,
            Stored(key, len(received.payload), content_sum(received.payload)),
            transfer_syntax_uid=received.transfer_syntax_uid,
            association_id=received.association_id,
            received_at=self._clock(),
        )
        try:
            if not self._instances.known_objects([key]):
                self._keep_object(new, received.payload)
            added = self._instances.add(new)
        except StorageUnavailable as error:
            # The object may be there by now. It stays: another association may be storing the same content, under the
            # same key, and have its row committed already.
            log.error("instance could not be stored", error=error, association=received.association_id)
            raise OutOfResources() from error
        if added.object_key != key:
            self._remove(key)
        return added

    def _keep_object(self, new: NewInstance, payload: bytes | memoryview) -> None:
        self._gauge.check(new.size_bytes)
        meta = file_meta(
            sop_class_uid=new.sop_class_uid,
            sop_instance_uid=new.sop_instance_uid,
            transfer_syntax_uid=new.transfer_syntax_uid,
        )
        self._objects.put(new.object_key, (meta, payload))
        self._gauge.took(new.size_bytes)

    def _record_not_indexed(self, key: str, error: Exception) -> None:
        why = f": {error}" if isinstance(error, Refused) else ""
        text = f"an instance that was acknowledged cannot be indexed ({type(error).__name__}{why}); it is kept as {key}"
        log.error("instance cannot be indexed, it stays in its pack", kind=type(error).__name__)
        self._events.record_once(
            Event("instance_not_indexed", text, severity="alarm", at=self._clock(), data={"object": key})
        )

    def _record_unreadable(self, pack: str, trouble: str) -> None:
        text = f"what an acceptor received before it ended cannot all be read; pack {pack} is left as it is: {trouble}"
        log.error("a pack cannot be read whole, it is left as it is", name=pack, reason=trouble.lower())
        self._events.record_once(
            Event("instance_not_indexed", text, severity="alarm", at=self._clock(), data={"pack": pack})
        )

    def _record(self, sop_instance_uid: str, association_id: str, refusal: Refused) -> None:
        kind = type(refusal).__name__
        named = sop_instance_uid if is_uid(sop_instance_uid) else None
        log.warning(
            "instance refused",
            kind=kind,
            reason=str(refusal).lower(),
            association=association_id,
            sop_instance_uid=named,
        )
        if isinstance(refusal, OutOfResources) and not self._no_room.lets(kind):
            return  # a row for each instance would fill what room there is
        event = Event(
            "instance_refused",
            f"an instance was refused: {refusal}",
            severity="warning",
            at=self._clock(),
            association_id=association_id,
            data={"refusal": kind, "sop_instance_uid": named},
        )
        try:
            self._events.record(event)
        except StorageUnavailable as error:
            log.error("event could not be recorded", error=error)


def _object_key(header: Header, transfer_syntax_uid: str, content_sha256: str) -> str:
    """Same content, same key; the instances of a series lie in one folder. No part of it is a peer's text."""
    study, series = _digest(header.study_instance_uid), _digest(header.series_instance_uid)
    instance = _digest(f"{header.sop_instance_uid} {transfer_syntax_uid} {content_sha256}")
    return f"{KEY_PREFIX}{study[:2]}/{study[:16]}/{series[:16]}/{instance[:32]}.dcm"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _close(pack: PackWriter) -> None:
    try:
        pack.close(sealed=True)
    except OSError as error:
        log.error("a pack could not be sealed, it is looked into at the next start", error=error)


def _settle(left: LeftPack) -> None:
    try:
        left.settle()
    except OSError as error:
        log.error("a pack could not be sealed, it is looked into at the next start", error=error)


def _batches(items: Iterable[_T]) -> Iterator[list[_T]]:
    rest = iter(items)
    while batch := list(islice(rest, _SWEPT_AT_ONCE)):
        yield batch
