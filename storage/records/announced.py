"""What others say of series and studies (PS3.4 annexes C, F and R)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

AnnouncementKind = Literal["mpps", "ian", "c-find"]
AnnouncementState = Literal["in progress", "completed", "discontinued"]


@dataclass(frozen=True, slots=True)
class Announcement:
    """What somebody says of a series, or of a study (series_instance_uid None).

    key: who or what says it, and of what; a later announcement of the same kind and key replaces this one.
    instance_count, sop_instance_uids: what the series consists of, where that is said.
    """

    kind: AnnouncementKind
    key: str
    source: str
    study_instance_uid: str
    series_instance_uid: str | None
    state: AnnouncementState
    at: float
    instance_count: int | None = None
    sop_instance_uids: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """An announcement without its list: what is said of which series, or of the study (series_instance_uid None)."""

    kind: AnnouncementKind
    series_instance_uid: str | None
    state: AnnouncementState
    instance_count: int | None
    at: float


@dataclass(frozen=True, slots=True)
class PerformedStep:
    """A modality performed procedure step (PS3.4 annex F): its SOP Instance UID, who created it, and how far it is."""

    sop_instance_uid: str
    calling_ae_title: str
    status: str
    created_at: float
    changed_at: float
    study_instance_uids: tuple[str, ...]
