"""When is a peer asked, or asked again, how many instances a series has, and what is its answer worth? Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from dicom_node.config_sources import Find
from storage.records.announced import AnnouncementState
from storage.records.arriving import Ended

# After each answer that settles nothing; the last one from then on.
WAITS_S = (0.3, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
# Where each image has an association of its own, each end would be an occasion to ask.
LEAST_S = 1.0
_JITTER = 0.2


@dataclass(frozen=True, slots=True)
class Asking:
    """How far a peer was asked about a series.

    instance_count: how many came, by the end of the last association at ended_at. asked: how often since. next_at: when
    it is to be asked. told: how many there are by its last answer, and since: when it first said so.
    """

    instance_count: int
    ended_at: float
    asked: int = 0
    next_at: float = -math.inf
    asked_at: float = -math.inf
    told: int | None = None
    since: float = math.inf


def begun(ended: Ended) -> Asking:
    """Asked at once."""
    return Asking(ended.series.instance_count, ended.ended_at)


def noticed(known: Asking, ended: Ended) -> Asking:
    """Another association ended, perhaps: then it is time to ask, unless the peer spoke of even more than came so far."""
    instance_count = ended.series.instance_count
    if (instance_count, ended.ended_at) == (known.instance_count, known.ended_at):
        return known
    now_known = replace(known, instance_count=instance_count, ended_at=ended.ended_at)
    if known.told is not None and known.told > instance_count:
        return now_known
    return replace(now_known, asked=0, next_at=known.asked_at + LEAST_S)


def answered(known: Asking, told: int | None, find: Find, now: float, *, jitter: float) -> Asking:
    """The peer was asked and has so many, or None where it does not say, or could not be asked.

    jitter: from 0 to 1, so that those who were asked together are not for ever.
    """
    wait_s = WAITS_S[min(known.asked, len(WAITS_S) - 1)] * (1 + _JITTER * (jitter - 0.5))
    since = known.since if told == known.told else now
    after = replace(known, asked=known.asked + 1, asked_at=now, next_at=now + wait_s)
    if told is None:
        return after
    after = replace(after, told=told, since=since)
    if told != known.instance_count:
        return after
    return replace(after, next_at=math.inf if worth(after, find, now) == "completed" else since + find.stable_s)


def is_due(known: Asking, find: Find, now: float) -> bool:
    return known.next_at <= now < known.ended_at + find.for_s


def worth(known: Asking, find: Find, now: float) -> AnnouncementState:
    """completed: so many are all there are. A peer that has fewer than came here has not got them all yet."""
    if known.told is None or known.told < known.instance_count:
        return "in progress"
    is_stable = find.has_whole_series or now >= known.since + find.stable_s
    return "completed" if is_stable else "in progress"
