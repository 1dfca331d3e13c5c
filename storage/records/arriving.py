"""What tells whether a series is whole: what still may bring images of it, what is said of it, how long it is silent."""

from __future__ import annotations

from dataclasses import dataclass

from storage.records.announced import Said
from storage.records.received import Series, SeriesPart


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Another association that is open, of a source that brought images of a series.

    brings_study: it brought something of the same study; else it brought nothing at all yet.
    """

    association_id: str
    calling_ae_title: str
    opened_at: float
    brings_study: bool


@dataclass(frozen=True, slots=True)
class Arriving:
    """A series that is not judged yet, and all that may make it whole but its instances, read at one moment.

    parts: the associations that brought it, in the order in which they were opened.
    went_on: those that are open and brought another series since its last image.
    """

    series: Series
    parts: tuple[SeriesPart, ...]
    elsewhere: tuple[Elsewhere, ...]
    said: tuple[Said, ...]
    study_instance_count: int
    went_on: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Silence:
    """The longest silences inside a series, in seconds: between any two images; while nothing that brings it was open; and
    of these the longest that looked like its end, since all images seemed to be there."""

    calling_ae_title: str
    longest_gap_s: float
    longest_pause_s: float
    at: float
    longest_end_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Ended:
    """A series that arrives and all of whose associations have ended: who brought it last, and when that ended."""

    series: Series
    calling_ae_title: str
    ended_at: float
