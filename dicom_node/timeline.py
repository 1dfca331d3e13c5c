"""What happened to a study, in order of time: its events, and beside them what associations brought and others said. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from storage.records.announced import Announcement
from storage.records.events import Event
from storage.records.received import Association, SeriesPart

ANNOUNCED_BY = {"mpps": "MPPS", "ian": "availability notification", "c-find": "C-FIND"}


def timeline(
    events: Iterable[Event], parts: Iterable[tuple[str, SeriesPart]], announcements: Iterable[Announcement]
) -> tuple[Event, ...]:
    """All of it as events, oldest first. parts: with the Series Instance UID that each belongs to.

    Of announcements those that are answers to the node: who speaks unasked is told of by events.
    """
    lines = [*events, *_endings(parts), *(announced(item) for item in announcements if item.kind == "c-find")]
    return tuple(sorted(lines, key=lambda line: line.at))


def announced(item: Announcement) -> Event:
    """What somebody said of a series or of a study."""
    return Event(
        "announcement_made",
        f"{item.source} says by {ANNOUNCED_BY[item.kind]}: {_said(item)}",
        at=item.at,
        study_instance_uid=item.study_instance_uid,
        series_instance_uid=item.series_instance_uid,
        data={"kind": item.kind, "state": item.state, "instance_count": item.instance_count},
    )


def _said(item: Announcement) -> str:
    of_what = "the series" if item.series_instance_uid else "the study"
    count = item.instance_count
    if item.kind == "c-find":
        return f"{of_what} has {instances_in_words(count)} there" if count is not None else f"{of_what} is known there"
    if item.kind == "ian":
        return f"{instances_in_words(count)} of {of_what} are available" if count is not None else f"{of_what} is there"
    numbered = f", {instances_in_words(count)}" if count is not None else ""
    return f"{of_what if item.series_instance_uid else 'the procedure step'} is {item.state}{numbered}"


def instances_in_words(count: int) -> str:
    return f"{count} instance{'s' * (count != 1)}"


def _endings(parts: Iterable[tuple[str, SeriesPart]]) -> list[Event]:
    """A line for each association that ended, with what it brought of the study."""
    by_association: dict[str, list[tuple[str, SeriesPart]]] = {}
    for series_instance_uid, part in parts:
        by_association.setdefault(part.association.association_id, []).append((series_instance_uid, part))
    return [_ending(group) for group in by_association.values() if group[0][1].association.closed_at is not None]


def _ending(group: Sequence[tuple[str, SeriesPart]]) -> Event:
    association = group[0][1].association
    stored, repeated = (sum(getattr(part, name) for _, part in group) for name in ("stored", "repeated"))
    brought = brought_in_words(stored, repeated)
    return Event(
        "association_ended",
        f"association from {association.calling_ae_title} {ending_in_words(association)}: it brought {brought}",
        severity="info" if association.ending == "released" else "warning",
        at=association.closed_at or 0.0,
        series_instance_uid=group[0][0] if len(group) == 1 else None,
        association_id=association.association_id,
        data={"ending": association.ending, "stored": stored, "repeated": repeated},
    )


def ending_in_words(association: Association) -> str:
    if association.ending is None:
        return "is open"
    return "was lost" if association.ending == "lost" else f"was {association.ending}"


def brought_in_words(stored: int, repeated: int) -> str:
    """What came: how much of it is new. What was known already changes nothing, and is said to."""
    if repeated and not stored:
        return f"{instances_in_words(repeated)}, all known already: nothing new"
    known = f", and {repeated} that were known already" if repeated else ""
    return f"{instances_in_words(stored)}{known}"
