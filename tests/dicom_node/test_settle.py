"""Series from arrival to queue: judged on what the database holds, written in one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, update

from dicom_node.completeness import Rules
from dicom_node.evidence import Evidence
from dicom_node.routing import Routing
from dicom_node.settle import Settle
from storage.announcements import Announcements
from storage.events import Events
from storage.habits import Habits
from storage.instances import Instances
from storage.jobs import Jobs
from storage.records.announced import Announcement
from storage.records.events import Event
from storage.records.jobs import NewJob
from storage.records.received import Association, Instance, SeriesPart
from storage.rejections import reopen
from storage.schema import instance, key_object, rejection
from storage.schema import series as series_table
from storage.studies import Studies
from tests.made_rows import made_database, new_instance, of_one_sum_alone

STUDY = "1.2.3"
JOB = NewJob(
    "m@1.0.0", "r", "ready", "stat", ("pacs",), True, 60.0, priority_reason="Requested Procedure Priority HIGH"
)


def _association(name: str, opened_at: float) -> Association:
    return Association(name, "acceptor", "CT1", "NODE", "127.0.0.1", opened_at)


class Bench:
    """A real database with a clock that the test turns; routing answers with one job and keeps what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.database = made_database(folder)
        self.studies, self.instances = Studies(self.database), Instances(self.database, of_one_sum_alone)
        self.jobs, self.events = Jobs(self.database), Events(self.database)
        self.now = 1000.0
        self.asked: list[int] = []
        self.during_routing = lambda: None
        self.announcements, self.habits = Announcements(self.database), Habits(self.database)
        self.rules = Rules(settle_s=2.0, quiet_s=60.0)
        self.job = JOB
        self.evidence = Evidence(self.studies, self.instances, self.announcements, self.habits)
        self.settle = Settle(self.evidence, self._route, lambda _: self.rules, clock=lambda: self.now)

    def _route(self, instances: tuple[Instance, ...], _part: SeriesPart, _study: str) -> Routing:
        self.asked.append(len(instances))
        self.during_routing()
        return Routing((self.job,), ("route other: Modality is CT, not MR",))

    def send(
        self,
        numbers: range,
        *,
        ending: str | None = "released",
        association: str | None = None,
        series: str = "1.2.3.4",
    ) -> None:
        name = association or f"a{numbers.start}-{self.now}"
        self.studies.open_association(_association(name, self.now))
        for number in numbers:
            self.add(number, name, series)
        if ending:
            self.end(name, ending)

    def end(self, association: str, ending: str) -> None:
        ended = replace(_association(association, self.now), ending=ending, closed_at=self.now)
        self.instances.add_all((), [ended])

    def add(self, number: int, association: str, series: str = "1.2.3.4") -> None:
        facts = {
            "InstanceNumber": number,
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "ImagePositionPatient": [0, 0, 5.0 * number],
        }
        self.instances.add(
            new_instance(
                sop_instance_uid=f"{series}.{number}",
                series_instance_uid=series,
                study_instance_uid=STUDY,
                content_sum=f"{number}",
                object_key=f"{series}/{number}",
                association_id=association,
                received_at=self.now,
                patient_id="P1",
                patient_name="Doe^Jane",
                study_description="Chest",
                facts=facts,
            ),
        )


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.database.close()


def test_a_series_is_queued_once_when_it_is_whole(bench: Bench) -> None:
    bench.send(range(1, 11))
    assert bench.settle.step() == 0
    bench.now += 2.1
    assert bench.settle.step() == 1
    assert bench.settle.step() == 0
    assert [job.model for job in bench.jobs.of_study(STUDY)] == ["m@1.0.0"]
    (series,) = bench.studies.series_of(STUDY)
    assert series.state == "whole"
    assert "geometry closes" in str(series.evidence)


