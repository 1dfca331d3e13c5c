"""Reads all that is known of a series that arrives: for `settle`, which decides, and for people, who ask."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass

from dicom_node.arrival_facts import Facts, facts_of
from dicom_node.completeness import Rules, Verdict, judge
from dicom_node.stores import Stores
from storage.announcements import Announcements
from storage.habits import Habits
from storage.instances import Instances
from storage.records.announced import Announcement
from storage.records.arriving import Arriving
from storage.records.received import Instance, Series
from storage.studies import Studies

# From how many of its latest series it is learned what a source is used to.
HABIT_SERIES = 200

# By the calling AE title that brought a series last.
RulesOf = Callable[[str], Rules]
# Why nobody can be asked now about the series of a requestor, in words.
NotAsked = Callable[[str], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Evidence:
    studies: Studies
    instances: Instances
    announcements: Announcements
    habits: Habits
    not_asked: NotAsked = lambda _calling_ae_title: ()

    def gather(self, known: Arriving) -> tuple[tuple[Instance, ...], Facts]:
        """The instances that a job would analyse now, and the facts that the series is judged by."""
        series = known.series
        instances = self.instances.of_series(series.series_id, up_to_revision=series.revision)
        announcements = self.announcements.of_study(series.study_instance_uid) if known.said else ()
        facts = facts_of(
            series.series_instance_uid,
            series.last_received_at,
            instances,
            known.parts,
            announcements=announcements,
            elsewhere=known.elsewhere,
            refused=self.studies.refused([part.association.association_id for part in known.parts]),
            went_on=known.went_on,
            left_out=self._left_out(series, {item.sop_instance_uid for item in instances}, announcements),
            study_instance_count=known.study_instance_count,
            habit=self.habits.of(source_of(known), limit=HABIT_SERIES),
            not_asked=self.not_asked(source_of(known)),
        )
        return instances, facts

    def _left_out(self, series: Series, came: Set[str], announcements: Iterable[Announcement]) -> frozenset[str]:
        """Of what was rejected: what came, and what is announced of the series and need not come any more."""
        came_rejected = self.instances.rejected(series.series_id, up_to_revision=series.revision)
        named = {
            uid
            for item in announcements
            if item.series_instance_uid == series.series_instance_uid
            for uid in item.sop_instance_uids or ()
        }
        missing = named - came - came_rejected
        return came_rejected | self.instances.rejected_of(missing) if missing else came_rejected

    def verdict(self, series_id: int, rules_of: RulesOf, now: float) -> Verdict | None:
        """How a series is judged at this moment, for people to read; None where it does not arrive any more."""
        for known in self.studies.known_of_arriving():
            if known.series.series_id == series_id:
                return judge(self.gather(known)[1], rules_of(source_of(known)), now)
        return None


def evidence_of(stores: Stores, not_asked: NotAsked = lambda _calling_ae_title: ()) -> Evidence:
    """What these stores know, and those who ask besides."""
    return Evidence(stores.studies, stores.instances, stores.announcements, stores.habits, not_asked)


def source_of(known: Arriving) -> str:
    """The calling AE title that brought a series last."""
    return known.parts[-1].association.calling_ae_title if known.parts else ""
