"""Series from arrival to queue: judged on what the database holds, written in one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dicom_node.routing import Routing
from dicom_node.settle import Settle
from storage.database import Database
from storage.events import Events
from storage.instances import Instances
from storage.jobs import Jobs
from storage.records import Association, Instance, NewInstance, NewJob, SeriesPart
from storage.studies import Studies
from tests.made_rows import of_one_sum_alone

STUDY = "1.2.3"
JOB = NewJob("m@1.0.0", "r", "ready", "routine", ("pacs",), True, 60.0)


def _association(name: str, opened_at: float) -> Association:
    return Association(name, "acceptor", "CT1", "NODE", "127.0.0.1", opened_at)


class Bench:
    """A real database with a clock that the test turns; routing answers with one job and keeps what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.database = Database(f"sqlite:///{folder / 'node.sqlite3'}")
        self.database.migrate()
        self.studies, self.instances = Studies(self.database), Instances(self.database)
        self.jobs, self.events = Jobs(self.database), Events(self.database)
        self.now = 1000.0
        self.asked: list[int] = []
        self.during_routing = lambda: None
        self.settle = Settle(
            self.studies, self.instances, self._route, settle_s=2.0, quiet_s=60.0, clock=lambda: self.now
        )

    def _route(self, instances: tuple[Instance, ...], _part: SeriesPart) -> Routing:
        self.asked.append(len(instances))
        self.during_routing()
        return Routing((JOB,), ("route other: Modality is CT, not MR",))

    def send(self, numbers: range, *, ending: str | None = "released", association: str | None = None) -> None:
        name = association or f"a{numbers.start}-{self.now}"
        self.studies.open_association(_association(name, self.now))
        for number in numbers:
            self.add(number, name)
        if ending:
            self.end(name, ending)

    def end(self, association: str, ending: str) -> None:
        ended = replace(_association(association, self.now), ending=ending, closed_at=self.now)
        self.instances.add_all((), [ended], of_one_sum_alone)

    def add(self, number: int, association: str) -> None:
        facts = {
            "InstanceNumber": number,
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "ImagePositionPatient": [0, 0, 5.0 * number],
        }
        self.instances.add(
            NewInstance(
                "1.2",
                f"1.2.3.4.{number}",
                "1.2.3.4",
                STUDY,
                "1.2.840.10008.1.2.1",
                f"{number}",
                f"k{number}",
                1,
                association,
                self.now,
                "P1",
                "Doe^Jane",
                "A1",
                "20260101",
                "Chest",
                facts,
            ),
            of_one_sum_alone,
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
    bench.now += 2.1
    assert bench.settle.step() == 1
    assert bench.asked == [10, 11]


def test_a_late_instance_opens_a_revision_whose_job_sees_all_instances(bench: Bench) -> None:
    bench.send(range(1, 11))
    bench.now += 2.1
    bench.settle.step()
    bench.send(range(11, 13))
    bench.now += 2.1
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