def test_every_decision_is_in_the_history_in_words(bench: Bench) -> None:
    bench.send(range(1, 11))
    bench.now += 2.1
    bench.settle.step()
    assert [event.kind for event in bench.events.of_study(STUDY)] == [
        "series_begins",
        "series_whole",
        "route_passed_over",
        "job_queued",
    ]
    assert bench.events.of_study(STUDY)[-1].text == (
        "m@1.0.0 queued by route r, stat: Requested Procedure Priority HIGH"
    )


def test_the_release_of_an_association_is_seen_though_no_instance_came(bench: Bench) -> None:
    bench.send(range(1, 11), ending=None, association="open")
    bench.now += 5
    assert bench.settle.step() == 0
    bench.end("open", "released")
    assert bench.settle.step() == 1


def test_an_instance_that_comes_while_routing_decides_makes_it_judge_again(bench: Bench) -> None:
    bench.send(range(1, 11))
    bench.now += 2.1
    bench.during_routing = lambda: bench.send(range(11, 12)) if len(bench.asked) == 1 else None
    assert bench.settle.step() == 0
    assert bench.jobs.of_study(STUDY) == ()
    bench.now += 4.3  # it was seen to pause for 2.1 s
    assert bench.settle.step() == 1
    assert bench.asked == [10, 11]


def test_a_late_instance_opens_a_revision_whose_job_sees_all_instances(bench: Bench) -> None:
    bench.send(range(1, 11))
    bench.now += 2.1
    bench.settle.step()
    bench.send(range(11, 13))
    bench.now += 4.3  # it was seen to pause for 2.1 s
    assert bench.settle.step() == 1
    assert [job.revision for job in bench.jobs.of_study(STUDY)] == [1, 2]
    assert bench.asked == [10, 12]
    assert "late_instance" in [event.kind for event in bench.events.of_study(STUDY)]


def test_a_study_that_is_sent_again_whole_changes_nothing(bench: Bench) -> None:
    bench.send(range(1, 11))
    bench.now += 2.1
    bench.settle.step()
    bench.send(range(1, 11))
    bench.now += 120
    assert bench.settle.step() == 0
    assert len(bench.jobs.of_study(STUDY)) == 1


def _said(count: int, **more: Any) -> Announcement:
    listed = tuple(f"1.2.3.4.{number}" for number in range(1, count + 1))
    said = Announcement("mpps", "1.9 1.2.3.4", "CT1", STUDY, "1.2.3.4", "completed", 1000.0, count, listed)
    return replace(said, **more)


def test_a_series_is_queued_as_soon_as_every_listed_instance_came_though_its_association_is_open(bench: Bench) -> None:
    bench.announcements.announce(_said(10))
    bench.send(range(1, 10), ending=None, association="open")
    assert bench.settle.step() == 0
    bench.add(10, "open")
    assert bench.settle.step() == 1
    (series,) = bench.studies.series_of(STUDY)
    assert (series.state, series.expected_count) == ("whole", 10)


def test_an_announcement_is_seen_though_no_instance_came(bench: Bench) -> None:
    bench.send(range(1, 11), ending=None, association="open")
    bench.now += 5
    assert bench.settle.step() == 0
    bench.announcements.announce(_said(10))
    assert bench.settle.step() == 1


def test_the_end_of_another_association_of_the_source_is_seen(bench: Bench) -> None:
    bench.send(range(1, 11))
    bench.studies.open_association(_association("beside", bench.now))
    bench.add(1, "beside", series="1.2.3.5")
    bench.now += 5
    assert bench.settle.step() == 0
    bench.now += 1
    bench.end("beside", "released")
    assert bench.settle.step() == 1


def test_images_that_were_rejected_before_they_came_are_not_missed(bench: Bench) -> None:
    bench.announcements.announce(_said(12))
    bench.send(range(1, 11))
    bench.now += 70
    bench.settle.step()
    assert bench.studies.series_of(STUDY)[0].held_at is not None
    with bench.database.write() as connection:
        connection.execute(insert(key_object).values(sop_instance_uid="9"))
        rows = [{"sop_instance_uid": f"1.2.3.4.{n}", "code": "113001", "key_object_uid": "9"} for n in (11, 12)]
        connection.execute(insert(rejection), rows)
    bench.settle.look_anew()
    assert bench.settle.step() == 1
    (series,) = bench.studies.series_of(STUDY)
    assert (series.state, series.held_at) == ("whole", None)


