"""Carries results to one destination: a thread of its own, so that a dead destination delays no other.

Exactly once, as far as DICOM permits. A result is sent first and marked delivered after: a crash in between sends the same
SOP Instance again, with the same UID and the same bytes, which the destination stores once. To mark it first would
lose it instead.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from random import random

from dicom_node import delivery_events, logs
from dicom_node.backoff import Backoff
from dicom_node.breaker import Breaker
from dicom_node.destinations.protocol import Destination, Outcome, Parcel
from dicom_node.profiles import Demand
from dicom_node.result_kinds import MAP, names_maps, segmentation_of
from dicom_node.stored_file import StoredFile, sha256_of
from dicom_node.substitution import substitute
from storage.errors import StorageUnavailable, UnknownObject
from storage.events import Events
from storage.objects.protocol import ObjectStore
from storage.outbox import Outbox
from storage.records.results import Delivery, Result

POLL_S = 0.2
FAULT_PAUSE_S = 5.0
# What one association carries at most of what is held in memory: a study's results are a few tens of MB.
MAX_BATCH_BYTES = 256 * 1024**2
# A result with more is read while it is sent: a heat map is as large as the volume that it was found in.
MOST_HELD_BYTES = 32 * 1024**2

log = logs.get("delivery")


@dataclass(frozen=True, slots=True)
class _Tried:
    delivery: Delivery
    outcome: Outcome
    was_sent: bool


class Courier:
    def __init__(
        self,
        destination: Destination,
        outbox: Outbox,
        events: Events,
        objects: ObjectStore,
        *,
        backoff: Backoff,
        breaker: Breaker,
        demand: Demand,
        clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random,
        after: Courier | None = None,
    ) -> None:
        """demand: what the destination takes, and what goes there in place of what it refuses.

        after: who served the destination by other settings, and was told to stop; this one begins when it has ended.
        """
        self._after = after
        self._destination = destination
        self._outbox = outbox
        self._events = events
        self._objects = objects
        self._backoff = backoff
        self._breaker = breaker
        self._demand = demand
        self._clock = clock
        self._jitter = jitter
        self._stopping = threading.Event()
        self._awake = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"courier-{destination.name}", daemon=True)

    @property
    def is_down(self) -> bool:
        """Whether the destination counts as down, as people were told."""
        return self._breaker.open_until is not None

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Look into the outbox now, and not only at the next poll."""
        self._awake.set()

    def stop(self) -> None:
        """Ask it to end after the study that it is sending; `join` waits for that."""
        self._stopping.set()
        self._awake.set()

    def join(self, timeout_s: float | None) -> bool:
        """Whether it ended in time, None for however long it takes. What it was sending then is sent again at next start."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def step(self) -> bool:
        """Deliver what is due of one study; False where there is nothing to do now."""
        now = self._clock()
        state = self._breaker.state(now)
        if state == "open":
            return False
        # After a pause one study is tried, due or not: it tells whether the destination is back.
        deliveries = self._outbox.next_study(self._destination.name, due_at=now if state == "closed" else None)
        if not deliveries:
            return False
        was_judged = self._deliver(_within_bounds(deliveries))
        # Where nothing could be read and sent, the breaker is as it was: half-open, it would ask for the next study at once.
        return was_judged or state == "closed"

    def _run(self) -> None:
        self._follow()
        wait_s = 0.0
        is_first = True
        while not self._stopping.is_set():
            try:
                if is_first:
                    # Whoever restarts the node may have repaired what deliveries were waiting for.
                    self._outbox.retry_now(self._destination.name)
                    is_first = False
                wait_s = 0.0 if self.step() else POLL_S
            except Exception as error:  # noqa: BLE001 - a courier that ends in silence would keep results for ever
                log.error("courier failed", destination=self._destination.name, error=error)
                wait_s = FAULT_PAUSE_S
            if wait_s:
                self._awake.wait(wait_s)
                self._awake.clear()

    def _follow(self) -> None:
        """Two that serve one destination would send the same results at the same time."""
        if self._after is None:
            return
        self._after.join(None)
        if self._after.is_down:
            # It is tried at once, by one study, and people are told when it is back.
            self._breaker = replace(self._breaker, open_until=self._clock())
        self._after = None

    def _deliver(self, deliveries: Sequence[Delivery]) -> bool:
        """Whether this showed anything of the destination: something was sent, or was to be and could not."""
        parcels: list[Parcel] = []
        tried: list[_Tried] = []
        for delivery in deliveries:
            loaded = self._load(delivery, _referred_to(delivery, deliveries))
            if isinstance(loaded, Parcel):
                parcels.append(loaded)
            else:
                tried.append(_Tried(delivery, loaded, was_sent=False))
        outcomes = {outcome.sop_instance_uid: outcome for outcome in self._send(parcels)}
        for delivery in deliveries:
            outcome = outcomes.get(delivery.result.sop_instance_uid)
            # What was held back stays as it is: others go in its place, or it goes with the next study.
            if outcome and not outcome.is_held_back:
                tried.append(_Tried(delivery, outcome, was_sent=True))
        replaced = self._substitute(tried)
        now = self._clock()
        for group in self._alike([item for item in tried if item.delivery.delivery_id not in replaced], now):
            self._record(group, now)
        telling = [outcome for outcome in outcomes.values() if not outcome.is_unread]
        if telling:
            self._judge_destination(telling)
        return bool(telling)

    def _substitute(self, tried: Sequence[_Tried]) -> frozenset[int]:
        refused = [
            (item.delivery, item.outcome)
            for item in tried
            if item.was_sent and item.outcome.verdict == "refused" and item.delivery.result.kind != "ko"
        ]
        return substitute(self._outbox, self._destination.name, self._demand, refused) if refused else frozenset()

    def _load(self, delivery: Delivery, refers_to: frozenset[str]) -> Parcel | Outcome:
        result = delivery.result
        try:
            part10 = self._part10(result)
            content_sha256 = sha256_of(part10)
        except UnknownObject:
            return Outcome(result.sop_instance_uid, "refused", "its stored object is missing")
        except StorageUnavailable:
            return Outcome(result.sop_instance_uid, "failed", "its stored object cannot be read now")
        if content_sha256 != result.content_sha256:
            return Outcome(result.sop_instance_uid, "refused", "its stored object is damaged: the SHA-256 differs")
        return Parcel(result, part10, refers_to)

    def _part10(self, result: Result) -> bytes | StoredFile:
        if _is_held(result):
            return self._objects.get(result.object_key)
        return StoredFile(self._objects.part(result.object_key))

    def _send(self, parcels: Sequence[Parcel]) -> tuple[Outcome, ...]:
        if not parcels:
            return ()
        try:
            outcomes = self._destination.deliver(parcels)
        except Exception as error:  # noqa: BLE001 - else one study that a destination chokes on holds up all others
            log.error("destination failed", destination=self._destination.name, error=error)
            reason = f"unexpected {type(error).__name__}"
            return tuple(Outcome(parcel.result.sop_instance_uid, "failed", reason) for parcel in parcels)
        told = {outcome.sop_instance_uid: outcome for outcome in outcomes}
        untold = Outcome("", "failed", "the destination did not say what became of it")
        uids = [parcel.result.sop_instance_uid for parcel in parcels]
        return tuple(told.get(uid, replace(untold, sop_instance_uid=uid)) for uid in uids)

    def _alike(self, tried: Sequence[_Tried], now: float) -> list[list[_Tried]]:
        """Results of one fate together: told in one sentence, written in one transaction."""

        def fate(item: _Tried) -> tuple[object, ...]:
            outcome = str(replace(item.outcome, sop_instance_uid=""))
            return (outcome, item.was_sent, item.delivery.attempts, self._is_over(item.delivery, now))

        return [list(group) for _, group in groupby(sorted(tried, key=fate), key=fate)]

    def _is_over(self, delivery: Delivery, now: float) -> bool:
        return self._backoff.is_given_up(queued_at=delivery.created_at, now=now)

    def _record(self, group: Sequence[_Tried], now: float) -> None:
        """Write what became of results that shared one fate, with its event, in one transaction."""
        name, outcome = self._destination.name, group[0].outcome
        deliveries = [tried.delivery for tried in group]
        ids = [delivery.delivery_id for delivery in deliveries]
        error = delivery_events.reason_in_words(outcome)
        if outcome.verdict == "delivered":
            self._outbox.delivered(ids, events=[delivery_events.delivered(name, deliveries, outcome)])
        elif outcome.verdict == "refused":
            in_words = delivery_events.refused if group[0].was_sent else delivery_events.not_sent
            self._outbox.refused(ids, error=error, events=[in_words(name, deliveries, outcome)])
        elif self._is_over(deliveries[0], now):
            event = delivery_events.given_up(name, deliveries, outcome, now=now)
            self._outbox.refused(ids, error=f"given up: {error}", events=[event])
        else:
            wait_s = self._backoff.wait_s(deliveries[0].attempts + 1, jitter=self._jitter())
            # A study that waits for days for one reason says so once.
            is_news = any(delivery.last_error != error for delivery in deliveries)
            events = [delivery_events.postponed(name, deliveries, outcome)] if is_news else []
            self._outbox.postpone(ids, until=now + wait_s, error=error, events=events)
        log.info(
            "delivery tried",
            destination=name,
            study_instance_uid=deliveries[0].result.study_instance_uid,
            results=len(ids),
            outcome=outcome.verdict,
            attempt=deliveries[0].attempts + 1,
            reason=outcome.reason.lower(),
        )

    def _judge_destination(self, outcomes: Sequence[Outcome]) -> None:
        """A destination that answered for any result is alive; one that could take none counts as failing."""
        before = self._breaker
        if any(outcome.verdict != "failed" for outcome in outcomes):
            self._breaker = before.succeeded()
            if before.open_until is not None:
                # What was postponed while it was down need not wait for its turn.
                self._outbox.retry_now(
                    self._destination.name, events=[delivery_events.destination_up(self._destination.name)]
                )
                log.info("destination is up", destination=self._destination.name)
            return
        self._breaker = before.failed(self._clock())
        if before.open_until is None and self._breaker.open_until is not None:
            pause_s = self._breaker.pause_s
            self._events.record(delivery_events.destination_down(self._destination.name, outcomes[0].reason, pause_s))
            log.warning("destination is down", destination=self._destination.name, pause_s=pause_s)


def _referred_to(delivery: Delivery, among: Sequence[Delivery]) -> frozenset[str]:
    """The Segmentation and the maps that a report refers to, where they are among those on their way."""
    kind = delivery.result.kind
    if kind == "ko":
        return frozenset()
    referred = {segmentation_of(kind), MAP if names_maps(kind) else None}
    return frozenset(
        other.result.sop_instance_uid
        for other in among
        if other.job_id == delivery.job_id and other.result.kind in referred
    )


def _is_held(result: Result) -> bool:
    return result.size_bytes <= MOST_HELD_BYTES


def _within_bounds(deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
    """As many as fit into one batch, and one at least."""
    total = 0
    for count, delivery in enumerate(deliveries):
        total += delivery.result.size_bytes if _is_held(delivery.result) else 0
        if count and total > MAX_BATCH_BYTES:
            return deliveries[:count]
    return deliveries
