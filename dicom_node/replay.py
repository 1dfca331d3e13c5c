"""When would other rules have found a series whole, and what would have been queued? Pure: facts as recorded, a virtual clock.

Between two facts (an image, an association that opens or ends, something announced) only time can change a verdict, and a
verdict says until when nothing does. So the clock jumps from fact to fact, and to the moments that verdicts name.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise

from dicom_node.arrival_facts import Facts, facts_at
from dicom_node.completeness import Rules, Verdict, judge
from dicom_node.evidence_announced import may_decide
from dicom_node.evidence_images import Images, in_images
from storage.records.announced import Announcement, Said
from storage.records.arriving import Silence
from storage.records.received import Association, Instance, SeriesPart, Study

# The dispatcher looks that often: images that come faster one after the other leave it no moment between them.
ROUND_S = 0.1


@dataclass(frozen=True, slots=True)
class RecordedSeries:
    """How a series came.

    instances: in order of arrival. parts: the associations that brought it, in the order in which they were opened.
    announcements: of the series and of its study. others: every association that brought something of the study, and
    since when. refused: how many instances, by association. habit: what was known of its source before it came.
    study_arrivals: when the instances of the whole study came, in order. turned: when each association brought images of
    other series of the study, in order. read: see `images_at`.
    """

    study: Study
    series_instance_uid: str
    instances: tuple[Instance, ...]
    parts: tuple[SeriesPart, ...]
    announcements: tuple[Announcement, ...] = ()
    others: tuple[tuple[Association, float], ...] = ()
    refused: Mapping[str, int] | None = None
    habit: tuple[Silence, ...] = ()
    study_arrivals: tuple[float, ...] = ()
    turned: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    read: dict[tuple[int, int | None], Images] = field(default_factory=dict, compare=False, repr=False)

    def images_at(self, facts: Facts) -> Images:
        """What the headers tell: read once for each number of images, since that takes longer than all else together."""
        key = (len(facts.images), facts.study_instance_count)
        if key not in self.read:
            self.read[key] = in_images(facts)
        return self.read[key]

    def part_at(self, moment: float) -> SeriesPart | None:
        """The association that brought it last, as seen at that moment; None where none is recorded."""
        known = [part for part in self.parts if part.association.opened_at <= moment]
        return (known or self.parts or (None,))[-1]

    def source_at(self, moment: float) -> str:
        """Calling AE title of that association."""
        part = self.part_at(moment)
        return part.association.calling_ae_title if part else ""

    @property
    def calling_ae_title(self) -> str:
        """Who brought it last."""
        return self.source_at(math.inf)


@dataclass(frozen=True, slots=True)
class Waiting:
    """How a configuration decides that a series is whole, by the calling AE title of who brings it.

    asked_for: the AE titles of whom it asks by C-FIND what such a source sent; what others answered does not count.
    """

    rules_of: Callable[[str], Rules]
    asked_for: Callable[[str], frozenset[str]]

    def is_like(self, other: Waiting, series: RecordedSeries) -> bool:
        """Whether both wait in the same way for this series."""
        sources = {part.association.calling_ae_title for part in series.parts} or {""}
        return all(
            self.rules_of(one) == other.rules_of(one) and self.asked_for(one) == other.asked_for(one) for one in sources
        )


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict that ends the wait for a series, on the first `came` of its instances."""

    at: float
    came: int
    verdict: Verdict
    rules: Rules


def judgements(series: RecordedSeries, waiting: Waiting, until: float) -> tuple[Judged, ...]:
    """Every decision on a series up to a moment, oldest first: one for each time that it was thought to have come."""
    asked = waiting.asked_for(series.calling_ae_title)
    said = tuple(item for item in series.announcements if item.kind != "c-find" or item.source in asked)
    heard = replace(series, announcements=said)
    moments = sorted({*_moments(heard), until})
    found = []
    arrivals = [item.received_at for item in series.instances]
    for index, (begins, next_at) in enumerate(pairwise([*arrivals, math.inf])):
        if begins < until and next_at > begins:
            judged = _between(heard, waiting, _Gap(index + 1, begins, min(next_at, until)), moments)
            found += [judged] if judged else []
    return tuple(found)


def _moments(series: RecordedSeries) -> Iterable[float]:
    """When something that is no image of the series becomes known."""
    for association, since in (
        *((part.association, part.association.opened_at) for part in series.parts),
        *series.others,
    ):
        yield since
        if association.closed_at is not None:
            yield association.closed_at
    yield from (item.at for item in series.announcements)


@dataclass(frozen=True, slots=True)
class _Gap:
    """From the arrival of one image to that of the next, or to the end of what is recorded."""

    came: int
    begins: float
    ends: float


def _between(series: RecordedSeries, waiting: Waiting, gap: _Gap, moments: Sequence[float]) -> Judged | None:
    """What is decided from one image on, before the next one comes."""
    rules = waiting.rules_of(series.source_at(gap.begins))
    settles = gap.begins + max(rules.settle_s, ROUND_S)
    if settles >= gap.ends and not _may_decide(series, gap.came, gap.ends):
        return None
    turns = [at for at in map(partial(_first_after, gap.begins), series.turned.values()) if at < gap.ends]
    within = sorted({*moments[bisect_right(moments, gap.begins) : bisect_left(moments, gap.ends)], *turns})
    for start, stop in pairwise([gap.begins, *within, gap.ends]):
        now = start if _may_decide(series, gap.came, start) else max(start, settles)
        facts = None
        while now < stop:
            facts = facts or _facts(series, start)
            verdict = judge(facts, rules, now, read_images=series.images_at)
            if verdict.state != "not_yet":
                return Judged(now, gap.came, verdict, rules)
            now = stop if verdict.until is None else max(verdict.until, math.nextafter(now, math.inf))
    return None


def _may_decide(series: RecordedSeries, came: int, moment: float) -> bool:
    """Whether anything announced by then may decide, though images still come."""
    said = [
        Said(item.kind, item.series_instance_uid, item.state, item.instance_count, item.at)
        for item in _said(series, moment)
    ]
    return bool(said) and may_decide(said, came, _came_of_study(series, moment))


def _came_of_study(series: RecordedSeries, moment: float) -> int:
    return bisect_right(series.study_arrivals, moment)


def _said(series: RecordedSeries, moment: float) -> tuple[Announcement, ...]:
    """What was announced by then; of what was said anew, the latest."""
    latest: dict[tuple[str, str], Announcement] = {}
    for item in sorted(series.announcements, key=lambda item: item.at):
        if item.at <= moment:
            latest[item.kind, item.key] = item
    return tuple(latest.values())


def _first_after(moment: float, times: Sequence[float]) -> float:
    later = bisect_right(times, moment)
    return times[later] if later < len(times) else math.inf


def _facts(series: RecordedSeries, moment: float) -> Facts:
    facts = facts_at(
        moment,
        series.series_instance_uid,
        series.instances,
        series.parts,
        announcements=_said(series, moment),
        others=[association for association, since in series.others if since <= moment],
        refused=series.refused,
        habit=series.habit,
    )
    if facts is None:
        raise ValueError("a series is judged from its first image on")
    last = facts.last_received_at
    went_on = {name for name, times in series.turned.items() if _first_after(last, times) <= moment}
    contributions = tuple(
        replace(item, went_on=item.ending is None and item.association_id in went_on) for item in facts.contributions
    )
    return replace(facts, contributions=contributions, study_instance_count=_came_of_study(series, moment))
