"""What an archive says of the instances that it has (Instance Availability Notification, PS3.4 annex R): a pure reading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dicom_node.attributes import Attributes, read_attributes
from dicom_node.performed import MAX_SERIES, uid_of
from dicom_node.refusals import InvalidAttributeValue, MissingAttribute, MissingAttributeValue, TooMuch
from dicom_node.structure import MAX_NESTING
from storage.records.announced import Announcement

_STUDY_UID, _SERIES_UID, _INSTANCE_UID = "StudyInstanceUID", "SeriesInstanceUID", "ReferencedSOPInstanceUID"
_SERIES, _INSTANCES, _AVAILABILITY = "ReferencedSeriesSequence", "ReferencedSOPSequence", "InstanceAvailability"
_KEYWORDS = (_STUDY_UID, _SERIES, _SERIES_UID, _INSTANCES, _INSTANCE_UID, _AVAILABILITY)
_UNAVAILABLE: Final = "UNAVAILABLE"
_AVAILABILITIES = frozenset(("ONLINE", "NEARLINE", "OFFLINE", _UNAVAILABLE))  # PS3.3 C.4.23.1.1


@dataclass(frozen=True, slots=True)
class Availability:
    """Of a study: the instances of each series that can be had, now or later; a series without any is left out."""

    study_instance_uid: str
    series: tuple[tuple[str, tuple[str, ...]], ...]


def read_availability(
    payload: bytes | memoryview, transfer_syntax_uid: str, max_depth: int = MAX_NESTING
) -> Availability:
    """The Attribute List of an N-CREATE (PS3.4 R.3.2.1). Raises Unparsable, or a subclass of NoticeRefused."""
    told = read_attributes(payload, transfer_syntax_uid, _KEYWORDS, max_depth)
    for keyword in (_STUDY_UID, _SERIES):
        if keyword not in told:
            raise MissingAttribute(f"{keyword} is missing")
    items = told.items(_SERIES)
    if not items:
        raise MissingAttributeValue(f"{_SERIES} has no item")
    if len(items) > MAX_SERIES:
        raise TooMuch(f"a notification of more than {MAX_SERIES} series")
    series: dict[str, dict[str, None]] = {}
    for item in items:
        available = series.setdefault(uid_of(item, _SERIES_UID), {})
        for instance in item.items(_INSTANCES):
            uid = uid_of(instance, _INSTANCE_UID)
            if _availability(instance) != _UNAVAILABLE:
                available[uid] = None
    return Availability(
        uid_of(told, _STUDY_UID), tuple((uid, tuple(available)) for uid, available in series.items() if available)
    )


def announced(told: Availability, sop_instance_uid: str, source: str, *, at: float) -> tuple[Announcement, ...]:
    """sop_instance_uid: of the notification. source: who made it."""
    return tuple(
        Announcement(
            kind="ian",
            key=f"{sop_instance_uid} {series}",
            source=source,
            study_instance_uid=told.study_instance_uid,
            series_instance_uid=series,
            state="completed",
            at=at,
            instance_count=len(available),
            sop_instance_uids=available,
        )
        for series, available in told.series
    )


def _availability(instance: Attributes) -> str:
    value = instance.text(_AVAILABILITY)
    if not value:
        raise MissingAttributeValue(f"{_AVAILABILITY} is missing or empty")
    if value not in _AVAILABILITIES:
        raise InvalidAttributeValue(f"{_AVAILABILITY} is none of those of PS3.3 C.4.23.1.1")
    return value
