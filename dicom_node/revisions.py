"""What was decided on each revision of a series, when, and on what evidence: from its row and its history. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from storage.records import Arrivals, Event, Rejections, Series

Decision = Literal["arriving", "held", "whole", "incomplete"]
_DECISIONS: dict[str, Decision] = {"series_whole": "whole", "series_incomplete": "incomplete"}


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
    decided = [event for event in events if event.kind in _DECISIONS]
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
        is_open = number == series.revision and series.state == "arriving"
        event = None if is_open else next((item for item in decided if _revision(item, decided) == number), None)
        accounts.append(_account(series, number, began_at, count, event))
    return tuple(accounts)


def _account(series: Series, number: int, began_at: float, count: int, event: Event | None) -> RevisionAccount:
    if event:
        return RevisionAccount(
            number, began_at, count, _DECISIONS[event.kind], event.at, _evidence(series, number, event)
        )
    held = number == series.revision and series.held_at is not None
    decided_at = series.held_at if held else None
    decision: Decision = "held" if held else "arriving"
    return RevisionAccount(number, began_at, count, decision, decided_at, series.evidence if held else None)


def _evidence(series: Series, number: int, event: Event) -> str:
    """What the row keeps of the newest revision; of earlier ones the words of their event, after those that say what it was."""
    return (series.evidence if number == series.revision else None) or event.text.partition(": ")[2] or event.text


def _revision(event: Event, decided: Sequence[Event]) -> int:
    """Of which revision it tells: as it says itself, else by its place, since each earlier revision was decided once."""
    return int(event.data.get("revision") or decided.index(event) + 1)
