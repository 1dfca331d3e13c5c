"""What is known of a series that arrives, as `completeness` judges it; made from rows, as they stand or as they stood."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from storage.records.announced import Announcement
from storage.records.arriving import Elsewhere, Silence
from storage.records.received import Association, Instance, SeriesPart

Ending = Literal["released", "aborted", "lost"]


@dataclass(frozen=True, slots=True)
class Image:
    """One instance of the series: the header attributes that were kept, when it came, and by which association."""

    sop_instance_uid: str
    header: Mapping[str, Any]
    received_at: float = 0.0
    association_id: str = ""


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one association brought to the series; ending and closed_at are None while it is open.

    refused: instances of it, of this series or another, that were refused and did not come later either.
    went_on: it is open and brought another series since the last image of this one.
    """

    calling_ae_title: str
    ending: Ending | None
    opened_at: float
    instances: int
    closed_at: float | None = None
    association_id: str = ""
    refused: int = 0
    went_on: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a verdict on a series rests on.

    left_out: SOP Instance UIDs of it that are not analysed, since they were rejected: all that came, and those that are
    announced and did not.
    elsewhere: other associations that are open, of sources that brought images of this series.
    study_instance_count: how many instances of its study are here, where that is known.
    habit: the longest silences in the series that its source sent last.
    not_asked: why those who could tell what the series consists of do not, in words.
    """

    images: Sequence[Image]
    contributions: Sequence[Contribution]
    last_received_at: float
    series_instance_uid: str = ""
    announcements: Sequence[Announcement] = ()
    elsewhere: Sequence[Elsewhere] = ()
    left_out: frozenset[str] = frozenset()
    study_instance_count: int | None = None
    habit: Sequence[Silence] = ()
    not_asked: tuple[str, ...] = ()


def facts_of(
    series_instance_uid: str,
    last_received_at: float,
    instances: Sequence[Instance],
    parts: Sequence[SeriesPart],
    *,
    announcements: Sequence[Announcement] = (),
    elsewhere: Sequence[Elsewhere] = (),
    refused: Mapping[str, int] | None = None,
    went_on: Collection[str] = (),
    left_out: Collection[str] = (),
    study_instance_count: int | None = None,
    habit: Sequence[Silence] = (),
    not_asked: tuple[str, ...] = (),
) -> Facts:
    """Facts of a series from its rows as they stand.

    refused: how many instances, by association. went_on: associations that brought another series since.
    """
    return Facts(
        images=tuple(_image(item) for item in instances),
        contributions=tuple(_contribution(part, refused or {}, went_on) for part in parts),
        last_received_at=last_received_at,
        series_instance_uid=series_instance_uid,
        announcements=tuple(announcements),
        elsewhere=tuple(elsewhere),
        left_out=frozenset(left_out),
        study_instance_count=study_instance_count,
        habit=tuple(habit),
        not_asked=not_asked,
    )


def facts_at(
    moment: float,
    series_instance_uid: str,
    instances: Sequence[Instance],
    parts: Sequence[SeriesPart],
    *,
    announcements: Sequence[Announcement] = (),
    others: Sequence[Association] = (),
    refused: Mapping[str, int] | None = None,
    habit: Sequence[Silence] = (),
) -> Facts | None:
    """Facts of a series as they were at a moment, from the rows that were left; None before its first image.

    others: associations that brought other series of the study. When an association of this series went on to those is
    not told, nor what an announcement said before it was said anew: until then it counts as not made.
    """
    came = [item for item in instances if item.received_at <= moment]
    if not came:
        return None
    brought = {item.association_id for item in came}
    known = [part for part in parts if part.association.opened_at <= moment]
    # Of an association that brought only what was here already it is not known when it did.
    by_then = [part for part in known if not part.stored or part.association.association_id in brought]
    sources = {part.association.calling_ae_title for part in by_then}
    own = {part.association.association_id for part in by_then}
    return facts_of(
        series_instance_uid,
        max(item.received_at for item in came),
        came,
        [replace(part, association=_as_at(moment, part.association)) for part in by_then],
        announcements=[item for item in announcements if item.at <= moment],
        elsewhere=[
            Elsewhere(one.association_id, one.calling_ae_title, one.opened_at, brings_study=True)
            for one in others
            if one.calling_ae_title in sources
            and one.association_id not in own
            and one.opened_at <= moment
            and _as_at(moment, one).ending is None
        ],
        refused=refused,
        habit=habit,
    )


def _as_at(moment: float, association: Association) -> Association:
    if association.closed_at is not None and association.closed_at <= moment:
        return association
    return replace(association, closed_at=None, ending=None)


def _image(item: Instance) -> Image:
    return Image(item.sop_instance_uid, item.facts, item.received_at, item.association_id)


def _contribution(part: SeriesPart, refused: Mapping[str, int], went_on: Collection[str]) -> Contribution:
    association = part.association
    return Contribution(
        calling_ae_title=association.calling_ae_title,
        ending=association.ending,
        opened_at=association.opened_at,
        instances=part.stored + part.repeated,
        closed_at=association.closed_at,
        association_id=association.association_id,
        refused=refused.get(association.association_id, 0),
        went_on=association.ending is None and association.association_id in went_on,
    )
