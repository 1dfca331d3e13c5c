"""The door for what others say of images: performed procedure steps, and notifications that instances are available.

What is said is durable, with all that it announces, when a method here returns.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

from dicom_node import availability, logs, performed
from dicom_node.content import is_uid
from dicom_node.refusals import DuplicateInstance, InvalidAttributeValue, NoLongerUpdated, NoSuchInstance
from dicom_node.structure import MAX_NESTING
from storage.announcements import Announcements
from storage.events import Events
from storage.performed_steps import PerformedSteps
from storage.records.announced import PerformedStep
from storage.records.events import Event

log = logs.get("notices")


@dataclass(frozen=True, slots=True)
class Told:
    """A data set as it came, what the command said of it, and who sent it. sop_instance_uid: empty where none is named."""

    sop_instance_uid: str
    payload: bytes | memoryview
    transfer_syntax_uid: str
    calling_ae_title: str


class Notices:
    """Every method raises Unparsable or a subclass of NoticeRefused where what is said cannot be taken in, and
    StorageUnavailable. sequence_depth: how deep sequences of what comes may nest."""

    def __init__(
        self,
        steps: PerformedSteps,
        announcements: Announcements,
        events: Events,
        *,
        sequence_depth: int = MAX_NESTING,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._steps = steps
        self._announcements = announcements
        self._events = events
        self._sequence_depth = sequence_depth
        self._clock = clock

    def use(self, sequence_depth: int) -> None:
        """Go by this from now on."""
        self._sequence_depth = sequence_depth

    def step_created(self, told: Told) -> str:
        """N-CREATE of a modality performed procedure step. Returns its SOP Instance UID, a new one where none is named."""
        uid = _named(told.sop_instance_uid) or _new_uid()
        creation = performed.read_creation(told.payload, told.transfer_syntax_uid, self._sequence_depth)
        now = self._clock()
        step = PerformedStep(uid, told.calling_ae_title, performed.IN_PROGRESS, now, now, creation.study_instance_uids)
        said = performed.announced(step, creation.series, at=now)
        if not self._steps.create(step, said, _step_events(step, creation.series, now)):
            raise DuplicateInstance
        log.info("procedure step begun", sop_instance_uid=uid, calling_ae_title=step.calling_ae_title)
        return uid

    def step_changed(self, told: Told) -> None:
        """N-SET of a step: what it says replaces what it said, until it is completed or discontinued."""
        change = performed.read_change(told.payload, told.transfer_syntax_uid, self._sequence_depth)
        step = self._steps.get(told.sop_instance_uid)
        if step is None:
            raise NoSuchInstance
        now = self._clock()
        changed = replace(step, status=change.status or step.status, changed_at=now)
        series = change.series or ()
        said = performed.announced(changed, series, at=now)
        ended = changed.status != performed.IN_PROGRESS
        events = _step_events(changed, series, now) if ended else []
        if not self._steps.change(changed, said, events, keep_series=change.series is None):
            raise NoLongerUpdated
        if ended:
            log.info("procedure step ended", sop_instance_uid=step.sop_instance_uid, state=changed.status.lower())

    def available(self, told: Told) -> str:
        """N-CREATE of an instance availability notification; told again under its UID, it replaces itself."""
        uid = _named(told.sop_instance_uid) or _new_uid()
        found = availability.read_availability(told.payload, told.transfer_syntax_uid, self._sequence_depth)
        now = self._clock()
        self._announcements.announce(*availability.announced(found, uid, told.calling_ae_title, at=now))
        count = sum(len(instances) for _, instances in found.series)
        text = f"{told.calling_ae_title} has {count} instances of {len(found.series)} series"
        self._events.record(Event("instances_available", text, at=now, study_instance_uid=found.study_instance_uid))
        log.info("instances available", calling_ae_title=told.calling_ae_title, instances=count)
        return uid


def _step_events(step: PerformedStep, series: tuple[performed.PerformedSeries, ...], at: float) -> list[Event]:
    text = performed.in_words(step, series)
    return [
        Event("procedure_step", text, at=at, study_instance_uid=study, data={"sop_instance_uid": step.sop_instance_uid})
        for study in step.study_instance_uids
    ]


def _named(sop_instance_uid: str) -> str:
    if sop_instance_uid and not is_uid(sop_instance_uid):
        raise InvalidAttributeValue("Affected SOP Instance UID is no UID (PS3.5 9.1)")
    return sop_instance_uid


def _new_uid() -> str:
    """From a UUID (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid4().int}"
