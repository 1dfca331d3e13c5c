"""What a modality says of the procedure step that it performs (PS3.4 annex F, PS3.3 C.4.14): a pure reading.

Only what tells when a series is whole is read: the step's status, its studies, and the instances of each series.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from dicom_node.attributes import Attributes, read_attributes
from dicom_node.content import is_uid
from dicom_node.refusals import InvalidAttributeValue, MissingAttribute, MissingAttributeValue, TooMuch
from dicom_node.structure import MAX_NESTING
from storage.records.announced import Announcement, AnnouncementState, PerformedStep

IN_PROGRESS: Final = "IN PROGRESS"
_STATES = MappingProxyType[str, AnnouncementState](
    {IN_PROGRESS: "in progress", "COMPLETED": "completed", "DISCONTINUED": "discontinued"}
)
# Far beyond what scanners do, and little enough for one transaction.
MAX_STUDIES = 64
MAX_SERIES = 2000

_STATUS, _SCHEDULED, _SERIES = (
    "PerformedProcedureStepStatus",
    "ScheduledStepAttributesSequence",
    "PerformedSeriesSequence",
)
_STUDY_UID, _SERIES_UID, _INSTANCE_UID = "StudyInstanceUID", "SeriesInstanceUID", "ReferencedSOPInstanceUID"
_INSTANCES = ("ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence")
_KEYWORDS = (_STATUS, _SCHEDULED, _SERIES, _STUDY_UID, _SERIES_UID, *_INSTANCES, _INSTANCE_UID)


@dataclass(frozen=True, slots=True)
class PerformedSeries:
    """sop_instance_uids: what the series consists of; None where the step does not list it."""

    series_instance_uid: str
    sop_instance_uids: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Creation:
    """Of a step, with the series that it has already."""

    study_instance_uids: tuple[str, ...]
    series: tuple[PerformedSeries, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """To a step; None for what stays as it is. A sequence that is set replaces the earlier one whole."""

    status: str | None
    series: tuple[PerformedSeries, ...] | None


def read_creation(payload: bytes | memoryview, transfer_syntax_uid: str, max_depth: int = MAX_NESTING) -> Creation:
    """The Attribute List of an N-CREATE (PS3.4 F.7.2.1). Raises Unparsable, or a subclass of NoticeRefused."""
    told = read_attributes(payload, transfer_syntax_uid, _KEYWORDS, max_depth)
    for keyword in (_STATUS, _SCHEDULED):
        if keyword not in told:
            raise MissingAttribute(f"{keyword} is missing")
    status = _status(told)
    if status != IN_PROGRESS:
        raise InvalidAttributeValue(f"{_STATUS} must be {IN_PROGRESS} at creation")
    steps = told.items(_SCHEDULED)
    studies = tuple(dict.fromkeys(uid_of(step, _STUDY_UID) for step in steps))
    if not studies:
        raise MissingAttributeValue(f"{_SCHEDULED} has no item")
    if len(studies) > MAX_STUDIES:
        raise TooMuch(f"a step of more than {MAX_STUDIES} studies")
    return Creation(studies, _performed(told))


def read_change(payload: bytes | memoryview, transfer_syntax_uid: str, max_depth: int = MAX_NESTING) -> Change:
    """The Modification List of an N-SET (PS3.4 F.7.2.2). Raises Unparsable, or a subclass of NoticeRefused."""
    told = read_attributes(payload, transfer_syntax_uid, _KEYWORDS, max_depth)
    return Change(
        _status(told) if _STATUS in told else None,
        _performed(told) if _SERIES in told else None,
    )


def announced(step: PerformedStep, series: Sequence[PerformedSeries], *, at: float) -> tuple[Announcement, ...]:
    """What the step as it now is says of its studies, and of each of its series.

    Which of several studies a series belongs to is not said: it is announced for each of them.
    """
    state = _STATES[step.status]
    found: list[Announcement] = []
    for number, study in enumerate(step.study_instance_uids):
        found.append(Announcement("mpps", _key(step, "-", number), step.calling_ae_title, study, None, state, at))
        for one in series:
            listed = one.sop_instance_uids
            found.append(
                Announcement(
                    kind="mpps",
                    key=_key(step, one.series_instance_uid, number),
                    source=step.calling_ae_title,
                    study_instance_uid=study,
                    series_instance_uid=one.series_instance_uid,
                    state=state,
                    at=at,
                    instance_count=None if listed is None else len(listed),
                    sop_instance_uids=listed,
                )
            )
    return tuple(found)


def in_words(step: PerformedStep, series: Sequence[PerformedSeries]) -> str:
    """What a step that was created or has ended says, for people."""
    state = _STATES[step.status]
    said = f"procedure step {state} at {step.calling_ae_title}"
    if not series:
        return said
    listed = sum(len(one.sop_instance_uids or ()) for one in series)
    return f"{said}: {len(series)} series, {listed} instances"


def uid_of(item: Attributes, keyword: str) -> str:
    """A UID that must be there. Raises MissingAttributeValue or InvalidAttributeValue."""
    uid = item.text(keyword)
    if not uid:
        raise MissingAttributeValue(f"{keyword} is missing or empty")
    if not is_uid(uid):
        raise InvalidAttributeValue(f"{keyword} is no UID (PS3.5 9.1)")
    return uid


def _status(told: Attributes) -> str:
    status = told.text(_STATUS)
    if not status:
        raise MissingAttributeValue(f"{_STATUS} is empty")
    if status not in _STATES:
        raise InvalidAttributeValue(f"{_STATUS} is none of those of PS3.3 C.4.14")
    return status


def _performed(told: Attributes) -> tuple[PerformedSeries, ...]:
    """A series that has several items is one. One whose lists are empty is not listed: it says nothing of its size."""
    items = told.items(_SERIES)
    if len(items) > MAX_SERIES:
        raise TooMuch(f"a step of more than {MAX_SERIES} series")
    instances: dict[str, dict[str, None]] = {}
    for item in items:
        instances.setdefault(uid_of(item, _SERIES_UID), {}).update(dict.fromkeys(_instances(item)))
    return tuple(PerformedSeries(uid, tuple(listed) or None) for uid, listed in instances.items())


def _instances(item: Attributes) -> Iterable[str]:
    return (uid_of(instance, _INSTANCE_UID) for keyword in _INSTANCES for instance in item.items(keyword))


def _key(step: PerformedStep, series: str, number: int) -> str:
    return f"{step.sop_instance_uid} {series}" + (f" {number}" if number else "")
