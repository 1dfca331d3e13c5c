"""What was decided on each revision of a series, when, and on what evidence: from its row and its history. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from storage.records.events import Event
from storage.records.received import Arrivals, Series
from storage.records.rejected import Rejections

Decision = Literal["arriving", "held", "whole", "incomplete"]
_DECISIONS: dict[str, Decision] = {"series_held": "held", "series_whole": "whole", "series_incomplete": "incomplete"}


@dataclass(frozen=True, slots=True)
class RevisionAccount:
    """instance_count: how many instances a job on it analyses. decided_at: None while nothing is decided."""

    number: int
    began_at: float
    instance_count: int
    decision: Decision
    decided_at: float | None
    evidence: str | None


def revisions_of(
    series: Series, arrivals: Iterable[Arrivals], rejections: Iterable[Rejections], events: Sequence[Event]
) -> tuple[RevisionAccount, ...]:
    """All revisions of a series, the first one first. events: those of the series, oldest first."""
    ended = [event for event in events if _DECISIONS.get(event.kind) in ("whole", "incomplete")]
    decided = {_revision(event, ended): event for event in events if event.kind in _DECISIONS}
    came = {item.revision: item for item in arrivals}
    rejected = tuple(rejections)
    accounts: list[RevisionAccount] = []
    began_at = series.first_received_at
    for number in range(1, series.revision + 1):
        if number in came:
            began_at = came[number].first_received_at
        elif accounts:
            began_at = accounts[-1].decided_at or began_at
        count = sum(item.instance_count for item in came.values() if item.revision <= number)
        count -= sum(item.instance_count for item in rejected if item.revision <= number)
        accounts.append(_account(series, number, began_at, count, decided.get(number)))
    return tuple(accounts)


def _account(series: Series, number: int, began_at: float, count: int, event: Event | None) -> RevisionAccount:
    if event is None:
        return RevisionAccount(number, began_at, count, "arriving", None, None)
    evidence = series.evidence if number == series.revision else None
    # Of an earlier revision, and of one that is held, what its event says after the words for what it is.
    evidence = evidence or event.text.partition(": ")[2] or event.text
    return RevisionAccount(number, began_at, count, _DECISIONS[event.kind], event.at, evidence)


def _revision(event: Event, ended: Sequence[Event]) -> int:
    """Of which revision it tells: as it says itself, else by its place, since each earlier revision was decided once."""
    return int(event.data.get("revision") or sum(other.at < event.at for other in ended) + 1)
