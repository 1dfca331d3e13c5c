"""What the associations that brought the series tell: how they ended, what else their sources do, how these pause."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from dicom_node.arrival_facts import Contribution, Facts, Image
from dicom_node.evidence_images import in_images
from storage.records.arriving import Silence

# An association that brought nothing yet may be there to bring the rest of the series; after so long, for something else.
GREETING_S = 10.0
# A source is known once it sent so many series; so many that it may be waited for less than one that is not.
LEAST_SERIES, LEAST_SERIES_TO_SHORTEN = 5, 20
QUANTILE = 0.98
# Pauses that are shorter make nobody wait longer; of a series so many are looked at, the longest.
LEAST_END_S, MOST_ENDS = 0.5, 8

# A silence between images; one while nothing that brings the series was open; one that seemed to be its end.
Kind = Literal["gap", "pause", "end"]


@dataclass(frozen=True, slots=True)
class Wire:
    """released: what brought the series ended, the last of it in order. closed: all of it ended, however.

    is_over: besides, its source does nothing else that could bring more, and nothing was refused.
    went_on: the same, but that associations are open which are at another series by now.
    until: when that may change without anything happening; None where it cannot.
    """

    released: bool
    closed: bool
    is_over: bool
    until: float | None
    words: tuple[str, ...]
    went_on: bool = False


def on_the_wire(facts: Facts, now: float) -> Wire:
    """What is known of the associations at this moment."""
    if not facts.contributions:
        return Wire(False, True, False, None, ("no association is known for it",))
    still_open = [item for item in facts.contributions if item.ending is None]
    if still_open:
        return _while_open(facts, still_open)
    ending, released = _ending(facts.contributions)
    against: list[str] = []
    greeting = [item for item in facts.elsewhere if not item.brings_study and now < item.opened_at + GREETING_S]
    until = min((item.opened_at + GREETING_S for item in greeting), default=None)
    for item in [other for other in facts.elsewhere if other.brings_study][:1]:
        against.append(f"another association from {item.calling_ae_title} brings the same study")
        until = None
    if greeting and not against:
        against.append(f"an association from {greeting[0].calling_ae_title} has just been opened")
    refused = sum(item.refused for item in facts.contributions)
    if refused:
        against.append("1 instance was refused" if refused == 1 else f"{refused} instances were refused")
        until = None
    return Wire(released, True, released and not against, until, (ending, *against))


def _while_open(facts: Facts, still_open: Sequence[Contribution]) -> Wire:
    went_on = all(item.went_on for item in still_open)
    is_alone = not any(item.brings_study for item in facts.elsewhere)
    is_clean = not any(item.refused for item in facts.contributions)
    words = f"association from {still_open[-1].calling_ae_title} is still open"
    more = " and went on to another series" if went_on else ""
    return Wire(False, False, False, None, (words + more,), went_on=went_on and is_alone and is_clean)


def _ending(contributions: Sequence[Contribution]) -> tuple[str, bool]:
    """How the last of the associations ended, and whether that is evidence that nothing is to come."""
    last = max(contributions, key=lambda item: item.opened_at)
    count = len(contributions)
    which = "association" if count == 1 else f"last of {count} associations"
    if last.ending == "released":
        return f"{which} from {last.calling_ae_title} was released", True
    how = "was aborted" if last.ending == "aborted" else "was lost when the acceptor ended"
    return f"{which} from {last.calling_ae_title} {how}", False


@dataclass(frozen=True, slots=True)
class Usual:
    """How long a source pauses at most, in seconds, in QUANTILE of its latest series.

    was_seen: it is a pause of the series itself, or of one before of a source that is hardly known.
    """

    calling_ae_title: str
    pause_s: float
    series: int
    was_seen: bool = False

    @property
    def words(self) -> str:
        if self.was_seen:
            return f"{self.calling_ae_title} was seen to pause for {self.pause_s:.1f} s"
        return f"{self.calling_ae_title} pauses up to {self.pause_s:.1f} s ({100 * QUANTILE:.0f} % of {self.series} series)"


def usual(habit: Sequence[Silence], which: Kind) -> Usual | None:
    """What a source is used to; None while too little is known of it."""
    if len(habit) < LEAST_SERIES:
        return None
    in_order = sorted(_longest(item, which) for item in habit)
    return Usual(habit[0].calling_ae_title, in_order[math.ceil(QUANTILE * len(in_order)) - 1], len(in_order))


def _longest(item: Silence, which: Kind) -> float:
    return {"gap": item.longest_gap_s, "pause": item.longest_pause_s, "end": item.longest_end_s}[which]


def usual_or_seen(facts: Facts, once_s: float, most_s: float, which: Kind) -> Usual | None:
    """What a source is used to, or what it was seen to do where that is longer: in this series, or before it is known.

    Who paused in the middle of a series may do so again. A silence longer than once_s counts where it was not the only
    one: else it was no pause but the end of the series, and a late image after it.
    """
    known = usual(facts.habit, which)
    seen = _ends(facts, most_s) if which == "end" else []
    if which != "end":
        seen = [one.seconds for one in _silences(facts, most_s) if one.is_between or which == "gap"]
    if known is None:
        seen += [_longest(item, which) for item in facts.habit]
    seen.sort()
    seen_s = max([0.0, *seen[:-1], *(seconds for seconds in seen if seconds <= once_s)])
    if seen_s <= (known.pause_s if known else 0.0):
        return known
    title = facts.contributions[-1].calling_ae_title if facts.contributions else "the source"
    return Usual(title, seen_s, len(facts.habit), was_seen=True)


def longest_silences(facts: Facts, most_s: float, calling_ae_title: str, at: float) -> Silence:
    """The longest silences of the series, for the habit of its source.

    One that is longer than most_s is none of these: for that long nobody would wait, and what comes then is sent anew.
    """
    found = list(_silences(facts, most_s))
    return Silence(
        calling_ae_title,
        longest_gap_s=max([0.0, *(one.seconds for one in found)]),
        longest_pause_s=max([0.0, *(one.seconds for one in found if one.is_between)]),
        longest_end_s=max([0.0, *_ends(facts, most_s)]),
        at=at,
    )


@dataclass(frozen=True, slots=True)
class _Silence:
    """seconds: between this many images that had come, in order, and the next. is_between: nothing was open then."""

    seconds: float
    came: int
    is_between: bool


def _silences(facts: Facts, most_s: float) -> Iterator[_Silence]:
    in_order = _in_order(facts)
    closings = {item.association_id: item.closed_at for item in facts.contributions}
    last_closing = -math.inf  # of the associations that brought images so far; infinite while one is open
    for came, (earlier, later) in enumerate(pairwise(in_order), start=1):
        closed_at = closings.get(earlier.association_id)
        last_closing = max(last_closing, math.inf if closed_at is None else closed_at)
        seconds = later.received_at - earlier.received_at
        if seconds <= most_s:
            yield _Silence(seconds, came, last_closing <= later.received_at)


def _ends(facts: Facts, most_s: float) -> list[float]:
    """The longest pauses after a release with all images there, as it seemed; what comes then shows that it only seemed so."""
    pauses = [one for one in _silences(facts, most_s) if one.is_between and one.seconds >= LEAST_END_S]
    longest = sorted(pauses, key=lambda one: -one.seconds)[:MOST_ENDS]
    in_order = _in_order(facts)
    return [one.seconds for one in longest if _seemed_over(facts, in_order[: one.came])]


def _seemed_over(facts: Facts, came: Sequence[Image]) -> bool:
    names = {image.association_id for image in came}
    parts = [item for item in facts.contributions if item.association_id in names]
    return (
        bool(parts)
        and _ending(parts)[1]
        and in_images(replace(facts, images=came, study_instance_count=None)).is_closed
    )


def _in_order(facts: Facts) -> list[Image]:
    return sorted(facts.images, key=lambda image: image.received_at)
