"""What one association brings in, straight to the disk: a synced record each, and rows in batches behind them.

The promise of an answer is the record: it holds all that the row is made of, so that after a crash `recovery` writes the
rows that were not committed yet. The rows of an association are there before its end is.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dicom_node import logs
from dicom_node.arrival_record import Announced, Stored, meta_of, note_of, received_as, row_of, told_of
from dicom_node.content import check_command, check_header, is_uid, judged
from dicom_node.facts import Header
from dicom_node.likeness import HEAD_BYTES, Like, Likeness
from dicom_node.refusals import OutOfResources, Refused
from storage.errors import StorageUnavailable
from storage.objects.file import pack_key
from storage.objects.pack import PackWriter
from storage.objects.spares import PACK_BYTES
from storage.records.received import Association, NewInstance

_BATCH = 256
_BATCH_S = 0.2  # how long a row may wait for others
_IDLE_S = 0.02  # silence of the peer after which rows wait no longer
_BEHIND_S = 1.0  # the same, where they could not be committed
_ROOM_EACH_BYTES = 16 * 1024 * 1024  # after so many bytes of one instance it is asked again whether there is room

log = logs.get("arrivals")


@dataclass(frozen=True, slots=True)
class Shelf:
    """What arrivals need of the node: packs, room, and the index.

    give_back: a pack whose records are all indexed. index: rows of these instances; raises StorageUnavailable; what it
    returns is of no interest here.
    not_indexed: to be told, as often as it may be, of an object that gets no row until the next start; raises
    StorageUnavailable.
    refused: to be told of each refusal, with the SOP Instance UID and the association. sequence_depth: how deep the
    sequences of what comes may nest. begun: to be told of each instance.
    """

    take_pack: Callable[[], PackWriter]
    give_back: Callable[[PackWriter], None]
    check_room: Callable[[int], None]
    index: Callable[[list[NewInstance]], object]
    not_indexed: Callable[[str, Exception], None]
    refused: Callable[[str, str, Refused], None]
    sequence_depth: int
    begun: Callable[[], None]
    clock: Callable[[], float]


class _Waiting(NamedTuple):
    """An instance that is kept, and whose row is not committed yet."""

    header: Header
    stored: Stored
    transfer_syntax_uid: str
    received_at: float


class Arrivals:
    """Safe to close from another thread than the one that receives."""

    def __init__(self, shelf: Shelf, association: Association) -> None:
        self._shelf = shelf
        self._association = association
        self._told = told_of(association)
        self._lock = threading.Lock()
        self._pack: PackWriter | None = None
        # Used no more: given back, or only closed, once no row waits.
        self._full: list[PackWriter] = []
        self._spent: list[PackWriter] = []
        self._likeness = Likeness(shelf.sequence_depth)
        self._waiting: list[_Waiting] = []
        self._waiting_since = math.inf
        self._is_behind = False
        self._failed_at = -math.inf
        self._is_closed = False

    def begin(self, announced: Announced) -> Arrival:
        """The next instance; what goes wrong with it is said when it is finished."""
        with self._lock:
            self._shelf.begun()
            is_due = len(self._waiting) >= _BATCH or time.monotonic() - self._waiting_since > _BATCH_S
            if is_due and not self._is_behind:  # else `_open` tries
                self._index()
            arrival = Arrival(self, announced, self._shelf.clock())
            try:
                self._open(arrival)
            except (OSError, StorageUnavailable, OutOfResources) as error:
                self._fail(arrival, error)
            return arrival

    def patience_s(self) -> float:
        """How long the peer may be silent before `flush` is of use."""
        if not self._waiting:
            return math.inf
        return _BEHIND_S if self._is_behind else _IDLE_S

    def flush(self) -> None:
        """Commit the rows that wait; those that cannot be committed now wait on, and are tried about once a second."""
        with self._lock:
            if not self._is_behind or time.monotonic() - self._failed_at >= _BEHIND_S:
                self._index()

    def leave(self) -> list[NewInstance]:
        """Nothing more comes. The rows that still wait: whoever commits them calls `left` then."""
        with self._lock:
            self._is_closed = True
            return self._rows()

    def left(self) -> None:
        """The rows that `leave` has told of are committed."""
        with self._lock:
            self._committed()
            self._abandon()  # of an instance whose rest will not come, whoever learns of that first
            pack, self._pack = self._pack, None
            if pack is not None:
                self._shelf.give_back(pack)

    def give_up(self, error: Exception) -> None:
        """The rows that `leave` has told of cannot be committed: they are left to the next start, with alarms.

        Raises StorageUnavailable where nobody can be told now: call it again later.
        """
        with self._lock:
            for waiting in self._waiting:
                self._shelf.not_indexed(waiting.stored.key, error)
            self._abandon()
            self._use_no_more()
            self._spent += self._full
            self._full = []
            self._committed()

    def write(self, arrival: Arrival, fragments: Sequence[memoryview]) -> None:
        with self._lock:
            if arrival.failure is not None or self._pack is None:
                return
            try:
                if not arrival.is_begun:
                    arrival.like = self._likeness.at_once(fragments[0], arrival.announced.transfer_syntax_uid)
                    arrival.is_begun = True
                if arrival.like is None:
                    arrival.keep_head(fragments)
                self._pack.write(fragments)
                if self._pack.payload_bytes >= arrival.room_until:
                    arrival.room_until += _ROOM_EACH_BYTES
                    self._shelf.check_room(_ROOM_EACH_BYTES)
            except (OSError, OutOfResources) as error:
                self._fail(arrival, error)

    def finish(self, arrival: Arrival) -> None:
        """Durable when this returns. Raises a subclass of Refused, which is also recorded."""
        try:
            self._finish(arrival)
        except Refused as refusal:
            self._shelf.refused(arrival.announced.sop_instance_uid, self._association.association_id, refusal)
            raise

    def _finish(self, arrival: Arrival) -> None:
        with self._lock:
            if arrival.failure is not None:
                raise arrival.failure
            if self._is_closed:
                raise OutOfResources("the association has ended")
            if self._pack is None:
                raise OutOfResources
            try:
                header = self._judge(arrival, self._pack)
            except Exception:
                self._abandon()
                raise
            try:
                waiting = self._commit(arrival, self._pack, header)
            except OSError as error:
                self._fail(arrival, error)
                raise arrival.failure or OutOfResources() from error
            if not self._waiting:
                self._waiting_since = time.monotonic()
            self._waiting.append(waiting)

    def _commit(self, arrival: Arrival, pack: PackWriter, header: Header) -> _Waiting:
        size_bytes = pack.payload_bytes
        span = pack.commit()
        stored = Stored(pack_key(pack.path, span), size_bytes, pack.payload_sum)
        return _Waiting(header, stored, arrival.announced.transfer_syntax_uid, arrival.received_at)

    def abandon(self, arrival: Arrival) -> None:
        with self._lock:
            if arrival.failure is None:
                self._abandon()

    def _open(self, arrival: Arrival) -> None:
        if self._is_closed:
            raise OutOfResources("the association has ended")
        if self._is_behind:
            self._index()
            if self._is_behind:
                raise StorageUnavailable("rows of received instances cannot be committed")
        self._shelf.check_room(0)
        if self._pack is not None and self._pack.size_bytes >= PACK_BYTES:
            self._full.append(self._pack)
            self._pack = None
        if self._pack is None:
            self._pack = self._shelf.take_pack()
        self._pack.begin(note_of(arrival.announced, arrival.received_at, self._told), meta_of(arrival.announced))

    def _judge(self, arrival: Arrival, pack: PackWriter) -> Header:
        told, length = arrival.announced, pack.payload_bytes
        if (found := arrival.like) is not None and found.length == length:
            if not found.is_judged or not _is_named(found.header, told):
                check_command(told)
                check_header(found.header, told)
            return found.header
        like = self._likeness.read(arrival.head, length, told.transfer_syntax_uid)
        if like is not None:
            check_command(told)
            check_header(like, told)
            return like
        if not length:
            payload: bytes | memoryview = b""
            return judged(received_as(payload, told, self._association), self._shelf.sequence_depth)
        with pack.map() as mapped, memoryview(mapped) as whole, whole[len(whole) - length :] as payload:
            header = judged(received_as(payload, told, self._association), self._shelf.sequence_depth)
            self._likeness.learn(payload, told.transfer_syntax_uid, header)
            return header

    def _fail(self, arrival: Arrival, error: Exception) -> None:
        """Storage failed under an instance. What a file holds after that is not known: the pack is used no more."""
        log.error("instance could not be stored", error=error, association=self._association.association_id)
        arrival.failure = error if isinstance(error, OutOfResources) else OutOfResources()
        self._abandon()
        if isinstance(error, OSError):
            self._use_no_more()

    def _abandon(self) -> None:
        """Cut off what came of an instance in part. Where it stays, no record may be written over its beginning."""
        if self._pack is not None:
            try:
                self._pack.abandon()
            except OSError as error:
                log.error("an instance that came in part could not be cut off", error=error)
                self._use_no_more()

    def _use_no_more(self) -> None:
        """The pack is left to the next start to look into.

        It is held while rows wait: a process that starts meanwhile would take its records for those of a dead one.
        """
        if self._pack is not None:
            self._spent.append(self._pack)
            self._pack = None
        if not self._waiting:
            self._close_spent()

    def _close_spent(self) -> None:
        spent, self._spent = self._spent, []
        for pack in spent:
            try:
                pack.close(sealed=False)
            except OSError as error:
                log.error("a pack could not be closed", error=error)

    def _index(self) -> None:
        if not self._waiting or self._is_closed:
            return
        try:
            self._shelf.index(self._rows())
        except Exception as error:  # noqa: BLE001 - no peer asked for this: they are told with the next instance
            if not self._is_behind:
                log.error("rows of received instances wait", error=error, instances=len(self._waiting))
            self._is_behind, self._failed_at = True, time.monotonic()
            return
        self._committed()

    def _committed(self) -> None:
        """No row waits."""
        self._waiting, self._waiting_since, self._is_behind = [], math.inf, False
        full, self._full = self._full, []
        for pack in full:
            self._shelf.give_back(pack)
        self._close_spent()

    def _rows(self) -> list[NewInstance]:
        return [
            row_of(
                waiting.header,
                waiting.stored,
                transfer_syntax_uid=waiting.transfer_syntax_uid,
                association_id=self._association.association_id,
                received_at=waiting.received_at,
            )
            for waiting in self._waiting
        ]


class Arrival:
    """One instance on its way in."""

    def __init__(self, arrivals: Arrivals, announced: Announced, received_at: float) -> None:
        self._arrivals = arrivals
        self.announced = announced
        self.received_at = received_at
        self.failure: Exception | None = None
        self.room_until = _ROOM_EACH_BYTES
        self.head = b""
        self.like: Like | None = None
        self.is_begun = False

    def write(self, fragments: Sequence[memoryview]) -> None:
        self._arrivals.write(self, fragments)

    def keep_head(self, fragments: Sequence[memoryview]) -> None:
        if (missing := HEAD_BYTES - len(self.head)) > 0:
            self.head = b"".join((self.head, *(fragment[:missing] for fragment in fragments)))[:HEAD_BYTES]

    def finish(self) -> None:
        """Durable when this returns. Raises a subclass of Refused."""
        self._arrivals.finish(self)

    def abandon(self) -> None:
        self._arrivals.abandon(self)


def _is_named(header: Header, told: Announced) -> bool:
    """Whether the instance is the one that was announced. Nothing else of what it says is looked at."""
    return (
        header.sop_instance_uid == told.sop_instance_uid
        and header.sop_class_uid == told.sop_class_uid
        and is_uid(told.sop_instance_uid)
    )