def test_the_deadline_of_what_is_analysed_anew_without_rejected_images_counts_from_then(bench: Bench) -> None:
    bench.send(range(1, 11))
    bench.job = replace(JOB, deadline_at=bench.now + 600.0)
    bench.now += 60
    assert bench.settle.step() == 1
    with bench.database.write() as connection:
        (series,) = bench.studies.series_of(STUDY)
        reopen(connection, series.series_id)
        where = instance.c.sop_instance_uid == "1.2.3.4.10"
        connection.execute(update(instance).where(where).values(rejected_revision=2, rejected_code="113001"))
        connection.execute(update(series_table).values(instance_count=9))
    bench.now += 86_400
    assert bench.settle.step() == 1
    assert [job.deadline_at for job in bench.jobs.of_study(STUDY)] == [1600.0, bench.now + 600.0]


def test_a_series_that_contradicts_what_was_announced_is_held_with_one_alarm_until_the_rest_comes(bench: Bench) -> None:
    bench.announcements.announce(_said(12))
    bench.send(range(1, 11))
    for _ in range(3):
        bench.now += 70
        assert bench.settle.step() == 0
    (held,) = [event for event in bench.events.of_study(STUDY) if event.kind == "series_held"]
    assert held.severity == "alarm"
    assert "10 of 12 images came" in held.text
    (series,) = bench.studies.series_of(STUDY)
    assert (series.held_at, series.expected_count) == (1070.0, 12)
    bench.send(range(11, 13))
    assert bench.settle.step() == 1
    (series,) = bench.studies.series_of(STUDY)
    assert (series.state, series.held_at) == ("whole", None)
    assert [job.remark for job in bench.jobs.of_study(STUDY)] == [None]


def test_at_the_deadline_what_came_is_analysed_and_the_report_will_say_so(bench: Bench) -> None:
    bench.announcements.announce(_said(12))
    bench.send(range(1, 11))
    bench.now += 60 + 900
    assert bench.settle.step() == 1
    (series,) = bench.studies.series_of(STUDY)
    assert (series.state, series.expected_count) == ("incomplete", 12)
    (job,) = bench.jobs.of_study(STUDY)
    assert (job.state, job.remark, job.give_up_reason) == ("ready", "analysed 10 of 12 images", None)
    (event,) = [event for event in bench.events.of_study(STUDY) if event.kind == "series_incomplete"]
    assert event.severity == "warning"


@pytest.mark.parametrize("report", [True, False])
def test_at_the_deadline_nothing_is_analysed_where_the_configuration_says_so(bench: Bench, report: bool) -> None:
    bench.rules = replace(bench.rules, on_missing="not_analysed")
    bench.job = replace(JOB, report_not_analysed=report)
    bench.announcements.announce(_said(12))
    bench.send(range(1, 11))
    bench.now += 60 + 900
    assert bench.settle.step() == 1
    (job,) = bench.jobs.of_study(STUDY)
    why = "only 10 of 12 images came"
    assert (job.state, job.reason, job.give_up_reason) == (("ready", None, why) if report else ("skipped", why, None))


def test_a_late_image_of_an_incomplete_series_opens_a_revision_that_may_be_whole(bench: Bench) -> None:
    bench.announcements.announce(_said(12))
    bench.send(range(1, 11))
    bench.now += 960
    bench.settle.step()
    bench.send(range(11, 13))
    assert bench.settle.step() == 1
    (series,) = bench.studies.series_of(STUDY)
    assert (series.state, series.revision, series.held_at) == ("whole", 2, None)


def test_where_an_instance_was_refused_a_release_proves_nothing_until_it_came_after_all(bench: Bench) -> None:
    bench.send(range(1, 11), ending=None, association="a")
    refused = {"sop_instance_uid": "1.2.3.4.11"}
    bench.events.record(Event("instance_refused", "an instance was refused", association_id="a", data=refused))
    bench.end("a", "released")
    bench.now += 5
    assert bench.settle.step() == 0
    bench.send(range(11, 12))
    bench.now += 10
    assert bench.settle.step() == 1


def test_how_a_source_pauses_is_learned_from_series_that_were_judged_and_then_waited_for(bench: Bench) -> None:
    for number in range(5):
        one = f"1.2.3.{50 + number}"
        bench.send(range(1, 6), series=one)
        bench.now += 1.9
        bench.send(range(6, 11), series=one)
        bench.now += 60
        assert bench.settle.step() == 1
    assert [silence.longest_pause_s for silence in bench.habits.of("CT1", limit=200)] == pytest.approx([1.9] * 5)
    bench.send(range(1, 11))
    bench.now += 2.25
    assert bench.settle.step() == 0
    bench.now += 0.1
    assert bench.settle.step() == 1


def test_the_pause_before_a_late_image_is_learned_too(bench: Bench) -> None:
    bench.send(range(1, 11))
    bench.now += 30
    bench.settle.step()
    bench.send(range(11, 12))
    bench.now += 60
    bench.settle.step()
    (silence,) = bench.habits.of("CT1", limit=200)
    assert silence.longest_pause_s == 30


def test_a_series_that_arrives_can_be_asked_for_its_verdict_at_any_time(bench: Bench) -> None:
    bench.send(range(1, 11), ending=None, association="open")
    bench.now += 3
    (series,) = bench.studies.series_of(STUDY)
    verdict = bench.evidence.verdict(series.series_id, lambda _: bench.rules, bench.now)
    assert verdict
    assert verdict.state == "not_yet"
    assert "association from CT1 is still open" in verdict.evidence
    assert "geometry closes" in " ".join(verdict.evidence)
    bench.now += 60
    bench.settle.step()
    assert bench.evidence.verdict(series.series_id, lambda _: bench.rules, bench.now) is None


def _counted_reads(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by the id of a series whenever its images are read."""
    read: list[int] = []
    of_series = bench.instances.of_series

    def counted(series_id: int, *, up_to_revision: int) -> tuple[Instance, ...]:
        read.append(series_id)
        return of_series(series_id, up_to_revision=up_to_revision)

    monkeypatch.setattr(bench.instances, "of_series", counted)
    return read


def test_images_are_not_read_again_and_again_while_they_come(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    read = _counted_reads(bench, monkeypatch)
    bench.announcements.announce(_said(60))
    bench.studies.open_association(_association("a", bench.now))
    for number in range(1, 51):
        bench.now += 0.1
        bench.add(number, "a")
        bench.settle.step()
    assert read == []


def test_other_rules_are_seen_though_nothing_came(bench: Bench) -> None:
    bench.send(range(1, 2))
    bench.now += 30
    assert bench.settle.step() == 0
    bench.rules = replace(bench.rules, quiet_s=20.0)
    assert bench.settle.step() == 1


def test_what_goes_on_around_a_series_that_waits_does_not_have_it_read_again_and_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.send(range(1, 11))
    bench.now += 3
    bench.studies.open_association(_association("beside", bench.now))
    read = _counted_reads(bench, monkeypatch)
    for number in range(1, 11):
        bench.now += 0.05
        bench.add(number, "beside", series="1.2.3.5")
        bench.studies.open_association(_association(f"opened-{number}", bench.now))
        bench.settle.step()
    assert len(read) == 1


def test_a_count_of_the_study_is_held_against_it_whenever_another_of_its_series_grows(bench: Bench) -> None:
    bench.send(range(1, 3))
    of_study = Announcement("c-find", "PACS1 -", "PACS1", STUDY, None, "completed", 1000.0, 3)
    bench.announcements.announce(of_study)
    bench.now += 3
    assert bench.settle.step() == 0
    bench.send(range(1, 2), series="1.2.3.5")
    assert bench.settle.step() == 2
